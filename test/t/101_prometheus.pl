# Functions of counters and gauges against a real Prometheus that has the same samples: one answer, to 1e-9 of it.
#
# Random series have gaps, resets, NaN, infinities, values that do not change, or next to no samples.  Random ranges
# of time are asked of Prometheus's API, of a metricsdb table, where they are computed from vectors, and of a heap.
# Where an answer is a small difference of large numbers, the allowance is 1e-9 of these.
#
#   METRICSDB_RANGES=n	ranges (60)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Prometheus;
use StorageTest;

my $bin = $ENV{PROMETHEUS} || "$ENV{METRICSDB_RUN}/prometheus/usr/bin";
plan skip_all => 'Prometheus cannot be had here' if !-x "$bin/prometheus";

my $ranges = $ENV{METRICSDB_RANGES} || 60;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# ---------- samples ----------

my $begin = 1_700_000_000_000 - 1_700_000_000_000 % 86_400_000;
my $hours = 4;
my %samples;

for my $series ('a' .. 'z', 'aa' .. 'an')
{
	my $step = pick(5, 10, 15, 30, 60, 300);
	my $kind = pick('counter', 'counter', 'counter', 'gauge', 'gauge', 'constant', 'sparse', 'steps');
	my $jitter = pick(0, 0, 0.3);
	my $gaps = pick(0, 0, 0.05, 0.3);
	my $special = pick(0, 0, 0, 0.01);
	my $reset = pick(0, 0.01, 0.1);
	my $scale = pick(1, 1, 100, 1e6, 1e-3);
	my $v = $kind eq 'counter' ? int(rand(10)) : (rand() - 0.5) * $scale;
	my @points;

	# Of milliseconds, none of which is the end of a range.
	for (my $t = $begin + int(rand($step * 1000)); $t < $begin + $hours * 3_600_000; $t += $step * 1000)
	{
		if ($kind eq 'counter')
		{
			$v = chance(0.5) ? 0 : int(rand(5)) if chance($reset);
			$v += chance(0.5) ? int(rand(20)) : rand($scale);
		}
		$v += (rand() - 0.5) * $scale if $kind eq 'gauge';
		$v = int(rand(3)) if $kind eq 'steps' && chance(0.2);
		next if chance($gaps) || ($kind eq 'sparse' && !chance(0.02));
		my $at = $t + int($jitter * rand($step * 1000));
		$at++ if $at % 1000 == 0;
		push @points, [ $at, chance($special) ? pick('NaN', '+Inf', '-Inf') : $v ] if !@points || $at > $points[-1][0];
	}
	$samples{$series} = \@points;
}
delete $samples{$_} for grep { !@{ $samples{$_} } } keys %samples;
my $count = 0;
$count += @$_ for values %samples;

my $node = new_node('prometheus', 'metricsdb.direct_rows' => 50, autovacuum => 'off', timezone => "'UTC'", jit => 'off');
my $s = session($node);

sub sql
{
	my ($q) = @_;
	my $r = $s->query($q);
	die "connection lost at: $q\n$s->{last}" if !defined $r;
	die "$q\n$r" if $r =~ /ERROR/;
	return $r;
}

