# Random operations on tables with stacks of continuous aggregates: rows in order, late, twice, changed, deleted,
# rolled back; merges, rewrites, crashes; meanwhile the worker applies.  Heaps have the same rows.  Every aggregate
# must be at all times what its definition says, run on the heap, and so must queries that are answered from them.
#
#   METRICSDB_SOAK_ROWS=n	rows inserted, updated and deleted in all (20,000; make soak: a million)
#   METRICSDB_SEED=n	to repeat a run, as far as the processes allow
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);
use StorageTest;

my $goal = $ENV{METRICSDB_SOAK_ROWS} || 20_000;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
srand($seed);
note "METRICSDB_SEED=$seed";

my $node = new_node('rollup_soak', autovacuum_naptime => 1, 'metricsdb.direct_rows' => 50, fsync => 'off', 'metricsdb.rollup_routing' => 'exact',
	'search_path' => "'public, metricsdb'", timezone => "'UTC'");
my $s;
my %did;
my ($rows, $next, $checks, $compared) = (0, 0, 0, 0);

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }
sub sql { return $node->safe_psql('postgres', $_[0]) }

# Values are whole numbers, so that sums do not depend on the order.
my $columns = '(id int8, time timestamptz NOT NULL, host text, region text, x float8, n int4)';
my $aggregates = 'count(*) AS n_rows, count(x) AS n_x, sum(x) AS sum_x, avg(x) AS avg_x, sum(n) AS sum_n, avg(n) AS avg_n, min(x) AS min_x, '
  . 'max(x) AS max_x, min(n) AS min_n, max(n) AS max_n, max(time) AS last_at, '
  . 'count(*) FILTER (WHERE x > 50) AS n_high, round(stddev(x)::numeric, 6) AS dev_x';
my %views = (
	v10 => "SELECT time_bucket('10 s', time) AS bucket, host, region, $aggregates FROM %s GROUP BY 1, 2, 3",
	v60 => "SELECT time_bucket('1 min', time) AS bucket, host, region, $aggregates FROM %s GROUP BY 1, 2, 3",
	vh => "SELECT time_bucket('1 hour', time) AS bucket, host, $aggregates FROM %s GROUP BY 1, 2",
	vd => "SELECT time_bucket('1 day', time, 'Europe/Berlin') AS bucket, host, $aggregates FROM %s GROUP BY 1, 2",
	# No part of the stack, and with a condition.
	vw => "SELECT date_trunc('hour', time, 'Asia/Kolkata') AS bucket, region, count(*) AS n_rows, sum(n) AS sum_n, max(x) AS max_x, bool_or(x > 99) AS any_high FROM %s "
	  . "WHERE host <> 'h3' GROUP BY 1, 2");

# What depends on the order of rows has a table whose rows have times of their own.
my %ordered = map {
	my ($width, $more) = @$_;
	("c$width" => "SELECT time_bucket('$width min', time) AS bucket, host, round(increase(time, x)::numeric, 6) AS up, resets(time, x) AS resets, first(x, time) AS first_x, "
		  . "last(x, time) AS last_x, first(n, time) FILTER (WHERE n > 500) AS first_n, num_vals(sketch_agg(x)) AS sketched, approx_percentile(0.9, sketch_agg(x)) AS p90, "
		  . "histogram(x, 0, 100, 5) AS spread, count(*) AS n_rows FROM %s GROUP BY 1, 2")
} [2], [30];

