# Selectors against a real Prometheus that has the same series: metricsdb.match() chooses the same ones, by the index and
# one by one, and refuses the same selectors.
#
#   METRICSDB_SELECTORS=n	random selectors (400)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use JSON::PP;
use Time::HiRes qw(time);
use Prometheus;
use StorageTest;

my $bin = $ENV{PROMETHEUS} || "$ENV{METRICSDB_RUN}/prometheus/usr/bin";
plan skip_all => 'Prometheus cannot be had here' if !-x "$bin/prometheus";

my $selectors = $ENV{METRICSDB_SELECTORS} || 400;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# ---------- series ----------

my %values = (
	job => [ 'api', 'api-1', 'api-12', 'API', 'web', 'Web.1', 'a', 'aa', 'b', 'kube', "\x{212a}ube", 'long' x 200 ],
	env => [ 'prod', 'dev', 'true', '0', 'a b', "\x{e4}\x{f6}", "\x{1f600}" ],
	dc => [ map { "dc$_" } 0 .. 12 ]);
my $time = 1_700_000_000_000;
my (%samples, %seen, $rows);

for my $n (1 .. 300)
{
	my %labels = map { $_ => pick(@{ $values{$_} }) } grep { chance(0.75) } sort keys %values;

	next if $seen{ JSON::PP->new->canonical->encode(\%labels) }++;
	$labels{series} = "s$n";
	$rows .= ($rows ? ', ' : '') . "('m', \$v\$" . JSON::PP->new->canonical->encode(\%labels) . "\$v\$, to_timestamp($time / 1000), $n)";
	utf8::encode($labels{$_}) for keys %labels;
	$samples{"s$n"} = { labels => \%labels, samples => [ [ $time, $n ] ] };
}
utf8::encode($rows);

my $node = new_node('selectors', 'metricsdb.direct_rows' => 1, autovacuum => 'off', timezone => "'UTC'", jit => 'off');
$node->safe_psql('postgres', qq{
	CREATE TABLE h (metric_name text, tags jsonb, time timestamptz, value float8);
	CREATE TABLE m (LIKE h) USING metricsdb;
	INSERT INTO h VALUES $rows;
	INSERT INTO m SELECT * FROM h});
my $s = session($node);
my $prometheus = Prometheus->new($bin, "$node->{_basedir}/prometheus");
$prometheus->start(\%samples);
cmp_ok(scalar(keys %samples), '>', 100, 'series');

# ---------- selectors ----------

my @pieces = ('api', 'web', 'a', 'b', '-1', 'dc', 'prod', 'true', "\x{e4}", '.', '\d', '\D', '\w', '\W', '\s', '[a-c]', '[^a-z]', '[[:alpha:]]', '[[:^digit:]]', '[\d-]', '[A-Z\x{e4}]', '\.', '\x61', '\x{61}', '\141', '(?i:API)',
	'(?i)', '(?P<x>p)', '^', '$', '\b', '\B', '\A', '\z', '\Qa.i\E', '(a|b)', '(?:|a)', '(long)', '(?i)k', '()');
my @bad = ('(', ')', '[', '*', '\y', '(?=a)', 'a**', '\1', '[b-a]', 'x{2,1}', '\\', '(?z)', '[[:no:]]', 'a{1001}', '+a', '(?P<>a)');

sub regex
{
	my $re = '';

	for (1 .. pick(1, 1, 2, 3, 5))
	{
		$re .= pick(@pieces);
		$re .= pick('*', '+', '?', '{2}', '{1,3}', '{0,}', '*?', '{,2}') if chance(0.25);
		$re .= '.*' if chance(0.25);
		$re .= '|' if chance(0.12);
	}
	$re .= pick(@bad) if chance(0.04);
	return $re;
}

sub selector
{
	my @matchers;

	for (1 .. pick(1, 1, 2, 3))
	{
		my $label = pick('job', 'job', 'env', 'dc', 'none');
		my $op = pick('=', '!=', '=~', '=~', '!~');
		my $value = $op =~ /~/ ? pick(regex(), regex(), regex(), join('|', map { pick(@{ $values{ pick(keys %values) } }) } 1 .. 3), '', '.*', '.+') : pick('', 'nothing', @{ $values{ pick(sort keys %values) } });
		my $quote = pick('"', "'", '`');

		$value =~ s/\\/\\\\/g if $quote ne '`';
		push @matchers, $label . pick('', ' ') . $op . pick('', ' ') . $quote . $value . $quote;
	}
	return 'm{' . join(pick(',', ' , '), @matchers) . pick('', '', ',') . '}';
}

sub by_prometheus
{
	my ($selector) = @_;
	my $answer = eval { $prometheus->ask($selector, $time) };

	return 'refused' if !defined $answer && $@ =~ /bad_data|parse error/;
	die $@ if !defined $answer;
	return join(' ', sort keys %$answer);
}

sub by_us
{
	my ($selector, $table) = @_;
	my $answer = $s->query("SELECT string_agg(tags->>'series', ' ' ORDER BY tags->>'series' COLLATE \"C\") FROM $table WHERE match(metric_name, tags, \$s\$$selector\$s\$)");

	return $answer =~ /ERROR:  selector is invalid/ ? 'refused' : $answer;
}

$s->query('SET search_path = public, metricsdb');
$s->query('SET client_min_messages = error');
my ($refused, $none, $different) = (0, 0, 0);
for (1 .. $selectors)
{
	my $selector = selector();
	# What is sent by HTTP is encoded there.
	my $want = by_prometheus($selector);

	utf8::encode($selector);
	my ($index, $heap) = (by_us($selector, 'm'), by_us($selector, 'h'));
	$refused++ if $want eq 'refused';
	$none++ if $want eq '';
	next if $want eq $index && $want eq $heap;
	$different++;
	diag("$selector\n  Prometheus: $want\n  index: $index\n  heap: $heap") if $different <= 10;
}
is($different, 0, "$selectors selectors, of which Prometheus refused $refused and $none chose nothing");
cmp_ok($refused + $none, '<', $selectors * 0.8, 'most choose some');
cmp_ok($refused, '>', 0, 'some are refused') if $selectors >= 400;
$s->close;
$prometheus->stop;
done_testing();
