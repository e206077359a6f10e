# Watermarks against a real broker: what lags, what is quiet, what comes late, out of order, or from the future.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $kafka = KafkaTest->new('watermark');
my $brokers = $kafka->{address};
my $node = PostgreSQL::Test::Cluster->new('watermark');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	max_worker_processes = 24
	timezone = UTC
	restart_after_crash = on
	max_prepared_transactions = 5
	CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $expected, $what) = @_;
	ok($node->poll_query_until('postgres', $sql, $expected // 't'), $what)
	  or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.watermarks; SELECT * FROM metricsdb.kafka_status'));
	return;
}

# A point of a host at a time (seconds since 1970).
sub point { my ($host, $at) = @_; return metric(name => 'cpu', tags => [ host => $host ], time => int($at * 1000), value => 1); }

# Sends points to a partition, each in a message of its own.
sub put { my ($topic, $partition, @points) = @_; $kafka->put($topic, map { [ $partition, undef, $_ ] } @points); return; }

sub source
{
	my ($name, $partitions, $options) = @_;
	$kafka->topic('create', $name, $partitions);
	sql("SELECT metricsdb.create_metrics_table('$name')");
	sql("SELECT metricsdb.create_kafka_source('$name', '$brokers', '$name', '$name', 'metric', options => '$options')");
	return;
}

sub reason { my ($table) = @_; return sql("SELECT coalesce(reason, 'none') FROM metricsdb.watermarks WHERE \"table\" = '$table'::regclass"); }
sub stored { my ($table, $n) = @_; wait_for("SELECT count(*) FROM $table", $n, "$table: $n points are stored"); return; }

# The newest times of a source's partitions, in seconds before that time.
sub newest
{
	my ($source, $of) = @_;
	return sql("SELECT string_agg(coalesce(round($of - extract(epoch FROM newest_time))::text, '-'), ' ' ORDER BY partition)"
		  . " FROM metricsdb.kafka_offset JOIN metricsdb.kafka_source USING (source_id) WHERE name = '$source'");
}

sql('CREATE EXTENSION metricsdb');

# ---- nothing has come yet ----
source('quiet', 3, '{"flush_interval": "100 ms"}');
wait_for(q(SELECT lag < '3 s' FROM metricsdb.watermarks), 't', 'a topic of which nothing is to be read holds nothing up');
is(reason('quiet'), 'none', '... and is not late');
my @seen = map { sleep 0.2; sql("SELECT extract(epoch FROM metricsdb.watermark('quiet'))") } 1 .. 10;
is(join(' ', @seen), join(' ', sort { $a <=> $b } @seen), 'the watermark does not go back');
cmp_ok($seen[9], '>', $seen[0], '... and goes on, with the clock');

# ---- points, one partition's later than the other's ----
my $now = time;
put('quiet', 0, point('a', $now - 30), point('a', $now - 20));
put('quiet', 1, point('b', $now - 5));
stored('quiet', 3);
is(newest('quiet', $now), '20 5 -', 'each partition has its newest time');
wait_for(q(SELECT lag < '3 s' AND reason IS NULL FROM metricsdb.watermarks), 't', 'all of it is stored: the watermark is at the clock');
put('quiet', 0, point('a', $now - 25));
stored('quiet', 4);
is(newest('quiet', $now), '20 5 -', 'what is out of order takes no time back');

# ---- one wrong clock ----
put('quiet', 2, point('c', $now + 3600));
put('quiet', 1, point('b', $now));
stored('quiet', 6);
like(newest('quiet', $now), qr/^20 0 -[1-9]$/, 'a point from the future counts as of its message');
$kafka->put('quiet', [ 2, undef, point('c', $now - 40), ($now - 3000) * 1000 ]);
stored('quiet', 7);
source('wrong', 1, '{"flush_interval": "100 ms"}');
$kafka->put('wrong', [ 0, undef, point('c', $now - 100), ($now - 600) * 1000 ]);
stored('wrong', 1);
is(newest('wrong', $now), '599', '... also where the message is older than now');
$kafka->put('wrong', [ 0, undef, point('c', $now - 100), ($now + 600) * 1000 ], [ 0, undef, point('c', $now + 100), ($now + 600) * 1000 ]);
stored('wrong', 3);
like(newest('wrong', $now), qr/^-\d$/, '... and where the message has its time from a wrong clock, too');

# ---- what is not read ----
sql("SELECT metricsdb.pause_kafka_source('quiet')");
wait_for(q(SELECT reason FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 'Kafka source "quiet" is paused', 'a paused source makes its table late');
my $held = sql("SELECT metricsdb.watermark('quiet')");
sleep 1;
is(sql("SELECT metricsdb.watermark('quiet')"), $held, '... and its watermark stays where it was');
put('quiet', 0, point('a', $now - 1));
sql("SELECT metricsdb.resume_kafka_source('quiet')");
stored('quiet', 8);
wait_for(q(SELECT lag < '3 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 't', '... and goes on');

# ---- a backlog: it is not the clock but what is stored that counts ----
sql("SELECT metricsdb.pause_kafka_source('quiet')");
wait_for("SELECT count(*) FROM metricsdb.workers WHERE source_id IS NOT NULL", 1, 'the worker has gone');
put('quiet', 0, map { point('a', $now + $_ / 100) } 1 .. 100);
# Nothing can be stored, but the worker reads what there is.
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK quiet IN SHARE MODE');
sql("SELECT metricsdb.resume_kafka_source('quiet')");
wait_for(q(SELECT reason FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 'partition 0 of Kafka source "quiet" lags', 'a partition that lags is named');
my ($before) = sql("SELECT metricsdb.watermark('quiet') < now() - interval '3 s', metricsdb.watermark('quiet') >= '$held'");
is($before, 't|t', '... and the watermark waits for it');
$lock->query_safe('COMMIT');
$lock->quit;
stored('quiet', 108);
wait_for(q(SELECT lag < '3 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 't', 'it catches up');

# ---- a producer's transaction ----
source('transactions', 1, '{"flush_interval": "100 ms"}');
wait_for(q(SELECT lag < '3 s' FROM metricsdb.watermarks WHERE "table" = 'transactions'::regclass), 't', 'a topic for transactions');
my ($in, $out, $err) = (KafkaTest::line(0, undef, point('t', $now)), '', '');
my $producer = IPC::Run::start([ $kafka->tool('kput'), $brokers, 'transactions', 'tx' ], \$in, \$out, \$err, IPC::Run::timeout(120));
$producer->pump while length $in;
# Its message is there, but not committed: nothing of it is read, nor is the partition taken for quiet.
wait_for(q(SELECT reason FROM metricsdb.watermarks WHERE "table" = 'transactions'::regclass), 'partition 0 of Kafka source "transactions" lags', 'an open transaction of a producer is waited for');
$producer->finish;
like($out, qr/sent 1 messages/, 'it commits');
stored('transactions', 1);
wait_for(q(SELECT lag < '3 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'transactions'::regclass), 't', 'its mark in the topic holds nothing up');
sql("SELECT metricsdb.pause_kafka_source('transactions')");
sql("SELECT metricsdb.resume_kafka_source('transactions')");
wait_for(q(SELECT lag < '2 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'transactions'::regclass), 't', '... nor after the worker was started again');

# ---- lateness ----
source('patient', 1, '{"flush_interval": "100 ms", "lateness": "20 s"}');
wait_for(q(SELECT lag BETWEEN '20 s' AND '23 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'patient'::regclass), 't', 'a source is late by its lateness, and this is no matter');

# ---- the worker, the server and the broker go and come back ----
my $pid = sql("SELECT worker_pid FROM metricsdb.kafka_status WHERE source = 'patient'");
$held = sql("SELECT metricsdb.watermark('patient')");
kill 'TERM', $pid;
wait_for(qq(SELECT worker_pid <> $pid FROM metricsdb.kafka_status WHERE source = 'patient'), 't', 'a worker goes, another comes');
is(sql("SELECT metricsdb.watermark('patient') >= '$held'"), 't', 'what it had told of is not forgotten');
$kafka->kill9;
wait_for(q(SELECT bool_and(reason ~ 'has no connection to its brokers|lags') FROM metricsdb.watermarks), 't', 'without a broker nothing is known');
$held = sql("SELECT metricsdb.watermark('quiet')");
sleep 1;
is(sql("SELECT metricsdb.watermark('quiet')"), $held, '... and the watermark waits');
$kafka->start;
wait_for(q(SELECT bool_and(reason IS NULL) FROM metricsdb.watermarks), 't', 'it is back');
$node->stop('immediate');
$node->start;
wait_for(q(SELECT bool_and(reason IS NULL) FROM metricsdb.watermarks), 't', 'after a crash');

# ---- a partition that stalls ----
put('quiet', 1, point('b', $now));
stored('quiet', 109);
$kafka->topic('delete', 'quiet');
$kafka->topic('create', 'quiet', 3);
wait_for(q(SELECT reason ~ '^partition [012] of Kafka source "quiet" has stalled$' FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 't', 'a stalled partition is named');
sql("SELECT metricsdb.seek_kafka_source('quiet', $_, 0)") for 0 .. 2;
wait_for(q(SELECT lag < '3 s' AND reason IS NULL FROM metricsdb.watermarks WHERE "table" = 'quiet'::regclass), 't', 'and goes on where it is told to');
sql("SELECT metricsdb.drop_kafka_source('quiet')");
wait_for("SELECT now() - metricsdb.watermark('quiet') < interval '4 s'", 't', 'without a source the clock counts');

# ---- tables that SQL fills ----
sql("CREATE TABLE plain (LIKE quiet) USING heap");
wait_for("SELECT now() - metricsdb.watermark('plain') BETWEEN interval '1.9 s' AND interval '2.9 s'", 't', 'a table is late by alert_wait');
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; SELECT pg_sleep(2); INSERT INTO plain SELECT * FROM quiet LIMIT 1');
my $began = sql("SELECT extract(epoch FROM xact_start) FROM pg_stat_activity WHERE state = 'idle in transaction'");
is(sql("SELECT metricsdb.watermark('plain') <= to_timestamp($began) - interval '2 s'"), 't', '... and by the transaction that writes to it');
is(sql("BEGIN; SELECT count(*) FROM plain; SELECT metricsdb.watermark('plain') <= to_timestamp($began) - interval '2 s'; COMMIT"), "0\nt", '... also by a snapshot of before');
wait_for("SELECT reason ~ '^the transaction of process \\d+ writes to it for long' FROM metricsdb.watermark_state('plain')", 't', '... which is told');
wait_for("SELECT metricsdb.watermark('plain') > to_timestamp($began)", 't', '... but not for ever');
is(sql("SELECT metricsdb.watermark('plain') <= clock_timestamp() - interval '12 s'"), 't', '... for ten seconds');
$writer->query_safe('COMMIT');
is(sql("SELECT now() - metricsdb.watermark('plain') < interval '3 s'"), 't', 'afterwards it is not');
$writer->query_safe('BEGIN; SELECT count(*) FROM plain; LOCK plain IN SHARE UPDATE EXCLUSIVE MODE');
sleep 1;
is(sql("SELECT now() - metricsdb.watermark('plain') < interval '2.9 s'"), 't', 'who reads, or vacuums, does not count');
$writer->quit;

$node->stop;
done_testing();