sql("CREATE TABLE ch $columns USING heap; CREATE INDEX ON ch (id); CREATE TABLE cm $columns USING metricsdb;
	CREATE TABLE h $columns USING heap; CREATE INDEX ON h (id); CREATE INDEX ON h (time);
	CREATE TABLE m $columns USING metricsdb");
# Some rows are there before the aggregates.
sub rows_sql
{
	my ($from, $to, $time) = @_;
	return "SELECT i, $time, 'h' || i % 7, 'r' || i % 2, CASE WHEN i % 11 > 0 THEN hashint8(i) % 100 END, (hashint8(i + 7) % 1000)::int4 FROM generate_series($from, $to) i";
}

my $start = "timestamptz '2026-03-27 22:00'";    # the clocks change in between

sub both
{
	my ($sql) = @_;
	(my $h = $sql) =~ s/\@/h/g;
	(my $m = $sql) =~ s/\@/m/g;
	return "$h;\n$m;\n";
}

sub in_order
{
	my $n = pick(1, 7, 7, 70, 70, 140, 700);
	my ($from, $to) = ($next + 1, $next + $n);
	$next = $to;
	return ($n, both("INSERT INTO \@ " . rows_sql($from, $to, "$start + i * interval '1.5 s'")));
}

sub late
{
	my $n = pick(1, 1, 3, 60);
	my ($from, $to) = ($next + 1, $next + $n);
	my $ago = int(rand(pick(100, 10_000, 86_400 * 60)));
	$next = $to;
	return ($n, both("INSERT INTO \@ " . rows_sql($from, $to, "$start + $from * interval '1.5 s' - $ago * interval '1 s' - i % 3 * interval '1 s'")));
}

sub some
{
	my $id = 1 + int(rand($next || 1));
	return pick("id = $id", "id BETWEEN $id AND $id + 5", "id BETWEEN $id AND $id + 50 AND host = 'h" . int(rand(7)) . "'",
		"id BETWEEN $id AND $id + 20");
}

sub twice
{
	my $where = some();
	return (10, both("INSERT INTO \@ SELECT * FROM \@ WHERE $where"));
}

sub change
{
	my $where = some();
	my $set = pick("x = x + 1", "n = n - 5", "x = NULL", "time = time + interval '7 s'", "time = time - interval '1 day'", "host = 'h9'", "region = region");
	return (10, both("UPDATE \@ SET $set WHERE $where"));
}

sub remove
{
	my $where = some();
	return (10, both("DELETE FROM \@ WHERE $where"));
}

my @changes = (\&in_order, \&in_order, \&in_order, \&in_order, \&late, \&late, \&twice, \&change, \&change, \&remove);
my @kinds = ('in order', 'in order', 'in order', 'in order', 'late', 'late', 'twice', 'update', 'update', 'delete');

# The same on the other tables.  Its rows' times are theirs alone.
my $c_next = 0;
sub ordered
{
	my $n = pick(1, 7, 70, 70, 300);
	my ($from, $to) = ($c_next + 1, $c_next + $n);
	my $id = 1 + int(rand($c_next || 1));
	my $sql = pick(
		sub { $c_next = $to; "INSERT INTO \@ " . rows_sql($from, $to, "$start + i * interval '1.500001 s'") },
		sub { $c_next = $to; "INSERT INTO \@ " . rows_sql($from, $to, "$start + i * interval '1.500001 s'") },
		sub { $c_next = $to; my $ago = int(rand(pick(100, 5_000, 500_000))); "INSERT INTO \@ " . rows_sql($from, $to, "$start + i * interval '1.500001 s' - interval '$ago s'") },
		sub { "UPDATE \@ SET x = x + 3, n = 1000 - n WHERE id BETWEEN $id AND $id + 9" },
		sub { "DELETE FROM \@ WHERE id BETWEEN $id AND $id + 5" })->();
	my $undo = pick('COMMIT', 'COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK');
	(my $text = 'BEGIN;' . both($sql) . $undo) =~ s/\b([hm])\b(?= (?:SELECT|SET|WHERE))/c$1/g;
	my $answer = $s->query($text);
	fail("no error: $answer") if defined $answer && $answer =~ /ERROR/;
	$did{ordered}++;
	$rows += $n;
	return;
}

# A query on the table itself, which may be answered from an aggregate.
my ($asked, $routed) = (0, 0);
sub ask
{
	my $key = pick("time_bucket('1 min', time)", "time_bucket('5 min', time)", "time_bucket('1 hour', time)", "date_trunc('day', time, 'Europe/Berlin')",
		"time_bucket('1 day', time, 'Europe/Berlin')", "time_bucket('20 s', time)", "time_bucket('2 min', time)", "time_bucket('10 min', time)", "'all'", "floor(extract(epoch FROM time) / 3600) * 3600", "date_bin('2 hours', time, '2000-01-01')");
	my $by = pick('host', 'region', 'upper(host)', "host || region", "1");
	my @bounds;
	my $at = int(rand($next * 1.5 + 1));
	push @bounds, "time >= $start + interval '$at s'" if chance(0.6);
	push @bounds, 'time < ' . pick("$start + interval '$at s' + interval '2 hours'", "date_trunc('hour', $start + interval '$at s') + interval '1 day'", "'2026-03-29'") if chance(0.6);
	push @bounds, pick("host = 'h" . int(rand(7)) . "'", "host IN ('h1', 'h2')", "region = 'r1'", "host <> 'h3'") if chance(0.5);
	my $where = @bounds ? 'WHERE ' . join(' AND ', @bounds) : '';
	my $having = chance(0.2) ? 'HAVING count(*) > 5' : '';
	my $query = "SELECT $key AS k, $by AS g, count(*), sum(n), avg(x), min(x), max(n), count(*) FILTER (WHERE x > 50) FROM \@ $where GROUP BY 1, 2 $having";
	my ($hh, $mm) = ('h', 'm');
	if (chance(0.4))
	{
		($hh, $mm) = ('ch', 'cm');
		$query = "SELECT $key AS k, host, round(increase(time, x)::numeric, 6), resets(time, x), first(x, time), last(x, time), count(*) FROM \@ $where GROUP BY 1, 2";
	}
	(my $h = $query) =~ s/\@/$hh/;
	(my $m = $query) =~ s/\@/$mm/;
	my $text = $s->query(qq{
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		EXPLAIN (COSTS OFF) $m;
		WITH a AS MATERIALIZED ($m), b AS MATERIALIZED ($h)
		SELECT 'differ', (SELECT count(*) FROM (TABLE a EXCEPT ALL TABLE b) x) + (SELECT count(*) FROM (TABLE b EXCEPT ALL TABLE a) x);
		COMMIT;});
	return if !defined $text;
	$asked++;
	$routed++ if $text =~ /_states/;
	return if $text =~ /differ\|0\n/;
	fail("routed after $rows rows, seed $seed");
	diag("$m\n$text");
	done_testing();
	exit 1;
}

sub change_rows
{
	my ($text, $n) = ('BEGIN;', 0);
	my @did;

	for (1 .. pick(1, 1, 1, 2, 4))
	{
		my $k = int(rand(@changes));
		my ($count, $sql) = $changes[$k]->();
		my $undo = chance(0.1);
		$text .= $undo ? "SAVEPOINT a;\n$sql ROLLBACK TO a;\n" : $sql;
		push @did, $undo ? 'rolled back' : $kinds[$k];
		$n += $count;
	}
	$text .= chance(0.07) ? 'ROLLBACK' : 'COMMIT';
	my $answer = $s->query($text);
	return if !defined $answer;
	if ($answer =~ /ERROR/)
	{
		fail("no error: $answer") unless $answer =~ /deadlock|could not serialize/;
	}
	$did{$_}++ for @did;
	$rows += $n;
	return;
}

# A view is what its definition says of the heap.
sub compare
{
	my ($what, @names) = @_;
	my $bad = '';

	for my $view (@names)
	{
		my $definition = $views{$view} ? sprintf($views{$view}, 'h') : sprintf($ordered{$view}, 'ch');
		my $text = $s->query(qq{
			BEGIN ISOLATION LEVEL REPEATABLE READ;
			WITH a AS MATERIALIZED (SELECT * FROM $view), b AS MATERIALIZED ($definition),
			d AS (SELECT '+' AS which, x.* FROM (TABLE a EXCEPT ALL TABLE b) x UNION ALL SELECT '-', x.* FROM (TABLE b EXCEPT ALL TABLE a) x)
			SELECT (SELECT count(*) FROM a) AS groups, (SELECT count(*) FROM d) AS differ, (SELECT string_agg(x, E'\\n') FROM (SELECT d::text AS x FROM d ORDER BY 1 LIMIT 6) e);
			COMMIT;});
		return 0 if !defined $text;
		my ($groups, $differ) = $text =~ /(\d+)\|(\d+)\|/;
		$compared += $groups // 0;
		$bad .= "$view: $text\n" if !defined $differ || $differ != 0;
	}
	$checks++;
	if ($bad ne '')
	{
		fail("$what after $rows rows, seed $seed");
		diag($bad);
		diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.aggregate_status'));
		done_testing();
		exit 1;
	}
	return 1;
}

sub crash
{
	$did{crash}++;
	if (chance(0.5))
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid = sql('SELECT pid FROM pg_stat_activity WHERE backend_type = ' . pick("'metricsdb rollup worker'", "'metricsdb maintainer'", "'client backend'") . ' ORDER BY random() LIMIT 1');
		if ($pid)
		{
			kill 'KILL', $pid;
			wait_for($node, 'SELECT true') or BAIL_OUT('the server does not come back');
		}
	}
	$s->connect;
	$s->query('SET search_path = public, metricsdb');
	return;
}

