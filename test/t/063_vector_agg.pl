# MetricsAgg and MetricsScan against PostgreSQL's own executor: random tables, random queries, one answer.
#
# Each table has NULLs, NaN, infinities, rows out of order, deleted and updated ones, some in the delta, parts
# that overlap, columns that came later.  Each query is asked of a heap, and of a metricsdb table with
# everything off, everything on, with parallel workers, and with so little memory that there are several
# passes.  All answers are equal; sums of floats, which depend on the order of their rows, within
#   |difference| <= 4 n 2.3e-16 sum|x|   (1.2e-7 for sum(real)), and for variances n times the sum of squares.
# It tells which share of the queries meant to took the fast path, by shape.
#
#   METRICSDB_QUERIES=n	queries a table (40)
#   METRICSDB_TABLES=n	tables (4)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StorageTest;

my $queries = $ENV{METRICSDB_QUERIES} || 40;
my $tables = $ENV{METRICSDB_TABLES} || 4;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

# The library with the test-only switches.
my $node = new_node('vector_agg', 'metricsdb.direct_rows' => 50, max_parallel_workers => 4, autovacuum => 'off', timezone => "'UTC'", jit => 'off',
	$ENV{METRICSDB_TESTING} ? (new => { install_path => $ENV{METRICSDB_TESTING} }) : ());
my $s = session($node);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }
sub some { my ($n, @of) = @_; return (sort { rand() <=> 0.5 } @of)[ 0 .. ($n < @of ? $n : @of) - 1 ] }

sub sql
{
	my ($q) = @_;
	my $r = $s->query($q);
	die "connection lost at: $q\n$s->{last}" if !defined $r;
	return $r;
}

sub must
{
	my ($q) = @_;
	my $r = sql($q);
	die "$q\n$r" if $r =~ /ERROR/;
	return $r;
}

# The present table: whether its times are unique, so that first and last are, and whether it has huge values.
my ($unique, $huge, $time_type);

