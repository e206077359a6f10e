# Threshold and dead-man rules, by what Kafka's worker and sessions write: each sample is in the windows once, whatever is
# killed; the alert worker fires and resolves by them, and after a crash reads nothing of the table again.
#
# METRICSDB_SEED repeats a sequence.
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

my $seed = $ENV{METRICSDB_SEED} // time;
srand($seed);
diag("METRICSDB_SEED=$seed");

my $kafka = KafkaTest->new('incremental');
my $node = PostgreSQL::Test::Cluster->new('incremental');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	restart_after_crash = on
	timezone = 'UTC'
	max_prepared_transactions = 10
	metricsdb.alert_interval = -1
	CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# One value, or undef if the server is not there.
sub ask
{
	my ($sql) = @_;
	my $out;
	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '>', \$out, '2>', \my $err) or return undef;
	chomp $out;
	return $out;
}

# comes(sql, what): it is true within two minutes.
sub comes
{
	my ($query, $what) = @_;
	for my $try (1 .. 1200)
	{
		my $answer = ask($query);
		return pass($what) if defined $answer && $answer eq 't';
		sleep 0.1;
	}
	fail($what);
	diag(ask('SELECT r.name, t.* FROM metricsdb.alert_tick t JOIN metricsdb.alert_rule r USING (rule_id)') // 'no server');
	diag(ask('SELECT * FROM metricsdb.kafka_status') // 'no server');
	return;
}

sub kill9
{
	my ($pid) = @_;
	kill 'KILL', $pid if defined $pid && $pid =~ /^\d+$/;
	return;
}

# ---- each sample once: every look is a session of its own, which begins with what was written down ----
$kafka->topic('create', 'stream', 1);
sql('CREATE EXTENSION metricsdb');
sql("SELECT metricsdb.create_metrics_table('m')");
sql("SELECT metricsdb.create_kafka_source('stream', '$kafka->{address}', 'stream', 'm', 'metric_batch')");
my $start = 1767225600;    # 2026-01-01
my @rules = (
	[ 'counted', q{aggregate => 'count', "window" => '1 hour', by => '{}'}, q{SELECT count(value) FROM m WHERE metric_name = 'cpu'} ],
	[ 'summed', q{aggregate => 'sum', "window" => '1 hour', by => '{host}', matchers => '{host="h1"}'}, q{SELECT sum(value) FROM m WHERE metric_name = 'cpu' AND tags->>'host' = 'h1'} ]);
sql(qq{SELECT metricsdb.create_alert('$_->[0]', source => 'm', metric => 'cpu', every => '10 s', op => '>', threshold => 1, $_->[1])}) for @rules;
my $observe = q{(SELECT o.value FROM metricsdb.alert_rule r, metricsdb.threshold_observe(r.rule_id, '2026-01-01 00:50:00') o WHERE r.name = '%s')};
my $look = join ', ', map { sprintf($observe, $_->[0]) . " AS $_->[0]" } @rules;
my $table = join ', ', map { "($_->[2])::float8" } @rules;
sql("SELECT $look") for 1 .. 2;
is(sql(q{SELECT count(*) FROM metricsdb.alert_window}), 2, 'rules have their histories');

my $sent = 0;
sub send_points
{
	my ($n) = @_;
	my @messages;
	while ($n > 0)
	{
		my $points = 1 + int(rand(200));
		push @messages, [ 0, undef, batch(map { metric(name => rand() < 0.8 ? 'cpu' : 'mem', tags => [ 'host', 'h' . int(rand(5)) ],
			time => ($start + int(rand(3000))) * 1000, value => int(rand(100))) } 1 .. $points) ];
		$n -= $points;
		$sent += $points;
	}
	$kafka->put('stream', @messages);
	return;
}
my $by_sql = 0;
for my $round (1 .. 6)
{
	send_points(3000);
	sleep rand(0.5);
	kill9(ask(q{SELECT pid FROM metricsdb.kafka_live() WHERE pid IS NOT NULL})) if $round % 2;
	# Sessions write, too; some are killed before they commit.
	ask(q{INSERT INTO m SELECT 'cpu', '{"host": "h1"}', '2026-01-01 00:40:00', i FROM generate_series(1, 5) i}) and 1;
	ask(q{BEGIN; INSERT INTO m SELECT 'cpu', '{"host": "h1"}', '2026-01-01 00:40:00', i FROM generate_series(1, 3000) i; SELECT pg_terminate_backend(pg_backend_pid())});
	ask(qq{BEGIN; INSERT INTO m SELECT 'cpu', '{"host": "h1"}', '2026-01-01 00:41:00', i FROM generate_series(1, 7) i; PREPARE TRANSACTION 'p$round'});
	$node->stop('immediate'), $node->start if $round == 4;
	comes("SELECT sum(stored) >= $sent FROM metricsdb.kafka_status", "round $round is stored");
	is(sql("SELECT $look"), sql("SELECT $table"), 'the windows have what the table has');
	sql("COMMIT PREPARED 'p$round'") if ask("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'p$round'");
	is(sql("SELECT $look"), sql("SELECT $table"), 'also of what commits late');
}
is(sql("SELECT $look; SELECT histories FROM metricsdb.threshold_counters()") =~ /\n0$/ ? 'none' : 'some', 'none', 'no history was read again');

# ---- the alert worker ----
sql(q{SELECT metricsdb.drop_alert(name) FROM metricsdb.alert_rule});
sql(q{SELECT metricsdb.create_metrics_table('live')});
sql(q{SELECT metricsdb.create_alert('hot', source => 'live', metric => 'cpu', aggregate => 'avg', "window" => '20 s', every => '1 s', op => '>', threshold => 90)});
sql(q{SELECT metricsdb.create_alert('dead', source => 'live', metric => 'beat', silent_for => '3 s', every => '1 s')});
sql(q{ALTER SYSTEM RESET metricsdb.alert_interval});
$node->append_conf('postgresql.conf', "metricsdb.alert_interval = '100ms'");
sql('SELECT pg_reload_conf()');
sub state_is { my ($rule, $state) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule' AND state = '$state')" }
sub starts { my ($rule) = @_; return sql("SELECT starts_at FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule'") }
comes(q{SELECT count(*) = 2 FROM metricsdb.alert_tick WHERE health = 'ok'}, 'both are evaluated');
sql(q{INSERT INTO live VALUES ('cpu', '{"host": "a"}', now(), 100), ('cpu', '{"host": "b"}', now(), 10), ('beat', '{"host": "a"}', now(), 1)});
comes(state_is('hot', 'firing'), 'a threshold fires');
comes(state_is('dead', 'firing'), 'silence, too');
my $since = starts('dead');
$node->stop('immediate');
$node->start;
comes(q{SELECT bool_and(evaluated_at > pg_postmaster_start_time()) AND count(*) = 2 FROM metricsdb.alert_live() l JOIN metricsdb.alert_rule r USING (rule_id)}, 'after a crash it goes on');
is(starts('dead'), $since, 'what fires does so since when it did');
sql(q{INSERT INTO live VALUES ('beat', '{"host": "a"}', now(), 1)});
comes('SELECT NOT EXISTS (' . state_is('dead', 'firing') . ' ) OR NOT (' . state_is('dead', 'firing') . ')', 'a beat resolves it');
comes('SELECT NOT (' . state_is('hot', 'firing') . ')', 'an empty window resolves the threshold');
$node->stop;
done_testing();
