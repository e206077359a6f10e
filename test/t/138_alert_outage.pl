# The database is away for an hour, then its broker, then its Alertmanager: by a clock that is put forward (lib/clock.c).
# Afterwards what fired fires, since it did, unless the samples of that hour say otherwise; what was over is told as that;
# ticks that were missed are counted; nothing is told that was not so, and receivers are told each thing once, or, those
# that forget, a few times.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IO::Handle;
use JSON::PP;
use KafkaTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use AlertTest;

my $dir = "$ENV{METRICSDB_RUN}/alert-outage-$$";
mkdir $dir;
my $hook = AlertTest::receiver("$dir/hook");
my $am = AlertTest::alertmanager("$dir/am");
my $kafka = KafkaTest->new('outage');
my $json = JSON::PP->new->canonical;
use constant { HOUR => 3600, MANY => 300 };

# ---- a clock, three hours behind: the last hour ends now ----

my $clock = "$dir/clock";
my $wrong_by;

# All read it by mmap: the file stays the same.
sub set_clock
{
	($wrong_by) = @_;
	open my $f, '+>', $clock or die $! if !-e $clock;
	open $f, '+<', $clock or die $!;
	syswrite $f, pack('q', $wrong_by * 1_000_000) or die $!;
	return;
}
sub now { return Time::HiRes::time() + $wrong_by }
set_clock(-3 * HOUR);

my $node = PostgreSQL::Test::Cluster->new('outage');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'metricsdb'
	max_worker_processes = 24
	fsync = off
	timezone = UTC
	metricsdb.alert_resend_delay = '5s'
	CONF

sub start
{
	local $ENV{METRICSDB_CLOCK} = $clock;
	local $ENV{LD_PRELOAD} = join ' ', $ENV{LD_PRELOAD} || (), $kafka->tool('clock');
	$node->start;
	return;
}
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub wait_for { return AlertTest::wait_for(@_) }
sub comes { my ($query, $what) = @_; return wait_for(sub { sql($query) eq 't' }, $what) || diag(sql('TABLE metricsdb.alert_status'), "\n", sql('TABLE metricsdb.alerts')) }

# ---- samples: of each host, two a second, as long as they are produced; and those of hours gone ----

my %partition = (a => 0, b => 1, c => 0, d => 1, e => 1);
sub message { my ($host, $at, $value) = @_; return [ $partition{$host}, undef, metric(name => 'cpu', tags => [ host => $host ], time => int($at * 1000), value => $value), int($at * 1000) ] }

my $producer;

sub produce
{
	my (%values) = @_;
	$producer = fork // die $!;
	return if $producer;
	open(my $out, '|-', $kafka->tool('kput') . " $kafka->{address} m >/dev/null 2>&1") or POSIX::_exit(1);
	$out->autoflush(1);
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	my $parent = getppid;
	while (getppid == $parent && !-e "$dir/still")
	{
		my $at = Time::HiRes::time() + unpack('q', AlertTest::slurp($clock)) / 1e6;
		print $out join('', map { KafkaTest::line(@{ message($_, $at, $values{$_}) }) } sort keys %values);
		usleep(500_000);
	}
	close $out;
	POSIX::_exit(0);
}

sub be_still
{
	AlertTest::put("$dir/still", '');
	waitpid $producer, 0;
	$producer = undef;
	unlink "$dir/still";
	return;
}

# hour(from, host => sub of the minute, ...): a sample each ten seconds.
sub hour
{
	my ($from, %of) = @_;
	$kafka->put('m', map { my $s = 10 * $_; map { message($_, $from + $s, $of{$_}->($s / 60)) } sort keys %of } 1 .. HOUR / 10 - 1);
	return;
}

# ---- rules ----

