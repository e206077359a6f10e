# Rules beside a real Prometheus: it scrapes a server each second, and writes what it has scraped here (remote write).  Both
# evaluate one rule file, each second, and tell an Alertmanager of their own, which tells a webhook.  Alerts become pending,
# fire and are over at Prometheus' times, with its labels and annotations; where we promise something else, both are shown.
#
# Times are of evaluations, and compared in intervals of evaluation: TOLERANCE of them, and as many as Prometheus says that
# it has missed or that a scrape has taken.  Nothing here is about how fast anything is.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Time::Local qw(timegm);
use AlertTest;
use Prometheus;
use StorageTest qw(new_node);

# Two: both see a change at their next evaluation, which are at other parts of a second; what is computed of several samples
# may need one more.
use constant TOLERANCE => 2;

my $bin = $ENV{PROMETHEUS} || "$ENV{METRICSDB_RUN}/prometheus/usr/bin";
plan skip_all => 'Prometheus cannot be had here' if !-x "$bin/prometheus";

my $dir = "$ENV{METRICSDB_RUN}/prometheus-live-$$";
my $json = JSON::PP->new->canonical;
my $hook = AlertTest::receiver("$dir/hook");
my %am = map { $_ => AlertTest::alertmanager("$dir/am-$_", "$hook->{url}/$_") } qw(theirs ours);
# What is scraped comes by way of two more programs: it is waited for.
my $node = new_node('live', timezone => "'UTC'", 'metricsdb.alert_wait' => "'5s'", fsync => 'off');

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub wait_for { return AlertTest::wait_for(@_) }

my $rules = <<'END';
groups:
- name: live
  interval: 1s
  rules:
  - record: dc:load:max
    expr: max by (dc) (load{host=~"a|c"})
  - record: hot:count
    expr: count(load{host="a"} > 90)
  - alert: Hot
    expr: load{host=~"a|b"} > 90
    for: 5s
    labels: {severity: page, where: '{{ $labels.dc }}'}
    annotations: {summary: '{{ $labels.host }} is at {{ $value | humanize }}', plain: text}
  - alert: Keeps
    expr: load{host="c"} > 90
    keep_firing_for: 4s
  - alert: Lost
    expr: load{host="d"} > 90
    for: 10s
  - alert: LostKept
    expr: load{host="d"} > 90
    for: 10s
  - alert: Restart
    expr: load{host="r"} > 90
    for: 3s
  - alert: Waits
    expr: load{host="r"} > 90
    for: 5m
  - alert: Average
    expr: avg_over_time(load{host=~"a|c"}[4s]) > 60
    for: 2s
  - alert: Rate
    expr: rate(requests_total[4s]) > 55
    for: 1s
  - alert: Sum
    expr: sum by (app) (rate(requests_total[4s])) > 55
  - alert: MaxBy
    expr: max by (dc) (load{host!~"d|r"}) > 90
    for: 2s
    annotations: {value: '{{ $value }}'}
  - alert: Over
    expr: load > on (host) limit
  - alert: Gone
    expr: absent(beat{host="z"})
    for: 1s
  - alert: GoneOver
    expr: absent_over_time(beat[3s])
  - alert: Down
    expr: up{job="live"} == 0
  - alert: Recorded
    expr: dc:load:max > 90
    for: 2s
  - alert: RecordedEnds
    expr: hot:count > 0
  - alert: Late
    expr: max_over_time(late[2s]) > 90
END

# ---- what is scraped, by seconds since the beginning ----

my $began;
my $requests = 0;
sub between { my ($t, $from, $to) = @_; return $t >= $from && $t < $to }

