# Several coordinators of the same nodes, and a standby of one: all answer, one assigns.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;

my %conf = (fsync => 'off', search_path => "'public, metricsdb'", shared_buffers => "'16MB'");
my ($c, $other, $a, $b) = map { new_node($_, %conf, init => [ allows_streaming => $_ eq 'coordinator', extra => [ '-E', 'UTF8', '--no-locale' ] ]) } qw(coordinator other a b);
$_->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw') for $c, $other;
my $kafka = KafkaTest->new('coordinators');
$kafka->topic('create', 't', 2);

sub error
{
	my ($node, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	return $rc == 0 ? "no error: $out" : $err;
}

$c->safe_psql('postgres', "SELECT metricsdb.create_metrics_table('m')");
add_nodes($c, $a, $b);
$c->safe_psql('postgres', "SELECT metricsdb.distribute('m')");
$c->safe_psql('postgres', "SELECT metricsdb.create_distributed_source('t', '$kafka->{address}', 't', 'm', 'metric_batch', options => '{\"max_age\": \"none\"}')");
$c->safe_psql('postgres', "INSERT INTO m (metric_name, tags, time, value) SELECT 'x', jsonb_build_object('host', i % 20), timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, 1000) i");
my $query = "SELECT count(*), sum(value), count(DISTINCT tags) FROM m WHERE metric_name = 'x'";
is($c->safe_psql('postgres', $query), '1000|500500|20', 'one coordinator');

# Another one, which reads what the first one has made
$other->safe_psql('postgres', "SELECT metricsdb.create_metrics_table('m')");
add_nodes($other, $a, $b);
$other->safe_psql('postgres', "SELECT metricsdb.distribute('m')");
is($other->safe_psql('postgres', $query), '1000|500500|20', 'another coordinator reads the same');
is($other->safe_psql('postgres', 'SELECT count(*) FROM metricsdb.nodes WHERE healthy'), '2', 'and sees the nodes');
like(error($other, "SELECT metricsdb.assign_partitions('t')"), qr/Kafka source "t" of a distributed table does not exist/, 'who assigns is the first one');
$other->safe_psql('postgres', "SET metricsdb.distributed_writes = on; INSERT INTO m (metric_name, tags, time, value) VALUES ('y', '{}', now(), 1)");
is($c->safe_psql('postgres', "SELECT count(*) FROM m WHERE metric_name = 'y'"), '1', 'rows of one are seen by the other');
$_->safe_psql('postgres', 'SELECT metricsdb.recover_transactions()') for $c, $other;
is($_->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'each ends its own transactions') for $a, $b;
$kafka->put('t', map { [ $_, undef, batch(metric(name => 'k', tags => [ p => $_ ], time => 1767225600000, value => 1)) ] } 0, 1);
ok($other->poll_query_until('postgres', "SELECT count(*) = 2 FROM m WHERE metric_name = 'k'"), 'what nodes read from Kafka, too');

# A partition that has more to do than the other one, and why
$kafka->put('t', map { my $n = $_; [ 0, undef, batch(map { metric(name => $n % 5 ? 'hot' : "m$n", tags => [ n => "$n/$_" ], time => 1767225600000, value => 1) } 1 .. 20) ] } 1 .. 50);
ok($c->poll_query_until('postgres', "SELECT count(*) = 800 FROM m WHERE metric_name = 'hot'"), 'a hot metric');
is($c->safe_psql('postgres', "SELECT partition, points > 1.5, bytes > 1.5, top_metric, top_part > 0.5, skewed FROM metricsdb.partition_load('t')"), "0|t|t|hot|t|t\n1|f|f|k|t|f", 'is named with the partition that it is in');
is($c->safe_psql('postgres', "SELECT round(sum(points)), round(sum(bytes)) FROM metricsdb.partition_load('t')"), '2|2', 'shares are of the mean');

# A standby
$c->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($c, 'copy', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $query), '1000|500500|20', 'a standby of a coordinator answers');
like($standby->safe_psql('postgres', "EXPLAIN (COSTS OFF) SELECT metric_name, count(*) FROM m GROUP BY 1"), qr/MetricsNodes/, 'by the nodes');
is($standby->safe_psql('postgres', "SELECT string_agg(t, ',') FROM metricsdb.tag_keys('m', 'x') t"), 'host', 'also of series');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM metricsdb.nodes WHERE healthy'), '2', 'and sees the nodes');
like(error($standby, "INSERT INTO m (metric_name, tags, time, value) VALUES ('z', '{}', now(), 1)"), qr/read-only transaction/, 'it does not write');
like(error($standby, "SELECT metricsdb.assign_partitions('t')"), qr/recovery|read-only/, 'nor assign');
$c->safe_psql('postgres', "CREATE TABLE n (time timestamptz NOT NULL, host text, v int8) USING metricsdb; SELECT metricsdb.distribute('n'); INSERT INTO n SELECT now(), 'h' || i, i FROM generate_series(1, 10) i");
$c->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*), sum(v) FROM n'), '10|55', 'what is distributed meanwhile it reads, too');
$c->stop;
$standby->promote;
is($standby->safe_psql('postgres', $query), '1000|500500|20', 'promoted it goes on');
is($standby->safe_psql('postgres', "SELECT metricsdb.assign_partitions('t')"), '0', 'and assigns');
$standby->safe_psql('postgres', "INSERT INTO n VALUES (now(), 'h', 11)");
is($standby->safe_psql('postgres', 'SELECT count(*) FROM n'), '11', 'and writes');
done_testing();
