# Sources that read what they are told to: epochs of partitions, their ends, and the way from one to the next.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = KafkaTest->new('assigned');
my $node = PostgreSQL::Test::Cluster->new('assigned');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nmax_worker_processes = 24\nrestart_after_crash = on\n");
$node->start;

sub sql { return $node->safe_psql('postgres', "SET search_path = metricsdb, public; $_[0]") }

sub error
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET search_path = metricsdb, public; $_[0]");
	return $rc == 0 ? "no error: $out" : $err;
}

sub wait_for
{
	my ($sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what) or diag(sql('SELECT * FROM kafka_status; SELECT * FROM kafka_assignments'));
	return;
}

# Message n of a partition has n + 1 points, of the value n.
my $now = int(time) * 1000;
my %next;

sub put
{
	my ($partition, $n) = @_;
	my @messages;
	for (1 .. $n)
	{
		my $offset = $next{$partition}++;
		push @messages, [ $partition, undef, batch(map { metric(name => "p$partition", tags => [ at => $offset ], time => $now + $_, value => $offset) } 0 .. $offset) ];
	}
	$kafka->put('assigned', @messages);
	return;
}

# offsets(table, partition): which messages are there, whole and once.
sub offsets
{
	my ($table, $partition) = @_;
	return sql("SELECT string_agg(v || CASE WHEN n <> v + 1 THEN '!' ELSE '' END, ' ' ORDER BY v)
		FROM (SELECT value v, count(*) n FROM $table WHERE metric_name = 'p$partition' GROUP BY 1) x");
}

$kafka->topic('create', 'assigned', 3);
sql('CREATE EXTENSION metricsdb');
for my $shard (qw(a b))
{
	sql("SELECT create_metrics_table('$shard'); SELECT create_kafka_source('$shard', '$kafka->{address}', 'assigned', '$shard', 'metric_batch',"
		  . q{ options => '{"assigned": true, "flush_interval": "200 ms"}')});
}
put($_, 5) for 0 .. 2;
is(sql("SELECT * FROM kafka_watermarks('a') ORDER BY 1"), "0|0|5\n1|0|5\n2|0|5", 'brokers tell what there is');
wait_for("SELECT count(*) = 2 FROM metricsdb.kafka_live() WHERE phase = 'running'", 'workers run');
is(sql('SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)'), '0', 'nothing is read that was not assigned');

# What is wrong
sql("SELECT create_metrics_table('other'); SELECT create_kafka_source('free', '$kafka->{address}', 'nothing', 'other', 'metric_batch')");
like(error("SELECT assign_kafka_partition('free', 0, 1, 'a', 0)"), qr/reads all partitions of its topic.*HINT/s, 'only who is told reads so');
like(error("SELECT assign_kafka_partition('a', 0, 0, 'a', 0)"), qr/there is no such epoch/, 'epochs begin with 1');
like(error("SELECT assign_kafka_partition('a', 0, 1, 'a', 5, 4)"), qr/there is no such epoch/, 'and do not end before they begin');
like(error("SELECT assign_kafka_partition('a', 0, 1, NULL, 5, 4)"), qr/only to_offset of an epoch may be null/, 'and are of a shard');
like(error("SELECT close_kafka_partition('a', 0, 1)"), qr/partition 0 of Kafka source "a" has no epoch 1/, 'what was not begun is not ended');

# From and to
is(sql("SELECT assign_kafka_partition('a', 0, 1, 'a', 1), assign_kafka_partition('a', 1, 1, 'a', 0, 3)"), 't|t', 'two partitions are assigned');
is(sql("SELECT assign_kafka_partition('a', 0, 1, 'a', 1)"), 'f', 'again');
like(error("SELECT assign_kafka_partition('a', 0, 1, 'a', 2)"), qr/epoch 1 of partition 0 .* is another one/, 'but not another epoch of that number');
like(error("SELECT assign_kafka_partition('a', 0, 2, 'a', 2)"), qr/an epoch of partition 0 .* has no end yet/, 'nor one behind it');
wait_for("SELECT array_agg(next_offset ORDER BY partition) = '{5,3}' FROM metricsdb.kafka_status WHERE source = 'a'", 'they are read');
is(offsets('a', 0), '1 2 3 4', 'from an offset on');
is(offsets('a', 1), '0 1 2', 'up to an offset');
is(sql("SELECT partition, state, lag_messages, epoch, to_offset FROM kafka_status WHERE source = 'a' ORDER BY 1"), "0|running|0|1|\n1|handed over|0|1|3", 'the view tells');

