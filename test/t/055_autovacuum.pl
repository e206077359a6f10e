# Autovacuum comes to a metricsdb table when it comes to a heap: the same statements leave the same counts, and
# each threshold has the same effect, wherever the rows lie.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = new_node('autovacuum', 'metricsdb.workers' => 'off', autovacuum => 'off', autovacuum_naptime => '1s');

sub sql { return $node->safe_psql('postgres', $_[0]) }

my @kinds = qw(h delta parts);
my %create = (h => 'USING heap', delta => 'USING metricsdb', parts => 'USING metricsdb');
# One is for each threshold; the last for none.
my %options = (
	updated => 'autovacuum_vacuum_threshold = 300, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1000000',
	deleted => 'autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1000000',
	inserted => 'autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_insert_threshold = 700, autovacuum_vacuum_insert_scale_factor = 0, autovacuum_analyze_threshold = 1000000',
	analyzed => 'autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 600, autovacuum_analyze_scale_factor = 0.1',
	none => 'autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = 2000, autovacuum_vacuum_insert_scale_factor = 0, autovacuum_analyze_threshold = 5000');
my @names = sort keys %options;

for my $name (@names)
{
	for my $kind (@kinds)
	{
		my $t = "${name}_$kind";
		sql("CREATE TABLE $t (time timestamptz, host text, k int, v float8) $create{$kind} WITH ($options{$name})");
		sql('SET metricsdb.direct_rows = ' . ($kind eq 'parts' ? 1 : 100000) . "; INSERT INTO $t SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i % 5, i, i FROM generate_series(1, 1000) i");
		sql("UPDATE $t SET v = v + 1 WHERE k <= 400");
		sql("DELETE FROM $t WHERE k BETWEEN 350 AND 600");
		sql("BEGIN; UPDATE $t SET v = 0 WHERE k > 990; DELETE FROM $t WHERE k = 990; ROLLBACK");
	}
}
my $counts = 'n_tup_ins, n_tup_upd, n_tup_del, n_live_tup, n_dead_tup, n_mod_since_analyze, n_ins_since_vacuum';
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_stat_user_tables WHERE relname ~ '_(h|delta|parts)$' AND n_tup_del < 251}), 'the counts are in');
for my $name (@names)
{
	my %got = map { $_ => sql("SELECT $counts FROM pg_stat_user_tables WHERE relid = '${name}_$_'::regclass") } @kinds;
	is($got{$_}, $got{h}, "$name: counts of rows in $_ ($counts)") for qw(delta parts);
}

sql('ALTER SYSTEM SET autovacuum = on');
sql('SELECT pg_reload_conf()');
my $came = q{SELECT string_agg(split_part(relname, '_', 1) || CASE WHEN autovacuum_count > 0 THEN ' vacuum' ELSE '' END || CASE WHEN autoanalyze_count > 0 THEN ' analyze' ELSE '' END, ', ' ORDER BY relname)
	FROM pg_stat_user_tables WHERE relname ~ '_KIND$'};
my $all = 'analyzed analyze, deleted vacuum, inserted vacuum, none, updated vacuum';
for my $kind (@kinds)
{
	my $q = $came =~ s/KIND/$kind/r;
	my $until = time() + 60;
	usleep(200_000) while sql($q) ne $all && time() < $until;
	is(sql($q), $all, "$kind: who was come to");
}
# What is dead is gone then, and the statistics know.
for my $name (qw(updated deleted))
{
	for my $kind (@kinds)
	{
		ok(wait_for($node, "SELECT n_dead_tup = 0 AND n_live_tup = 749 FROM pg_stat_user_tables WHERE relid = '${name}_$kind'::regclass"),
			"${name}_$kind: no dead rows, 749 live ones");
		is(sql("SELECT reltuples FROM pg_class WHERE oid = '${name}_$kind'::regclass"), '749', "${name}_$kind: the planner knows");
	}
}
for my $kind (@kinds)
{
	is(sql("SELECT n_distinct, null_frac FROM pg_stats WHERE tablename = 'analyzed_$kind' AND attname = 'host'"), '5|0', "analyzed_$kind: statistics");
}
$node->stop;
grep_log($node, 'autovacuum');
done_testing();
