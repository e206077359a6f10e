# pg_upgrade: files, catalogs, options and rights come along, and the tables go on as before.
#
# From the server's own version to itself, with files copied and with files linked, with and without
# the library preloaded; from METRICSDB_OLD_BINDIR, where that names another version's binaries that
# have the extension.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $sums = q{SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM};

sub rows
{
	my ($from, $to) = @_;
	return "SELECT timestamptz '2026-01-01' + i % 100 * interval '1 h', 'h' || i % 20, CASE WHEN i % 3 = 0 THEN 'r' END, sqrt(i), md5(i::text) FROM generate_series($from, $to) i";
}

my @tables = qw(parts delta mixed opts named p p1 p2 u mv empty wide altered guarded);

sub fill
{
	my ($node) = @_;
	my $columns = '(time timestamptz, host text, region text, value float8, note text)';

	$node->safe_psql('postgres', qq{
CREATE TABLE parts $columns USING metricsdb;
CREATE TABLE delta $columns USING metricsdb;
CREATE TABLE mixed $columns USING metricsdb;
CREATE TABLE empty $columns USING metricsdb;
CREATE TABLE opts $columns USING metricsdb;
SELECT metricsdb.set_options('opts', series => '{region,note}');
CREATE TABLE named (a int8, b int, c int, d float8) USING metricsdb;
SELECT metricsdb.set_options('named', "time" => 'a', series => '{c}');
CREATE TABLE p (time timestamptz NOT NULL, host text, value float8) PARTITION BY RANGE (time);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2026-01-03') TO ('2026-02-01') USING heap;
CREATE UNLOGGED TABLE u $columns USING metricsdb;
CREATE TABLE wide (time timestamptz, host text, note text) USING metricsdb;
CREATE TABLE altered $columns USING metricsdb;
CREATE TABLE guarded $columns USING metricsdb;
CREATE ROLE reader;
GRANT SELECT ON guarded TO reader;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY h3 ON guarded TO reader USING (host = 'h3');
});
	my $do = sub { $node->safe_psql('postgres', $_[0]) };

	$do->('INSERT INTO parts ' . rows($_ * 1000, $_ * 1000 + 999)) for 1 .. 12;
	$do->("CALL metricsdb.compact('parts')");
	$do->('INSERT INTO parts ' . rows(20001, 21000));
	$do->('INSERT INTO delta ' . rows(1, 30));
	# A ring whose slots are live, retired and empty.
	for my $i (1 .. 4)
	{
		$do->('INSERT INTO mixed ' . rows($i * 1000, $i * 1000 + 500));
		$do->('INSERT INTO mixed ' . rows($i * 10, $i * 10 + 5));
		$do->("CALL metricsdb.compact('mixed')") if $i < 4;
	}
	$do->("INSERT INTO $_ " . rows(1, 600)) for qw(opts u altered guarded);
	$do->("INSERT INTO $_ " . rows(601, 610)) for qw(opts u altered guarded);
	$do->('INSERT INTO named SELECT i, i % 3, i % 7, i / 2.0 FROM generate_series(1, 800) i');
	$do->('INSERT INTO named SELECT i, i % 3, i % 7, i / 2.0 FROM generate_series(801, 810) i');
	$do->('INSERT INTO p SELECT time, host, value FROM (' . rows(1, 3000) . ') x(time, host, region, value, note)');
	$do->(q{INSERT INTO wide SELECT now(), 'h', (SELECT string_agg(md5(j::text || i), '') FROM generate_series(1, 3000) j) FROM generate_series(1, 3) i});
	$do->('ALTER TABLE altered ADD x int DEFAULT 5, DROP region, ALTER value TYPE numeric(20,4)');
	$do->('ALTER TABLE altered ADD y text DEFAULT now()::text');
	$do->("INSERT INTO altered (time, host, x) VALUES (now(), 'after', 6)");
	$do->("CREATE MATERIALIZED VIEW mv USING metricsdb AS SELECT date_trunc('day', time) AS time, host, max(value) FROM parts GROUP BY 1, 2");
	return;
}

sub state
{
	my ($node) = @_;

	return join "\n", map { $node->safe_psql('postgres', $_) }
	  (map { "SELECT '$_'; $sums $_ x" } @tables),
	  'SET ROLE reader; SELECT count(*), min(host), max(host) FROM guarded',
	  (map { "SELECT '$_', d.* FROM metricsdb.describe('$_') d" } qw(parts opts named altered)),
	  (map { "SELECT rows, samples, series, parts, delta_rows FROM metricsdb.relation_stats('$_')" } qw(parts delta mixed opts u wide)),
	  'SELECT objoid::regclass, label FROM pg_seclabel ORDER BY 1',
	  'SELECT "table", part_id, level, partition_from, rows, bytes, created_at FROM metricsdb.parts ORDER BY 1, 2',
	  'SELECT name, topic, options, state FROM metricsdb.kafka_source';
}