sub make_table
{
	my $rows = pick(300, 3000, 12000, 30000);
	my $hosts = pick(1, 3, 12, 300);

	$unique = chance(0.6);
	$huge = chance(0.15);
	$time_type = pick('timestamptz', 'timestamptz', 'timestamptz', 'timestamp', 'date');
	$unique = 0 if $time_type eq 'date';
	my $odd = chance(0.5) ? 0.02 : 0;
	my $step = pick(1, 10, 60, 3600);
	my $nulls = pick(0, 0.05, 0.5);
	my $special = pick(0, 0, 0.02);
	my $time = $unique ? "timestamptz '2026-03-28 05:00+00' + i * interval '1 s' * $step / $hosts"
	  : "timestamptz '2026-03-28 05:00+00' + (i / $hosts) * interval '$step s'" . ($odd ? " + random() * interval '5 s'" : '');
	my $null = sub { my ($e, $p) = @_; return "CASE WHEN random() < " . ($p // $nulls) . " THEN NULL ELSE $e END" };
	my $float = "CASE WHEN random() < $special THEN (ARRAY['NaN', 'Infinity', '-Infinity', '-0'])[1 + (random() * 3)::int]::float8"
	  . ($huge ? " WHEN random() < 0.01 THEN 1e200 * (random() - 0.5)" : '')
	  . " ELSE " . pick('round((random() * 100)::numeric, 1)::float8', '(random() - 0.5) * 1e6', 'i % 50', 'random()') . " END";

	must("DROP TABLE IF EXISTS t, h, src");
	must("SELECT setseed(" . rand() . ")");
	must("CREATE TABLE src AS SELECT "
		  . '(' . ($odd ? $null->($unique ? $time : "CASE WHEN random() < 0.01 THEN 'infinity' WHEN random() < 0.01 THEN '-infinity' ELSE $time END", 0.01) : $time)
		  . ")::$time_type AS time, "
		  . $null->("(CASE WHEN random() < 0.2 THEN 'HOST_' ELSE 'host_' END || i % $hosts)", 0.01) . "::text AS host, "
		  . $null->("'r' || (i % $hosts) % 3", 0.01) . " AS region, "
		  . $null->("((i % $hosts) % 4 || CASE WHEN random() < 0.2 THEN '.00' ELSE '' END)", 0.01) . "::numeric AS code, "
		  . $null->($float) . "::float8 AS a, " . $null->($float) . '::float8 AS b, ' . $null->('random() * 10') . '::real AS f, '
		  . $null->('random() * 60000 - 30000') . '::int2 AS s, ' . $null->('random() * 2000000 - 1000000') . '::int4 AS n, '
		  . $null->(pick('random() * 1e18', 'random() * 1000')) . '::int8 AS k, ' . $null->('random() < 0.7') . '::bool AS ok, '
		  . $null->("timestamptz '2020-01-01' + random() * interval '100 days'") . '::timestamptz AS seen, ' . $null->("date '2020-01-01' + (random() * 1000)::int") . '::date AS day, '
		  . $null->("'note ' || i") . "::text AS note, i AS id FROM generate_series(1, $rows) i");
	must("CREATE COLLATION IF NOT EXISTS ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
	must('CREATE TABLE h (LIKE src) USING heap');
	must('CREATE TABLE t (LIKE src) USING metricsdb');
	must(q{SELECT metricsdb.set_options('t', "time" => 'time', series => '{host,region,code}')});
	for (my $from = 0; $from < $rows;)
	{
		my $n = pick(5, 40, 200, 3000, 10000);
		my $where = "id > $from AND id <= " . ($from + $n);
		must("INSERT INTO $_ SELECT * FROM src WHERE $where") for 't', 'h';
		$from += $n;
		if (chance(0.1)) { must("CALL metricsdb.compact('t')") }
		if (chance(0.15)) { my $m = int(rand(100)); must("DELETE FROM $_ WHERE id % 101 = $m AND id <= $from") for 't', 'h' }
		if (chance(0.15)) { my $m = int(rand(100)); must("UPDATE $_ SET a = b, n = n / 2 WHERE id % 103 = $m AND id <= $from") for 't', 'h' }
	}
	must("CALL metricsdb.compact('t')") if chance(0.5);
	if (chance(0.7)) { must("DELETE FROM $_ WHERE id % 89 = 3") for 't', 'h' }
	my $default = pick('', ' DEFAULT 7.5', ' DEFAULT 7.5');
	must("ALTER TABLE $_ ADD later float8$default") for 't', 'h';
	if (chance(0.5)) { must("INSERT INTO $_ SELECT *, id FROM src WHERE id % 7 = 1") for 't', 'h'; $unique = 0 }
	must('ANALYZE t, h');
	return "$rows rows, $hosts hosts, $time_type" . ($unique ? ', unique times' : '') . ($huge ? ', huge' : '');
}

# ---------- queries ----------

my %shape;

sub bucket
{
	# Buckets of dates are whole days.
	my $width = $time_type eq 'date' ? pick("'1 day'", "'1 week'", "'72 hours'") : pick("'1 hour'", "'5 min'", "'1 day'", "'1 week'", "'10 s'", "'7 hours'");
	return pick("metricsdb.time_bucket($width, time)", "metricsdb.time_bucket('1 month', time)", "time", "date_trunc('month', time::timestamp)") if $time_type eq 'date';
	if ($time_type eq 'timestamp')
	{
		return pick("metricsdb.time_bucket($width, time)", "date_bin($width, time, '2001-01-01')", "date_trunc('hour', time)", "date_trunc('day', time)",
			"floor(extract(epoch from time) / 300) * 300", "extract(hour from time)", 'time::date', 'time');
	}
	return pick(
		"metricsdb.time_bucket($width, time)", "metricsdb.time_bucket($width, time, timestamptz '2001-01-01 01:00+00')", "metricsdb.time_bucket($width, time, interval '17 min')",
		"metricsdb.time_bucket('1 month', time)", "metricsdb.time_bucket('1 day', time, 'Europe/Berlin')", "metricsdb.time_bucket('2 hours', time, 'America/St_Johns')",
		"date_bin($width, time, '2001-01-01')", "date_trunc('hour', time)", "date_trunc('minute', time)", "date_trunc('day', time)", "date_trunc('week', time)",
		"date_trunc('day', time, 'Europe/Berlin')", "date_trunc('hour', time, 'Asia/Kathmandu')", "date_trunc('day', time AT TIME ZONE 'America/New_York')",
		"floor(extract(epoch from time) / 300) * 300", "floor(extract(epoch from time) / 86400) * 86400", "extract(hour from time)", 'time::date',
		"date_trunc('hour', time) + interval '30 min'", 'time');
}

# expressions, and how they are shown so that equal ones look equal
sub series_key
{
	return pick(['host', 'host'], ['host', 'host'], ['region', 'region'], ['code', 'trim_scale(code)'], ['upper(host)', 'upper(host)'], ["coalesce(region, 'none')", "coalesce(region, 'none')"],
		['length(host)', 'length(host)'], ['host COLLATE ci', 'lower(host COLLATE ci)'], ["host = 'host_1'", "host = 'host_1'"]);
}

sub number { return pick('a', 'a', 'b', 'f', 's', 'n', 'k', 'later') }

sub value_condition
{
	my $depth = shift // 0;
	return '(' . value_condition($depth + 1) . pick(' AND ', ' OR ') . value_condition($depth + 1) . ')' if $depth < 2 && chance(0.25);
	return '(NOT ' . value_condition($depth + 1) . ')' if $depth < 2 && chance(0.05);
	my $c = int(rand(100)) - 10;
	return pick(
		"a > $c", "a >= $c", "a < $c", "b <= $c", "a = $c", "a <> $c", "a BETWEEN $c AND " . ($c + 20), "a > b", "n > $c * 1000", "s < $c * 300", "k > $c", "n IN ($c, 5, 7)",
		"a IN ($c, 1, 'NaN')", "a NOT IN ($c, 2)", 'a IS NULL', 'b IS NOT NULL', 'ok', 'NOT ok', 'ok IS NOT TRUE', "a = 'NaN'", "a < 'NaN'", "later = 7.5", "f > 5", "f < 2.5::real",
		"seen > '2020-02-01'", "day = '2020-05-05'", 'note IS NULL', "a + b > $c", "a * 2 < $c", "id > 1000", "(CASE WHEN ok THEN a ELSE b END) > $c", "n > s", "n = ANY (ARRAY[$c, NULL, 17])");
}

sub time_condition
{
	my $t = "timestamptz '2026-03-28 05:00+00' + interval '" . int(rand(100000)) . " s'";
	my $u = "timestamptz '2026-03-28 05:00+00' + interval '" . int(rand(100000)) . " s'";
	($t, $u) = map { "($_)::$time_type" } $t, $u;
	return pick("time > $t", "time <= $t", "time >= $t AND time < $u", "time BETWEEN $t AND $u", "time < 'infinity'", 'time IS NOT NULL', "time <> $t", "(time < $t OR time > $u)", "time = $t");
}

sub series_condition
{
	return pick("host = 'host_1'", "host IN ('host_0', 'HOST_2', 'none')", "host LIKE 'h%'", 'region IS NULL', "region <> 'r1'", 'code = 1.0', "upper(host) = 'HOST_2'", "host > region");
}

# An aggregate: its text, and for floats, the text of what bounds its error.
sub aggregate
{
	my $filter = chance(0.15) ? ' FILTER (WHERE ' . value_condition() . ')' : '';
	my $x = number();
	my $float = $x =~ /^(a|b|later)$/ ? 'sum' : $x eq 'f' ? 'sum' : '';
	my $what = pick('count(*)', 'count', 'sum', 'sum', 'avg', 'avg', 'min', 'max', 'minmax', 'dev', 'bool', 'first', 'expr', 'over_time', 'over_time', 'samples', 'samples', 'samples');

	return ["count(*)$filter"] if $what eq 'count(*)';
	return ['count(' . pick('a', 'n', 'note', 'time', 'ok', 'seen') . ")$filter"] if $what eq 'count';
	return [pick('bool_and', 'bool_or', 'every') . '(' . pick('ok', 'ok', 'a > 50', 'n IS NULL') . ")$filter"] if $what eq 'bool';
	return [pick('min', 'max') . '(' . pick('time', 'seen', 'day') . ")$filter"] if $what eq 'minmax';
	return ["$what($x)$filter"] if $what =~ /^(min|max)$/;
	return over_time($filter) if $what eq 'over_time';
	return samples($filter) if $what eq 'samples';
	if ($what eq 'first')
	{
		return ["count(*)$filter"] if !$unique;
		return ['metricsdb.' . pick('first', 'last') . "($x, time)$filter"];
	}
	if ($what eq 'expr')
	{
		my ($e, $kind) = @{ pick(["$x + 1", $float], ["$x * 2", $float], ['a + b', 'sum'], ['a - b * 2', 'sum'], ['a * b', 'sum'], ['-a', 'sum'], ['CASE WHEN a > 50 THEN a ELSE 0 END', 'sum'],
				['CASE WHEN ok THEN n END', ''], ['n + s', ''], ['n - 5', ''], ['n / 7', ''], ['n::float8', 'sum'], ['a / 3', 'sum'], ['CASE WHEN b IS NULL THEN 1 WHEN b > 50 THEN 2 ELSE 3 END', '']) };
		$what = pick('sum', 'avg', 'max', 'min');
		$kind = '' if $what =~ /^m/;
		return ["$what($e)$filter", $kind ? "4 * count($e)$filter * " . ($e =~ /^f/ ? '1.2e-7' : '2.3e-16') . " * sum(abs(($e)::float8))$filter" : undef];
	}
	my $eps = $x eq 'f' && $what eq 'sum' ? '1.2e-7' : '2.3e-16';
	return ["$what($x)$filter", $float ? "4 * count($x)$filter * $eps * sum(abs($x\::float8))$filter" : undef] if $what eq 'sum' || $what eq 'avg';
	my $fn = pick('stddev', 'stddev_pop', 'stddev_samp', 'variance', 'var_pop', 'var_samp');
	# Of a deviation the bound is that of its square's root.
	my $bound = "(8 * count($x)$filter * $eps * sum(CASE WHEN abs($x\::float8) < 1e100 THEN $x\::float8 * $x\::float8 END)$filter)";
	return ["$fn($x)$filter", $float ? ($fn =~ /^std/ ? "sqrt$bound" : $bound) : undef];
}

# Of the extension's own: those that keep no more of a group than numbers, and those that keep all of its values.
sub over_time
{
	my ($filter) = @_;
	my $x = pick('a', 'a', 'b', 'later', 'f', 'n', 'a + b', 'CASE WHEN ok THEN a END');
	my $bound = "16 * count($x)$filter * 2.3e-16 * sum(abs(($x)::float8))$filter";
	my $squares = "(16 * count($x)$filter * 2.3e-16 * sum(CASE WHEN abs(($x)::float8) < 1e100 THEN ($x)::float8 * ($x)::float8 END)$filter)";

	return ['metricsdb.' . pick('count', 'min', 'max', 'present') . "_over_time($x)$filter"] if chance(0.3);
	return ['metricsdb.' . pick('avg', 'sum') . "_over_time($x)$filter", $bound] if chance(0.4);
	return ["metricsdb.stdvar_over_time($x)$filter", $squares] if chance(0.15);
	return ["metricsdb.stddev_over_time($x)$filter", "sqrt$squares"] if chance(0.15);
	return ["metricsdb.mad_over_time($x)$filter"] if chance(0.2);
	return ['metricsdb.quantile_over_time(' . pick('0.5', '0.99', '0', '1', '-1', "'NaN'", 'NULL', '(SELECT 0.25)', 'extract(month FROM now()) / 24') . ", $x)$filter"];
}

# Of samples, which depend on the order of rows in time, and on which of those at one time counts.
sub samples
{
	my ($filter) = @_;
	my $x = pick('a', 'a', 'b', 'later', 'f', 'n', 'k', 'a + b', 'CASE WHEN ok THEN a END', '(id % 7)');
	my $sum = "sum(abs(($x)::float8))$filter";
	my $range = "timestamptz '2026-03-28 05:00+00' + interval '" . int(rand(10000)) . " s'";
	$range = "$range, $range + interval '" . int(rand(10000)) . " s'";
	$range = pick("'2026-01-01', '2027-01-01'", $range, $range, $range, "NULL, '2027-01-01'");
	my $width = pick("'1 year'", "'1 year'", "'1 day'", 'NULL');
	my $bound = "16 * count($x)$filter * 2.3e-16 * $sum";

	return ['metricsdb.' . pick('resets', 'changes', 'last_over_time', 'idelta', 'delta') . "(time, $x)$filter"] if chance(0.4);
	return ["metricsdb.increase(time, $x)$filter", $bound] if chance(0.3);
	return ["metricsdb.increase(time, $x, $range)$filter", "1000 * $bound"] if chance(0.3);
	return ['metricsdb.' . pick('increase', 'delta', 'rate') . "(time, $x, $width)$filter", "1e9 * $bound"] if chance(0.2);
	return ['metricsdb.' . pick('rate', 'irate') . "(time, $x)$filter", "1e6 * $bound"] if chance(0.3);
	return ["metricsdb.rate(time, $x, $range)$filter", "1e6 * $bound"] if chance(0.3);
	return ["metricsdb.deriv(time, $x)$filter", "1e-6 * $sum"] if chance(0.3);
	return ["metricsdb.predict_linear(time, $x, " . pick('60', 'NULL', "-3600, '2026-03-28'") . ")$filter", "1e-3 * $sum"] if chance(0.4);
	return ['metricsdb.' . pick('slope', 'last_val') . '(metricsdb.' . pick('counter', 'gauge') . "_agg(time, $x)$filter)", "1e-6 * $sum"];
}

# A query for rows: conditions on times, series and values, in order of time or not.
sub row_query
{
	my (@where, @parts);
	my $meant = 1;

	push @parts, 'rows';
	if (chance(0.4)) { push @where, time_condition() }
	if (chance(0.3)) { push @where, series_condition() }
	for (1 .. pick(0, 1, 1, 2)) { push @where, value_condition(); $parts[1] = 'filter' }
	# A condition that only the plan can decide.
	if (chance(0.2)) { push @where, pick("note LIKE '%7'", 'n % 3 = 1', 'sqrt(abs(k)) > 100', 'host || region > code::text'); push @parts, 'rest' }
	$meant = 0 if !@where;
	my @columns = some(pick(1, 2, 4), 'time', 'host', 'region', 'code', 'a', 'b', 'f', 's', 'n', 'k', 'ok', 'seen', 'day', 'note', 'later');
	# Ids are not unique where rows were added twice: the order is of all that is shown.
	my $show = join(', ', @columns, 'id');
	my $tail = @where ? ' WHERE ' . join(' AND ', @where) : '';
	my $text = "SELECT $show FROM \@$tail";
	if ($unique && chance(0.3))
	{
		$text .= ' AND' if $tail;
		$text .= ' WHERE' if !$tail;
		$text .= ' time IS NOT NULL ORDER BY time' . pick('', ' DESC') . pick('', ' LIMIT 1', ' LIMIT 20');
		push @parts, 'ordered';
	}
	else
	{
		$text .= ' ORDER BY ' . join(', ', map { "($_)::text COLLATE \"C\"" } @columns, 'id');
	}
	return { text => $text, bounds => '', floats => [ (0) x (@columns + 1) ], shape => join('+', @parts), meant => $meant, node => 'MetricsScan',
		show => $parts[1] && $parts[1] eq 'filter' ? 'Value Filter' : '' };
}

sub query
{
	return row_query() if chance(0.35);
	return group_query();
}

sub group_query
{
	my (@keys, @show, @where, $name);
	my @parts;

	my $meant = 1;

	if (chance(0.7)) { my @k = map { series_key() } 1 .. pick(1, 1, 2); push @keys, map { $_->[0] } @k; push @show, map { $_->[1] } @k; push @parts, 'series' }
	if (chance(0.7)) { my @b = map { bucket() } 1 .. pick(1, 1, 1, 2); push @keys, @b; push @show, @b; push @parts, 'bucket' }
	my @aggs = map { aggregate() } 1 .. pick(1, 1, 2, 3, 6);
	push @where, time_condition() if chance(0.5);
	push @where, series_condition() if chance(0.3);
	if (chance(0.4)) { push @where, value_condition(); push @parts, 'filter' }
	push @parts, 'ungrouped' if !@keys;
	my $having = chance(0.15) ? ' HAVING ' . pick('count(*) > 3', 'min(n) < 0', 'count(a) > 0 AND max(k) > 5') : '';
	push @parts, 'having' if $having;
	if (chance(0.1))
	{
		# What is left to core, and right there, too.
		$meant = 0;
		push @aggs, [ pick('sum(n % 3)', 'count(DISTINCT n)', 'max(note)', "string_agg(DISTINCT region, ',')", 'sum(n::numeric)', 'min(host)', 'max(sqrt(abs(k)))') ];
		push @parts, 'core';
	}
	my $tail = (@where ? ' WHERE ' . join(' AND ', @where) : '') . (@keys ? ' GROUP BY ' . join(', ', @keys) : '') . $having;
	my $order = @show ? ' ORDER BY ' . join(', ', map { "($_)::text COLLATE \"C\"" } @show) : '';
	my $limit = $order && chance(0.1) ? ' LIMIT 5' : '';
	# In order of the bucket, of which windows are then read until there are enough.
	my @b = grep { /time_bucket\('\d+ (?!month)[a-z]+', time\)|^date_bin/ } @keys;
	if (@b == 1 && (grep { /time [<>=]/ } @where) && chance(0.7))
	{
		$order = " ORDER BY $b[0]" . pick('', ' DESC') . join('', map { ", ($_)::text COLLATE \"C\"" } grep { $_ ne $b[0] } @show);
		$limit = ' LIMIT ' . pick(1, 3, 20) . pick('', '', ' OFFSET 2');
		push @parts, 'limit';
	}
	return {
		text => 'SELECT ' . join(', ', @show, map { $_->[0] } @aggs) . " FROM \@$tail$order$limit",
		bounds => 'SELECT ' . join(', ', @show, map { $_->[1] // '0' } @aggs) . " FROM \@$tail$order$limit",
		floats => [ (0) x @show, map { defined $_->[1] ? 1 : 0 } @aggs ],
		shape => join('+', @parts),
		meant => $meant };
}

# Rows as lists; an error as its message.
sub answer
{
	my ($q) = @_;
	my $r = sql($q);
	return "error: $1" if $r =~ /ERROR:\s+(.*)/;
	return [ map { [ split /\|/, $_, -1 ] } split /\n/, $r ];
}

sub differ
{
	my ($q, $x, $y, $bounds) = @_;

	if (!ref $x || !ref $y)
	{
		# Whether squares overflow depends on the order of rows: an infinity that came before is past it.
		return undef if $huge && grep({ $_ } @{ $q->{floats} }) && !grep { !ref && !/value out of range: overflow/ } $x, $y;
		return ref $x eq ref $y && $x eq $y ? undef : (ref $x ? 'rows' : $x) . ' against ' . (ref $y ? 'rows' : $y);
	}
	return scalar(@$x) . ' rows against ' . scalar(@$y) if @$x != @$y;
	for my $i (0 .. $#$x)
	{
		for my $c (0 .. $#{ $x->[$i] })
		{
			my ($u, $v) = ($x->[$i][$c], $y->[$i][$c] // '?');
			$_ eq '-0' and $_ = '0' for $u, $v;
			next if $u eq $v;
			if ($q->{floats}[$c] && $u ne '' && $v ne '' && "$u$v" !~ /n/i)
			{
				my $bound = ref $bounds ? $bounds->[$i][$c] : 0;
				next if $bound !~ /n/i && abs($u - $v) <= ($bound || 0) + 1e-300;
				return "row $i column $c: $u against $v, which is more than $bound apart";
			}
			return "row $i column $c: $u against $v";
		}
	}
	return undef;
}

sub on { return ref $_[0] ? $_[0] : [ $_[0] ] }

my %settings = (
	'everything off' => 'SET metricsdb.enable_custom_scan = off',
	'everything on' => 'SET metricsdb.enable_custom_scan = on; SET max_parallel_workers_per_gather = 0',
	'parallel' => 'SET metricsdb.enable_custom_scan = on; SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0',
	'little memory' => "SET metricsdb.enable_custom_scan = on; SET max_parallel_workers_per_gather = 0; SET metricsdb.agg_memory = 64");
delete $settings{'little memory'} if !$ENV{METRICSDB_TESTING};
my $reset = 'RESET metricsdb.enable_custom_scan; RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;'
  . ($ENV{METRICSDB_TESTING} ? 'RESET metricsdb.agg_memory' : '');

my ($bad, $asked, $meant, $fast, $parallel, $errors) = (0, 0, 0, 0, 0, 0);

sub check
{
	my ($q, $what) = @_;
	my $expected = answer($q->{text} =~ s/\@/h/r);
	my $bounds = (grep { $_ } @{ $q->{floats} }) ? answer($q->{bounds} =~ s/\@/h/r) : undef;
	my $mine = $q->{text} =~ s/\@/t/r;

	$errors++ if !ref $expected;
	for my $how (sort keys %settings)
	{
		must($settings{$how});
		my $plan = $how ne 'everything off' ? sql("EXPLAIN $mine") : '';
		my $got = answer($mine);
		must($reset);
		if ($how eq 'everything on')
		{
			my $node = $q->{node} // 'MetricsAgg';
			my $took = $plan =~ /$node/ && (!$q->{show} || $plan =~ /$q->{show}/);
			$asked++;
			$shape{ $q->{shape} }[0]++;
			$shape{ $q->{shape} }[1]++ if $took;
			$meant++ if $q->{meant};
			$fast++ if $q->{meant} && $took;
			note "core: $mine" if $q->{meant} && !$took;
		}
		$parallel++ if $how eq 'parallel' && $plan =~ /MetricsAgg|MetricsScan/ && $plan =~ /Gather/;
		my $d = differ($q, $expected, $got, $bounds);
		next if !defined $d;
		$bad++;
		return 0 if !defined $what;
		fail("$what, $how");
		diag("METRICSDB_SEED=$seed $how: $mine\n$d\n$plan\n");
		return 0;
	}
	return 1;
}

for my $i (1 .. $tables)
{
	my $what = make_table();
	note "table $i: $what";
	for my $j (1 .. $queries)
	{
		last if $bad >= 5;
		check(query(), "table $i ($what), query $j");
	}
}
is($bad, 0, "$asked queries, each answered alike by " . (1 + keys %settings) . " executions; $errors of them by an error");
note sprintf('%-36s %3d of %3d took the fast path', $_, $shape{$_}[1] // 0, $shape{$_}[0]) for sort keys %shape;
note "fast: $fast of $meant that were meant to; $parallel in parallel";
cmp_ok($fast, '>=', 0.8 * $meant, 'most queries that were meant to took the fast path');
cmp_ok($parallel, '>', 0, 'some of them in parallel workers');

SKIP:
{
	skip('no library with test switches', 1) if !$ENV{METRICSDB_TESTING};
	# An error in a kernel is found.
	must('SET metricsdb.kernel_fault = on');
	my $found = 0;
	$bad = 0;
	for (1 .. 200)
	{
		if (!check(group_query(), undef)) { $found = 1; last }
	}
	must('RESET metricsdb.kernel_fault');
	ok($found, 'a sum that leaves out a value is found');
}
$s->close;
$node->stop;
grep_log($node, 'random queries');
done_testing();
