# Kafka ingestion against a real broker: formats, dead letters, books, states, privileges.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $kafka = KafkaTest->new('basic');
my $brokers = $kafka->{address};
my $node = PostgreSQL::Test::Cluster->new('kafka');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	max_worker_processes = 24
	CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0], ($_[1] ? (extra_params => [ '-U', $_[1] ]) : ())); }

# The error that a statement ends with.
sub error
{
	my ($sql, $user) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, ($user ? (extra_params => [ '-U', $user ]) : ()));
	return $rc == 0 ? "no error: $out" : $err;
}

sub wait_for
{
	my ($sql, $expected, $what) = @_;
	ok($node->poll_query_until('postgres', $sql, $expected // 't'), $what)
	  or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.kafka_status'));
	return;
}

my $now = int(time);
my $good = 0;
my $second = 0;

# Good points, one for each second.
sub points
{
	my ($n) = @_;
	$good += $n;
	return map { metric(name => 'cpu', tags => [ host => 'a' ], time => ($now - 100000 + $second++) * 1000, value => $_) } 1 .. $n;
}

sql('CREATE EXTENSION metricsdb');
is(sql("SELECT metricsdb.create_metrics_table('metrics')"), 'metrics', 'create_metrics_table');
wait_for("SELECT count(*) = 2 FROM metricsdb.workers", 't', 'launcher and maintainer run soon after CREATE EXTENSION');

# Batches, good and bad points side by side
$kafka->topic('create', 'batches', 2);
sql("SELECT metricsdb.create_kafka_source('batches', '$brokers', 'batches', 'metrics', 'metric_batch',"
	  . q{ options => '{"metadata_interval": "1 s"}')});
my $old = metric(name => 'cpu', time => 5000);
my $future = metric(name => 'cpu', time => ($now + 900000) * 1000);
$kafka->put('batches',
	[ 0, 'k', batch(points(3), metric(tags => [ a => 'b' ], time => 1), points(2)) ],
	[ 0, undef, batch(metric(name => 'n'), points(1)) ],
	[ 0, undef, batch(metric(name => "bad\xff", time => $now * 1000), metric(name => "nul\0", time => $now * 1000), points(1)) ],
	[ 0, undef, batch($old, $future, points(1)) ],
	[ 0, undef, "\0\0\0\0\1" . batch(points(0)) ],
	[ 0, undef, substr(batch(points(2)), 0, -3) ],
	[ 0, 'tombstone', undef ],
	[ 0, undef, "no protobuf" ],
	[ 1, undef, batch(points(4)) ]);
$good--;		# the one cut off
wait_for("SELECT coalesce(sum(messages), 0) FROM metricsdb.kafka_status", 9, 'all messages are consumed');
is(sql('SELECT count(*) FROM metrics'), $good, 'all good points are stored');
is(sql('SELECT count(DISTINCT (metric_name, tags, time)) FROM metrics'), $good, '... once');
is(sql('SELECT partition, messages, consumed, stored, dead_letters, balanced, lag_messages, state FROM metricsdb.kafka_status ORDER BY 1'),
	"0|8|18|9|9|t|0|running\n1|1|4|4|0|t|0|running", 'the books balance');
is(sql('SELECT "offset", point_index, code FROM metricsdb.kafka_dead_letters ORDER BY 1, 2'), <<~'X' =~ s/\n$//r,
	0|3|missing_name
	1|0|missing_timestamp
	2|0|invalid_utf8
	2|1|nul_byte
	3|0|too_old
	3|1|too_new
	4|-1|confluent_prefix
	5|-1|truncated
	7|-1|malformed
	X
	'dead letters and their reasons');
is(sql(q(SELECT source, topic, partition, convert_from(key, 'UTF8'), payload_length = length(payload), reason <> '' FROM metricsdb.kafka_dead_letters WHERE "offset" = 0)),
	'batches|batches|0|k|t|t', 'a dead letter says where it came from');
is(sql(q(SELECT encode(payload, 'hex') FROM metricsdb.kafka_dead_letters WHERE code = 'too_old')),
	unpack('H*', $old), 'the payload of a bad point is the point');

# Values, tags, map order, odd encodings
$kafka->topic('create', 'odd', 1);
sql("SELECT metricsdb.create_metrics_table('odd')");
sql("SELECT metricsdb.create_kafka_source('odd', '$brokers', 'odd', 'odd', 'metric',"
	  . q{ options => '{"max_age": "none"}')});