# As heap; in order of time and compacted; and in no order, in parts that overlap, some in the delta, some twice.
sql('SET search_path = public, metricsdb');
sql('CREATE TABLE m (time timestamptz NOT NULL, series text, v float8) USING metricsdb');
sql('CREATE TABLE h (time timestamptz NOT NULL, series text, v float8) USING heap');
sql('CREATE TABLE vectors (time timestamptz NOT NULL, series text, v float8) USING metricsdb');
my @rows = map { my $series = $_; map { [ $series, @$_ ] } @{ $samples{$series} } } sort keys %samples;
{
	my $file = "$node->{_basedir}/rows";
	open my $f, '>', $file or die $!;
	for (@rows)
	{
		my $v = Prometheus::text($_->[2]);
		$v =~ s/Inf/Infinity/;
		printf $f "%s\t%d\t%s\n", $_->[0], $_->[1], $v;
	}
	close $f;
	sql('CREATE TABLE src (series text, ms int8, v float8)');
	sql("COPY src FROM '$file'");
	sql('INSERT INTO h SELECT to_timestamp(ms / 1000) + ms % 1000 * interval \'1 ms\', series, v FROM src');
	sql('INSERT INTO vectors SELECT * FROM h ORDER BY time');
	sql("CALL metricsdb.compact('vectors')");
	my $from = 0;
	sql('CREATE TABLE twice AS SELECT * FROM h UNION ALL (SELECT * FROM h WHERE hashtext(v::text || time::text) % 100 = 0)');
	while ($from < @rows * 1.1)
	{
		my $n = pick(20, 300, 3000, 6000);
		sql("INSERT INTO m SELECT time, series, v FROM (SELECT *, row_number() OVER (ORDER BY hashtext(time::text || series), ctid) AS i FROM twice) x WHERE i > $from AND i <= $from + $n");
		$from += $n;
	}
	is(sql('SELECT (SELECT count(*) FROM m) = (SELECT count(*) FROM twice) AND (SELECT count(*) FROM m) > (SELECT count(*) FROM h)'), 't', "$count samples of " . keys(%samples) . ' series');
	sql('ANALYZE m, h, vectors');
}

my $prometheus = Prometheus->new($bin, "$ENV{METRICSDB_RUN}/tap/prometheus_$$");
$prometheus->start(\%samples);

# ---------- questions ----------

# Name, PromQL, SQL; what the allowance goes by beside the answer: nothing, values, values per second.
sub questions
{
	my ($seconds) = @_;
	my $q = pick(0, 0.1, 0.5, 0.9, 0.99, 1, -0.5, 1.5);
	my $ahead = pick(60, 3600, -600);
	my $range = "[${seconds}s]";

	return (
		[ 'rate', "rate(m$range)", 'rate(time, v, $a, $b)', '' ],
		[ 'increase', "increase(m$range)", 'increase(time, v, $a, $b)', 'v' ],
		[ 'delta', "delta(m$range)", 'delta(time, v, $a, $b)', 'v' ],
		[ 'irate', "irate(m$range)", 'irate(time, v)', '' ],
		[ 'idelta', "idelta(m$range)", 'idelta(time, v)', '' ],
		[ 'resets', "resets(m$range)", 'resets(time, v)', '' ],
		[ 'changes', "changes(m$range)", 'changes(time, v)', '' ],
		[ 'deriv', "deriv(m$range)", 'deriv(time, v)', 'v/s' ],
		[ 'predict_linear', "predict_linear(m$range, $ahead)", "predict_linear(time, v, $ahead, \$b)", 'v' ],
		[ 'quantile_over_time', "quantile_over_time($q, m$range)", "quantile_over_time($q, v)", '' ],
		[ 'avg_over_time', "avg_over_time(m$range)", 'avg_over_time(v)', 'v' ],
		[ 'sum_over_time', "sum_over_time(m$range)", 'sum_over_time(v)', 'v' ],
		[ 'min_over_time', "min_over_time(m$range)", 'min_over_time(v)', '' ],
		[ 'max_over_time', "max_over_time(m$range)", 'max_over_time(v)', '' ],
		[ 'count_over_time', "count_over_time(m$range)", 'count_over_time(v)', '' ],
		[ 'last_over_time', "last_over_time(m$range)", 'last_over_time(time, v)', '' ],
		[ 'stddev_over_time', "stddev_over_time(m$range)", 'stddev_over_time(v)', 'v' ],
		[ 'stdvar_over_time', "stdvar_over_time(m$range)", 'stdvar_over_time(v)', 'v2' ],
		[ 'present_over_time', "present_over_time(m$range)", 'present_over_time(v)', '' ]);
}

