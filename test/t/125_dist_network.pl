# Nodes behind cables: one is killed, another one's cable is cut for a minute, so that whatever is sent is lost, while the
# coordinator is read from and written to, and all nodes read from Kafka.  What can be answered is; afterwards each row is
# there once, alike on replicas, or nowhere.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use NetTest;
use IPC::Run;
use KafkaTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;
use Time::HiRes qw(sleep time);

my %conf = (fsync => 'off', search_path => "'public, metricsdb'", shared_buffers => "'16MB'");
my $c = new_node('coordinator', %conf, 'metricsdb.dist_recovery_interval' => 1);
my ($a1, $a2, $b) = map { net_node($_, %conf) } qw(a1 a2 b);
my @nodes = ($a1, $a2, $b);
$ENV{KAFKA_HOST} = $HOME_ADDRESS;
my $kafka = KafkaTest->new('net');
sub sql { return $c->safe_psql('postgres', $_[0]) }

sub error
{
	my ($rc, $out, $err) = $c->psql('postgres', $_[0]);
	return $rc == 0 ? "no error: $out" : $err;
}

sub soon
{
	my ($node, $sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what) or diag(error('SELECT * FROM metricsdb.nodes'));
	return;
}

$c->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw');
sql("SELECT metricsdb.create_metrics_table('m')");
sql("SELECT metricsdb.add_node('a1', '" . net_conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . net_conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . net_conninfo($b) . "'); SELECT metricsdb.distribute('m')");
# Many who could be asked as
sql("CREATE ROLE u$_; CREATE USER MAPPING FOR u$_ SERVER a1 OPTIONS (user 'postgres')") for 1 .. 8;
my $columns = 'm (metric_name, tags, time, value)';
sql("INSERT INTO $columns SELECT 'base', jsonb_build_object('host', i % 20), timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, 1000) i");
my $base = "SELECT count(*), sum(value) FROM m WHERE metric_name = 'base'";
is(sql($base), '1000|500500', 'rows of both shards');
$kafka->topic('create', 'stream', 4);
sql("SELECT metricsdb.create_distributed_source('stream', '$kafka->{address}', 'stream', 'm', 'metric_batch', options => '{\"max_age\": \"none\"}')");
my $sent = '';
my $producer = IPC::Run::start([ $kafka->tool('fleet'), $kafka->{address}, 'stream', 'hosts=30', 'batch=30', 'interval=1', 'start=1700000000', 'history=100000000', 'seed=7', 'rate=500' ], '>', \$sent);
END { my $status = $?; $producer->kill_kill if $producer && $producer->pumpable; $? = $status; }
soon($_, 'SELECT sum(stored) > 100 FROM metricsdb.kafka_status', 'points come to ' . $_->name) for @nodes;

# A node is killed
my $kept = session($c);
is($kept->query("SET statement_timeout = '2s'; $base"), "SET\n1000|500500", 'a session has asked a node');
$a1->kill9;
is($kept->query($base), '1000|500500', 'that is killed, and goes on at once');
is(sql("SET statement_timeout = '2s'; $base"), '1000|500500', 'others, too');
net_start($a1);
soon($c, "SELECT healthy FROM metricsdb.nodes WHERE node = 'a1'", 'it is back');
soon($a1, 'SELECT count(*) > 0 FROM metricsdb.kafka_live()', 'and reads');

# Writers, each of whom notes which of his batches are there: some go to both shards, some to one.
my $stop = $c->data_dir . '/writers_end';
my %writers;
for my $w (1 .. 3)
{
	my $rows = $w == 1 ? 1 : 20;
	my $file = $c->data_dir . "/writer$w";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open my $log, '>', $file or POSIX::_exit(1);
		for (my $n = 1; !-e $stop; $n++)
		{
			my $select = "SELECT 'w$w', jsonb_build_object('batch', $n, 'host', i), timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, $rows) i";
			my $sql = "INSERT INTO $columns $select";
			$sql = "COPY $columns FROM STDIN;\n" . join('', map { qq(w$w\t{"batch": $n, "host": $_}\t2026-01-01 00:00:$_\t$_\n) } 1 .. $rows) . "\\.\n" if $w == 3;
			my $rc = eval { $c->psql('postgres', $sql) } // 1;
			print $log "$n|$rows\n" if $rc == 0;
			sleep($rc == 0 ? 0.02 : 0.2);
		}
		close $log;
		POSIX::_exit(0);
	}
	$writers{$w} = { pid => $pid, file => $file };
}
END { my $status = $?; kill 'KILL', map { $_->{pid} } values %writers; $? = $status; }
soon($c, "SELECT count(DISTINCT metric_name) = 3 FROM m WHERE metric_name LIKE 'w_'", 'writers write');

