# Rules over what Kafka brings, while everything on the way is killed: the worker that reads, the one that evaluates, the one
# that sends, who is told, a session, the postmaster.  Afterwards the history is what metricsdb.backtest() says of the rows
# that are there: nothing is lost, nothing happened that was not so, and no start was forgotten.  And what a webhook has heard is what the
# history says: each alert, its end, and nothing else.
#
#   METRICSDB_ALERT_KILLS=n	number of kills (6)
#   METRICSDB_SEED=n	the same sequence again
use strict;
use warnings;
use AlertTest;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IO::Handle;
use IPC::Run;
use KafkaTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $kills = $ENV{METRICSDB_ALERT_KILLS} // 6;
my $seed = $ENV{METRICSDB_SEED} // int(time);
srand($seed);
note "METRICSDB_SEED=$seed";

my $dir = "$ENV{METRICSDB_RUN}/alert-kills-$$";
mkdir $dir;
my $kafka = KafkaTest->new('alerts');
my $brokers = $kafka->{address};
my $node = PostgreSQL::Test::Cluster->new('told');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	max_worker_processes = 24
	restart_after_crash = on
	timezone = UTC
	metricsdb.alert_resend_delay = '2s'
	CONF
$node->start;
my $dsn = $node->connstr('postgres');

# wf(sub, what, seconds): until it is true; a test.
sub wf { my ($w,$n,$s)=@_; my $u=time+$s; sleep 0.1 while !$w->() && time<$u; return ok(scalar $w->(),$n) }
# One value, or undef if the server is not there.
sub ask
{
	my ($sql) = @_;
	my $out;
	IPC::Run::run([ 'psql', '-XAtq', '-d', $dsn, '-c', $sql ], '<', \undef, '>', \$out, '2>', \my $err) or return undef;
	chomp $out;
	return $out;
}

