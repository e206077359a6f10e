# Expressions of Prometheus against a real Prometheus that has the same samples: metricsdb.promql() tells the same, to
# 1e-9 of it, or both refuse.
#
# Random expressions of all that is translated are asked at random instants, of a usual table and of one whose labels
# are columns.
#
#   METRICSDB_EXPRESSIONS=n	random expressions (250)
#   METRICSDB_SEED=n	to repeat a run
# Unit tests of rules, on random series, are then given to run_alert_tests() and to promtool: they say the same.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;
use JSON::PP;
use Time::HiRes qw(time);
use Prometheus;
use StorageTest;

my $bin = $ENV{PROMETHEUS} || "$ENV{METRICSDB_RUN}/prometheus/usr/bin";
plan skip_all => 'Prometheus cannot be had here' if !-x "$bin/prometheus";

my $expressions = $ENV{METRICSDB_EXPRESSIONS} || 250;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

my $json = JSON::PP->new->canonical->allow_nonref;

# ---------- samples ----------

my $begin = 1_700_000_000_000 - 1_700_000_000_000 % 60_000;
my $end = $begin + 3600_000;
my %samples;

# A series: its points may have gaps, and end before the others do.
sub series
{
	my ($labels, $kind) = @_;
	my $step = pick(15, 15, 30, 60);
	my $gaps = pick(0, 0, 0.1);
	my $from = chance(0.8) ? $begin : $begin + int(rand(1_800_000));
	my $to = chance(0.8) ? $end : $end - int(rand(2_400_000));
	my $v = $kind eq 'counter' ? int(rand(1000)) : rand(100);
	my @points;

	for (my $t = $from + $step * 1000 - $from % ($step * 1000) + (chance(0.5) ? 0 : int(rand(9999))); $t <= $to; $t += $step * 1000)
	{
		$v = chance(0.02) ? int(rand(10)) : $v + int(rand(50)) if $kind eq 'counter';
		$v += rand(10) - 5 if $kind eq 'gauge';
		$v += int(rand(3)) if $kind eq 'bucket';
		next if chance($gaps);
		push @points, [ $t, $kind eq 'gauge' && chance(0.002) ? pick('NaN', '+Inf') : $kind eq 'bucket' ? $v * (1 + $labels->{rank}) : $v ];
	}
	delete $labels->{rank};
	$samples{ $json->encode($labels) } = { labels => $labels, samples => \@points } if @points;
}

for my $job ('api', 'web', 'db')
{
	for my $n (1 .. 4)
	{
		my %labels = (job => $job, instance => "$job-$n", (chance(0.7) ? (env => pick('prod', 'dev')) : ()));
		series({ __name__ => 'requests_total', %labels, code => $_ }, 'counter') for '200', '500';
		series({ __name__ => 'temperature', %labels }, 'gauge');
		series({ __name__ => 'limit', %labels }, 'gauge') if chance(0.8);
		my $rank = 0;
		series({ __name__ => 'took_bucket', %labels, le => $_, rank => $rank++ }, 'bucket') for '0.1', '0.5', '1', '+Inf';
	}
	series({ __name__ => 'info', job => $job, version => pick('1', '2') }, 'gauge');
}

my $node = new_node('promql', 'metricsdb.direct_rows' => 50, autovacuum => 'off', timezone => "'UTC'", jit => 'off');
my $s = session($node);

sub sql
{
	my ($q) = @_;
	my $r = $s->query($q);
	die "connection lost at: $q\n$s->{last}" if !defined $r;
	die "$q\n$r" if $r =~ /ERROR/;
	return $r;
}

