# time_bucket_gapfill, locf and interpolate against plain SQL: random tables and queries, one answer.
#
# The oracle makes the grid of buckets with generate_series and time_bucket, joins the groups that there are, and
# looks for the rows before and after each bucket by subqueries.  Each query is asked of a heap, a metricsdb table
# and one with partitions of both kinds, with MetricsAgg and without, with workers and without, and with its range
# in WHERE, in arguments, in parameters of a generic plan.
#
#   METRICSDB_QUERIES=n	queries a table (40)
#   METRICSDB_TABLES=n	tables (3)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StorageTest;

my $queries = $ENV{METRICSDB_QUERIES} || 40;
my $tables = $ENV{METRICSDB_TABLES} || 3;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = new_node('gapfill', 'metricsdb.direct_rows' => 50, autovacuum => 'off', timezone => "'UTC'", jit => 'off',
	max_parallel_workers => 4, parallel_setup_cost => 0, parallel_tuple_cost => 0, min_parallel_table_scan_size => 0,
	search_path => "'public,metricsdb'");
my $s = session($node);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

sub sql
{
	my ($q) = @_;
	my $r = $s->query($q);
	die "connection lost at: $q\n$s->{last}" if !defined $r;
	die "$q\n$r" if $r =~ /ERROR/;
	return $r;
}

# Around changes of the clocks in Berlin, on Lord Howe Island and in New York, so that zones matter.
my ($origin, $hosts);