sub wait_until
{
	my ($sql, $what, $seconds) = @_;
	return wf(sub { (ask($sql) // '') eq 't' }, $what, $seconds // 120)
	  || diag(ask('TABLE metricsdb.alert_status') // 'no server', "\n", ask('TABLE metricsdb.watermarks') // '');
}

# A webhook that is told directly, and one that an Alertmanager tells.
my $hook = AlertTest::receiver("$dir/hook");
my $behind = AlertTest::receiver("$dir/behind");
my $am = AlertTest::alertmanager("$dir/am", "$behind->{url}/");
$kafka->topic('create', 'm', 2);
$node->safe_psql('postgres', <<~SQL);
	CREATE EXTENSION metricsdb;
	SELECT metricsdb.create_metrics_table('m');
	SELECT metricsdb.create_kafka_source('m', '$brokers', 'm', 'm', 'metric', options => '{"flush_interval": "200 ms", "lateness": "3 s"}');
	SELECT metricsdb.create_alert_target('hook', 'webhook', '{$hook->{url}/}');
	SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am->{url}}');
	SELECT metricsdb.create_alert('warm', source => 'm', every => '1 s', hold => '2 s', op => '>', threshold => 90, targets => '{hook,am}',
		metric => 'cpu', aggregate => 'max', "window" => '3 s', by => '{host}');
	SELECT metricsdb.create_alert('hot', source => 'm', every => '1 s', hold => '2 s', op => '>', threshold => 90, targets => '{hook,am}',
		query => 'SELECT tags->>''host'' AS host, max(value) AS value FROM public.m WHERE metric_name = ''cpu''
			AND time > metricsdb.eval_time() - interval ''3 s'' AND time <= metricsdb.eval_time() GROUP BY 1');
	SQL

# ---- hosts, each of which is hot for some time, and then is not, in a process of its own ----
my @hosts = 1 .. 8;

sub value { my ($host, $at) = @_; return int(($at + 5 * $host) / (12 + $host)) % 2 ? 95 : 20; }

my $producer = fork;
die $! if !defined $producer;
if ($producer == 0)
{
	open(my $out, '|-', $kafka->tool('kput') . " $brokers m >/dev/null") or POSIX::_exit(1);
	$out->autoflush(1);
	my $over;
	# Nobody waits for it longer than for the test.
	my $parent = getppid;
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	while ((!$over || time < $over) && getppid == $parent)
	{
		my $at = time;
		$over //= $at + 6 if -e "$dir/over";
		# In the end all are well.
		print $out join('', map { KafkaTest::line($_ % 2, undef, metric(name => 'cpu', tags => [ host => "h$_" ], time => int($at * 1000), value => $over ? 20 : value($_, $at))) } @hosts);
		sleep 0.5;
	}
	close $out;
	POSIX::_exit(0);
}
my $began = time;

sub pid_of { my ($what) = @_; return ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'metricsdb $what' LIMIT 1"); }

my %actions = (
	'kill of the alert worker' => sub { my $pid = pid_of('alert worker'); kill 'KILL', $pid if $pid },
	'end of the alert worker' => sub { my $pid = pid_of('alert worker'); kill 'TERM', $pid if $pid },
	'end of the Kafka worker' => sub { my $pid = pid_of('kafka worker'); kill 'TERM', $pid if $pid },
	'kill of the sender' => sub { my $pid = pid_of('alert sender'); kill 'KILL', $pid if $pid },
	'end of the sender' => sub { my $pid = pid_of('alert sender'); kill 'TERM', $pid if $pid },
	'kill of Alertmanager' => sub { $am->stop('KILL'); sleep rand(3); $am->start },
	'kill of the receiver' => sub {
		$hook->{process}->kill_kill(grace => 0);
		sleep rand(3);
		# At the same port, and what it has heard is kept.
		$hook->{process} = IPC::Run::start([ 'python3', "$FindBin::RealBin/../lib/receiver.py", "$dir/hook" ], '<', \undef, '>>', "$dir/hook/log", '2>&1');
	},
	'a receiver that fails' => sub { $hook->mode((qw(500 reset hang))[rand(3)]); sleep rand(3); $hook->mode('200') },
	'kill of a session' => sub {
		my $out;
		my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $dsn, '-c', 'SELECT pg_sleep(60)' ], '<', \undef, '>', \$out, '2>', \my $err);
		my $pid;
		for (1 .. 40) { last if $pid = ask("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND pid <> pg_backend_pid()"); sleep 0.1 }
		kill 'KILL', $pid if $pid;
		$session->kill_kill;
	},
	'kill of the postmaster' => sub {
		return if !defined ask('SELECT 1');
		my $pid = $node->{_pid};
		$node->kill9;
		# Its children hold on to what it had for a moment.
		for (1 .. 600) { last if !kill(0, $pid) && $node->start(fail_ok => 1); sleep 0.1 }
	},
);

wait_until(q{SELECT count(*) > 0 FROM metricsdb.alert_instance WHERE state = 'firing'}, 'some fire');
my @names = sort keys %actions;
my @todo;
my %done;
for (1 .. $kills)
{
	# Each kind comes, in random order.
	@todo = sort { rand() <=> 0.5 } @names if !@todo;
	my $what = shift @todo;
	sleep 1 + rand(5);
	note sprintf '%.1f s: %s', time - $began, $what;
	$actions{$what}->();
	$done{$what}++;
}
wait_until('SELECT true', 'the server is back');
wait_until('SELECT count(*) = 0 FROM metricsdb.watermarks WHERE lag > \'10 s\'', 'what was held up is read and evaluated');
open my $flag, '>', "$dir/over" or die $!;
close $flag;
waitpid $producer, 0;
my $ended = ask('SELECT clock_timestamp()');
wait_until("SELECT count(*) = 2 AND bool_and(last_tick >= '$ended') FROM metricsdb.alert_live()", 'the rules have seen all of it');
wait_until(q{SELECT count(*) = 0 FROM metricsdb.alert_instance WHERE state NOT IN ('resolved', 'inactive')}, 'all are well in the end');

# ---- what was, what is to be ----
my $missed = ask('SELECT sum(missed) FROM metricsdb.alert_status');
my $first = ask('SELECT min(time) FROM m');
my $changes = q{string_agg(concat_ws(' ', labels->>'host', from_state, to_state, to_char(at, 'HH24:MI:SS.MS')), E'\n' ORDER BY labels->>'host', at, from_state)};
for my $rule ('hot', 'warm')
{
	my $history = ask(qq{SELECT $changes FROM metricsdb.alert_history WHERE rule = '$rule' AND to_state IN ('firing', 'resolved')});
	my $expected = ask(qq{SELECT $changes FROM metricsdb.backtest('$rule', '$first', '$ended') WHERE to_state IN ('firing', 'resolved')});
	note "$missed ticks were missed; ", scalar(split /\n/, $history), ' changes';
	if ($missed)
	{
		# A machine that is too slow for its ticks: the same changes, at ticks near by.
		s/ \d\S+$//mg for $history, $expected;
	}
	is($history, $expected, "$rule: what happened is what the rows say");
}
note join(', ', map { "$done{$_} x $_" } sort keys %done);

# ---- what was told ----
# Each alert by rule, host and start: its end, as it was, and as a receiver has heard it.  What an alert is now takes the
# place of what could not be told, so of one that was over before anybody could be told only the end is.
sub heard
{
	my ($receiver) = @_;
	my (%ends, @backwards, %last);
	for my $request ($receiver->requests)
	{
		for my $alert (@{ $request->{body}{alerts} })
		{
			my ($start, $end) = map { my $t = $_ // ''; $t =~ s/(\.\d+)?(Z|\+00:00)$//; $t } @$alert{qw(startsAt endsAt)};
			my $who = "$alert->{labels}{alertname} $alert->{labels}{host}";
			my $now = "$start " . ($alert->{status} eq 'resolved' ? $end : '');
			push @backwards, "$who: $now after $last{$who}" if $now lt ($last{$who} // '');
			$last{$who} = $now;
			$ends{"$who $start"} = $alert->{status} eq 'resolved' ? $end : $ends{"$who $start"} // '';
		}
	}
	return (\%ends, \@backwards);
}
my %was = map { /^(.*) (\S*)$/ ? ($1 => $2) : () } split /\n/, ask(q{
	SELECT string_agg(concat_ws(' ', rule, host, start, "end"), E'\n') FROM (
		SELECT rule, labels->>'host' AS host, to_state, to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS') AS start,
			coalesce(to_char(lead(at) OVER (PARTITION BY rule, labels ORDER BY at), 'YYYY-MM-DD"T"HH24:MI:SS'), '') AS "end"
		FROM metricsdb.alert_history WHERE to_state IN ('firing', 'resolved')) x
	WHERE to_state = 'firing'});
wf(sub { my ($ends) = heard($hook); !grep { ($ends->{$_} // '') ne $was{$_} } keys %was }, 'each alert and its end was told to a webhook', 60)
  || do { my ($ends) = heard($hook); diag(map { "$_: ended $was{$_}, heard " . ($ends->{$_} // 'nothing') . "\n" } grep { ($ends->{$_} // '') ne $was{$_} } sort keys %was) };
for ([ 'webhook', $hook ], [ 'Alertmanager', $behind ])
{
	my ($name, $receiver) = @$_;
	my ($ends, $backwards) = heard($receiver);
	is(join("\n", grep { !exists $was{$_} || ($ends->{$_} ne '' && $ends->{$_} ne $was{$_}) } sort keys %$ends), '', "nothing was told to the $name that was not so");
	is(join("\n", @$backwards), '', "and nothing older after what is newer") if $receiver == $hook;
	note "$name: ", scalar(keys %$ends), ' alerts of ', scalar(keys %was);
}
wf(sub { !$am->alerts }, 'no alert is left at the Alertmanager', 60);

is(ask('SELECT bool_and(balanced) FROM metricsdb.kafka_status'), 't', 'the books balance');

$node->stop;
done_testing();