start();
$kafka->topic('create', 'm', 2);
is(sql("SELECT now() < to_timestamp(@{[ time() - 2.9 * HOUR ]})"), 't', 'the clock is three hours behind');
my $of_hosts = q{SELECT tags->>'host' AS host, max(value) AS value FROM public.m WHERE metric_name = 'cpu' AND time > metricsdb.eval_time() - interval '30 s' AND time <= metricsdb.eval_time()};
sql(<<~SQL);
	CREATE EXTENSION metricsdb;
	SELECT metricsdb.create_metrics_table('m');
	SELECT metricsdb.create_kafka_source('m', '$kafka->{address}', 'm', 'm', 'metric', options => '{"flush_interval": "200 ms", "lateness": "2 s"}');
	SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am->{url}}');
	SELECT metricsdb.create_alert_target('hook', 'webhook', '{$hook->{url}/told}');
	SELECT metricsdb.create_alert('query', query => \$\$$of_hosts AND tags->>'host' <> 'e' GROUP BY 1\$\$, every => '1 s', hold => '2 s', op => '>', threshold => 90, targets => '{am,hook}');
	SELECT metricsdb.create_alert('threshold', source => 'm', metric => 'cpu', matchers => '{host!="e"}', aggregate => 'max', "window" => '30 s', by => '{host}', every => '1 s', hold => '2 s',
		op => '>', threshold => 90, targets => '{am,hook}');
	SELECT metricsdb.create_alert('held', query => \$\$$of_hosts AND tags->>'host' = 'e' GROUP BY 1\$\$, every => '1 s', hold => '10 min', op => '>', threshold => 90, targets => '{am,hook}');
	SELECT metricsdb.create_alert('dead', source => 'm', metric => 'cpu', silent_for => '2 min', every => '1 s', targets => '{am,hook}');
	CREATE TABLE cond (host text, v float8);
	INSERT INTO cond SELECT 'h' || i, 100 FROM generate_series(1, @{[ MANY ]}) i;
	SELECT metricsdb.create_alert('many', query => 'SELECT host, v AS value FROM public.cond', every => '1 s', op => '>', threshold => 90, targets => '{am}');
	SQL

sub firing { my ($rule, $hosts) = @_; return "SELECT string_agg(labels->>'host', '' ORDER BY labels->>'host') = '$hosts' FROM metricsdb.alerts WHERE rule = '$rule' AND state = 'firing'" }
sub starts { return sql(q{SELECT string_agg(rule || ' ' || (labels->>'host') || ' ' || starts_at, E'\n' ORDER BY rule, labels->>'host') FROM metricsdb.alerts WHERE state = 'firing' AND (rule = 'many' OR labels->>'host' = 'a')}) }
sub events { my ($rule, $host) = @_; return sql("SELECT string_agg(to_state, ' ' ORDER BY event_id) FROM metricsdb.alert_history WHERE rule = '$rule' AND labels->>'host' = '$host'") }
sub missed { my ($rule) = @_; return sql("SELECT missed FROM metricsdb.alert_status WHERE rule = '$rule'") }
# caught_up(what): all rules have been evaluated at times that are now.
sub caught_up { my ($what) = @_; my $now = now(); return comes("SELECT bool_and(last_tick > to_timestamp($now)) FROM metricsdb.alert_status WHERE enabled", $what) }
# What the webhook was told of a host, in order: rule, and what became of it.
sub told { my ($rule, $host) = @_; return join ' ', map { $_->{labels}{alertname} eq $rule && $_->{labels}{host} eq $host ? $_->{status} : () } map { @{ $_->{body}{alerts} } } $hook->requests }
# What the Alertmanager was sent, by its own count.
sub received
{
	my $r = $am->{http}->get("$am->{url}/metrics");
	my %n = map { /^alertmanager_alerts_received_total\{status="(\w+)",version="v2"\} (\S+)/ ? ($1 => $2) : () } split /\n/, $r->{content};
	return \%n;
}

