# histogram_quantile against a real Prometheus that has the same buckets: one answer, to 1e-9 of it.
#
# Random classic histograms have odd bounds, counts that fall from bucket to bucket, bounds twice in different
# spellings, no bucket up to infinity, no values; quantiles lie at the edges and beyond. The aggregate over rows is
# asked, and the function of arrays, with bounds as text and as numbers.
#
#   METRICSDB_HISTOGRAMS=n	histograms (400)
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

my $histograms = $ENV{METRICSDB_HISTOGRAMS} || 400;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

my $at = 1_700_000_000_000;
my (%samples, @rows);

for my $h (1 .. $histograms)
{
	my $n = pick(0, 1, 2, 3, 5, 12);
	my $scale = pick(1, 1, 0.001, 1e6);
	my $from = pick(0, 0, 0, -5);
	my $falls = pick(0, 0, 0.3);
	my $empty = chance(0.1);
	my $rates = chance(0.5);
	my $count = 0;
	my %bounds;

	$bounds{ sprintf('%.6g', ($from + rand(10)) * $scale) } = 1 for 1 .. $n;
	my @bounds = sort { $a <=> $b } keys %bounds;
	push @bounds, $bounds[0] . (index($bounds[0], '.') >= 0 ? '0' : '.0') if @bounds && $bounds[0] !~ /e/ && chance(0.2);
	push @bounds, '+Inf' if !chance(0.1);
	for my $le (@bounds)
	{
		$count += chance(0.3) ? 0 : $rates ? rand(10) : int(rand(10)) if !$empty;
		my $v = chance($falls) ? $count * rand() : $count;
		$v = 'NaN' if chance(0.01);
		push @rows, [ $h, $le, $v ];
		$samples{ $h . ' ' . $le } = { labels => { h => $h, le => $le }, samples => [ [ $at, $v ] ] };
	}
}

my $p = Prometheus->new($bin, "$ENV{METRICSDB_RUN}/tap/prometheus-histograms-$$");
$p->start(\%samples, 'm_bucket');

my $node = new_node('histograms', jit => 'off');
$node->safe_psql('postgres', 'CREATE TABLE buckets (h int, le text, n float8)');
$node->safe_psql('postgres', 'INSERT INTO buckets VALUES ' . join(', ', map { "($_->[0], '$_->[1]', '$_->[2]')" } @rows));

sub differs
{
	my ($a, $b) = map { my $v = lc($_ // 'none'); $v =~ s/^\+//; $v =~ s/infinity/inf/; $v } @_;
	return 0 if $a eq $b;
	return 1 if grep { /[a-df-z]/ } $a, $b;
	return abs($a - $b) > 1e-9 * (abs($a) > abs($b) ? abs($a) : abs($b));
}

for my $q ('-Inf', -0.5, 0, 1e-9, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 1 - 1e-9, 1, 1.5, '+Inf', 'NaN', rand(), rand(), rand())
{
	my $right = $p->ask("histogram_quantile($q, m_bucket)", $at + 1);
	my ($wrong, $asked) = (0, 0);

	for my $line (split /\n/, $node->safe_psql('postgres', qq{
		SELECT h, metricsdb.histogram_quantile('$q', le, n), metricsdb.histogram_quantile('$q', le::float8, n ORDER BY random()),
			metricsdb.histogram_quantile('$q', array_agg(le), array_agg(n)), metricsdb.histogram_quantile('$q', array_agg(le::float8), array_agg(n))
		FROM buckets GROUP BY h ORDER BY h}))
	{
		my ($h, @told) = split /\|/, $line;
		my $r = delete $right->{qq({"h":"$h"})};

		$asked++;
		for my $told (@told)
		{
			next if !differs($r, $told);
			diag("q $q, histogram $h: Prometheus has " . ($r // 'none') . ", we $told") if $wrong++ < 5;
		}
	}
	is($wrong, 0, "q = $q: $asked histograms");
	is(join(' ', sort keys %$right), '', "q = $q: Prometheus has no others");
}
$p->stop;
$node->stop;
done_testing();