# The cable is cut
my $mend_at = time() + 60;
cut($a1);
is($kept->query("SET statement_timeout = '9s'; $base"), "SET\n1000|500500", 'a session whose node does not answer any more asks the other one');
unlike(error("SET statement_timeout = '9s'; SELECT metricsdb.recover_transactions()"), qr/timeout/, 'recovery does not wait for it as each user');
is(sql("SET statement_timeout = '4s'; $base"), '1000|500500', 'so do others, sooner');
my $before = $b->safe_psql('postgres', 'SELECT sum(stored) FROM metricsdb.kafka_status');
like(error("SET statement_timeout = '20s'; SELECT metricsdb.assign_partitions('stream')"), qr/node "a1".*What it reads is not known/s, 'nothing is handed over');
my ($reads, $wrong, $from_a1) = (0, '', 0);
while (time() < $mend_at - 2)
{
	my $answer = $reads % 2 ? $kept->query($base) : error("SET statement_timeout = '4s'; $base");
	$answer =~ s/^no error: //;
	$wrong .= "$answer\n" if $answer ne '1000|500500';
	$from_a1++ if error("EXPLAIN (ANALYZE, COSTS OFF) $base") =~ /Node a1/;
	$reads++;
	sleep 0.3;
}
is($wrong, '', 'all queries are answered meanwhile');
is($from_a1, 0, 'by the other one');
cmp_ok($b->safe_psql('postgres', 'SELECT sum(stored) FROM metricsdb.kafka_status'), '>', $before, 'other nodes read on');
sleep 0.1 while time() < $mend_at;
mend($a1);

# It is back
soon($c, "SELECT healthy FROM metricsdb.nodes WHERE node = 'a1'", 'the cable is mended');
append_to_file($stop, '');
waitpid $_->{pid}, 0 for values %writers;
soon($c, 'SELECT count(*) = 0 FROM metricsdb.dist_transaction', 'all nodes have heard of the end of all transactions');
soon($_, 'SELECT count(*) = 0 FROM pg_prepared_xacts', 'and nothing is prepared on ' . $_->name) for @nodes;
soon($a1, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'metricsdb' AND state <> 'idle' AND xact_start < now() - interval '1 s'", 'sessions of before the cut have ended');
for my $w (sort keys %writers)
{
	my $written = join "\n", sort split /\n/, slurp_file($writers{$w}{file});
	my $there = join "\n", sort split /\n/, sql("SELECT tags ->> 'batch', count(*) FROM m WHERE metric_name = 'w$w' GROUP BY 1");
	ok($written eq $there, "what writer $w was told is there once, and nothing else") or diag("$written\n---\n$there");
}
is(sql("SELECT metricsdb.assign_partitions('stream')"), '0', 'nothing was handed over');

# The end of the stream
$producer->signal('TERM');
$producer->finish;
my ($points) = $sent =~ /sent (\d+) points/ or die "the producer said: $sent";
$kafka->put('stream', map { [ $_, undef, 'no protobuf' ] } 0 .. 3);
my $status = "metricsdb.distributed_source_status('stream')";
soon($c, "SELECT bool_and(lag_messages = 0) AND sum(dead_letters) FILTER (WHERE node <> 'a1') = 4 AND sum(dead_letters) FILTER (WHERE node <> 'a2') = 4 FROM $status", 'it catches up');
is(sql("SELECT sum(consumed), sum(stored), sum(dead_letters), sum(skipped) FROM $status WHERE node <> '$_'"), join('|', $points + 4, $points, 4, 0), "over all shards, without $_, all was consumed once") for 'a1', 'a2';
my $streamed = "FROM m WHERE metric_name <> 'base' AND metric_name NOT LIKE 'w_'";
is(sql("SELECT count(*) $streamed"), $points, 'all points are there');
is(sql("SELECT count(*) FROM (SELECT 1 $streamed GROUP BY metric_name, tags, time) s"), $points, 'each once');
my $all = 'SELECT count(*), sum(hashtextextended((m.metric_name, m.tags, m.time, m.value)::text, 0)) FROM m';
is($a1->safe_psql('postgres', $all), $a2->safe_psql('postgres', $all), 'replicas are alike');
done_testing();