sql('SET search_path = public, metricsdb');
sql("SELECT create_metrics_table('m')");
sql('CREATE TABLE wide (time timestamptz, job text, instance text, env text, code text, le text, version text, requests_total int8, temperature float8, "limit" float8, took_bucket numeric, info float8) USING metricsdb');
{
	my $file = "$node->{_basedir}/rows";
	open my $f, '>', $file or die $!;
	for my $key (sort keys %samples)
	{
		my %labels = %{ $samples{$key}{labels} };
		my $name = delete $labels{__name__};
		for (@{ $samples{$key}{samples} })
		{
			my $v = Prometheus::text($_->[1]);
			$v =~ s/Inf/Infinity/;
			printf $f "%s\t%s\t%d\t%s\n", $name, $json->encode(\%labels), $_->[0], $v;
		}
	}
	close $f;
	sql('CREATE TABLE src (name text, tags jsonb, ms int8, v float8)');
	sql("COPY src FROM '$file'");
	sql(q{INSERT INTO m (metric_name, tags, time, value) SELECT name, tags, to_timestamp(ms / 1000) + ms % 1000 * interval '1 ms', v FROM src});
	sql(q{INSERT INTO wide SELECT to_timestamp(ms / 1000) + ms % 1000 * interval '1 ms', tags->>'job', tags->>'instance', tags->>'env', tags->>'code',
		tags->>'le', tags->>'version', CASE name WHEN 'requests_total' THEN v END, CASE name WHEN 'temperature' THEN v END, CASE name WHEN 'limit' THEN v END,
		CASE name WHEN 'took_bucket' THEN v END, CASE name WHEN 'info' THEN v END FROM src});
	sql('CALL compact(' . "'$_')") for 'm', 'wide';
	sql('ANALYZE m, wide');
}
my $prometheus = Prometheus->new($bin, "$ENV{METRICSDB_RUN}/tap/promql_$$");
$prometheus->start(\%samples);
cmp_ok(scalar(keys %samples), '>', 50, 'series');

# ---------- expressions ----------

sub duration { return pick('30s', '1m', '2m', '5m', '10m', '1m30s') }

sub matchers
{
	return '' if chance(0.4);
	my @m = map {
		pick(
			'job="api"', 'job!="web"', 'job=~"a.*|db"', 'env="prod"', 'env!="prod"', 'env=""', 'instance=~".*-[12]"', 'instance!~".*-1"', 'job=~".+"',
			'version="1"')
	} 1 .. pick(1, 1, 2);
	return '{' . join(', ', @m) . '}';
}

sub offset { return chance(0.85) ? '' : pick(' offset 5m', ' offset -1m', ' offset 90s', ' @ ' . int($begin / 1000 + rand(3600)), ' @ end() offset 1m') }

sub metric { return pick('requests_total', 'temperature', 'temperature', 'limit', 'took_bucket', 'info', 'none_such') }
sub instant { return metric() . matchers() . offset() }

sub range
{
	my ($depth) = @_;
	return '(' . vector($depth - 1) . ')[' . pick('5m', '10m') . ':' . pick('', '30s', '1m', '90s') . ']' . (chance(0.8) ? '' : ' offset 1m') if $depth > 1 && chance(0.12);
	return metric() . matchers() . '[' . duration() . ']' . offset();
}

sub scalar_of
{
	my ($depth) = @_;
	return pick(0, 1, 5, 50, 100, 0.5, -3, '1e2', 'Inf', 'pi()') if $depth <= 0 || chance(0.7);
	return pick(
		sub { 'time() - ' . int($begin / 1000) },
		sub { 'scalar(' . vector($depth - 1) . ')' },
		sub { '(' . scalar_of($depth - 1) . pick(' + ', ' - ', ' * ', ' / ', ' ^ ', ' % ', ' atan2 ', ' > bool ', ' == bool ') . scalar_of($depth - 1) . ')' },
		sub { '-' . scalar_of($depth - 1) })->();
}

sub names { return join(', ', map { pick('job', 'instance', 'env', 'code', 'nothing') } 1 .. pick(0, 1, 1, 2)) }
sub grouping { return chance(0.3) ? '' : ' ' . pick('by', 'by', 'without') . ' (' . names() . ') ' }

sub matching
{
	my ($groups) = @_;
	return ' ' if chance(0.35);
	my $m = chance(0.6) ? ' on(' . pick('job', 'instance', 'job, instance', 'job, env', '') . ') ' : ' ignoring(' . pick('code', 'env', 'le', 'code, le', 'version') . ') ';
	$m .= pick('', '', 'group_left() ', 'group_right() ', 'group_left(version) ') if $groups;
	return $m;
}

