# Exactly once, whatever is killed: a known stream, and kill -9 of the Kafka worker, of a backend, of
# the postmaster and of the broker, each while a batch is unflushed or its transaction is open.
#
# METRICSDB_KILLS says how many (default 20), METRICSDB_SEED repeats a sequence.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep alarm);

my $kills = $ENV{METRICSDB_KILLS} // 20;
my $seed = $ENV{METRICSDB_SEED} // time;
srand($seed);
diag("$kills kills, METRICSDB_SEED=$seed");

my $kafka = KafkaTest->new('kill');
my $brokers = $kafka->{address};
my $node = PostgreSQL::Test::Cluster->new('killed');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	restart_after_crash = on
	log_statement = none
	log_connections = off
	log_disconnections = off
	CONF
$node->start;
my $port = $node->port;
my $dsn = $node->connstr('postgres');
my ($producer, $sent);

# One value, or undef if the server is not there.
sub ask
{
	my ($sql) = @_;
	my $out;
	IPC::Run::run([ 'psql', '-XAtq', '-d', $dsn, '-c', $sql ], '>', \$out, '2>', \my $err) or return undef;
	chomp $out;
	return $out;
}

sub wait_until
{
	my ($sql, $what) = @_;
	for my $try (1 .. 1200)
	{
		my $answer = ask($sql);
		return if defined $answer && $answer eq 't';
		sleep 0.05;
	}
	# Who does not go on: the producer, the broker, or the worker?
	diag(ask('SELECT * FROM metricsdb.kafka_status') // 'no server');
	diag('the broker has ' . (eval { $kafka->topic('offsets', 'stream') } // $@));
	diag($producer && $producer->pumpable ? 'the producer runs' : "the producer has ended: $sent");
	die "timed out: $what";
}

$kafka->topic('create', $_, 4) for qw(stream again);
$node->safe_psql('postgres', <<~SQL);
	CREATE EXTENSION metricsdb;
	SELECT metricsdb.create_metrics_table('stream');
	SELECT metricsdb.create_metrics_table('again');
	SELECT metricsdb.create_kafka_source('stream', '$brokers', 'stream', 'stream', 'metric_batch', options => '{"max_age": "none"}');
	CREATE TABLE bystander (a int);
	SQL

# The stream
my @fleet = ('hosts=20', 'interval=1', 'start=1700000000', 'history=100000000', "seed=7");
$sent = '';
$producer = IPC::Run::start([ $kafka->tool('fleet'), $brokers, 'stream', @fleet, 'rate=5000' ], '>', \$sent);
END { my $status = $?; $producer->kill_kill if $producer && $producer->pumpable; $? = $status; }
wait_until('SELECT coalesce(sum(stored), 0) > 0 FROM metricsdb.kafka_status', 'the stream flows');

# What the worker is at, while it is stopped: "pid|points not flushed|transaction open".
my $look = q(SELECT l.pid, l.pending_points, (l.phase = 'flushing' AND a.xact_start IS NOT NULL)::int
	FROM metricsdb.kafka_live() l JOIN pg_stat_activity a USING (pid));

# The session that holds the worker up, if there is one.
my $holder;

# session(SQL): a backend that has run it and waits; [handle, pid].
sub session
{
	my ($sql) = @_;
	my ($in, $out, $err) = ("$sql; SELECT 'pid', pg_backend_pid();\n", '', '');
	my $handle = IPC::Run::start([ 'psql', '-XAtq', '-d', $dsn ], '<', \$in, '>', \$out, '2>', \$err);
	$handle->pump until $out =~ /pid\|(\d+)\n/;
	return [ $handle, $1 ];
}

# freeze(WANT_TRANSACTION): stops the worker at a moment worth a kill; its pid, and what it was at.
# To be met in its transaction, parts written and offsets not, it is held up there by a row lock.
sub freeze
{
	my ($want) = @_;
	if ($want)
	{
		$holder = session('BEGIN; SELECT FROM metricsdb.kafka_offset FOR UPDATE');
		wait_until(q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'metricsdb kafka worker'
			AND wait_event_type = 'Lock' AND backend_xid IS NOT NULL), 'the worker waits for the lock');
	}
	my $until = time + 60;	# the producer too needs a while to find a new broker
	while (time < $until)
	{
		my $pid = ask('SELECT pid FROM metricsdb.kafka_live() WHERE pending_points > 0');
		next if !defined $pid || $pid eq '';
		sleep rand(0.02);
		kill('STOP', $pid) or next;

		# Should it hold a lock that our look needs, let it go on.
		my $late = 0;
		local $SIG{ALRM} = sub { $late = 1; kill 'CONT', $pid; };
		alarm 1.0;
		my $answer = ask($look);
		alarm 0;
		if (!$late && defined $answer && $answer =~ /^(\d+)\|(\d+)\|(\d)$/ && $1 == $pid)
		{
			return ($pid, 'open transaction') if $3;
			return ($pid, 'unflushed batch') if $2 > 0 && !$want;
		}
		kill 'CONT', $pid;
	}
	die 'the worker has nothing unflushed';
}

# Is SIGQUIT on its way to the process, or is it gone?
sub quitting
{
	my ($pid) = @_;
	open(my $status, '<', "/proc/$pid/status") or return 1;
	local $/;
	my $text = <$status>;
	return $text =~ /^State:\s+Z/m || grep { hex(substr($_, -2)) & 0x4 } $text =~ /^S\w+Pnd:\s+(\w+)/mg;
}

my (%hits, %killed);
for my $n (1 .. $kills)
{
	my $victim = (qw(worker backend postmaster broker))[ $n <= 4 ? $n - 1 : int(rand 4) ];
	sleep rand(0.8);

	my $bystander = session("BEGIN; INSERT INTO bystander VALUES ($n)");
	my ($pid, $hit) = freeze(rand() < 0.4);
	my $before = ask('SELECT sum(stored) FROM metricsdb.kafka_status');

	if ($victim eq 'worker')
	{
		kill 'KILL', $pid;
	}
	elsif ($victim eq 'backend')
	{
		kill 'KILL', $bystander->[1];
		for (1 .. 200) { last if quitting($pid); sleep 0.01; }
		kill 'CONT', $pid;
	}
	elsif ($victim eq 'postmaster')
	{
		$node->kill9;
		kill 'KILL', $pid;
		# Its children may take a moment to notice; until then it does not start.
		for (1 .. 100)
		{
			last if system('pg_ctl', '-s', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start') == 0;
			sleep 0.1;
		}
		$node->_update_pid(1);
	}
	else
	{
		$kafka->kill9;
		kill 'CONT', $pid;
		$kafka->start;
	}
	$_->[0]->kill_kill for grep { defined } $bystander, $holder;
	$holder = undef;
	$hits{$hit}++;
	$killed{$victim}++;
	wait_until("SELECT sum(stored) > $before FROM metricsdb.kafka_status", "it goes on after kill $n ($victim)");
	note("kill $n: $victim, $hit") if $n % 10 == 0;
}
is(($hits{'open transaction'} // 0) + ($hits{'unflushed batch'} // 0), $kills, 'every kill hit an open transaction or an unflushed batch');
diag(join ', ', map { "$_: $killed{$_}" } sort keys %killed);
diag(join ', ', map { "$_: $hits{$_}" } sort keys %hits);

# The end of the stream
$producer->signal('TERM');
$producer->finish;
my ($points) = $sent =~ /sent (\d+) points/ or die "the producer said: $sent";
cmp_ok($points, '>', 0, "$points points were produced");
wait_until("SELECT sum(consumed) >= $points AND sum(lag_messages) = 0 FROM metricsdb.kafka_status WHERE source = 'stream'", 'the rest is consumed');
is(ask("SELECT sum(consumed), sum(stored), sum(dead_letters), bool_and(balanced) FROM metricsdb.kafka_status WHERE source = 'stream'"),
	"$points|$points|0|t", 'the books balance with what was produced');
is(ask('SELECT count(*) FROM stream'), $points, 'so many points are in the table');
is(ask('SELECT count(*) FROM (SELECT 1 FROM stream GROUP BY metric_name, tags, time) s'), $points, 'each once');

# The same stream again, undisturbed: not only as many points, but the same ones.
$node->safe_psql('postgres', "SELECT metricsdb.create_kafka_source('again', '$brokers', 'again', 'again', 'metric_batch', options => '{\"max_age\": \"none\"}')");
IPC::Run::run([ $kafka->tool('fleet'), $brokers, 'again', @fleet, "points=$points" ], '>', \$sent) or die 'fleet failed';
wait_until("SELECT coalesce(sum(consumed), 0) >= $points FROM metricsdb.kafka_status WHERE source = 'again'", 'the second stream is consumed');
is(ask(q(SELECT count(*) FROM (SELECT metric_name, tags, time, value FROM stream EXCEPT ALL SELECT metric_name, tags, time, value FROM again) s)),
	0, 'they are those of the same stream, undisturbed');
is(ask('SELECT count(*) FROM bystander'), 0, 'what other backends had not committed is gone');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'nothing else crashed');

$node->stop;
done_testing();