produce(a => 95, b => 95, c => 20, d => 20, e => 95);
comes(firing($_, 'ab'), "$_: two fire") for qw(query threshold);
comes(q{SELECT count(*) = 1 FROM metricsdb.alerts WHERE rule = 'held' AND state = 'pending'}, 'one is pending');
comes("SELECT count(*) = @{[ MANY ]} FROM metricsdb.alerts WHERE rule = 'many' AND state = 'firing'", 'many others fire');
wait_for(sub { told('query', 'b') && told('threshold', 'b') && received()->{firing} + received()->{resolved} >= MANY }, 'which is told');
my $starts = starts();

# Each hour b cools down, c becomes hot, and e is so as it begins and ends; d is hot within it.
sub play_hour
{
	my ($from) = @_;
	hour($from, a => sub { 95 }, b => sub { $_[0] < 30 ? 95 : 20 }, c => sub { $_[0] < 40 ? 20 : 95 }, d => sub { $_[0] >= 20 && $_[0] < 25 ? 95 : 20 }, e => sub { $_[0] < 5 || $_[0] > 58 ? 95 : 20 });
	return;
}

# ---- the database ----

be_still();
# What was told but is not on the disk as told would be told again.
comes('SELECT bool_and(queued = 0) FROM metricsdb.alert_targets', 'nothing waits to be told');
sql('CHECKPOINT');
$node->stop('immediate');
my $from = now();
play_hour($from);
set_clock(-2 * HOUR);
produce(a => 95, b => 20, c => 95, d => 20, e => 95);
start();
caught_up('the database was away for an hour: it catches up');
comes(firing($_, 'ac'), "$_: what was hot fires, what became hot, too") for qw(query threshold);
is(starts(), $starts, 'what fired does so since it did');
is(events($_, 'a'), 'pending firing', "$_: without a word in between") for qw(query threshold);
is(events($_, 'b'), 'pending firing resolved', "$_: what cooled down is over") for qw(query threshold);
is(events('many', 'h1'), 'firing', 'what does not ask for samples fires');
is(sql('SELECT count(*) FROM metricsdb.alert_history WHERE rule = \'dead\''), 0, 'nobody was silent: samples were there, only later');
is(sql(q{SELECT state FROM metricsdb.alerts WHERE rule = 'held'}), 'pending', 'time that nobody looked at is not time for which it held');
for my $rule (qw(query threshold many))
{
	cmp_ok(missed($rule), '>', HOUR - 120, "$rule: missed ticks are counted");
	cmp_ok(missed($rule), '<', HOUR + 120, '... as many as there were, so that few were taken');
}
wait_for(sub { told('query', 'b') eq 'firing resolved' && told('threshold', 'b') eq 'firing resolved' }, 'the end is told');
wait_for(sub { told('query', 'c') eq 'firing' && told('threshold', 'c') eq 'firing' }, 'and the beginning');
is(told('query', 'a') . told('threshold', 'a'), 'firingfiring', 'what went on was told once, before');
is(events('query', 'd'), '', 'what began and ended in ticks that were missed is not told');

# ---- the broker ----

# Samples that come only then are late: without absent => keep hosts of which there is nothing would be over.
sql("SELECT metricsdb.alter_alert('query', absent => 'keep'), metricsdb.alter_alert('threshold', absent => 'keep'), metricsdb.disable_alert('dead')");
be_still();
my %missed = map { $_ => missed($_) } qw(query threshold many);
$from = now();
$kafka->kill9;
comes(q{SELECT reason ~ 'has no connection to its brokers|lags' FROM metricsdb.watermarks}, 'the broker goes');
set_clock(-1 * HOUR);
comes(q{SELECT bool_and(health = 'late' AND lag > '59 min' AND last_error ~ 'waiting for data of table "m"') FROM metricsdb.alert_status WHERE rule IN ('query', 'threshold')}, 'after an hour its rules are late, and say so');
comes(q{SELECT health = 'ok' FROM metricsdb.alert_status WHERE rule = 'many'}, 'others are not');
comes("SELECT min(sent_at) > to_timestamp(@{[ $from + HOUR - 60 ]}) FROM metricsdb.alert_sent s JOIN metricsdb.alert_outbox o USING (target_id, rule_id, key) JOIN metricsdb.alert_target t USING (target_id) WHERE t.name = 'am' AND o.state = 'firing'",
	'what fires is told again, so that the Alertmanager does not forget it');
