# The cardinality guard at a real broker: what is refused, what is not, and what survives what.
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

my $kafka = KafkaTest->new('guard');
my $brokers = $kafka->{address};
my $node = PostgreSQL::Test::Cluster->new('guard');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	max_worker_processes = 24
	metricsdb.max_new_series = 100
	metricsdb.kafka_cache_memory = 1MB
	timezone = UTC
	restart_after_crash = on
	CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $expected, $what) = @_;
	ok($node->poll_query_until('postgres', $sql, $expected // 't'), $what)
	  or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.kafka_status'));
	return;
}

# Counts begin anew with the hour: what follows is to lie within one.
my $left = 3600 - time % 3600;
sleep $left + 1 if $left < 240;

my $now = int(time);
my $second = 0;
my %sent;	# points, by source

# Points of one metric: a list of hashes of tags.
sub points
{
	my ($name, @tags) = @_;
	return map { my %t = %$_; metric(name => $name, tags => [ map { ($_, $t{$_}) } sort keys %t ], time => ($now - 100000 + $second++) * 1000, value => $second) } @tags;
}

# Sends points, so many a message, and waits until they are consumed.
sub feed
{
	my ($source, $a_message, @points) = @_;
	my @messages;
	$sent{$source} += @points;
	while (my @some = splice(@points, 0, $a_message))
	{
		push @messages, [ scalar(@messages) % 2, undef, batch(@some) ];
	}
	$kafka->put($source, @messages);
	return;
}

sub consumed
{
	my ($source, $what) = @_;
	wait_for("SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status WHERE source = '$source'", $sent{$source}, $what);
	is(sql("SELECT bool_and(balanced), sum(consumed) = sum(stored) + sum(dead_letters) FROM metricsdb.kafka_status WHERE source = '$source'"), 't|t', "$source: the books balance");
	return;
}

sub series { my ($table, $metric) = @_; return sql("SELECT count(DISTINCT tags) FROM $table WHERE metric_name = '$metric'"); }
sub status { my ($metric, $columns) = @_; return sql("SELECT $columns FROM metricsdb.cardinality_status WHERE metric = '$metric' AND hour = date_trunc('hour', now())"); }
sub refused { my ($source) = @_; return sql("SELECT coalesce(sum(points), 0) FROM metricsdb.kafka_dead_letters WHERE source = '$source' AND code = 'cardinality'"); }

sql('CREATE EXTENSION metricsdb');

sub source
{
	my ($name, $table) = @_;
	$kafka->topic('create', $name, 2);
	sql("SELECT metricsdb.create_kafka_source('$name', '$brokers', '$name', '$table', 'metric_batch')");
	$sent{$name} = 0;
	return;
}

# ---- one metric explodes beside another ----

sql("SELECT metricsdb.create_metrics_table('metrics')");
source('one', 'metrics');
my @known = map { { host => "h$_", dc => 'eu' } } 1 .. 40;
feed('one', 50, points('cpu', @known), points('disk', @known));
consumed('one', 'known series arrive');
is(status('cpu', 'new_series, "limit", refused, active, sql_limit IS NULL'), '40|100|0|f|t', 'they are counted');

# Both in the same messages
my @flood = map { { host => 'h' . $_ % 40, dc => 'eu', request => "r$_" } } 1 .. 500;
feed('one', 100, map { (points('cpu', $flood[$_]), points('disk', $known[$_ % 40]), points('cpu', $known[$_ % 40])) } 0 .. 499);
consumed('one', 'a flood is consumed');
is(series('metrics', 'cpu'), 100, 'the limit is met to the series');
is(sql("SELECT count(*) FROM metrics WHERE metric_name = 'disk'"), 540, 'the other metric has all its points');
is(sql("SELECT count(*) FROM metrics WHERE metric_name = 'cpu' AND NOT tags ? 'request'"), 540, 'known series have theirs');
is(refused('one'), 440, 'all others are dead letters');
is(sql("SELECT count(*), count(DISTINCT reason) > 0, bool_and(length(payload) = payload_length) FROM metricsdb.kafka_dead_letters WHERE code = 'cardinality'"), '440|t|t', 'few are told one by one');
like(sql("SELECT reason FROM metricsdb.kafka_dead_letters ORDER BY partition DESC, \"offset\" DESC, point_index DESC LIMIT 1"),
	qr/reached its limit of 100 new series an hour; tag "request" grows most, about \d+ different values/, 'with the reason');
is(status('cpu', 'new_series, refused, active, tag, tag_values BETWEEN 40 AND 600'), '100|440|t|request|t', 'cardinality_status names the tag');
is(status('disk', 'new_series, refused, active'), '40|0|f', 'and that the other is well');

# ---- what was counted survives ----

$node->stop('immediate');
$node->start;
feed('one', 100, points('cpu', @flood[ 400 .. 499 ], @known), points('disk', @known));
consumed('one', 'after a crash');
is(series('metrics', 'cpu'), 100, 'the count was not forgotten');
is(refused('one'), 540, 'new series are refused as before');
is(sql("SELECT count(*) FROM metrics WHERE metric_name = 'cpu' AND NOT tags ? 'request'"), 580, 'known series are known as before');
my $pid = sql("SELECT pid FROM metricsdb.kafka_live() WHERE pid IS NOT NULL");
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM metricsdb.kafka_live() WHERE pid IS NOT NULL AND pid <> $pid"), 'a worker is killed');
feed('one', 100, points('cpu', (map { { request => "again$_" } } 1 .. 50), @known));
consumed('one', 'after kill -9 of the worker');
is(series('metrics', 'cpu'), 100, 'nor was it then');
$node->restart;
feed('one', 100, points('cpu', (map { { request => "once more$_" } } 1 .. 50), @known));
consumed('one', 'after a restart');
is(series('metrics', 'cpu') . ' ' . status('cpu', 'new_series, refused'), '100 100|640', 'nor then');

# A series that somebody else has registered meanwhile is known.
sql("INSERT INTO metrics SELECT 'cpu', '{\"host\": \"by sql\"}', now(), 1 FROM generate_series(1, 1000)");
feed('one', 100, points('cpu', (map { { host => 'by sql' } } 1 .. 20), { host => 'by nobody' }));
consumed('one', 'points of a series that was registered by SQL');
is(sql("SELECT count(*) FROM metrics WHERE tags->>'host' = 'by sql'"), 1020, 'are stored');

# TRUNCATE begins anew.
sql('TRUNCATE metrics');
feed('one', 100, points('cpu', @known));
consumed('one', 'points after TRUNCATE');
is(status('cpu', 'new_series, active'), '40|f', 'the count has begun anew');

# ---- a great flood ----

sql("SELECT metricsdb.create_metrics_table('great'); SELECT metricsdb.set_cardinality_limit('great', 'web', 2000)");
source('great', 'great');
feed('great', 100, map { points('web', { host => 'h' . $_ % 10, session => "session-$$-$_" }) } 1 .. 40000);
consumed('great', 'a great flood is consumed');
is(series('great', 'web'), 2000, 'its limit is met');
is(refused('great'), 38000, 'and all others are counted');
cmp_ok(sql("SELECT count(*) FROM metricsdb.kafka_dead_letters WHERE source = 'great'"), '<', 1500, 'by not too many dead letters');
is(sql("SELECT count(*) > 0, bool_and(last_offset >= \"offset\") FROM metricsdb.kafka_dead_letters WHERE source = 'great' AND points > 1"), 't|t', 'some of which stand for many');
is(status('web', 'new_series, refused, tag, tag_values BETWEEN 34000 AND 46000'), '2000|38000|session|t', 'the estimate is of all of them');
unlike(slurp_file($node->logfile), qr/forgets its \d+ series/, 'what was refused did not fill the cache');
wait_for("SELECT count(*) <= 10 FROM metricsdb.cardinality WHERE metric = 'web'", 't', 'the books are kept short');
is(status('web', 'new_series, refused, tag, tag_values BETWEEN 34000 AND 46000'), '2000|38000|session|t', 'and say the same');

# ---- a greater one: once it has gone on for long, a worker tells from a hash of a point that its series is new ----

sql("SELECT metricsdb.create_metrics_table('greater'); SELECT metricsdb.set_cardinality_limit('greater', 'shop', 2000)");
source('greater', 'greater');
sub spelled { return map { metric(name => 'shop', tags => [@$_], time => ($now - 100000 + $second++) * 1000, value => 7) } @_; }
feed('greater', 100, spelled(map { [ 'host', "h$_", 'session', "known-$_" ] } 1 .. 300));
# Series with all kinds of tags; some are none that Kafka could bring.
sql(q{INSERT INTO greater SELECT 'shop', t::jsonb, now(), 1 FROM unnest(ARRAY['{}', '{"host": "sql", "dc": "1"}', '{"ort": "München", "x": "1"}', '{"empty": "", "x": "1"}',
	'{"number": 1}', '{"nested": {"a": "b"}}', '{"list": ["a"]}']) t});
sql("INSERT INTO greater SELECT 'shop', jsonb_build_object('path', repeat('long', 100), 'x', '1'), now(), 1");
sql("CALL metricsdb.compact('greater')");
consumed('greater', 'some series are known');
feed('greater', 200, map { points('shop', { host => 'h' . $_ % 10, session => "session-$$-$_" }) } 1 .. 72000);
consumed('greater', 'a flood of more than 65,536');
is(refused('greater') . ' ' . status('shop', 'new_series'), '70308 2000', 'is refused but for what the limit leaves');
# It goes on, and among it are known series as they were spelled before, in another order, in a way no hash is had of, and others.
my @others = ([], [ 'host', 'sql', 'dc', '1' ], [ 'dc', '1', 'host', 'sql' ], [ 'ort', 'München', 'x', '1' ], [ 'x', '1', 'empty', '' ], [ 'x', '1', 'path', 'long' x 100 ], [ 'x', '0', 'ort', 'München', 'x', '1' ]);
sub more { my ($from) = @_; return map { points('shop', { host => 'h' . $_ % 10, session => "more-$_" }) } $from + 1 .. $from + 2000; }
feed('greater', 100, more(0), (map { (spelled([ 'host', "h$_", 'session', "known-$_" ], [ 'session', "known-$_", 'host', "h$_" ]), points('shop', { session => "more-x$_" })) } 1 .. 300), more(2000), spelled(@others), more(4000));
consumed('greater', 'known series amid a flood');
is(refused('greater'), 76608, 'what is new is refused');
is(sql("SELECT count(*), count(DISTINCT tags) FROM greater WHERE value = 7 AND tags->>'session' ~ 'known'"), '900|300', 'they have all their points, however they are spelled');
is(sql("SELECT count(*) FROM greater WHERE value = 7 AND NOT tags ? 'session'"), 7, 'and so have those that SQL has made');
is(series('greater', 'shop'), 2000, 'nothing new has come in');
is(sql("SELECT new_series, refused, tag, tag_values BETWEEN 65000 AND 92000 FROM metricsdb.cardinality_status WHERE \"table\" = 'greater'::regclass"), '2000|76608|session|t', 'the estimate goes on');
# Registered since
sql(q{SET metricsdb.cardinality_guard = off; INSERT INTO greater SELECT 'shop', '{"host": "later"}', now(), 1 FROM generate_series(1, 1000)});
feed('greater', 100, map { (spelled([ 'host', 'later' ]), points('shop', { session => "late-$_" }), points('other', { host => "h$_" })) } 1 .. 100);
consumed('greater', 'a series that SQL has made since, and another metric');
is(sql(q{SELECT count(*) FROM greater WHERE tags = '{"host": "later"}'}) . ' ' . series('greater', 'other'), '1100 100', 'are known, and let in');
sql("SELECT metricsdb.set_cardinality_limit('greater', 'shop', 3000)");
sleep 2.5;
feed('greater', 100, more(10000));
consumed('greater', 'a higher limit');
cmp_ok(series('greater', 'shop'), '>=', 2990, 'lets more in');
is(sql("SELECT sum(stored) FROM metricsdb.kafka_status WHERE source = 'greater'"), sql('SELECT count(*) - 1008 FROM greater'), 'all that is stored is there');

# ---- limits change, tags are dropped ----

sql("SELECT metricsdb.set_cardinality_limit('great', 'web', 2100, 'drop_tag', 'session')");
sleep 2.5;
feed('great', 100, points('web', { host => 'h1', session => 'x' }));
consumed('great', 'a new limit');
is(series('great', 'web'), 2001, 'lets some more in');
feed('great', 100, map { points('web', { host => 'h' . $_ % 10, session => "late-$_" }) } 1 .. 3000);
consumed('great', 'a flood that is to lose its tag');
is(series('great', 'web'), 2110, 'makes few new series');
is(refused('great'), 38000, 'and no dead letter');
is(sql("SELECT count(*) FROM great WHERE tags ? 'host' AND NOT tags ? 'session'"), 2901, 'its points are kept without it');
is(sql("SELECT sum(stored) FROM metricsdb.kafka_status WHERE source = 'great'"), sql('SELECT count(*) FROM great'), 'all of them are there');
# Another tag explodes, too.
feed('great', 100, map { points('web', { host => "many-$_", session => "s$_" }) } 1 .. 6000);
consumed('great', 'a flood of another tag');
is(series('great', 'web'), 4200, 'ends at twice the limit');
is(status('web', 'new_series, active, action, drop_tag'), '4200|t|drop_tag|session', 'as cardinality_status says');

# ---- many at once ----

sql("SELECT metricsdb.create_metrics_table('shared'); SELECT metricsdb.set_cardinality_limit('shared', 'm', 3000)");
source("many$_", 'shared') for 1 .. 3;
my $script = PostgreSQL::Test::Utils::tempdir . '/new.sql';
append_to_file($script, q(INSERT INTO shared SELECT 'm', jsonb_build_object('sql', random(), 'i', i), now(), i FROM generate_series(1, 5) i;) . "\n");
my @sessions = map { IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-t', 400, '-f', $script, $node->connstr('postgres') ], '>', \my $out, '2>', \my $err) } 1 .. 2;
for my $round (1 .. 5)
{
	feed("many$_", 50, do { my $k = $_; map { points('m', { from => $k, i => "$round/$_" }) } 1 .. 500 }) for 1 .. 3;
}
$_->finish for @sessions;
consumed("many$_", "source $_ beside others") for 1 .. 3;
cmp_ok(series('shared', 'm'), '<=', 3000, 'many writers together do not exceed the limit');
feed('many1', 50, map { points('m', { last => $_ }) } 1 .. 3000);
consumed('many1', 'and more');
is(series('shared', 'm') . ' ' . status('m', 'new_series, active'), '3000 3000|t', 'which is met in the end, to the series');
is(sql("SELECT sum(stored) FROM metricsdb.kafka_status WHERE source LIKE 'many%'"), sql("SELECT count(*) FROM shared WHERE NOT tags ? 'sql'"), 'what is stored is there');
is(sql("SELECT count(*) FROM metricsdb.check('shared')"), 0, 'the table is sound');

# ---- no guard ----

$node->append_conf('postgresql.conf', 'metricsdb.max_new_series = 0');
$node->reload;
sleep 1.5;
feed('one', 500, map { points('free', { i => $_ }) } 1 .. 2000);
consumed('one', 'without a limit');
is(series('metrics', 'free') . status('free', 'count(*)'), '20000', 'everything comes in, and nothing is counted');

# ---- a table of another form of tags: odd encodings, keys of different lengths, none ----

sql("SELECT metricsdb.create_metrics_table('odd')");
source('odd', 'odd');
my @odd = ({}, { a => '' }, { '' => 'x' }, { zz => '1', a => '2', bbb => '3' }, { map { ("k$_" => 'v' x $_) } 1 .. 60 }, { "\xc3\xa4" => "\xe2\x82\xac" x 300 });
feed('odd', 3, points('m', @odd), points('m', @odd), points("m\xc3\xa4", @odd));
consumed('odd', 'odd tags');
is(sql("SELECT count(*), count(DISTINCT (metric_name, tags)), count(*) FILTER (WHERE tags = tags::text::jsonb) FROM odd"), '18|12|18', 'are what they are');
is(sql("SELECT bool_and((SELECT count(*) FROM jsonb_each_text(tags) WHERE tags->>key = value) = (SELECT count(*) FROM jsonb_object_keys(tags))) FROM odd"), 't', 'and jsonb that can be searched');
sql("INSERT INTO odd SELECT metric_name, tags::text::jsonb, time, value FROM odd, generate_series(1, 100)");
is(sql("SELECT series FROM metricsdb.relation_stats('odd')"), 12, '... to the byte: SQL finds the same series');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'no process has crashed');
done_testing();