$kafka->put('odd',
	[ 0, undef, metric(name => 'm', tags => [ b => '2', a => '1' ], time => 1000, value => 1.5) ],
	[ 0, undef, metric(name => 'm', tags => [ a => '1', b => '2' ], time => 2000, value => -0.0) ],
	[ 0, undef, "\x18" . varint(-3000) . field(2, field(1, 'a') . field(2, 'x')) . field(9, 'unknown') . field(1, 'm')
		  . field(2, field(2, '2') . field(1, 'b')) . field(2, field(1, 'a') . field(2, '1')) ],
	[ 0, undef, metric(name => "\xc3\xa4\"\\", tags => [ '' => '', "\xe2\x82\xac" => "'\n" ], time => 4000, value => 9**9**9) ],
	[ 0, undef, metric(name => 'm', time => 5000) ]);
wait_for("SELECT sum(consumed) FROM metricsdb.kafka_status WHERE source = 'odd'", 5, 'format metric is consumed');
is(sql(q(SELECT metric_name, tags, extract(epoch FROM time)::int, value FROM odd ORDER BY time)), <<~"X" =~ s/\n$//r,
	m|{"a": "1", "b": "2"}|-3|0
	m|{"a": "1", "b": "2"}|1|1.5
	m|{"a": "1", "b": "2"}|2|-0
	\xc3\xa4"\\|{"": "", "\xe2\x82\xac": "'\\n"}|4|Infinity
	m|{}|5|0
	X
	'points mean what protobuf says');

# Many points in random order, tags too: every way to look a series up, in a cache too small for them
{
	my @series = map { [ [ a => "a$_" ], [ b => 'b' . $_ % 7 ], [ c => "\xe2\x82\xac" x ($_ % 50) ] ] } 1 .. 3000;
	my ($n, @batches) = (0);
	for my $round (1 .. 150)
	{
		push @batches, [ 0, undef, batch(map {
			my @tags = map { @$_ } sort { rand() <=> 0.5 } @{$series[rand @series]};
			metric(name => 'shuffled', tags => \@tags, time => 1000000 + $n++, value => substr({@tags}->{a}, 1)) } 1 .. 200) ];
	}
	$node->append_conf('postgresql.conf', 'metricsdb.kafka_cache_memory = 1MB');
	$node->reload;
	$kafka->topic('create', 'shuffled', 1);
	sql("SELECT metricsdb.create_metrics_table('shuffled'); SELECT metricsdb.create_kafka_source('shuffled', '$brokers', 'shuffled', 'shuffled', 'metric_batch',"
		  . q{ options => '{"max_age": "none"}')});
	$kafka->put('shuffled', splice(@batches, 0, 75));
	wait_for("SELECT count(*) FROM shuffled", $n / 2, 'points in random order arrive');
	$kafka->put('shuffled', @batches);
	wait_for("SELECT count(*) FROM shuffled", $n, 'all of them');
	is(sql("SELECT count(*) FROM shuffled WHERE tags->>'a' <> 'a' || value OR tags->>'b' <> 'b' || value::int % 7 OR tags->>'c' <> repeat('\xe2\x82\xac', value::int % 50)"),
		0, 'each with its own series');
	like(slurp_file($node->logfile), qr/forgets its \d+ series/, 'the cache was too small for them');
	sql("SELECT metricsdb.drop_kafka_source('shuffled')");
}