sub vector
{
	my ($depth) = @_;

	return instant() if $depth <= 0;
	return pick(
		\&instant,
		sub { pick('rate', 'increase', 'delta', 'irate', 'idelta', 'changes', 'resets', 'avg_over_time', 'sum_over_time', 'min_over_time', 'max_over_time', 'count_over_time', 'last_over_time', 'present_over_time', 'stddev_over_time', 'stdvar_over_time') . '(' . range($depth) . ')' },
		sub { 'rate(' . metric() . matchers() . '[' . duration() . '])' },
		sub { pick('quantile_over_time(' . pick(0, 0.3, 0.9, 1) . ', ' . range($depth) . ')', 'predict_linear(' . range($depth) . ', ' . pick(60, 600) . ')') },
		sub { pick('sum', 'avg', 'min', 'max', 'count', 'group', 'stddev', 'stdvar') . grouping() . '(' . vector($depth - 1) . ')' },
		sub { pick('sum', 'sum', 'count', 'max') . grouping() . '(' . vector($depth - 1) . ')' },
		sub { 'quantile' . grouping() . '(' . pick(0.1, 0.5, 1) . ', ' . vector($depth - 1) . ')' },
		sub { pick('topk', 'bottomk') . grouping() . '(' . pick(1, 2, 5) . ', temperature' . matchers() . ')' },
		sub { pick('abs', 'ceil', 'floor', 'exp', 'ln', 'log2', 'log10', 'sqrt', 'round', 'sgn', 'sin', 'atan', 'tanh', 'deg', 'rad', 'sort', 'timestamp') . '(' . vector($depth - 1) . ')' },
		sub { pick('round(' . vector($depth - 1) . ', ' . pick(5, 0.1) . ')', 'clamp_min(' . vector($depth - 1) . ', 20)', 'clamp_max(' . vector($depth - 1) . ', 50)', 'clamp(' . vector($depth - 1) . ', 10, ' . pick(5, 60) . ')') },
		sub { pick('hour', 'minute', 'month', 'year', 'day_of_week', 'day_of_month', 'day_of_year', 'days_in_month') . pick('()', '(timestamp(' . vector($depth - 1) . '))', '(requests_total * 1e6)', '(-requests_total * 1e5)') },
		sub { 'absent(' . vector($depth - 1) . ')' },
		sub { 'absent_over_time(' . range($depth) . ')' },
		sub { 'vector(' . scalar_of($depth) . ')' },
		sub { 'histogram_quantile(' . pick(0.5, 0.9, 0.99) . ', sum by (' . pick('le', 'job, le', 'le, instance') . ') (rate(took_bucket' . matchers() . '[' . duration() . '])))' },
		sub { 'label_join(' . vector($depth - 1) . ', "' . pick('to', 'env', 'instance') . '", "-", ' . join(', ', map { pick('"job"', '"env"', '"instance"') } 1 .. pick(1, 2)) . ')' },
		sub { '-' . vector($depth - 1) },
		sub { '(' . vector($depth - 1) . pick(' + ', ' - ', ' * ', ' / ') . scalar_of($depth - 1) . ')' },
		sub { '(' . scalar_of($depth - 1) . pick(' + ', ' - ', ' * ', ' / ', ' ^ ') . vector($depth - 1) . ')' },
		sub { '(' . vector($depth - 1) . pick(' > ', ' < ', ' >= ', ' <= ', ' == ', ' != ', ' > bool ', ' < bool ') . scalar_of($depth - 1) . ')' },
		sub { '(' . pick(20, 100) . pick(' > ', ' < ', ' != ', ' <= bool ') . vector($depth - 1) . ')' },
		sub { '(' . vector($depth - 1) . pick(' + ', ' - ', ' * ', ' / ', ' > ', ' < ', ' != ', ' >= bool ') . matching(1) . vector($depth - 1) . ')' },
		sub { '(' . instant() . pick(' + ', ' / ', ' > ', ' <= ') . pick(' ', ' on(job, instance, env) ', ' on(instance) ', ' ignoring(code) group_right() ', ' ignoring(code) group_left() ') . instant() . ')' },
		sub { '(sum by (job, instance) (' . vector($depth - 1) . ')' . pick(' / ', ' - ', ' > ') . pick('on(job) group_left() ', 'on(job) group_left(version) ', 'on(job) group_right() ') . pick('info', 'sum by (job) (' . vector($depth - 1) . ')') . ')' },
		sub { '(' . vector($depth - 1) . pick(' and', ' or', ' unless') . matching(0) . vector($depth - 1) . ')' })->();
}

# ---------- answers ----------

sub differ
{
	my ($ours, $theirs) = @_;

	$_ =~ s/^([+]?)(-?)Inf(inity)?$/$2Inf/ for $ours, $theirs;
	return 0 if $ours eq $theirs;
	return 1 if "$ours$theirs" =~ /[nN]/;
	my $most = abs($ours) > abs($theirs) ? abs($ours) : abs($theirs);
	# Where something large was taken off something large, the allowance is that of these.
	return abs($ours - $theirs) > 1e-9 * $most + 1e-6;
}