sub make_tables
{
	my $rows = pick(0, 20, 200, 1000);

	$origin = pick('2026-03-28', '2026-10-24', '2026-04-04', '2026-10-31');
	$hosts = pick(1, 2, 6);

	sql("DROP TABLE IF EXISTS h, c, p; CREATE TABLE h (time timestamptz, host text, v float8, n int) USING heap");
	sql("SELECT setseed(" . rand() . "); INSERT INTO h SELECT CASE WHEN random() < 0.98 THEN timestamptz '$origin' + random() * random() * interval '3 days' END,
		CASE WHEN random() < 0.9 THEN 'h' || floor(random() * $hosts)::int END, CASE WHEN random() < 0.7 THEN round((random() * 100)::numeric, 2) END,
		CASE WHEN random() < 0.7 THEN (random() * 1000)::int END FROM generate_series(1, $rows)");
	sql("CREATE TABLE c (LIKE h) USING metricsdb; INSERT INTO c SELECT * FROM h");
	sql("CALL metricsdb.compact('c')") if chance(0.7);
	sql("INSERT INTO h SELECT '$origin 10:00', 'late', 1, 1; INSERT INTO c SELECT '$origin 10:00', 'late', 1, 1") if chance(0.5);
	sql("CREATE TABLE p (LIKE h) PARTITION BY LIST (host); CREATE TABLE p_0 PARTITION OF p FOR VALUES IN ('h0', 'h2') USING metricsdb;
		CREATE TABLE p_rest PARTITION OF p DEFAULT USING heap; INSERT INTO p SELECT * FROM h; ANALYZE h; ANALYZE c; ANALYZE p");
	return;
}

# One query, in both ways.
sub make_query
{
	my $zone = chance(0.4) ? pick("'Europe/Berlin'", "'America/New_York'", "'Asia/Kolkata'", "'Australia/Lord_Howe'") : undef;
	my $width = pick($hosts < 3 ? '30 minutes' : '3 hours', '1 hour', '2 hours', '7 hours', '1 day', '2 days', '1 week', '1 month', ($zone ? () : ('47 minutes', '1 hour 1 second')));
	my $from = sprintf("timestamptz '%s' + interval '%d minutes'", $origin, int(rand(3000)) - 1000);
	my $to = "$from + interval '" . pick(1, 50, 1500, 4000) . " minutes'";
	my ($ge, $lt) = (pick('>=', '>'), pick('<', '<='));
	my @keys = pick([], ['host'], $hosts < 3 ? ['host', "n % 2"] : ['host'], ["coalesce(host, '?')"]);
	my $value = pick('avg(v)', 'max(v)', 'sum(v)', 'count(*)::float8', 'min(v) + 1');
	my $ivalue = pick('max(n)', 'count(n)::int', 'sum(n)::bigint');
	my $itype = $ivalue =~ /bigint/ ? 'int8' : 'int4';
	my $args = $zone ? "$width', time, $zone" : "$width', time";
	my $bucket = sub { return "time_bucket('$width', $_[0]" . ($zone ? ", $zone)" : ')') };
	my @k = @{ $keys[0] };
	my $k = join '', map { "$k[$_] AS k$_, " } 0 .. $#k;
	my $kn = join '', map { "k$_, " } 0 .. $#k;
	my $same = join '', map { " AND x.k$_ IS NOT DISTINCT FROM g.k$_" } 0 .. $#k;
	my $having = chance(0.2) ? ' HAVING count(*) > 1' : '';

	# The range: what is in WHERE alone, or in arguments, with all rows of the table.
	my $where = "time $ge $from AND time $lt $to";
	my $filter = $where;
	my $how = pick('where', 'between', 'arguments', 'parameters');
	if ($how eq 'between')
	{
		($ge, $lt) = ('>=', '<=');
		$where = "time BETWEEN $from AND $to";
		$filter = "time >= $from AND time <= $to";
	}
	elsif ($how eq 'arguments')
	{
		($ge, $lt) = ('>=', '<');
		$args .= ", $from, $to";
		$where = $filter = 'true';
	}
	my $lo = $ge eq '>' ? "$from + interval '1 us'" : $from;
	my $hi = $lt eq '<=' ? "$to + interval '1 us'" : $to;
	my $by = join ', ', map { $_ + 1 } 0 .. scalar(@k);
	my $prev = "(SELECT 42.5)::float8";
	my $record = "(SELECT (timestamptz '$origin' - interval '8 days', 7.5::float8))";
	my $after = "(SELECT (timestamptz '$origin' + interval '60 days', 77.5::float8))";
	my $order = join ', ', map { "$_ NULLS LAST" } 1 .. scalar(@k) + 1;
	my $round = sub { return "round(($_[0])::numeric, 6)" };
	my $query = "SELECT $k" . "time_bucket_gapfill('$args) AS b, " . join(', ', map { $round->($_) } $value, "locf($value)", "locf($value, $prev)",
		"locf($value, treat_null_as_missing => true)", "locf($value, $prev, true)", "interpolate($value)", "interpolate($value, $record, $after)") .
		", $ivalue, interpolate($ivalue), coalesce(interpolate($ivalue), -1) + 1, count(*) FROM TABLE_ WHERE $where GROUP BY $by$having ORDER BY $order";

	# What comes of buckets, each by itself.
	my $at = sub { my ($dir, $col, $more) = @_; my ($op, $sort) = $dir < 0 ? ('<', 'DESC') : ('>', 'ASC');
		return "(SELECT $col FROM raw x WHERE x.b $op g.b$same$more ORDER BY x.b $sort LIMIT 1)" };
	my $inside = "EXISTS (SELECT FROM raw x WHERE x.b < g.b AND x.b >= (SELECT min(b) FROM buckets)$same)";
	my $us = sub { return "(extract(epoch FROM $_[0]) * 1000000)::float8" };
	my $line = sub { my ($t0, $y0, $t1, $y1) = @_;
		my ($u, $u0, $u1) = map { $us->($_) } 'g.b', $t0, $t1;
		return "($y0 * ($u1 - $u) + $y1 * ($u - $u0)) / ($u1 - $u0)" };
	my $iline = "trunc((y0 * extract(epoch FROM t1 - b) + y1 * extract(epoch FROM b - t0)) / extract(epoch FROM t1 - t0))::$itype";
	my ($t0, $t1) = ("(timestamptz '$origin' - interval '8 days')", "(timestamptz '$origin' + interval '60 days')");
	my $oracle = "WITH raw AS MATERIALIZED (SELECT $k" . $bucket->('time') . " AS b, $value AS a, $ivalue AS i, count(*) AS c FROM TABLE_ WHERE $filter GROUP BY $by$having),
		buckets AS (SELECT DISTINCT " . $bucket->('t') . " AS b FROM (SELECT $lo AS t UNION ALL SELECT generate_series($lo, $hi - interval '1 us', '5 minutes')
			UNION ALL SELECT $hi - interval '1 us') t WHERE $lo < $hi AND t < $hi AND t >= $lo),
		groups AS (SELECT DISTINCT " . ($kn ? ($kn =~ s/, $//r) . ' FROM raw' : '1 AS one') . "),
		grid AS (SELECT ${kn}b FROM groups, buckets UNION SELECT ${kn}b FROM raw),
		g AS (SELECT g.*, x.a, x.i, x.c, x.c IS NOT NULL AS has FROM grid g LEFT JOIN raw x ON x.b IS NOT DISTINCT FROM g.b$same),
		f AS (SELECT g.*, (SELECT min(b) FROM buckets) AS first_b, $inside AS inside, EXISTS (SELECT FROM raw x WHERE x.b > g.b$same) AS behind,
			" . $at->(-1, 'x.a', '') . " AS la, " . $at->(-1, 'x.a', ' AND x.a IS NOT NULL') . " AS lb, " . $at->(1, 'x.a', '') . " AS na,
			" . $at->(-1, 'x.i', '') . " AS li, " . $at->(1, 'x.i', '') . " AS ni, " . $at->(-1, 'x.b', '') . " AS pt, " . $at->(1, 'x.b', '') . " AS nt FROM g)
		SELECT ${kn}b, " . join(', ', map { $round->($_) } 'a', 'CASE WHEN has THEN a ELSE la END',
		"CASE WHEN has THEN a WHEN inside THEN la ELSE coalesce(la, 42.5) END",
		'CASE WHEN b IS NULL THEN a ELSE coalesce(a, lb) END', "CASE WHEN b IS NULL THEN a ELSE coalesce(a, lb, CASE WHEN b >= first_b THEN 42.5 END) END",
		"CASE WHEN has THEN a ELSE " . $line->('pt', 'la', 'nt', 'na') . " END",
		"CASE WHEN has THEN a ELSE " . $line->("(CASE WHEN inside OR la IS NOT NULL THEN pt ELSE $t0 END)", '(CASE WHEN inside THEN la ELSE coalesce(la, 7.5) END)',
			"(CASE WHEN behind THEN nt ELSE $t1 END)", '(CASE WHEN behind THEN na ELSE 77.5 END)') . " END") .
		", i, ii, coalesce(ii, -1) + 1, c FROM (SELECT g.*, (CASE WHEN has THEN i ELSE (SELECT $iline FROM (SELECT li::numeric AS y0, ni::numeric AS y1, pt AS t0, nt AS t1) l) END)::$itype AS ii FROM f g) g ORDER BY $order";
	return ($query, $oracle, $how, $from, $to, $ge, $lt);
}

my ($n, $bad, $rows, %ways) = (0, 0, 0);

sub compare
{
	my ($query, $oracle, $how, $from, $to, $ge, $lt) = make_query();

	for my $t ('h', 'c', 'p')
	{
		my $want = sql($oracle =~ s/TABLE_/$t/gr);
		my $set = 'SET metricsdb.enable_vector_agg = ' . pick('on', 'off') . '; SET max_parallel_workers_per_gather = ' . pick(0, 2)
			. '; SET enable_hashagg = ' . pick('on', 'off') . '; SET enable_partitionwise_aggregate = ' . pick('on', 'off');
		my $got;
		my $q = $query =~ s/TABLE_/$t/gr;

		# The oracle is asked under the same settings of other things as before: it is not what is tested.
		sql($set);
		if ($how eq 'parameters')
		{
			my $generic = $q =~ s/\Qtime $ge $from AND time $lt $to\E/time $ge \$1 AND time $lt \$2/r;
			sql("SET plan_cache_mode = force_generic_plan; PREPARE q(timestamptz, timestamptz) AS $generic");
			$got = sql("EXECUTE q($from, $to)");
			sql('DEALLOCATE q; RESET plan_cache_mode');
		}
		else { $got = sql($q) }
		sql('RESET metricsdb.enable_vector_agg; RESET max_parallel_workers_per_gather; RESET enable_hashagg; RESET enable_partitionwise_aggregate');
		$ways{"$how $t"}++;
		$n++;
		$rows += () = $want =~ /\n/g;
		next if $got eq $want;
		$bad++;
		next if $bad > 3;
		my @got = split /\n/, $got;
		my @want = split /\n/, $want;
		my ($i) = grep { ($got[$_] // '') ne ($want[$_] // '') } 0 .. ($#got > $#want ? $#got : $#want);
		diag("seed $seed, $t, $set\n$q\noracle:\n" . ($oracle =~ s/TABLE_/$t/gr) . "\nrow $i of @{[scalar @got]} and @{[scalar @want]}\n got: " . ($got[$i] // 'none') . "\nwant: " . ($want[$i] // 'none'));
	}
	return;
}

for (1 .. $tables)
{
	make_tables();
	compare() for 1 .. $queries;
}
is($bad, 0, "$n queries answered as by plain SQL");
cmp_ok($rows, '>', 100, "they had rows ($rows)");
note join ', ', map { "$_: $ways{$_}" } sort keys %ways;
$node->stop;
done_testing();