# Handing over, with something to come
is(sql("SELECT close_kafka_partition('a', 0, 1, 7)"), '7', 'an end may be told that is to come');
is(sql("SELECT assign_kafka_partition('b', 0, 2, 'b', 7), assign_kafka_partition('b', 1, 2, 'b', 3)"), 't|t', 'somebody else goes on');
put($_, 5) for 0 .. 2;
wait_for("SELECT count(*) = 2 FROM metricsdb.kafka_status WHERE source = 'b' AND next_offset = 10", 'he does');
wait_for("SELECT count(*) = 2 FROM metricsdb.kafka_status WHERE source = 'a' AND state = 'handed over'", 'the one before has come to the end');
is(offsets('a', 0) . '|' . offsets('b', 0), '1 2 3 4 5 6|7 8 9', 'each message is at one of them');
is(offsets('a', 1) . '|' . offsets('b', 1), '0 1 2|3 4 5 6 7 8 9', 'of each partition');
is(sql("SELECT close_kafka_partition('b', 0, 2)"), '10', 'the earliest end is what is stored');
is(sql("SELECT close_kafka_partition('b', 0, 2, 4)"), '10', 'again');
is(sql("SELECT close_kafka_partition('b', 0, 2, 12)"), '12', 'it may be put off');
is(sql("SELECT assign_kafka_partition('a', 0, 3, 'a', 12)"), 't', 'a partition comes back');
put(0, 5);
wait_for("SELECT epoch = 3 AND next_offset = 15 FROM metricsdb.kafka_status WHERE source = 'a' AND partition = 0", 'and is read');
wait_for("SELECT next_offset = 12 FROM metricsdb.kafka_status WHERE source = 'b' AND partition = 0", 'as far as it is the other one\'s, that reads it');
is(offsets('a', 0) . '|' . offsets('b', 0), '1 2 3 4 5 6 12 13 14|7 8 9 10 11', 'each message is at one of them');
is(sql("SELECT partition, epoch, shard, from_offset, to_offset, next_offset FROM kafka_assignments WHERE source = 'a' ORDER BY 1, 2"),
	"0|1|a|1|7|7\n0|3|a|12||15\n1|1|a|0|3|3", 'the view tells of all epochs');
like(error("SELECT close_kafka_partition('a', 0, 1, 8)"), qr/epoch 1 of partition 0 .* is over.*It has ended at offset 7/s, 'an end that others rely on stays');

# Epochs that wait for the one before; an end that nobody's message lies at
is(sql("SELECT close_kafka_partition('b', 1, 2, 20), assign_kafka_partition('b', 1, 4, 'b', 21, 22), assign_kafka_partition('b', 1, 5, 'b', 23)"), '20|t|t', 'epochs may be known in advance');
is(sql("SELECT epoch FROM kafka_status WHERE source = 'b' AND partition = 1"), '2', 'and wait');
put(1, 15);
wait_for("SELECT epoch = 5 AND next_offset = 25 FROM metricsdb.kafka_status WHERE source = 'b' AND partition = 1", 'they come in turn');
is(offsets('b', 1), join(' ', 3 .. 19, 21, 23, 24), 'and have what is theirs');

# Ends that are set while messages come, and the worker is killed
my @ends;
for my $round (1 .. 6)
{
	my ($old, $new) = $round % 2 ? ('a', 'b') : ('b', 'a');
	my $epoch = 2 + $round;
	put(0, 20);
	if ($round % 3 == 0)
	{
		# The server starts anew; what is asked of it meanwhile is asked again.
		kill 'KILL', sql("SELECT pid FROM kafka_live() l JOIN kafka_source s USING (source_id) WHERE s.name = '$old' AND pid IS NOT NULL");
		$node->poll_query_until('postgres', "SELECT count(*) = 3 FROM metricsdb.kafka_live() WHERE phase <> 'starting'") or die 'no workers';
	}
	push @ends, sql("SELECT close_kafka_partition('$old', 0, $epoch)");
	is(sql("SELECT assign_kafka_partition('$new', 0, $epoch + 1, '$new', $ends[-1])"), 't', "epoch $epoch ends at $ends[-1]");
}
wait_for("SELECT next_offset = $next{0} FROM metricsdb.kafka_status WHERE source = 'a' AND partition = 0", 'all is read');
is(sql("SELECT count(*), min(value), max(value), bool_and(n = value + 1) FROM
	(SELECT value, count(*) n FROM (SELECT * FROM a UNION ALL SELECT * FROM b) x WHERE metric_name = 'p0' GROUP BY 1) x"),
	join('|', $next{0} - 1, 1, $next{0} - 1, 't'), 'each message is stored once');
is(sql('SELECT count(*) FILTER (WHERE NOT balanced), sum(stored) FROM kafka_status'), '0|' . sql('SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)'), 'the books balance');
done_testing();
