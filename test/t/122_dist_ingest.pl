# A topic over the shards of a distributed table, while nodes come, go and are killed: each message is stored once in one
# shard, and alike on its replicas.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;
use Time::HiRes qw(sleep);

my ($c, $a1, $a2, $b, $d) = dist_nodes('a1', 'a2', 'b', 'd');
my $kafka = KafkaTest->new('dist');
my $brokers = $kafka->{address};
sub sql { return $c->safe_psql('postgres', $_[0]) }

sub error
{
	my ($rc, $out, $err) = $c->psql('postgres', $_[0]);
	return $rc == 0 ? "no error: $out" : $err;
}

sub soon
{
	my ($node, $sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what) or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.kafka_status; SELECT * FROM metricsdb.kafka_assignments'));
	return;
}

sub killed
{
	my ($node) = @_;
	$node->kill9;
	# Its children may take a moment to notice; until then it does not start.
	for (1 .. 100)
	{
		last if system('pg_ctl', '-s', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start') == 0;
		sleep 0.1;
	}
	$node->_update_pid(1);
	return;
}

# Which shard reads how many partitions, by what the nodes say.
my $spread = q(SELECT string_agg(node || ':' || n, ' ' ORDER BY node)
	FROM (SELECT node, count(*) FILTER (WHERE to_offset IS NULL) n FROM metricsdb.distributed_source_status('stream') GROUP BY 1) x);

$kafka->topic('create', 'stream', 6);
sql("SELECT metricsdb.create_metrics_table('m')");
like(error("SELECT metricsdb.create_distributed_source('stream', '$brokers', 'stream', 'm', 'metric_batch')"), qr/table "m" is not distributed/, 'what is not distributed reads by itself');
sql("SELECT metricsdb.add_node('a1', '" . conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . conninfo($b) . "'); SELECT metricsdb.distribute('m')");
my $create = "SELECT metricsdb.create_distributed_source('stream', '$brokers', 'stream', 'm', 'metric_batch', options => '{\"max_age\": \"none\"}')";
is(sql($create), '6', 'a topic is spread');
like(error($create), qr/already exists/, 'once');
is(sql($spread), 'a1:3 a2:3 b:3', 'replicas read the same partitions, shards others');
is(sql("SELECT metricsdb.assign_partitions('stream')"), '0', 'nothing is to be changed');
is(sql('SELECT count(*), count(DISTINCT shard) FROM metricsdb.distributed_epoch'), '6|2', 'there is a copy here');

my $sent = '';
my $producer = IPC::Run::start([ $kafka->tool('fleet'), $brokers, 'stream', 'hosts=30', 'batch=30', 'interval=1', 'start=1700000000', 'history=100000000', 'seed=7', 'rate=2000' ], '>', \$sent);
END { my $status = $?; $producer->kill_kill if $producer && $producer->pumpable; $? = $status; }
soon($_, 'SELECT sum(stored) > 1000 FROM metricsdb.kafka_status', 'points come to ' . $_->name) for $a2, $b;

# A node is added; the others go on.
sql("SELECT metricsdb.add_node('d', '" . conninfo($d) . "')");
is(sql("SELECT metricsdb.assign_partitions('stream')"), '2', 'a shard more takes two partitions');
is(sql($spread), 'a1:2 a2:2 b:2 d:2', 'of the two others');
soon($d, 'SELECT sum(stored) > 1000 FROM metricsdb.kafka_status', 'points come to it');

# A node is killed, and comes back.
killed($b);
soon($b, 'SELECT bool_or(l.pending_points > 0) FROM metricsdb.kafka_live() l', 'a killed node reads on');
$a1->stop('immediate');
like(error("SELECT metricsdb.assign_partitions('stream')"), qr/node "a1".*DETAIL:  What it reads is not known.*HINT:  .*evict_node\('a1'\)/s, 'without a node nothing is handed over');
$a1->start;

# The coordinator is killed in the middle: what b reads has ended, and nobody has begun, for d is held up.
my $holder = session($d);
$holder->query('BEGIN; LOCK TABLE metricsdb.kafka_assignment IN SHARE MODE');
sql("SELECT metricsdb.drain_node('b')");
my ($out, $err) = ('', '');
my $handing = IPC::Run::start([ 'psql', '-XAtq', '-d', $c->connstr('postgres'), '-c', "SELECT metricsdb.assign_partitions('stream')" ], '>', \$out, '2>', \$err);
soon($d, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%assign_kafka_partition%'", 'a hand-over is held up');
soon($b, "SELECT bool_and(to_offset IS NOT NULL) FROM metricsdb.kafka_assignments", 'in its middle');
killed($c);
$handing->finish;
unlike($out, qr/\d/, 'the coordinator is killed');
$holder->query('ROLLBACK');
soon($b, "SELECT bool_and(state = 'handed over') FROM metricsdb.kafka_status", 'one node has read up to the end');
is(sql("SELECT metricsdb.assign_partitions('stream')"), '2', 'the coordinator goes on');
is(sql($spread), 'a1:3 a2:3 b:0 d:3', 'and all are read');
is(sql("SELECT metricsdb.assign_partitions('stream')"), '0', 'once');
killed($a2);
sleep 1;
sql("SELECT metricsdb.drain_node('b', false)");
is(sql("SELECT metricsdb.assign_partitions('stream')"), '2', 'partitions come back');

# The end of the stream
$producer->signal('TERM');
$producer->finish;
my ($points) = $sent =~ /sent (\d+) points/ or die "the producer said: $sent";
$kafka->put('stream', map { [ $_, undef, 'no protobuf' ] } 0 .. 5);
soon($c, q(SELECT bool_and(lag_messages = 0) AND sum(dead_letters) FILTER (WHERE node <> 'a1') = 6 FROM metricsdb.distributed_source_status('stream')), 'the rest is read');
is(sql(q(SELECT sum(consumed), sum(stored), sum(dead_letters) FROM metricsdb.distributed_source_status('stream') WHERE node <> 'a1')),
	join('|', $points + 6, $points, 6), 'over all shards what was produced was stored, or is a dead letter');
is(sql(q(SELECT count(*) FROM metricsdb.distributed_source_status('stream') WHERE consumed <> stored + dead_letters)), '0', 'on each node the books balance');
is(sql('SELECT count(*) FROM m'), $points, 'the coordinator sees all points');
is(sql('SELECT count(*) FROM (SELECT 1 FROM m GROUP BY metric_name, tags, time) s'), $points, 'each once');
my $all = "SELECT count(*), sum(hashtextextended((m.metric_name, m.tags, m.time, m.value)::text, 0)) FROM m";
is($a1->safe_psql('postgres', $all), $a2->safe_psql('postgres', $all), 'replicas are alike');
is($a1->safe_psql('postgres', 'SELECT partition, epoch, shard, from_offset, to_offset FROM metricsdb.kafka_assignments ORDER BY 1, 2'),
	$a2->safe_psql('postgres', 'SELECT partition, epoch, shard, from_offset, to_offset FROM metricsdb.kafka_assignments ORDER BY 1, 2'), 'and have the same epochs');
is(sql('SELECT count(*) FROM (SELECT from_offset <> lag(to_offset) OVER (PARTITION BY partition ORDER BY epoch) AS differs FROM metricsdb.distributed_epoch) x WHERE differs'), '0', 'each begins where the one before has ended');

# A node is evicted, and comes back empty.
$a2->stop('immediate');
is(sql("SELECT metricsdb.evict_node('a2')"), 't', 'a replica is evicted');
is(sql('SELECT count(*) FROM m'), $points, 'the other one counts');
$kafka->put('stream', map { [ $_, undef, 'no protobuf' ] } 0 .. 5);
is(sql("SELECT metricsdb.assign_partitions('stream')"), '0', 'others need not wait for it');
$a2->start;
like(error("SELECT metricsdb.rejoin_node('a2')"), qr/node "a2" has rows of "m".*HINT:  TRUNCATE/s, 'with rows it does not come back');
$a2->safe_psql('postgres', 'TRUNCATE m');
is(sql("SELECT metricsdb.rejoin_node('a2')"), 'f', 'empty it joins');
like(error("SELECT metricsdb.rejoin_node('a2')"), qr/node "a2" has other epochs of Kafka source "stream" than node "a1"/, 'and does not count yet');
is(sql("SELECT metricsdb.assign_partitions('stream')"), '0', 'it is told what its shard reads');
my $last = '';
for (1 .. 600)
{
	last if ($last = error("SELECT metricsdb.rejoin_node('a2')")) =~ /no error: t/;
	sleep 0.1;
}
is($last, 'no error: t', 'when it has it, it counts');
is($a1->safe_psql('postgres', $all), $a2->safe_psql('postgres', $all), 'replicas are alike again');

sql("UPDATE metricsdb.node SET state = 'joining' WHERE name = 'a2'");
$a2->safe_psql('postgres', 'UPDATE metricsdb.kafka_offset SET skipped = skipped + 1');
like(error("SELECT metricsdb.rejoin_node('a2')"), qr/node "a2" has skipped offsets of Kafka source "stream" that node "a1" has read/, 'not if it had to skip some');
$a2->safe_psql('postgres', 'UPDATE metricsdb.kafka_offset SET skipped = skipped - 1');
is(sql("SELECT metricsdb.rejoin_node('a2')"), 't', 'else it does');

# Who does not own the table makes nobody wait.
my $waiting = session($c);
$waiting->query('BEGIN; LOCK TABLE metricsdb.node IN SHARE MODE');
sql('CREATE ROLE other; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA metricsdb TO other; GRANT USAGE ON SCHEMA metricsdb TO other');
like(error("SET lock_timeout = '1s'; SET ROLE other; SELECT metricsdb.$_('stream')"), qr/must be owner of table m/, "$_ is the owner's") for 'assign_partitions', 'drop_distributed_source';
$waiting->query('ROLLBACK');

# Going
sql("SELECT metricsdb.drop_distributed_source('stream')");
is($_->safe_psql('postgres', 'SELECT count(*) FROM metricsdb.kafka_sources'), '0', 'dropped on ' . $_->name) for $a1, $b, $d;
is(sql('SELECT count(*) FROM m'), $points, 'points stay');
$_->safe_psql('postgres', 'TRUNCATE m') for $a1, $a2, $b, $d;
for my $going ('SELECT metricsdb.undistribute(\'m\')', 'DROP TABLE m')
{
	sql("SELECT metricsdb.distribute('m')");
	is(sql($create), '6', 'a source');
	sql($going);
	is(sql('SELECT (SELECT count(*) FROM metricsdb.distributed_source), (SELECT count(*) FROM metricsdb.distributed_epoch)'), '0|0', "goes with $going");
	$_->safe_psql('postgres', "SELECT metricsdb.drop_kafka_source('stream'); TRUNCATE m") for $a1, $a2, $b, $d;
}
done_testing();