sub differ
{
	my ($ours, $theirs, $allowance) = @_;

	$_ =~ s/^([+]?)(-?)Inf(inity)?$/$2Inf/ for $ours, $theirs;
	return 0 if $ours eq $theirs;
	return 1 if "$ours$theirs" =~ /[nN]/ || $ours eq '' || $theirs eq '';
	my $most = abs($ours) > abs($theirs) ? abs($ours) : abs($theirs);
	return abs($ours - $theirs) > 1e-9 * $most + $allowance;
}

my (%asked, %wrong);
my $bad = 0;

sub compare
{
	my ($table, $seconds, $to, $theirs, @q) = @_;
	# What is given no times counts rows that are there twice.
	my @which = grep { $table ne 'm' || $q[$_][2] =~ /\(time/ } 0 .. $#q;
	$theirs = [ @$theirs[@which] ];
	@q = @q[@which];
	my $a = sprintf("(to_timestamp(%d))", $to / 1000 - $seconds);
	my $b = sprintf("(to_timestamp(%d))", $to / 1000);
	my $list = join(', ', map { my $e = $_->[2]; $e =~ s/\$a/$a/g; $e =~ s/\$b/$b/g; $e } @q);
	my $text = "SELECT series, max(abs(v)) FILTER (WHERE v < 'Infinity' AND v > '-Infinity') AS scale, $list FROM $table WHERE time BETWEEN $a AND $b GROUP BY series";
	my %ours = map { my @c = split /\|/, $_, -1; ($c[0] => [ @c[ 1 .. $#c ] ]) } split /\n/, sql($text);

	for my $i (0 .. $#q)
	{
		my ($name, undef, undef, $by) = @{ $q[$i] };
		my %all = map { $_ => 1 } keys %ours, keys %{ $theirs->[$i] };

		for my $series (sort keys %all)
		{
			my $mine = $ours{$series} ? $ours{$series}[ $i + 1 ] : '';
			my $his = $theirs->[$i]{$series} // '';
			my $scale = ($ours{$series} && $ours{$series}[0] || 0) + 0;
			# Sums of Prometheus are of products with times since the beginning, or until the end, of the range.
			my $allowance = $by eq 'v' ? 1e-9 * $scale : $by eq 'v/s' ? 1e-9 * $scale / $seconds : $by eq 'v2' ? 1e-9 * $scale * $scale : 0;
			$asked{$name}++;
			next if !differ($mine, $his, $allowance);
			$wrong{$name}++;
			diag("METRICSDB_SEED=$seed $table, series $series, $seconds s to $to: $name is $mine, Prometheus says $his\n$text") if $bad++ < 5;
		}
	}
}

for my $i (1 .. $ranges)
{
	my $seconds = pick(30, 60, 300, 300, 600, 3600, 7200);
	# Some are time buckets.
	my $to = $begin + ($seconds < 7200 && chance(0.3) ? $seconds * (1 + int(rand($hours * 3600 / $seconds))) : 1 + int(rand($hours * 3600))) * 1000;
	my @q = questions($seconds);
	my @theirs = map { $prometheus->ask($_->[1], $to) } @q;

	compare($_, $seconds, $to, \@theirs, @q) for 'h', 'm', 'vectors';
	# Over buckets: the width says the range.
	next if $to % ($seconds * 1000) != 0;
	my @bucket = grep { $_->[0] =~ /^(rate|increase|delta)$/ } @q;
	my @answers = @theirs[ grep { $q[$_][0] =~ /^(rate|increase|delta)$/ } 0 .. $#q ];
	compare($_, $seconds, $to, \@answers, map { my @x = @$_; $x[0] .= ' of buckets'; $x[2] = "$_->[0](time, v, interval '$seconds s')"; \@x } @bucket) for 'h', 'm', 'vectors';
}
for my $name (sort keys %asked)
{
	is($wrong{$name} // 0, 0, "$name: $asked{$name} answers as Prometheus's");
}
like(sql("EXPLAIN SELECT series, rate(time, v) FROM vectors GROUP BY series"), qr/MetricsAgg/, 'computed from vectors');
$prometheus->stop;

$s->close;
$node->stop;
grep_log($node, 'functions against Prometheus');
done_testing();
