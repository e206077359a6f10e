# Logical replication beside metricsdb tables: what is published refuses INSERT, in words that help;
# what is not is not sent; and the engine's own tables never are, so that subscriptions go on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $rows = q{SELECT timestamptz '2026-01-01' + i * interval '1 s', 'host' || i % 7, i FROM generate_series};
my $pub = PostgreSQL::Test::Cluster->new('pub');
$pub->init(allows_streaming => 'logical');
$pub->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nmetricsdb.workers = off\nmetricsdb.direct_rows = 100\n");
$pub->start;
# One without the extension, one with it and tables of its own.
my @subs = map { my $n = PostgreSQL::Test::Cluster->new($_); $n->init; $n->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nmetricsdb.direct_rows = 100\n"); $n->start; $n } ('bare', 'full');

sub sql { return $pub->safe_psql('postgres', $_[0]) }

# fails(sql): its error, with detail and hint.
sub fails { my ($rc, $out, $err) = $pub->psql('postgres', $_[0]); return $rc ? $err : 'no error' }

sub caught_up
{
	my ($what) = @_;
	sql("INSERT INTO h SELECT coalesce(max(a), 0) + 1, '$what' FROM h");
	my $want = sql('SELECT count(*), max(a), max(b) FROM h');
	for my $s (@subs)
	{
		my $name = $s->name;
		$pub->wait_for_catchup("sub_$name");
		is($s->safe_psql('postgres', 'SELECT count(*), max(a), max(b) FROM h'), $want, "$name: $what");
	}
	return;
}

sql('CREATE TABLE h (a int PRIMARY KEY, b text)');
sql('CREATE PUBLICATION everything FOR ALL TABLES');
for my $s (@subs)
{
	$s->safe_psql('postgres', 'CREATE TABLE h (a int PRIMARY KEY, b text)');
	$s->safe_psql('postgres', sprintf(q{CREATE SUBSCRIPTION sub_%s CONNECTION $$%s$$ PUBLICATION everything}, $s->name, $pub->connstr('postgres')));
	$s->wait_for_subscription_sync($pub, 'sub_' . $s->name);
}
my $full = $subs[1];
$full->safe_psql('postgres', 'CREATE EXTENSION metricsdb');
$full->safe_psql('postgres', "CREATE TABLE own (time timestamptz, host text, v int) USING metricsdb; INSERT INTO own $rows (1, 500) i; INSERT INTO own $rows (501, 505) i");
caught_up('before the extension');
sql('CREATE EXTENSION metricsdb');
caught_up('CREATE EXTENSION');
sql('CREATE TABLE m (time timestamptz, host text, v int) USING metricsdb');
caught_up('CREATE TABLE');

# ---- what is published refuses INSERT ----

my $refusal = qr/cannot insert into metricsdb table "m" because it is in a publication.*DETAIL: .*HINT: /s;

sub refused
{
	my ($what) = @_;
	like(fails("INSERT INTO m $rows (1, 500) i"), $refusal, "$what: many rows");
	like(fails("INSERT INTO m $rows (1, 1) i"), $refusal, "$what: one row");
	like(fails("COPY m FROM PROGRAM 'printf \"2026-01-01\\ta\\t1\\n\"'"), $refusal, "$what: COPY");
	is(sql('SELECT count(*) FROM m'), '0', "$what: nothing is inserted");
	return;
}

refused('FOR ALL TABLES');
is(fails('CREATE TEMP TABLE t (time timestamptz, v int) USING metricsdb; INSERT INTO t VALUES (now(), 1); CREATE UNLOGGED TABLE un (time timestamptz, v int) USING metricsdb; INSERT INTO un VALUES (now(), 1)'),
	'no error', 'FOR ALL TABLES: temporary and unlogged tables are written to');
sql('CREATE PUBLICATION other FOR TABLE h');
for my $s (@subs)
{
	$s->safe_psql('postgres', sprintf('ALTER SUBSCRIPTION sub_%s SET PUBLICATION other', $s->name));
}
sql('DROP PUBLICATION everything');
for my $what ('FOR TABLE m', 'FOR TABLE m (time, v)', 'FOR TABLE m WHERE (v > 3)', 'FOR TABLES IN SCHEMA public', 'FOR TABLE p WITH (publish_via_partition_root)', 'FOR TABLE p', "FOR TABLE m WITH (publish = 'insert')")
{
	sql('CREATE TABLE p (LIKE m) PARTITION BY RANGE (v); ALTER TABLE p ATTACH PARTITION m DEFAULT') if $what =~ / p/;
	sql("CREATE PUBLICATION one $what");
	refused($what);
	sql('DROP PUBLICATION one');
	sql('ALTER TABLE p DETACH PARTITION m; DROP TABLE p') if $what =~ / p/;
}
# Nor is it a target for Kafka
sql("SELECT metricsdb.create_metrics_table('metrics')");
sql('CREATE PUBLICATION one FOR TABLE metrics');
my $source = q{SELECT metricsdb.create_kafka_source('s', 'localhost:1', 't', 'metrics', 'metric') > 0};
like(fails($source), qr/cannot insert into metricsdb table "metrics" because it is in a publication.*DETAIL: .*HINT: /s, 'Kafka: refused');
sql('DROP PUBLICATION one');
is(sql($source), 't', 'Kafka: taken when it is published no more');
sql("SELECT metricsdb.drop_kafka_source('s')");
sql('DROP TABLE metrics');
# In a transaction that sees it published and no more
sql("BEGIN; CREATE PUBLICATION one FOR TABLE m; DROP PUBLICATION one; INSERT INTO m $rows (1, 500) i; TRUNCATE m; COMMIT");
sql("CREATE PUBLICATION one FOR TABLE m WITH (publish = 'truncate')");
sql("INSERT INTO m $rows (1, 500) i; TRUNCATE m");
sql('DROP PUBLICATION one');

# ---- the rest is decoded as ever, and nothing of ours ----

$pub->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('test', 'test_decoding')});
sql("INSERT INTO m $rows (1, 500) i");
sql("INSERT INTO m $rows (501, 520) i");
sql('INSERT INTO m SELECT now(), string_agg(md5(i::text), $$$$), 1 FROM generate_series(1, 5000) i');
sql("BEGIN; INSERT INTO m $rows (1, 5) i; INSERT INTO h SELECT max(a) + 1, repeat(md5('x'), 500) FROM h; INSERT INTO m SELECT now(), string_agg(md5(i::text), ''), 1 FROM generate_series(1, 5000) i; INSERT INTO h SELECT max(a) + 1, string_agg(md5(i::text), '') FROM h, generate_series(1, 500) i; COMMIT");
sql("CALL metricsdb.compact('m')") for 1 .. 3;
caught_up('writes and compaction');
sql("INSERT INTO m $rows (1, 50) i; ALTER TABLE m ADD x float8 DEFAULT random(); ALTER TABLE m SET ACCESS METHOD heap; ALTER TABLE m SET ACCESS METHOD metricsdb; VACUUM FULL m");
sql('VACUUM FULL metricsdb.part; VACUUM FULL metricsdb.series; VACUUM FULL metricsdb.delta');
sql("CREATE TABLE m2 (time timestamptz, host text, v int) USING metricsdb; INSERT INTO m2 $rows (1, 500) i; INSERT INTO m2 $rows (1, 50) i; TRUNCATE m2; INSERT INTO m2 $rows (1, 50) i; DROP TABLE m2");
sql("SELECT metricsdb.create_metrics_table('metrics'); BEGIN; SELECT metricsdb.create_kafka_source('s', 'localhost:1', 't', 'metrics', 'metric', secrets => '{\"sasl.password\": \"very secret\"}'); SELECT metricsdb.pause_kafka_source('s'); COMMIT; SELECT metricsdb.drop_kafka_source('s')");
caught_up('rewrites');
my @lines = grep { /^table / } split /^/, sql(q{SELECT data FROM pg_logical_slot_get_changes('test', NULL, NULL)});
is(join('', grep { /^table metricsdb\./ } @lines) =~ s/(.{1000}).*/$1/sr, '', 'nothing of the engine is decoded');
is(scalar(grep { /very secret/ } @lines), 0, 'nor a secret');
is(scalar(grep { /^table public\.m/ && !/TRUNCATE/ } @lines), 0, 'nor a row of its tables');
is(scalar(grep { /^table public\.h: INSERT/ } @lines), 4, 'but the others');