is(starts(), $starts, 'and does so since it did');
$kafka->start;
play_hour($from);
produce(a => 95, b => 20, c => 95, d => 20, e => 95);
caught_up('the broker is back: rules catch up');
comes(firing($_, 'ac'), "$_: as before") for qw(query threshold);
is(starts(), $starts, 'what fired does so since it did');
is(events($_, 'a'), 'pending firing', "$_: without a word in between") for qw(query threshold);
is(told('query', 'a') . told('threshold', 'a'), 'firingfiring', 'which was told once, before');
for my $rule (qw(query threshold many))
{
	cmp_ok(missed($rule) - $missed{$rule}, '>', HOUR - 180, "$rule: missed ticks are counted");
	cmp_ok(missed($rule) - $missed{$rule}, '<', HOUR + 120, '... as many as there were');
}

# ---- the Alertmanager ----

$am->stop('KILL');
comes(q{SELECT state = 'failing' FROM metricsdb.alert_targets WHERE name = 'am'}, 'the Alertmanager goes');
be_still();
set_clock(0);
produce(a => 95, b => 95, c => 20, d => 20, e => 20);
sql(q{DELETE FROM cond WHERE host < 'h2'});
my $gone = sql(q{SELECT count(*) FROM metricsdb.alerts WHERE rule = 'many' AND labels->>'host' < 'h2'});
caught_up('an hour later rules are evaluated');
comes(firing($_, 'ab'), "$_: one cools down, one becomes hot") for qw(query threshold);
comes("SELECT queued > $gone AND oldest_queued_at > to_timestamp($from) FROM metricsdb.alert_targets WHERE name = 'am'", 'what waits to be told is shown');
my $began = Time::HiRes::time();
$am->start;
# This is what it holds for true by its own clock.
my $held = sub { my %h; $h{ $_->{labels}{alertname} }{ $_->{labels}{host} } = $_->{startsAt} for $am->alerts; return \%h };
my $left = MANY - $gone;
wait_for(sub { my $h = $held->(); join('', sort keys %{ $h->{query} }) eq 'ab' && join('', sort keys %{ $h->{threshold} }) eq 'ab' && keys %{ $h->{many} } == $left }, 'it is back, and holds what fires: nothing else');
my $h = $held->();
my %as_it_was = map { /^(\w+) (\w+) (\S+ [^+.]+)/ ? ("$1 $2" => $3 =~ s/ /T/r) : () } split /\n/, $starts;
my @wrong = grep { my ($rule, $host) = split / /; my $at = $h->{$rule}{$host}; defined $at && substr($at, 0, 19) ne $as_it_was{$_} } sort keys %as_it_was;
is(join(', ', @wrong), '', 'all with the starts that they had three hours ago');
wait_for(sub { sql("SELECT state, queued FROM metricsdb.alert_targets WHERE name = 'am'") eq 'ok|0' }, 'nothing waits any more');
# What it was sent until then: each alert that fires, or is over, a few times at most, in few requests.
my $got = received();
cmp_ok($got->{resolved}, '>=', $gone, 'it was told what is over');
my $seconds = Time::HiRes::time() - $began;
cmp_ok($got->{firing} + $got->{resolved}, '<=', (MANY + 10) * (3 + $seconds / 5), 'and not flooded: each alert as often as it is told again, and once or twice more');

be_still();
$node->stop('fast');
$am->stop;
system('rm', '-rf', $dir);
done_testing();
END { kill 'TERM', $producer if $producer }