sub exposition
{
	my ($t, $passed) = @_;
	my $late = $t - 3;

	$requests += $passed * (between($t, 5, 13) ? 100 : 10);
	return join "\n",
	  'load{host="a",dc="x"} ' . (between($t, 4, 16) ? 95 : 20),
	  'load{host="b",dc="x"} ' . (between($t, 4, 6.5) ? 95 : 20),
	  'load{host="c",dc="y"} ' . (between($t, 5, 11) ? 97 : 20),
	  'load{host="d",dc="z"} ' . ($t >= 9 ? 95 : 20),
	  'load{host="r",dc="z"} ' . ($t >= 4 ? 95 : 20),
	  'limit{host="a"} 90',
	  'requests_total{app="api"} ' . int($requests),
	  'requests_total{app="web"} ' . int($t * 10),
	  (between($t, 7, 13) ? () : 'beat{host="z"} 1'),
	  # Three seconds late.
	  'late{host="l"} ' . (between($late, 5, 11) ? 95 : 20) . ' @AGO(3000)@', '';
}
use constant LATE_FROM => 5;

AlertTest::put("$dir/metrics", exposition(0, 0));
my $scraped = IPC::Run::start([ 'python3', "$AlertTest::lib/scraped.py", $dir, $node->connstr('postgres'), 'm' ], '<', \undef, '>>', "$dir/scraped.log", '2>&1');
wait_for(sub { -e "$dir/port" }, 'what is to be scraped is there') or BAIL_OUT('see scraped.log');
my $port = AlertTest::slurp("$dir/port");

# ---- both ----

sql("SELECT metricsdb.create_metrics_table('m')");
sql("SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am{ours}{url}}')");
is(sql("SELECT string_agg(DISTINCT status, ' '), count(*) FROM metricsdb.import_prometheus_rules(\$x\$$rules\$x\$, 'm', targets => '{am}')"), 'created|19', 'rules are imported');
my $alerts = $rules =~ s/  - record.*\n.*\n//gr;
is(sql("SELECT string_agg(replace(rule, 'i:', ''), ' ' ORDER BY rule) FROM metricsdb.import_prometheus_rules(\$x\$$alerts\$x\$, 'm', prefix => 'i:', incremental => true) WHERE kind = 'threshold'"),
	'Average Down Hot Keeps Late Lost LostKept Rate Recorded RecordedEnds Restart Sum Waits', 'and once more, as thresholds where they can be');
sql("SELECT metricsdb.alter_alert('LostKept', absent => 'keep')");

AlertTest::put("$dir/rules.yml", $rules);
my $config = <<END;
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [$dir/rules.yml]
alerting:
  alertmanagers: [{static_configs: [{targets: ['127.0.0.1:$am{theirs}{port}']}]}]
scrape_configs:
- job_name: live
  static_configs: [{targets: ['127.0.0.1:$port']}]
remote_write:
- url: http://127.0.0.1:$port/write
  queue_config: {batch_send_deadline: 200ms, min_shards: 1, max_shards: 1}
  write_relabel_configs: [{source_labels: [__name__], regex: 'load|limit|requests_total|beat|late|up', action: keep}]
END
my $prometheus = Prometheus->new($bin, "$dir/prometheus");
my @options = ('--rules.alert.resend-delay=1s');
$prometheus->live($config, @options);
wait_for(sub { sql('SELECT count(*) > 0 FROM m') eq 't' }, 'samples come here');
wait_for(sub { sql("SELECT bool_and(health = 'ok') FROM metricsdb.alert_status") eq 't' }, 'all rules are well')
  or diag(sql("SELECT rule, health, last_error FROM metricsdb.alert_status WHERE health <> 'ok'"));

# play(until): what is scraped, up to that second.
sub play
{
	my ($until) = @_;
	my $last = time();

	while ((my $now = time()) < $began + $until)
	{
		my $t = $now - $began;
		AlertTest::put("$dir/metrics", exposition($t, $now - $last));
		# Scrapes that fail, which end all series for as long.
		if (between($t, 17, 19)) { AlertTest::put("$dir/fail", '') }
		else { unlink "$dir/fail" }
		$last = $now;
		usleep(100_000);
	}
	return;
}
$began = time();
my $missed_before = sql('SELECT sum(missed) FROM metricsdb.alert_status');
play(32);
my $ended = time();

