# Samples and summaries as bytes: markers of a series' end, which no text has; mutilated summaries.
#
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StorageTest;

my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);
my $node = new_node('summaries', autovacuum => 'off', timezone => "'UTC'");
my $s = session($node);

sub pick { return $_[ int(rand(@_)) ] }

sub sql
{
	my ($q) = @_;
	my $r = $s->query($q);
	die "connection lost at: $q\n$s->{last}" if !defined $r;
	die "$q\n$r" if $r =~ /ERROR/;
	return $r;
}

sql('SET search_path = public, metricsdb');
my $file = "$node->{_basedir}/binary";
no warnings 'portable';
my $row = sub { my ($seconds, $bits) = @_; return pack('n N q> N Q>', 2, 8, $seconds * 1_000_000, 8, $bits) };
open my $f, '>:raw', $file or die $!;
print $f "PGCOPY\n\377\r\n\0", pack('N N', 0, 0);
print $f $row->(0, 0x3ff0000000000000), $row->(10, 0x7ff0000000000002), $row->(20, 0x4008000000000000), $row->(30, 0x7ff8000000000001), $row->(40, 0x7ff0000000000002);
print $f pack('n', 0xffff);
close $f;
for my $kind ('heap', 'metricsdb')
{
	sql("CREATE TABLE stale_$kind (time timestamptz, v float8) USING $kind");
	sql("SET metricsdb.direct_rows = 1") if $kind eq 'metricsdb';
	sql("COPY stale_$kind FROM '$file' (FORMAT binary)");
	is(sql("SELECT count(*), count_over_time(v), sum_over_time(v), changes(time, v), last_over_time(time, v), increase(time, v) FILTER (WHERE v <> 'NaN'), num_elements(counter_agg(time, v)), mad_over_time(v), quantile_over_time(1, v) FROM stale_$kind"),
		'5|3|NaN|2|NaN|2|3|0|3', "markers of a series' end are no samples, $kind");
}
# Hostile bytes of a summary: an error, or a value whose functions work.
sql("CREATE TABLE kept AS SELECT counter_agg(time, v) AS s FROM (SELECT timestamptz '2026-01-01' + i * interval '1 s' AS time, i % 17 AS v FROM generate_series(1, 100) i) x");
my ($errors, $values) = (0, 0);
for my $i (1 .. 300)
{
	sql("COPY kept TO '$file' (FORMAT binary)");
	my $bytes = slurp_file($file);
	for (1 .. pick(1, 1, 2, 8))
	{
		substr($bytes, 25 + int(rand(length($bytes) - 27)), 1) = chr(int(rand(256)));
	}
	open my $o, '>:raw', $file or die $!;
	print $o $bytes;
	close $o;
	$s->query('CREATE TEMP TABLE IF NOT EXISTS hostile (s countersummary)');
	$s->query('TRUNCATE hostile');
	my $r = $s->query("COPY hostile FROM '$file' (FORMAT binary)");
	if ($r =~ /ERROR/) { $errors++; next }
	$r = $s->query("SELECT s::text::countersummary::text = s::text, rate(s), slope(s), intercept(s), corr(s), counter_zero_time(s), rollup(s), irate_left(s), irate_right(s) FROM hostile GROUP BY s::text, s::text::bytea, countersummary_send(s), rate(s), slope(s), intercept(s), corr(s), counter_zero_time(s), irate_left(s), irate_right(s)") // 'gone';
	$values++ if $r =~ /^t/ || $r eq '';
	diag($r) if $r eq 'gone' || $r =~ /^f/;
}
is($errors + $values, 300, "300 mutilated summaries: $errors errors, $values values");
$s->close;
$node->stop;
grep_log($node, 'bytes of samples and summaries');
done_testing();