# Units of time
for my $unit ([ s => 1 ], [ us => 1000000 ], [ ns => 1000000000 ])
{
	my ($name, $factor) = @$unit;
	$kafka->topic('create', "unit_$name", 1);
	sql("SELECT metricsdb.create_kafka_source('unit_$name', '$brokers', 'unit_$name', 'odd', 'metric', '$name')");
	$kafka->put("unit_$name", [ 0, undef, metric(name => "unit_$name", time => $now * $factor, value => 1) ]);
}
wait_for("SELECT count(*) FROM odd WHERE metric_name LIKE 'unit%' AND time = to_timestamp($now)", 3, 'seconds, micro- and nanoseconds');
sql("SELECT metricsdb.drop_kafka_source('unit_$_')") for qw(s us ns);
is(sql("SELECT count(*) FROM odd WHERE metric_name LIKE 'unit%'"), 3, 'points stay when their source is dropped');

# How soon a point can be seen
{
	my $began = time;
	$kafka->put('batches', [ 1, undef, batch(points(1)) ]);
	my $sent = time;
	wait_for("SELECT count(*) FROM metrics", $good, 'a single point arrives');
	my $took = time - $began;
	cmp_ok($took, '<', 2.5, sprintf('it can be seen after %.2f s, sending included', $took));
}

# Pause and resume
sql("SELECT metricsdb.pause_kafka_source('batches')");
wait_for("SELECT count(*) FROM metricsdb.kafka_live() WHERE pid IS NOT NULL AND source_id = 1", 0, 'a paused source has no worker');
$kafka->put('batches', [ 0, undef, batch(points(7)) ]);
sleep 1.5;
is(sql("SELECT DISTINCT state FROM metricsdb.kafka_status WHERE source = 'batches'"), 'paused', 'its state says so');
is(sql('SELECT count(*) FROM metrics'), $good - 7, 'it stores nothing');
sql("SELECT metricsdb.resume_kafka_source('batches')");
wait_for('SELECT count(*) FROM metrics', $good, 'resumed, it goes on where it was');

# Servers that restart
$node->restart;
$kafka->put('batches', [ 0, undef, batch(points(2)) ]);
wait_for('SELECT count(*) FROM metrics', $good, 'it goes on after a restart');
$node->stop('immediate');
$node->start;
$kafka->put('batches', [ 0, undef, batch(points(2)) ]);
wait_for('SELECT count(*) FROM metrics', $good, 'and after a crash');
is(sql('SELECT count(DISTINCT (metric_name, tags, time)) FROM metrics'), $good, 'without doubling anything');

# New partitions
$kafka->topic('grow', 'batches', 3);
$kafka->put('batches', [ 2, undef, batch(points(5)) ]);
wait_for('SELECT count(*) FROM metrics', $good, 'a new partition is noticed and read from its beginning');

# What happens to the target
sql('TRUNCATE metrics');
$kafka->put('batches', [ 0, undef, batch(points(3)) ]);
wait_for('SELECT count(*) FROM metrics', 3, 'TRUNCATE of the target does no harm');
is(sql('SELECT count(DISTINCT tags) FROM metrics WHERE tags = \'{"host": "a"}\''), 1, 'series are registered anew');
sql("SELECT metricsdb.seek_kafka_source('batches', 2, 0)");
wait_for('SELECT count(*) FROM metrics', 8, 'a running source can be sent back');