$s = session($node);
$s->query('SET search_path = public, metricsdb');
change_rows() while $rows < 700;
ordered() for 1 .. 4;
$s->query("CALL metricsdb.compact('m')");
for my $view (qw(v10 v60 vh vd vw c2 c30))
{
	my $answer = $s->query("CREATE MATERIALIZED VIEW $view WITH (metricsdb.continuous, metricsdb.lateness = '3 s') AS "
		  . ($views{$view} ? sprintf($views{$view}, 'm') : sprintf($ordered{$view}, 'cm')));
	unlike($answer, qr/ERROR/, "$view is made") or diag($answer);
	change_rows() for 1 .. 3;
}
my @names = sort(keys %views, keys %ordered);
compare('made', @names);

while ($rows < $goal)
{
	my $dice = rand();

	if ($dice < 0.65) { change_rows() }
	elsif ($dice < 0.75) { ordered() }
	elsif ($dice < 0.82) { ask() for 1 .. 3 }
	elsif ($dice < 0.88) { compare('meanwhile', pick(@names)) }
	elsif ($dice < 0.92)
	{
		my $view = pick(@names);
		$s->query(pick("CALL metricsdb.refresh('$view')", "CALL metricsdb.refresh('$view', $start + interval '10 min', $start + interval '3 days')"));
		$did{refresh}++;
	}
	elsif ($dice < 0.97)
	{
		$s->query("CALL metricsdb.compact('" . pick('m', 'm', 'cm', map { "${_}_states" } @names) . "', full => " . pick('true', 'false') . ')');
		$did{compact}++;
	}
	elsif ($dice < 0.975) { $s->query(pick('VACUUM m', 'VACUUM FULL m', 'CLUSTER m', 'VACUUM ANALYZE m')); $did{vacuum}++ }
	elsif ($dice < 0.98)
	{
		my $view = pick(sort keys %views);
		$s->query("SELECT metricsdb.detach_aggregate('$view')");
		change_rows() for 1 .. 3;
		compare('detached', $view);
		$s->query("SELECT metricsdb.attach_aggregate('$view')");
		$did{detach}++;
	}
	elsif ($dice < 0.985 && chance(0.1)) { $s->query('BEGIN; TRUNCATE h, m; ' . pick('COMMIT', 'ROLLBACK')); $did{truncate}++ }
	elsif ($dice < 0.99) { crash() }
}
compare('in the end', @names);
for my $view (@names)
{
	my $answer = $s->query("CALL metricsdb.refresh('$view')");
	unlike($answer, qr/ERROR/, "$view is refreshed") or diag($answer);
}
compare('refreshed', @names);
# All is applied, and nothing else than the states is read.
$s->query("CALL metricsdb.compact('$_')") for 'm', 'cm';
for my $view (qw(v10 v60 vh vd vw c2 c30))
{
	# What lies in the delta of a finer one's states is pending, too.
	$s->query("CALL metricsdb.refresh('$view'); CALL metricsdb.compact('${view}_states')");
}
is($s->query('SELECT count(*) FROM metricsdb.pending') + $s->query('SELECT count(*) FROM metricsdb.dirty WHERE NOT flagged'), 0, 'nothing is pending or dirty');
is($s->query("SELECT sum(n_rows) = (SELECT count(*) FROM h) FROM $_"), 't', "$_ has each row once") for qw(v10 v60 vh vd);
diag(join(', ', map { "$_: $did{$_}" } sort keys %did));
cmp_ok($did{$_} // 0, '>', 0, "$_ occurred") for ('in order', 'late', 'twice', 'update', 'delete', 'rolled back');
diag("METRICSDB_SEED=$seed: $rows rows changed, $checks comparisons of $compared groups, $asked queries on the table, $routed of them routed");
cmp_ok($routed, '>', $asked / 4, 'queries are routed');
ok(1, "$rows rows changed, $checks comparisons of $compared groups in all");
grep_log($node, 'soak');
$s->close;
$node->stop;
done_testing();