sub ours
{
	my ($expression, $table, $ms) = @_;
	my $text = $s->query(sprintf(q{SELECT metric, labels, value FROM promql($q$%s$q$, '%s', to_timestamp(%d) + %d * interval '1 ms')}, $expression, $table, $ms / 1000, $ms % 1000));
	die "connection lost at: $expression" if !defined $text;
	return $text if $text =~ /ERROR/;
	my %of;
	for (split /\n/, $text)
	{
		my ($name, $labels, $value) = /^([^|]*)\|(.*)\|([^|]*)$/ or die "$expression: $_";
		my %labels = %{ $json->decode($labels) };
		$labels{__name__} = $name if $name ne '';
		my $key = $json->encode(\%labels);
		return "ERROR: twice: $key" if exists $of{$key};
		$of{$key} = $value;
	}
	return \%of;
}

# undef if they are the same, else how they differ.
sub difference
{
	my ($ours, $theirs) = @_;

	return ref $ours ? "there was an error: $theirs" : undef if !ref $theirs;
	return $ours if !ref $ours;
	for my $key (sort keys %{ { %$ours, %$theirs } })
	{
		return "$key is missing" if !defined $ours->{$key};
		return "$key should not be" if !defined $theirs->{$key};
		return "$key is $ours->{$key}, should be $theirs->{$key}" if differ($ours->{$key}, $theirs->{$key});
	}
	return undef;
}

my ($bad, $errors, $lazy, $empty, $rows) = (0, 0, 0, 0, 0);

sub compare
{
	my ($expression, $ms) = @_;
	my $theirs = $prometheus->query($expression, $ms);

	# What Prometheus cannot parse is the generator's fault.
	die "$expression: $theirs" if !ref $theirs && $theirs !~ /^execution/;
	ref $theirs ? ($rows += keys %$theirs, $empty += !%$theirs) : $errors++;
	for my $table ('m', 'wide')
	{
		my $ours;

		# There a metric has to be a column.
		next if $table eq 'wide' && $expression =~ /none_such/;
		$ours = ours($expression, $table, $ms);
		# What is not needed, as beside what has no series, is not computed, so that there is no error.
		$lazy++, next if ref $ours && !ref $theirs && $expression =~ / (?:and|unless|or) |none_such/;
		my $difference = difference($ours, $theirs);
		next if !defined $difference;
		$bad++;
		diag("METRICSDB_SEED=$seed, $table, at $ms: $expression\n  $difference") if $bad <= 10;
	}
}

for (1 .. $expressions)
{
	# Some instants are those of samples.
	my $ms = $begin + (chance(0.3) ? 15_000 * int(rand(280)) : int(rand(4_200_000)));
	compare(vector(pick(1, 1, 2, 2, 3)), $ms);
}
is($bad, 0, "$expressions expressions, $rows rows; Prometheus refused $errors, $lazy of them for what is not needed, and of $empty told nothing");
cmp_ok($empty + $errors, '<', $expressions * 0.7, 'most tell something') if $expressions >= 100;

# ---------- edges ----------

# A sample counts for five minutes, to the millisecond; ranges have both ends.
{
	my ($key) = grep { /temperature/ } sort keys %samples;
	my $last = $samples{$key}{samples}[-1][0];
	my $job = $samples{$key}{labels};
	my $selector = "temperature{instance=\"$job->{instance}\"}";
	$bad = 0;
	compare($selector, $last + $_) for 299_999, 300_000, 300_001;
	compare("count_over_time(${selector}[1m])", $last + $_) for 59_999, 60_000, 60_001;
	is($bad, 0, 'edges of ranges');
}
# Several metrics at once, of a table that has a column for their names.
for my $expression ('{__name__=~"temperature|limit"}', 'sum({__name__=~"temperature|limit"})', 'rate({__name__=~"temperature|limit"}[5m])', 'last_over_time({__name__=~"temperature|limit"}[5m])', '{__name__=~"temperature|limit"} + 1', '{__name__=~"temperature|limit"} > 1', '{job="api", __name__="info"}')
{
	my $ms = $begin + 900_000;
	is(difference(ours($expression, 'm', $ms), $prometheus->query($expression, $ms)), undef, $expression);
}

$prometheus->stop;

# ---------- rules of kind threshold ----------