sql('CREATE TABLE other_shape (a int) USING metricsdb');
like(error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'other_shape', 'metric')"), qr/does not have the columns.*HINT/s, 'a target of another shape');
sql('CREATE TABLE plain (metric_name text, tags jsonb, time timestamptz, value float8)');
like(error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'plain', 'metric')"), qr/is not a metricsdb table/, 'a heap as target');
like(error("SELECT metricsdb.create_kafka_source('batches', '$brokers', 'x', 'metrics', 'metric')"), qr/already exists/, 'a name twice');
like(error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'metrics', 'json')"), qr/unknown message format.*HINT/s, 'an unknown format');
like(error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'metrics', 'metric', 'min')"), qr/unknown timestamp unit/, 'an unknown unit');
like(error("SELECT metricsdb.pause_kafka_source('nobody')"), qr/does not exist/, 'an unknown source');
for my $bad ('{"max_age": "soon"}', '{"start": "middle"}', '{"no_such": 1}', '{"librdkafka.no.such": "x"}', '{"librdkafka.enable.auto.commit": "true"}',
	'{"librdkafka.auto.offset.reset": "latest"}', '{"librdkafka.sasl.password": "hunter2"}', '[]')
{
	my $error = error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'metrics', 'metric', options => '$bad')");
	like($error, qr/^psql:<stdin>:1: ERROR/, "option refused: $bad");
	unlike($error, qr/hunter2(?!"\}')/, 'without its secret') if $bad =~ /hunter2/ && $error !~ /LINE/;
}

# Start at the end
$kafka->topic('create', 'tail', 1);
$kafka->put('tail', [ 0, undef, batch(points(5)) ]);
sql("SELECT metricsdb.create_metrics_table('tail')");
sql("SELECT metricsdb.create_kafka_source('tail', '$brokers', 'tail', 'tail', 'metric_batch', options => '{\"start\": \"latest\"}')");
wait_for("SELECT count(*) FROM metricsdb.kafka_status WHERE source = 'tail' AND next_offset = 1", 1, 'start = latest begins at the end');
$kafka->put('tail', [ 0, undef, batch(points(2)) ]);
wait_for('SELECT count(*) FROM tail', 2, 'and reads what comes then');

# A target that is dropped stops its source, and only that
sql('DROP TABLE tail');
$kafka->put('tail', [ 0, undef, batch(points(2)) ]);
wait_for("SELECT state || ': ' || last_error FROM metricsdb.kafka_status WHERE source = 'tail'", 'stopped: the target table was dropped', 'a dropped target stops the source');
sql("SELECT metricsdb.drop_kafka_source('tail')");
is(sql("SELECT count(*) FROM metricsdb.kafka_status WHERE source = 'tail'"), 0, 'the source can be dropped');

# Privileges
sql('CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN IN ROLE pg_monitor; GRANT CREATE ON SCHEMA public TO alice');
like(error("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'metrics', 'metric_batch')", 'alice'), qr/permission denied for function/, 'not everybody creates sources');
sql('GRANT EXECUTE ON FUNCTION metricsdb.create_kafka_source TO alice, bob');
like(error("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'metrics', 'metric_batch')", 'alice'), qr/permission denied for table metrics.*HINT/s, 'INSERT on the target is needed');
sql("SELECT metricsdb.create_metrics_table('al')", 'alice');
$kafka->topic('create', 'al', 1);
# Who may read the server's files may run no commands for that: librdkafka hands the principal and the keytab to a shell.
sql('GRANT pg_read_server_files TO alice');
for my $property ('sasl.kerberos.principal', 'sasl.kerberos.keytab')
{
	like(error("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'al', 'metric_batch', options => '{\"librdkafka.$property\": \"x; id\"}')", 'alice'),
		qr/permission denied to set property/, "$property needs more trust than reading files");
}
sql('REVOKE pg_read_server_files FROM alice');
like(error("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'al', 'metric_batch', options => '{\"librdkafka.test.mock.num.brokers\": 1}')", 'alice'),
	qr/cannot be set.*librdkafka's own tests/s, 'nobody has a worker serve brokers');
for my $property ('ssl.ca.location', 'sasl.kerberos.kinit.cmd', 'plugin.library.paths', 'debug')
{
	like(error("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'al', 'metric_batch', options => '{\"librdkafka.$property\": \"x\"}')", 'alice'),
		qr/permission denied to set property/, "$property needs trust");
}
sql("SELECT metricsdb.create_kafka_source('al', '$brokers', 'al', 'al', 'metric_batch', secrets => '{\"sasl.password\": \"hunter2\"}')", 'alice');
$kafka->put('al', [ 0, undef, batch(points(3)) ]);
wait_for('SELECT count(*) FROM al', 3, 'a source of an ordinary role works');
is(sql("SELECT metricsdb.kafka_secrets('al')", 'alice'), '{"sasl.password": "hunter2"}', 'the owner reads its secrets');
like(error("SELECT metricsdb.kafka_secrets('al')", 'bob'), qr/must be owner/, 'others do not');
like(error("SELECT metricsdb.kafka_secrets('al')", 'carol'), qr/must be owner/, 'nor do monitors');
like(error('SELECT * FROM metricsdb.kafka_secret', 'alice'), qr/permission denied/, 'nor anybody in the table');
like(error("SELECT metricsdb.pause_kafka_source('al')", 'bob'), qr/must be owner/, 'only the owner pauses a source');
like(error("SELECT metricsdb.drop_kafka_source('al')", 'bob'), qr/must be owner/, 'or drops it');
like(error("SELECT metricsdb.set_kafka_secrets('al', NULL)", 'bob'), qr/must be owner/, 'or changes its secrets');
is(sql('SELECT DISTINCT source FROM metricsdb.kafka_status', 'alice'), 'al', 'users see their own sources');
is(sql('SELECT count(*) FROM metricsdb.kafka_live()', 'bob'), 0, 'and nothing of others');
is(sql('SELECT string_agg(DISTINCT source, \',\' ORDER BY source) FROM metricsdb.kafka_status', 'carol'), 'al,batches,odd', 'monitors see all');
is(sql('SELECT count(*) FROM metricsdb.kafka_dead_letters', 'carol'), 0, 'but not what is in the dead letters');
unlike($node->safe_psql('postgres', "SELECT s::text FROM metricsdb.kafka_sources s"), qr/hunter2/, 'no view shows a secret');
unlike(slurp_file($node->logfile) =~ s/^.*statement:.*$//migr, qr/hunter2/, 'no log shows it');

sql('REVOKE INSERT ON al FROM alice', 'alice');
$kafka->put('al', [ 0, undef, batch(points(1)) ]);
wait_for("SELECT count(*) FROM metricsdb.kafka_status WHERE source = 'al' AND last_error LIKE 'permission denied%'", 1, 'without the privilege it says so and waits');
sql('GRANT INSERT ON al TO alice', 'alice');
wait_for('SELECT count(*) FROM al', 4, 'with it, it goes on');

sql('CREATE TABLE guarded (LIKE al) USING metricsdb; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT INSERT ON guarded TO alice');
like(error("SELECT metricsdb.create_kafka_source('x', '$brokers', 'x', 'guarded', 'metric')", 'alice'), qr/row-level security applies.*HINT/s, 'row-level security is not bypassed');

# A copy does not consume
{
	my $dump = $node->basedir . '/dump.sql';
	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
	unlike(slurp_file($dump), qr/hunter2/, 'a dump has no secrets');
	$node->safe_psql('postgres', 'CREATE DATABASE copy');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ], 'restore');
	is($node->safe_psql('copy', "SELECT DISTINCT state FROM metricsdb.kafka_status WHERE source = 'batches'"), 'restored copy', 'a restored copy knows that it is one');
	my $had = $node->safe_psql('copy', 'SELECT count(*) FROM metrics');
	is($had, sql('SELECT count(*) FROM metrics'), 'it has the points');
	$kafka->put('batches', [ 0, undef, batch(points(3)) ]);
	wait_for('SELECT count(*) FROM metrics', $had + 3, 'the original goes on');
	is($node->safe_psql('copy', 'SELECT count(*) FROM metrics'), $had, 'the copy does not');
	$node->safe_psql('copy', "SELECT metricsdb.resume_kafka_source('batches')");
	ok($node->poll_query_until('copy', 'SELECT count(*) FROM metrics', $had + 3), 'until it is told to: then from where the dump was');

	# Workers give way
	is($node->psql('postgres', 'DROP DATABASE copy'), 0, 'DROP DATABASE is not blocked by workers');
}

# The switch
$node->append_conf('postgresql.conf', 'metricsdb.workers = off');
$node->reload;
wait_for('SELECT count(*) FROM metricsdb.workers', 1, 'metricsdb.workers = off: only the launcher stays');
$node->append_conf('postgresql.conf', 'metricsdb.workers = on');
$node->reload;
$kafka->put('batches', [ 0, undef, batch(points(1)) ]);
wait_for('SELECT count(*) = 12 FROM metrics', 't', 'on: they come back');

# Topics that go away, and come back as others
$kafka->topic('create', 'skips', 1);
sql("SELECT metricsdb.create_metrics_table('skips'); SELECT metricsdb.create_kafka_source('skips', '$brokers', 'skips', 'skips', 'metric_batch',"
	  . q{ options => '{"on_gap": "skip", "metadata_interval": "1 s", "max_points": 3}')});
