# Random queries on a table with a stack of continuous aggregates: with metricsdb.rollup_routing = exact they return
# what they return with off, in one snapshot, whatever is pending, dirty, late or being deleted, whoever asks.
# Those that are meant to be answered by an aggregate are.
#
#   METRICSDB_QUERIES=n	queries (400)
#   METRICSDB_SEED=n	to repeat a run, as far as the processes allow
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use POSIX qw(strftime);
use StorageTest;

my $goal = $ENV{METRICSDB_QUERIES} || 400;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
srand($seed);
note "METRICSDB_SEED=$seed";

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

my $node = new_node('routing', 'metricsdb.direct_rows' => 50, fsync => 'off', search_path => "'public, metricsdb'",
	timezone => "'UTC'");
sub sql { return $node->safe_psql('postgres', $_[0]) }

# ---- a table, aggregates of random widths, and rows in every state ----

my $fine = pick(60, 300, 900);                          # seconds
my $mid = $fine * pick(2, 4, 12);
my $zone = pick('Europe/Berlin', 'UTC', 'America/New_York', 'Asia/Kolkata');
my ($w1, $w2) = ("'$fine s'", "'$mid s'");
my $aggregates = 'count(*) AS n_rows, avg(x) AS avg_x, sum(x) AS sum_x, sum(n) AS sum_n, avg(n) AS avg_n, min(x) AS min_x, max(x) AS max_x, '
  . 'min(n) AS min_n, max(n) AS max_n, first(x, time) AS first_x, last(n, time) AS last_n, max(time) AS last_at, '
  . 'count(*) FILTER (WHERE x > 50) AS n_high, stddev(x) AS dev_x, variance(n) AS var_n, bool_or(x > 90) AS any_high';
sql(q{CREATE TABLE m (id int8, time timestamptz NOT NULL, host text, region text, core int4, x float8, n int4)
	USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, region, core');
	CREATE TABLE hosts (host text, rack text, since timestamptz);
	INSERT INTO hosts VALUES ('h0', 'a', '2026-03-01'), ('h1', 'a', '2026-03-28'), ('h2', 'b', '2026-03-30'), ('h2', 'c', '2026-04-01'), ('h9', 'c', '2026-03-01');});