# They say what their expressions say, where no sample lies at the begin of a window.  Each second, as else the ticks of
# rules are apart.
{
	my @expressions = (
		'requests_total{job=~"a.*|db"} > 500', '500 >= requests_total', 'rate(requests_total[2m]) > 0.5', 'sum by (job) (rate(requests_total{code="500"}[5m])) > 3',
		'sum without (instance, env) (increase(requests_total[5m])) < 400', 'avg_over_time(took_bucket{le="+Inf"}[1m]) > 90', 'max by (le) (max_over_time(took_bucket[90s])) > 150',
		'min_over_time(took_bucket[5m]) != 0', 'sum(count_over_time(requests_total[1m])) < 60', 'sum by (code) (sum_over_time(requests_total{env!="prod"}[2m])) > 30000',
		'stddev_over_time(requests_total[5m]) > 50', 'last_over_time(requests_total[1m]) == 0 or vector(0) > 1', 'delta(took_bucket[5m]) > 20');
	my $file = "groups:\n- name: g\n  interval: 1s\n  rules:\n" . join('', map { "  - {alert: A$_, for: 30s, expr: '$expressions[$_]'}\n" } 0 .. $#expressions);
	my ($from, $to) = map { "to_timestamp($_)" } $begin / 1000 + 2200, $begin / 1000 + 2500;
	my ($changes, $unequal) = (0, 0);

	sql(q{CREATE TABLE n (LIKE m) USING metricsdb});
	sql(q{INSERT INTO n SELECT metric_name, tags, time + interval '1 us', value FROM m});
	is(sql("SELECT string_agg(DISTINCT status, ' '), count(*) FILTER (WHERE kind = 'threshold') FROM import_prometheus_rules(\$x\$$file\$x\$, 'n', prefix => 't:', incremental => true)"), 'created|12', 'rules of kind threshold');
	is(sql("SELECT string_agg(DISTINCT status || kind, ' ') FROM import_prometheus_rules(\$x\$$file\$x\$, 'n', prefix => 'q:')"), 'createdquery', 'and queries');
	for my $n (0 .. $#expressions)
	{
		my @history = map { sql("SELECT at, labels, from_state, to_state FROM backtest('$_:A$n', $from, $to) ORDER BY 1, 2, 3, 4") } 't', 'q';
		$changes += () = $history[0] =~ /\n/g;
		next if $history[0] eq $history[1];
		$unequal++;
		diag("METRICSDB_SEED=$seed: $expressions[$n]\nthreshold: $history[0]\nquery: $history[1]") if $unequal < 3;
	}
	is($unequal, 0, "their history is that of the expressions, with $changes changes");
	cmp_ok($changes, '>', 20, 'which change');
}

# ---------- unit tests of rules: promtool's verdicts ----------

# Random series under rules of all kinds.  What fires here at each time is written down as what should, and promtool is
# asked whether it is so.  Unless it is told in which order it takes groups in any.
my $dir = "$ENV{METRICSDB_RUN}/tap/promtool_$$";
mkdir $dir;
my $rules = <<'END';
groups:
  - name: recorded
    rules:
      - record: job:load:avg
        expr: avg by (job) (load)
        labels: {from: rule}
      - record: up:count
        expr: count(load > 20)
  - name: alerts
    rules:
      - alert: High
        expr: load > 60
        for: 2m
        labels: {severity: warning}
        annotations: {summary: '{{ $labels.job }}/{{ $labels.inst }} is at {{ $value }}', other: '{{ with $labels.none }}{{ . }}{{ else }}nothing{{ end }}'}
      - alert: High
        expr: load > 90
        labels: {severity: page}
      - alert: Keeps
        expr: load < 10
        for: 1m
        keep_firing_for: 4m
      - alert: Average
        expr: job:load:avg > 50
        for: 3m
        annotations: {value: '{{ $value | humanize }}'}
      - alert: Gone
        expr: absent(load{inst="1", job="a"})
        for: 1m
      - alert: Rising
        expr: delta(load[3m]) > 5 and on (job) up:count > 1
        annotations: {value: '{{ printf "%.1f" $value }}'}
      - alert: Total
        expr: sum without (inst) (rate(total[4m])) * 60 > 30
      - alert: Every
        expr: vector(1)
END

sub values_of
{
	my ($kind) = @_;
	my @v;
	my $at = int(rand(100));

	while (@v < 30)
	{
		my $what = rand();
		if ($what < 0.1) { push @v, '_x' . pick(1, 2, 6) }
		elsif ($what < 0.2) { push @v, 'stale' }
		elsif ($kind eq 'counter') { $at = chance(0.1) ? 0 : $at + int(rand(60)); push @v, $at }
		elsif ($what < 0.5) { push @v, int(rand(100)) . pick('+', '-') . int(rand(20)) . 'x' . pick(1, 3, 5) }
		elsif ($what < 0.6) { push @v, int(rand(120)) . 'x' . pick(1, 4) }
		else { push @v, int(rand(120)) }
	}
	return "@v";
}

sub promtool
{
	my ($tests) = @_;
	my $out = '';
	open my $f, '>', "$dir/tests.yml" or die $!;
	print $f $tests;
	close $f;
	IPC::Run::run([ "$bin/promtool", 'test', 'rules', "$dir/tests.yml" ], '>', \$out, '2>', \$out);
	return $out;
}

{
	open my $f, '>', "$dir/rules.yml" or die $!;
	print $f $rules;
	close $f;
}
my @alerts = qw(High Keeps Average Gone Rising Total Every);
my ($same, $wrong, $fired, $noticed) = (0, 0, 0, 0);
for my $round (1 .. 4)
{
	my $head = "rule_files: [rules.yml]\ngroup_eval_order: [recorded, alerts]\nevaluation_interval: " . pick('1m', '30s', '45s') . "\ntests:\n  - interval: " . pick('1m', '30s') . "\n    input_series:\n";

	for my $job ('a', 'b')
	{
		$head .= "      - {series: 'load{job=\"$job\", inst=\"$_\"}', values: '" . values_of('gauge') . "'}\n" for 1 .. 2;
		$head .= "      - {series: 'total{job=\"$job\", inst=\"$_\"}', values: '" . values_of('counter') . "'}\n" for 1 .. 2;
	}
	$head .= "    alert_rule_test:\n";
	my @checks = map { my $t = 37 * $_; map { [ $t, $_ ] } @alerts } 0 .. 45;
	my $tests = $head . join('', map { "      - {eval_time: $_->[0]s, alertname: $_->[1]}\n" } @checks);
	my %fires;

	for (split /\n/, sql("SELECT test, ok, message FROM run_alert_tests(\$x\$$tests\$x\$, \$x\$$rules\$x\$)"))
	{
		my ($alert, $at, $ok, $message) = /^test 1: alert (\w+) at ([\d.]+) s\|([tf])\|(.*)$/ or die $_;
		next if $ok eq 't';
		my ($is) = $message =~ /^there is (.*), and should be none$/ or die $message;
		$fires{"$at $alert"} = [ map { /^(\{.*?\}), annotations (\{.*\})$/ or die $_; "{exp_labels: " . without_name($1) . ", exp_annotations: $2}" } split /; /, $is ];
		$fired += @{ $fires{"$at $alert"} };
	}
	my $expect = sub { my ($of) = @_; return $head . join('', map { "      - {eval_time: $_->[0]s, alertname: $_->[1], exp_alerts: [" . join(', ', @{ $of->{"$_->[0] $_->[1]"} // [] }) . "]}\n" } @checks) };
	my $out = promtool($expect->(\%fires));
	$out =~ /SUCCESS/ ? $same++ : diag("METRICSDB_SEED=$seed: promtool says: " . substr($out, 0, 3000));
	is(sql("SELECT count(*) FROM run_alert_tests(\$x\$" . $expect->(\%fires) . "\$x\$, \$x\$$rules\$x\$) WHERE NOT ok"), '0', 'what fired is what fires');
	# One alert less, or another label: both say no.
	my @some = sort keys %fires;
	for my $key (map { pick(@some) } 1 .. 3)
	{
		my %other = %fires;
		my @list = @{ $other{$key} };
		chance(0.5) ? shift @list : ($list[0] =~ s/exp_labels: \{/exp_labels: {"x": "y", /);
		$list[0] =~ s/, \}/}/ if @list;
		$other{$key} = \@list;
		my $ours = sql("SELECT count(*) FROM run_alert_tests(\$x\$" . $expect->(\%other) . "\$x\$, \$x\$$rules\$x\$) WHERE NOT ok");
		my $theirs = promtool($expect->(\%other));
		$wrong++;
		$noticed++ if $ours eq '1' && $theirs =~ /FAILED/;
	}
}
is($same, 4, "promtool says the same of $fired alerts that fire");
is($noticed, $wrong, 'and of wrong expectations');
cmp_ok($fired, '>', 100, 'alerts fire');

sub without_name
{
	my ($labels) = @_;
	my $of = $json->decode($labels);
	delete $of->{alertname};
	return $json->encode($of);
}

$s->close;
$node->stop;
grep_log($node, 'expressions of Prometheus');
done_testing();