sub upgraded
{
	my ($mode, $preload, $old_bindir) = @_;
	my $what = 'pg_upgrade ' . ($mode || 'copying') . ', ' . ($preload ? 'preloaded' : 'not preloaded') . ($old_bindir ? " from $old_bindir" : '');
	my $name = ($mode =~ s/-//gr) . ($preload ? 'p' : '');
	my %conf = (shared_preload_libraries => $preload ? "'metricsdb'" : "''", 'metricsdb.direct_rows' => 100, 'metricsdb.workers' => 'off');
	my $old = new_node("old$name", %conf, $old_bindir ? (install_path => $old_bindir) : ());
	my $new = PostgreSQL::Test::Cluster->new("new$name");
	my $dir = PostgreSQL::Test::Utils::tempdir;

	$new->init;
	$new->append_conf('postgresql.conf', join '', map { "$_ = $conf{$_}\n" } sort keys %conf);
	fill($old);
	$old->safe_psql('postgres', q{
SELECT metricsdb.create_metrics_table('metrics');
BEGIN;
SELECT metricsdb.create_kafka_source('s', 'localhost:1', 't', 'metrics', 'metric');
SELECT metricsdb.pause_kafka_source('s');
COMMIT});
	my $expected = state($old);
	# Some of it is frozen, some is not.
	$old->safe_psql('postgres', 'VACUUM (FREEZE)') if $preload;
	$old->stop;

	my $bin = $new->config_data('--bindir');
	chdir $dir or die;
	command_ok([ 'pg_upgrade', '--no-sync', $mode ? $mode : (), '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bindir || $bin, '-B', $bin,
			'-s', $new->host, '-p', $old->port, '-P', $new->port ], $what);
	$new->start;
	is(state($new), $expected, "$what: rows, options, rights, parts");

	my $sql = sub { $new->safe_psql('postgres', $_[0]) };
	for my $t (qw(parts delta mixed opts u altered guarded empty))
	{
		my $before = $sql->("SELECT count(*) FROM $t");
		my $sum = $sql->("$sums $t x");

		$sql->("CALL metricsdb.compact('$t')") for 1 .. 2;
		is($sql->("$sums $t x"), $sum, "$what: $t compacted");
		$sql->("INSERT INTO $t (time, host, value) SELECT now(), 'new' || i % 5, i FROM generate_series(1, 700) i");
		$sql->("INSERT INTO $t (time, host, value) SELECT now(), 'few', i FROM generate_series(1, 7) i");
		is($sql->("SELECT count(*) - $before, count(DISTINCT host) FILTER (WHERE host ~ '^(new|few)') FROM $t"), '707|6', "$what: $t written");
		$sql->("CALL metricsdb.compact('$t')");
		is($sql->("SELECT count(*) - $before FROM $t WHERE time IS NOT NULL"), '707', "$what: $t written and compacted");
	}
	$sql->('CREATE TABLE later (time timestamptz, v int) USING metricsdb; INSERT INTO later SELECT now(), i FROM generate_series(1, 300) i');
	is($sql->('SELECT count(*) FROM later'), '300', "$what: a new table");
	$sql->('INSERT INTO p SELECT * FROM p; REFRESH MATERIALIZED VIEW mv; TRUNCATE mixed; VACUUM FULL parts; ALTER TABLE opts SET ACCESS METHOD heap; ALTER TABLE opts SET ACCESS METHOD metricsdb');
	is($sql->('SELECT string_agg("column"::text, $$,$$) FROM metricsdb.describe($$opts$$) WHERE role = $$series$$'), 'region,note', "$what: options hold through rewrites");
	$sql->('VACUUM; ANALYZE; DROP TABLE delta, p, wide');
	catalogs_in_order($new, 'postgres', $what);
	is($sql->(q{SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'metricsdb') AND classid = 'pg_class'::regclass AND objid::regclass::text ~ 'delta_'})
		- $sql->('SELECT count(*) FROM metricsdb.delta'), 0, "$what: delta heaps are the extension's");
	$sql->('DROP EXTENSION metricsdb CASCADE; CREATE EXTENSION metricsdb');
	is($sql->(q{SELECT count(*) FROM pg_class WHERE relname ~ '^delta_[0-9]'}), '0', "$what: dropped, nothing is left");
	$new->stop;
	command_ok([ 'pg_checksums', '--enable', '-N', '-D', $new->data_dir ], "$what: files are whole");
	grep_log($new, $what);
	$_->clean_node for $old, $new;
	return;
}

upgraded('', 1);
upgraded('--link', 0);
upgraded('', 1, $ENV{METRICSDB_OLD_BINDIR}) if $ENV{METRICSDB_OLD_BINDIR};
done_testing();