$kafka->put('skips', [ 0, undef, batch(points(5)) ], [ 0, undef, batch(points(3)) ]);
wait_for('SELECT count(*) FROM skips', 6, 'a message with more points than max_points gives that many');
is(sql("SELECT consumed, dead_letters FROM metricsdb.kafka_status WHERE source = 'skips'"), '7|1', 'and a dead letter for its rest');
is(sql("SELECT code, payload_length > 0 FROM metricsdb.kafka_dead_letters WHERE source = 'skips'"), 'too_many_points|t', 'with the reason');
$kafka->topic('delete', $_) for qw(batches skips);
$kafka->topic('create', 'batches', 3);
$kafka->topic('create', 'skips', 1);
$kafka->put('skips', [ 0, undef, batch(points(4)) ]);
wait_for("SELECT count(*) > 0 FROM metricsdb.kafka_status WHERE source = 'batches' AND state = 'stalled' AND last_error LIKE '%made anew%'", 't', 'a topic made anew stalls its partitions');
$kafka->put('batches', [ 0, undef, batch(points(1)) ]);
sleep 2;
is(sql('SELECT count(*) FROM metrics'), 12, 'nothing is read in such a state');
sql("SELECT metricsdb.seek_kafka_source('batches', 0, 0)");
wait_for('SELECT count(*) FROM metrics', 13, 'an explicit offset makes it go on');
wait_for('SELECT count(*) FROM skips', 9, 'with on_gap = skip it goes on by itself');
is(sql("SELECT count(*), count(DISTINCT (\"offset\", point_index)) FROM metricsdb.kafka_dead_letters WHERE source = 'skips'"), '2|1', 'a dead letter of the new topic has its own row, though one of the old topic has its offset');
# To the worker a broker that has lost the end of its log looks like this.
sql("SELECT metricsdb.seek_kafka_source('skips', 0, 1000)");
wait_for("SELECT count(*) FROM metricsdb.kafka_status WHERE source = 'skips' AND next_offset = 1", 1, 'a partition that has lost its end is skipped to where it ends');
$kafka->put('skips', [ 0, undef, batch(points(1)) ]);
wait_for("SELECT count(*) FROM metricsdb.kafka_status WHERE source = 'skips' AND next_offset = 2", 1, 'and goes on there');
is(sql('SELECT count(*) FROM skips'), 10, 'what it still has of before is not stored once more');
is(sql('SELECT bool_and(balanced) FROM metricsdb.kafka_status'), 't', 'the books balance to the end');

# A broker that is away for a while
$kafka->kill9;
wait_for("SELECT count(*) > 0 FROM metricsdb.kafka_status WHERE source = 'odd' AND state = 'connecting'", 't', 'a broker that is away can be seen');
$kafka->start;
$kafka->put('odd', [ 0, undef, metric(name => 'back', time => $now * 1000) ]);
wait_for("SELECT count(*) FROM odd WHERE metric_name = 'back'", 1, 'it goes on when the broker is back');

is($node->psql('postgres', 'DROP EXTENSION metricsdb CASCADE'), 0, 'DROP EXTENSION is not blocked by workers');
ok($node->poll_query_until('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'metricsdb%'", 1), 'the workers leave');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'nothing crashed');

$node->stop;
done_testing();