# ---- a mark that is lost, as by pg_upgrade, comes back ----

sql('UPDATE pg_class SET relrewrite = 0 WHERE relrewrite <> 0');
sql("CALL metricsdb.compact('m')");
is(sql(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'metricsdb'::regnamespace AND relkind = 'r' AND relrewrite = 0}), '0', 'marked again by CALL compact()');
sql('UPDATE pg_class SET relrewrite = 0 WHERE relrewrite <> 0');
$pub->append_conf('postgresql.conf', "metricsdb.workers = on\n");
$pub->restart;
ok(wait_for($pub, q{SELECT count(*) = 0 FROM pg_class WHERE relnamespace = 'metricsdb'::regnamespace AND relkind = 'r' AND relrewrite = 0}), 'and by the worker');
sql("INSERT INTO m (time, host, v) $rows (1, 500) i");
caught_up('afterwards');
is($full->safe_psql('postgres', 'SELECT count(*), sum(v) FROM own'), '505|127765', "a subscriber's own tables are as they were");
$full->safe_psql('postgres', "CALL metricsdb.compact('own')");
is($full->safe_psql('postgres', 'SELECT count(*), sum(v) FROM own'), '505|127765', 'and work');
catalogs_in_order($full, 'postgres', 'subscriber');

# A subscriber that stores what it gets in a metricsdb table
$full->safe_psql('postgres', 'CREATE TABLE log (a int, b text, at timestamptz DEFAULT now()) USING metricsdb');
sql('CREATE TABLE log (a int, b text)');
sql(q{INSERT INTO log SELECT i, 'early' FROM generate_series(1, 300) i});
sql('CREATE PUBLICATION logs FOR TABLE log');
$full->safe_psql('postgres', sprintf(q{CREATE SUBSCRIPTION sub_log CONNECTION $$%s$$ PUBLICATION logs}, $pub->connstr('postgres')));
$full->wait_for_subscription_sync($pub, 'sub_log');
sql(q{INSERT INTO log SELECT i, 'late' FROM generate_series(1, 300) i; INSERT INTO log VALUES (1, 'late')});
$pub->wait_for_catchup('sub_log');
is($full->safe_psql('postgres', 'SELECT b, count(*), sum(a) FROM log GROUP BY b ORDER BY b'), "early|300|45150\nlate|301|45151", 'a metricsdb table as the target of a subscription');
$_->stop for @subs, $pub;
grep_log($_, $_->name) for @subs, $pub;
done_testing();