# Times are all different, so that there is one first and one last.
my $next = 0;
my $start = "timestamptz '2026-03-25 21:17'";
sub insert
{
	my ($n, $back) = @_;
	my ($from, $to) = ($next + 1, $next + $n);
	$next = $to;
	return "INSERT INTO m SELECT i, $start + i * interval '11 s' - $back * interval '1 s' + i * interval '1 us', 'h' || i % 5, "
	  . "CASE WHEN i % 7 > 0 THEN 'r' || i % 3 END, i % 2, CASE WHEN i % 11 > 0 THEN hashint8(i) % 100 END, (hashint8(i + 7) % 1000)::int4 "
	  . "FROM generate_series($from, $to) i";
}
sql(insert(60_000, 0));                                 # a week, in which Europe's clocks change
sql("CREATE MATERIALIZED VIEW v1 WITH (metricsdb.continuous) AS SELECT time_bucket($w1, time) AS bucket, host, region, core, $aggregates FROM m GROUP BY 1, 2, 3, 4");
sql("CREATE MATERIALIZED VIEW v2 WITH (metricsdb.continuous) AS SELECT time_bucket($w2, time) AS bucket, host, region, $aggregates FROM m GROUP BY 1, 2, 3");
sql("CREATE MATERIALIZED VIEW v3 WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', time, '$zone') AS bucket, host, region, $aggregates FROM m GROUP BY 1, 2, 3");
# No part of the stack: it has a condition.
sql("CREATE MATERIALIZED VIEW v4 WITH (metricsdb.continuous) AS SELECT time_bucket($w2, time) AS bucket, core, count(*) AS n_rows, sum(n) AS sum_n, histogram(x, 0, 100, 5) AS hist FROM m WHERE host <> 'h3' GROUP BY 1, 2");
ok(wait_for($node, 'SELECT bool_and(pending_rows < 60000) FROM metricsdb.aggregate_status'), 'the worker has begun');
sql(insert(3000, 400_000));                             # late
sql(insert(500, 200_000));
sql("DELETE FROM m WHERE time BETWEEN '2026-03-28 01:07' AND '2026-03-28 05:31' AND host = 'h1'");
sql("UPDATE m SET x = x + 1 WHERE id % 997 = 0");
sql("CREATE ROLE alice; CREATE ROLE bob; GRANT USAGE ON SCHEMA metricsdb TO PUBLIC; GRANT SELECT ON m, hosts TO alice, bob;
	ALTER TABLE m ENABLE ROW LEVEL SECURITY;
	CREATE POLICY a ON m TO alice USING (host IN ('h0', 'h2', 'h4') AND EXISTS (SELECT FROM hosts d WHERE d.host = m.host OR m.host = 'h4'));
	CREATE POLICY b ON m TO bob USING (x < 70)");
note "widths $fine s, $mid s, a day of $zone";

# ---- queries ----

# A time between the rows' first and last, on a boundary or not.
sub moment
{
	my $t = 1_774_396_800 + int(rand(700_000)) - 10_000;    # 2026-03-25 00:00 UTC

	$t -= $t % pick(1, 1, 60, $fine, $mid, 86_400);
	return ("to_timestamp($t)", $t) if chance(0.2);
	return (strftime("timestamptz '%Y-%m-%d %H:%M:%S+00'", gmtime($t)), $t);
}

# Buckets, and whether they are made of whole buckets of some aggregate.
sub bucket
{
	my $k = pick(1, 1, 2, 3, 5);
	my @all = (
		["time_bucket(${w1}::interval * $k, time)", 1], ["time_bucket(${w2}::interval * $k, time)", 1],
		["date_trunc('hour', time)", 3600 % $fine == 0],
		["date_trunc('day', time)", 1], ["date_trunc('day', time, '$zone')", 1], ["date_trunc('week', time, '$zone')", 1],
		["date_trunc('month', time)", 1], ["time_bucket('1 month', time)", 1],
		["date_bin(${w1}::interval * $k, time, '2001-02-03')", 86_400 % ($fine * $k) == 0],
		["date_bin(${w2}::interval, time, timestamptz '" . strftime('%Y-%m-%d %H:%M:%S+00', gmtime(981_158_400 + $fine)) . "')", 1],
		["floor(extract(epoch from time) / " . $fine * $k . ") * " . $fine * $k, 1],
		["(time AT TIME ZONE '$zone')::date", 1], ["time::date", 1], ["extract(hour from time)", 3600 % $fine == 0],
		["time_bucket('1 day', time, 'Asia/Kathmandu')", 1], ["time_bucket(${w1}::interval / 2, time)", 0],
		["time_bucket($w1, time, '1 s'::interval)", 0], ["time", 0]);
	return @{ pick(@all, @all[0 .. 4], @all[0 .. 4]) };
}

my @parts = ('count(*)', 'sum(x)', 'avg(x)', 'sum(n)', 'avg(n)', 'min(x)', 'max(n)', 'first(x, time)', 'last(n, time)', 'max(time)',
	'count(*) FILTER (WHERE x > 50)', 'round(stddev(x)::numeric, 6)', 'round(variance(n), 3)', 'bool_or(x > 90)', 'max(x) - min(x)',
	'coalesce(sum(x), 0) / nullif(count(x), 0)', 'count(n)');

# A query, whether an aggregate is meant to answer it, and its parameters.
sub query
{
	my $meant = 1;
	my (@keys, @where, @params);
	my $join = '';
	my ($lo, $hi) = (0, 4e9);

	if (chance(0.75))
	{
		my ($b, $ok) = bucket();
		push @keys, $b;
		$meant = $ok;
	}
	push @keys, pick('host', 'region', 'upper(host)', "host || coalesce(region, '-')", 'host = \'h1\'') if chance(0.6);
	push @keys, 'core' if chance(0.2);
	push @where, pick("host = 'h1'", "host IN ('h0', 'h2', 'h3')", "region IS NULL", "host LIKE 'h%' AND region <> 'r1'", "core = 1", "extract(dow from time AT TIME ZONE '$zone') < 5")
	  if chance(0.4);
	if (chance(0.75))
	{
		my ($from, $t) = moment();
		$lo = $t;
		if (chance(0.25) && $from =~ /^timestamptz/)
		{
			$from =~ s/timestamptz //;
			push @params, "$from\::timestamptz";
			$from = '$' . @params;
		}
		push @where, "time " . pick('>=', '>=', '>') . " $from";
	}
	if (chance(0.6))
	{
		my ($to, $t) = pick([ "timestamptz '2026-04-01 07:11:13+00'", 1_775_027_473 ], [ "timestamptz '2026-03-31 00:00+00'", 1_774_915_200 ],
			[ moment() ], [ 'now()', time() ], [ "(now() + interval '1 day')::date", time() + 40_000 ])->@*;
		$hi = $t;
		push @where, chance(0.7) ? "time < $to" : chance(0.5) ? "time <= $to" : "$to > time";
	}
	if (chance(0.2))
	{
		$join = pick('JOIN hosts d USING (host)', q{LEFT JOIN hosts d ON d.host = m.host AND d.rack <> 'c'},
			q{, hosts d WHERE d.host = m.host AND d.since < '2026-03-31'});
		push @keys, 'd.rack' if chance(0.7);
		@where = map { s/\bhost\b/m.host/gr } @where;
		@keys = map { s/(?<!\.)\bhost\b/m.host/gr } @keys;
	}
	if (chance(0.1))
	{
		push @where, pick('x > 10', 'n % 2 = 0', 'id < 50000');
		$meant = -1;
	}
	my @out = map { pick(@parts) } 1 .. 1 + int(rand(4));
	if (chance(0.07))
	{
		push @out, pick('percentile_cont(0.5) WITHIN GROUP (ORDER BY x)', 'count(DISTINCT n)', 'sum(x * n)', 'sum(id)::text');
		$meant = -1;
	}
	my $q = 'SELECT ' . join(', ', @keys, @out) . " FROM m $join";
	$q .= ($join =~ /WHERE/ ? ' AND ' : ' WHERE ') . join(' AND ', @where) if @where;
	$q .= ' GROUP BY ' . join(', ', 1 .. @keys) if @keys;
	$q .= ' HAVING ' . pick('count(*) > 100', 'sum(n) % 2 = 0', 'max(x) > 95') if chance(0.15);
	$q .= ' ORDER BY ' . join(', ', 1 .. @keys) . ' LIMIT 7' if @keys && chance(0.15);
	# In so short a time there need not be a whole bucket.
	$meant = 0 if $meant > 0 && $hi - $lo < 2 * $fine;
	return ($q, $meant, @params);
}

my $s = session($node);
my ($asked, $routed, $meant_all, $meant_routed, $wrong, $never) = (0, 0, 0, 0, 0, 0);
my (%by, %not);

# Runs one query both ways in one snapshot.
sub compare
{
	my ($q, $meant, @params) = @_;
	my $role = pick('postgres', 'postgres', 'alice', 'bob');
	my $tz = pick('UTC', 'UTC', $zone, 'Asia/Kolkata', 'Australia/Eucla');
	my $all = qq{SELECT coalesce(md5(string_agg(t::text, ',' ORDER BY t::text COLLATE "C")), '-') || ' ' || count(*) FROM ($q) t};
	my %got;

	$s->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL timezone = '$tz'; SET LOCAL ROLE $role");
	for my $mode ('off', 'exact')
	{
		$s->query("SET LOCAL metricsdb.rollup_routing = $mode");
		if (@params)
		{
			$s->query("SET LOCAL plan_cache_mode = " . pick('force_generic_plan', 'force_custom_plan'));
			$s->query("PREPARE q AS $all");
			my $args = join(', ', @params);
			$got{$mode} = $s->query("EXECUTE q($args)");
			$got{"plan $mode"} = $s->query("EXPLAIN (COSTS OFF) EXECUTE q($args)");
			$s->query('DEALLOCATE q');
		}
		else
		{
			$got{$mode} = $s->query($all);
			$got{"plan $mode"} = $s->query("EXPLAIN (COSTS OFF) $q");
		}
	}
	$s->query('ROLLBACK');
	my ($view) = $got{'plan exact'} =~ /(v\d)_states/;
	$asked++;
	if (defined $view) { $routed++; $by{$view}++ }
	if ($got{off} ne $got{exact} || $got{off} !~ /^(-|[0-9a-f]{32}) \d+$/m)
	{
		$wrong++;
		diag("$role $tz (@params): $q\noff: $got{off}\nexact: $got{exact}\n" . $got{'plan exact'}) if $wrong <= 3;
	}
	if ($got{'plan off'} =~ /_states/ || (defined $view && ($meant < 0 || $role eq 'bob'))) { $never++; diag("routed: $role: $q") }
	if ($meant > 0 && $role ne 'bob' && $tz eq 'UTC')
	{
		$meant_all++;
		if (defined $view) { $meant_routed++ }
		else { $not{$q} = 1 }
	}
}

# Somebody deletes, and does not commit; others delete other rows, or they would wait for it for ever.
my $other = session($node);
for my $n (1 .. $goal)
{
	compare(query());
	if ($n % 40 == 0)
	{
		$other->query(pick('COMMIT', 'ROLLBACK')) if $n > 40;
		$other->query('BEGIN');
		$other->query(pick("DELETE FROM m WHERE id % 5 <> 3 AND id BETWEEN 100 * $n AND 100 * $n + 300", insert(40, int(rand(600_000))),
			"UPDATE m SET n = n + 1 WHERE id % 5 <> 3 AND id BETWEEN 90 * $n AND 90 * $n + 20", insert(200, int(rand(600_000)))));
	}
	sql(pick(insert(30, int(rand(700_000))), insert(300, 0), "DELETE FROM m WHERE id % 5 = 3 AND id % 1999 = $n", "CALL metricsdb.compact('m')")) if $n % 25 == 0;
	sql("CALL metricsdb.refresh('v3')") if $n == int($goal / 2);
}
$other->query('COMMIT');
is($wrong, 0, "$asked queries return the same with and without aggregates");
is($never, 0, 'none is routed that must not be');
note("routed: $routed of $asked, " . join(', ', map { "$_ $by{$_}" } sort keys %by) . "; of those meant to be: $meant_routed of $meant_all");
cmp_ok($routed, '>', 0.4 * $asked, 'a good part is answered by aggregates');
cmp_ok(scalar(keys %by), '>=', 3, 'by different ones');
is($meant_routed, $meant_all, 'all that are meant to be') or diag(join("\n", (sort keys %not)[ 0 .. 9 ]));
is(sql("SELECT count(*) FROM metricsdb.check('m')"), 0, 'check() finds nothing');

done_testing();
