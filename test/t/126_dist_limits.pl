# How many new series an hour nodes of a distributed table take from Kafka: each shard has its share, the sum is the coordinator's
# setting, while nodes come and go, and nobody needs the coordinator.
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
use Time::HiRes qw(time);

my ($c, $a1, $a2, $b, $d) = dist_nodes('a1', 'a2', 'b', 'd');
my $kafka = KafkaTest->new('limits');
sub sql { return $c->safe_psql('postgres', $_[0]) }

sub error
{
	my ($rc, $out, $err) = $c->psql('postgres', $_[0]);
	return $rc == 0 ? "no error: $out" : $err;
}

sub soon
{
	my ($node, $sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what) or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.kafka_status; SELECT * FROM metricsdb.cardinality_status'));
	return;
}

# n new series of a metric in each partition
sub flood
{
	my ($metric, $n) = @_;
	my $now = int(time) * 1000;
	$kafka->put('limits', map { my $p = $_; map { [ $p, undef, batch(metric(name => $metric, tags => [ at => "$p/$_" ], time => $now, value => 1)) ] } 1 .. $n } 0 .. 5);
	return;
}

# The shares on nodes, and how many series of a metric these have
sub shares { return join ' ', map { $_->safe_psql('postgres', "SELECT coalesce((SELECT new_per_hour::text FROM metricsdb.cardinality_share WHERE \"table\" = 'm'::regclass), '-')") } @_ }
sub series { my ($metric, @nodes) = @_; return join ' ', map { $_->safe_psql('postgres', "SELECT count(DISTINCT tags) FROM m WHERE metric_name = '$metric'") } @nodes }
sub refused { my ($node, $metric, $n) = @_; soon($node, "SELECT count(*) = $n FROM metricsdb.kafka_dead_letters WHERE code = 'cardinality'", "$n points of new series are refused on " . $node->name); return }

$kafka->topic('create', 'limits', 6);
sql("SELECT metricsdb.create_metrics_table('m')");
sql("SELECT metricsdb.add_node('a1', '" . conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . conninfo($b) . "'); SELECT metricsdb.distribute('m')");
sql("ALTER SYSTEM SET metricsdb.max_new_series = 31; SELECT pg_reload_conf()");
$c->poll_query_until('postgres', "SELECT current_setting('metricsdb.max_new_series') = '31'");
# All in one hour
my $left = 3600 - time % 3600;
sleep($left + 1) if $left < 90;
is(sql("SELECT metricsdb.create_distributed_source('limits', '$kafka->{address}', 'limits', 'm', 'metric_batch')"), '6', 'a topic of six partitions');
is(shares($a1, $a2, $b), '16 16 15', 'two shards share the limit, replicas have one share');
flood('x', 10);
refused($a1, 'x', 14);
refused($a2, 'x', 14);
refused($b, 'x', 15);
is(series('x', $a1, $a2, $b), '16 16 15', 'as many series are there as the limit says');
is($b->safe_psql('postgres', "SELECT \"limit\", new_series, active FROM metricsdb.cardinality_status WHERE metric = 'x'"), '15|15|t', 'a node tells its share');

# A node comes
sql("SELECT metricsdb.add_node('d', '" . conninfo($d) . "')");
is(sql("SELECT metricsdb.assign_partitions('limits')"), '2', 'one shard more');
is(shares($a1, $a2, $b, $d), '11 11 10 10', 'has its share of what the others had');

# The coordinator goes
$c->stop;
# Limits are read each second.
sleep 2;
flood('y', 10);
refused($a1, 'y', 14 + 9);
refused($b, 'y', 15 + 10);
refused($d, 'y', 10);
is(series('y', $a1, $b, $d), '11 10 10', 'without the coordinator each keeps its share');
$c->start;

# What a node says comes first; what somebody sets there is the node's.
$b->safe_psql('postgres', "SELECT metricsdb.set_cardinality_limit('m', 'z', 3)");
is($b->safe_psql('postgres', "SELECT \"limit\" FROM metricsdb.cardinality_status WHERE metric = 'z'"), '3', 'a limit of a metric');

# A node goes
sql("SELECT metricsdb.drain_node('d'); SELECT metricsdb.assign_partitions('limits')");
soon($d, "SELECT bool_and(state = 'handed over') FROM metricsdb.kafka_status", 'a node has read to the end');
sql("SELECT metricsdb.remove_node('d', force => true); SELECT metricsdb.assign_partitions('limits')");
is(shares($a1, $a2, $b), '16 16 15', 'the others have its share again');
# All nodes are paused, go on, and go back, from here.
my $status = "metricsdb.distributed_source_status('limits')";
sql("SELECT metricsdb.pause_distributed_source('limits')");
is(sql("SELECT bool_and(state = 'paused') FROM $status"), 't', 'all nodes are paused');
flood('w', 1);
sql("SELECT metricsdb.resume_distributed_source('limits')");
soon($c, "SELECT count(*) = 6 FROM m WHERE metric_name = 'w'", 'they go on');
my $next = sql("SELECT next_offset FROM $status WHERE node = 'a1' AND partition = 0 AND to_offset IS NULL");
like(error("SELECT metricsdb.seek_distributed_source('limits', 99, 1)"), qr/no shard reads partition 99 .* at offset 1/, 'a partition that nobody reads');
sql("SELECT metricsdb.seek_distributed_source('limits', 0, $next - 1)");
soon($_, "SELECT count(*) = (SELECT count(DISTINCT tags) + 1 FROM m WHERE metric_name = 'w') FROM m WHERE metric_name = 'w'", 'a message is read again on ' . $_->name) for $a1, $a2;
is(sql("SELECT string_agg(node || ' ' || (lag >= '0 s'), ', ' ORDER BY node) FROM metricsdb.nodes"), 'a1 true, a2 true, b true', 'nodes say how far they are behind');
my $holder = session($b);
$holder->query('BEGIN; LOCK TABLE metricsdb.kafka_offset IN SHARE MODE');
flood('w', 1);
soon($c, "SELECT lag > '1 s' FROM metricsdb.nodes WHERE node = 'b'", 'one that cannot store is behind');
$holder->query('ROLLBACK');
soon($c, "SELECT lag = '0 s' FROM metricsdb.nodes WHERE node = 'b'", 'and catches up');

sql("SET metricsdb.max_new_series = 0; SELECT metricsdb.assign_partitions('limits')");
is($b->safe_psql('postgres', 'SELECT new_per_hour IS NULL FROM metricsdb.cardinality_share'), 't', 'any number is any number');
sql("SELECT metricsdb.drop_distributed_source('limits')");
is(shares($a1, $a2, $b), '- - -', 'without the source they have their own setting');
done_testing();