# ---- histories: of each alert, when it became pending, fired and was over, in seconds ----

# What began before anything was scraped is left out.
# Evaluations of Prometheus leave samples: ALERTS, and of each active alert since when, by which one is told from the next.
sub theirs
{
	my $of = sub { my ($e) = @_; $e =~ s/([^\w])/sprintf('%%%02X', ord $1)/ge; return @{ $prometheus->api("query?time=$ended&query=$e")->{result} } };
	my (%active, %firing, %history);

	for my $s ($of->('ALERTS_FOR_STATE[5m]'))
	{
		delete $s->{metric}{__name__};
		$active{ $json->encode($s->{metric}) } = $s->{values};
	}
	for my $s ($of->('ALERTS{alertstate="firing"}[5m]'))
	{
		delete @{ $s->{metric} }{qw(__name__ alertstate)};
		$firing{ $json->encode($s->{metric}) } = $s->{values};
	}
	for my $key (keys %active)
	{
		my @all;
		for (@{ $active{$key} })
		{
			my ($at, $since) = @$_;
			push @all, { since => $since, active => $at } if !@all || $all[-1]{since} != $since;
			$all[-1]{over} = $at + 1;
		}
		for my $one (@all)
		{
			($one->{fired}) = map { $_->[0] } grep { $_->[0] >= $one->{active} && $_->[0] < $one->{over} } @{ $firing{$key} // [] };
			$one->{over} = undef if $one->{over} > $ended - 1.5;
		}
		@all = grep { $_->{active} > $began } @all;
		$history{$key} = \@all if @all;
	}
	return \%history;
}

sub ours
{
	my ($like) = @_;
	my %history;
	for (split /\n/, sql("SELECT labels, from_state, to_state, extract(epoch FROM at) FROM metricsdb.alert_history WHERE $like AND at > to_timestamp($began) ORDER BY event_id"))
	{
		my ($labels, $from, $to, $at) = /^(.*)\|(\w+)\|(\w+)\|([\d.]+)$/ or die $_;
		my $key = $json->encode($json->decode($labels));
		my $all = $history{$key} //= [];
		next if $at > $ended;
		push @$all, { active => $at } if $from =~ /^(inactive|resolved)$/;
		next if !@$all;
		$all->[-1]{fired} = $at if $to eq 'firing' && !$all->[-1]{fired};
		$all->[-1]{over} = $at if $to =~ /^(inactive|resolved)$/;
	}
	return \%history;
}

sub told { my ($h, $only) = @_; return join "\n", map { my $k = $_; $k !~ $only ? () : "$k " . join(', ', map { my $e = $_; join ' ', map { "$_ " . ($e->{$_} ? sprintf('%.2f', $e->{$_} - $began) : '-') } qw(active fired over) } @{ $h->{$k} }) } sort keys %$h }

# How they differ, as text.
sub differences
{
	my ($theirs, $ours, $tolerance, $only) = @_;
	my @bad;
	for my $key (grep { $_ =~ $only } sort keys %{ { %$theirs, %$ours } })
	{
		my ($a, $b) = ($theirs->{$key} // [], $ours->{$key} // []);
		if (@$a != @$b) { push @bad, "$key: " . @$a . ' times there, ' . @$b . ' here'; next }
		for my $i (0 .. $#$a)
		{
			for my $what (qw(active fired over))
			{
				my ($x, $y) = ($a->[$i]{$what}, $b->[$i]{$what});
				next if !defined $x && !defined $y;
				push @bad, "$key, $what: " . ($x // 'not') . ' there, ' . ($y // 'not') . ' here' if !defined $x || !defined $y || abs($x - $y) > $tolerance;
			}
		}
	}
	return join "\n", @bad;
}

wait_for(sub { sql("SELECT bool_and(last_tick > to_timestamp($ended)) FROM metricsdb.alert_status") eq 't' }, 'all ticks of these times have been taken');
my $missed = 0;
for my $s (@{ $prometheus->api('query?query=prometheus_rule_group_iterations_missed_total')->{result} }) { $missed += $s->{value}[1] }
my $slow = 0;
for my $s (@{ $prometheus->api('query?query=max_over_time(scrape_duration_seconds[5m])')->{result} }) { $slow = $s->{value}[1] if $s->{value}[1] > $slow }
my $tolerance = TOLERANCE + $missed + int($slow + 0.5);
note sprintf 'tolerance: %d evaluations, of which %d were missed by Prometheus; a scrape took %.3f s at most', $tolerance, $missed, $slow;
my $missed_here = sql('SELECT sum(missed) FROM metricsdb.alert_status');
is($missed_here - $missed_before, 0, 'no evaluation was missed here');

my $other = qr/"alertname":"(Late|LostKept)"/;
my ($theirs, $ours) = (theirs(), ours("rule NOT LIKE 'i:%'"));
my %names = map { /"alertname":"(\w+)"/ ? ($1 => 1) : () } keys %$theirs;
is(join(' ', sort keys %names), 'Average Down Gone GoneOver Hot Keeps Lost LostKept MaxBy Over Rate Recorded RecordedEnds Restart Sum Waits', 'there each rule but the late one had alerts');
is(differences($theirs, $ours, $tolerance, qr/^(?!.*$other)/), '', 'alerts are pending, fire and are over at the times that they are there')
  or diag("there:\n", told($theirs, qr/./), "\nhere:\n", told($ours, qr/./));
my ($b) = grep { /Hot/ && /"host":"b"/ } keys %$theirs;
is($theirs->{$b}[0]{fired}, undef, 'what does not last does not fire, there');
is(scalar(grep { /Restart/ && @{ $theirs->{$_} } == 2 } keys %$theirs), 1, 'what fired while scrapes failed was over, there, and began anew');

# Rules of kind threshold: what a failed scrape ends does not end there.
my $i = ours("rule LIKE 'i:%'");
my $followed = qr/"alertname":"(Average|Hot|Keeps|Rate|Sum|Down)"/;
is(differences($theirs, $i, $tolerance, $followed), '', 'so are those of rules that follow what is written')
  or diag("there:\n", told($theirs, $followed), "\nhere:\n", told($i, $followed));

is(sql("SELECT count(*) FROM m WHERE metric_name = 'hot:count' AND metricsdb.promql_stale(value)"), '1', 'what is recorded is marked as ended once');

# ---- what the Alertmanagers were told ----

# Of each alert the last that its webhook heard.
sub heard
{
	my ($path) = @_;
	my %last;
	for my $r ($hook->requests("/$path"))
	{
		$last{ $json->encode($_->{labels}) } = $_ for @{ $r->{body}{alerts} };
	}
	return \%last;
}
sub seconds { my ($t) = @_; my @f = ($t // '') =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(\.\d+)?Z$/ or return 0; return timegm($f[5], $f[4], $f[3], $f[2], $f[1] - 1, $f[0]) + ($f[6] // 0) }

sub heard_differ
{
	my ($a, $b) = map { heard($_) } qw(theirs ours);
	my @bad;
	for my $key (grep { $_ !~ $other } sort keys %{ { %$a, %$b } })
	{
		my ($x, $y) = ($a->{$key}, $b->{$key});
		if (!$x || !$y) { push @bad, "$key: not told of " . ($x ? 'here' : 'there'); next }
		push @bad, "$key: $x->{status} there, $y->{status} here" if $x->{status} ne $y->{status};
		push @bad, "$key: annotations" if $json->encode($x->{annotations}) ne $json->encode($y->{annotations});
		for my $what ('startsAt', $x->{status} eq 'resolved' ? 'endsAt' : ())
		{
			push @bad, "$key: $what is $x->{$what} there, $y->{$what} here" if abs(seconds($x->{$what}) - seconds($y->{$what})) > $tolerance;
		}
	}
	return join "\n", @bad;
}
wait_for(sub { heard_differ() eq '' }, 'both Alertmanagers tell of the same alerts, labels, annotations, starts and ends', 20) or diag(heard_differ());
is(join(' ', sort map { $json->decode($_)->{alertname} } grep { heard('theirs')->{$_}{status} eq 'firing' } keys %{ heard('theirs') }), 'Lost LostKept Over Restart' =~ s/ Over//r, 'of which these fire yet');

# ---- where we promise something else ----

# Scrapes that are lost: there what was pending begins anew, and fires later.
my ($lost) = grep { /"LostKept"/ } keys %$theirs;
is(scalar @{ $theirs->{$lost} }, 2, 'lost scrapes: there "for" begins anew');
is(scalar @{ $ours->{$lost} }, 1, '... with absent => keep it does not');
cmp_ok(abs($ours->{$lost}[0]{active} - $theirs->{$lost}[0]{active}), '<=', $tolerance, '... it began when it did there');
is($ours->{$lost}[0]{fired} - $ours->{$lost}[0]{active}, 10, '... and fires after its time');
cmp_ok($theirs->{$lost}[1]{fired} - $ours->{$lost}[0]{fired}, '>', 5, '... while there it is late');

# Samples that come late.
is(scalar(grep { /"Late"/ } keys %$theirs), 0, 'late samples: there none is looked at in time, and nothing fires');
my ($late) = grep { /"Late"/ } keys %$ours;
is(scalar @{ $ours->{$late} }, 1, '... here it does, once');
cmp_ok(abs($ours->{$late}[0]{fired} - $began - LATE_FROM), '<=', $tolerance, '... at the time of the samples')
  or diag(told($ours, qr/Late/));

# A restart: there what fires is pending again, here it goes on.
sub alert_of { my ($name) = @_; my ($a) = grep { $_->{labels}{alertname} eq $name } @{ $prometheus->api('alerts')->{alerts} }; return $a }
my $before = alert_of('Restart');
my $waited = alert_of('Waits');
my $starts = sql("SELECT starts_at FROM metricsdb.alerts WHERE rule = 'Restart'");
my $since = sql("SELECT active_since FROM metricsdb.alerts WHERE rule = 'Waits'");
my $events = sql("SELECT count(*) FROM metricsdb.alert_history WHERE rule IN ('Restart', 'Waits')");
$prometheus->kill;
$node->stop('immediate');
$node->start;
$prometheus->live($config, @options);
wait_for(sub { alert_of('Restart') }, 'both are killed, and started again');
isnt(alert_of('Restart')->{activeAt}, $before->{activeAt}, 'a restart: there what fired begins anew');
wait_for(sub { alert_of('Waits') }, '... what waits to fire is there, too');
isnt(alert_of('Waits')->{activeAt}, $waited->{activeAt}, '... and begins anew, there');
wait_for(sub { sql("SELECT bool_and(evaluated_at > pg_postmaster_start_time()) FROM metricsdb.alert_status WHERE rule IN ('Restart', 'Waits')") eq 't' }, '... here it is evaluated');
is(sql("SELECT state || ' ' || starts_at FROM metricsdb.alerts WHERE rule = 'Restart'"), "firing $starts", '... and fires since it did');
is(sql("SELECT state || ' ' || active_since FROM metricsdb.alerts WHERE rule = 'Waits'"), "pending $since", '... or waits, since it did');
is(sql("SELECT count(*) FROM metricsdb.alert_history WHERE rule IN ('Restart', 'Waits')"), $events, '... without a word in between');

$prometheus->stop;
$scraped->kill_kill(grace => 2);
$node->stop('fast');
$_->stop for values %am;
system('rm', '-rf', $dir) if Test::More->builder->is_passing;
done_testing();
