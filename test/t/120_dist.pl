# A table that is distributed over three clusters answers what one table with the same rows answers: the bench's queries,
# and some hundred random ones; rows of each series lie on all nodes.  What crosses the wire grows with groups, not rows.
#
#   METRICSDB_QUERIES=n	random queries (60)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;

my $goal = $ENV{METRICSDB_QUERIES} || 60;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
srand($seed);
note "METRICSDB_SEED=$seed";

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

my ($c, @nodes) = dist_nodes('n1', 'n2', 'n3');
sub sql { return $c->safe_psql('postgres', $_[0]) }

# ---- the same rows in one table, and spread over the nodes ----

my @usages = qw(usage_user usage_system usage_idle usage_nice usage_iowait usage_irq usage_softirq usage_steal usage_guest usage_guest_nice);
my $columns = 'id int8, time timestamptz NOT NULL, hostname text, region text, core int4, n int4, flag bool, price numeric, note text, '
  . join(', ', map { "$_ float8" } @usages);
my $with = "USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'hostname, region, core')";

# Times are all different, so that there is one first and one last; notes have all that COPY escapes.
sub rows
{
	my ($from, $to, $where) = @_;
	return "SELECT i, to_timestamp(1700000000 + i * 7 % 86400) + i * interval '1 us', 'host_' || i % 10, CASE WHEN i % 7 > 0 THEN 'r' || i % 3 END, i % 2, "
	  . "CASE WHEN i % 13 > 0 THEN (hashint8(i + 7) % 1000)::int4 END, i % 5 > 0, CASE WHEN i % 9 > 0 THEN (i % 1000) / 8.0 END, "
	  . q{(ARRAY[E'a\\tb', E'c\\\\d', E'\\n', '\N', '', 'ü€', '"', 'x''y', NULL, '.'])[1 + i % 10], }
	  . join(', ', map { "CASE WHEN i % 11 > 0 THEN abs(hashint8(i + $_)) % 100 END" } 1 .. 10)
	  . " FROM generate_series($from, $to) i $where";
}
my $total = 30_000;

add_nodes($c, @nodes);
sql("CREATE TABLE whole ($columns) $with; CREATE TABLE spread ($columns) $with;
	CREATE TABLE hosts (host text, rack text, since timestamptz);
	INSERT INTO hosts VALUES ('host_0', 'a', '2023-11-14'), ('host_1', 'a', '2023-11-15'), ('host_2', 'b', '2023-11-14 23:00'), ('host_2', 'c', '2023-11-15'), ('host_99', 'c', '2023-11-14');");
is(sql("SELECT metricsdb.distribute('spread')"), 't', 'a table is distributed');
is(sql("SELECT metricsdb.distribute('spread')"), 'f', 'once');
sql('INSERT INTO whole ' . rows(1, $total, ''));
for my $i (0 .. 2)
{
	$nodes[$i]->safe_psql('postgres', 'INSERT INTO spread ' . rows(1, $total, "WHERE i % 3 = $i"));
}

# ---- the bench's queries ----

for my $file (sort glob('test/bench/query/*.sql'))
{
	my %vars = (t => '@', hosts => 10, length => 86400);
	open my $in, '<', $file or die $!;
	for my $line (<$in>)
	{
		if ($line =~ /^\\set (\w+) (\d+)$/) { $vars{$1} = $2 }
		elsif ($line =~ /^\\set from /) { $vars{from} = 1700000000 + int(rand(86400 - $vars{span})) }
		elsif ($line =~ /^\\set (\w+) random/) { $vars{$1} = int(rand(10)) }
		else
		{
			$line =~ s/:(\w+)\b(?!:)/exists $vars{$1} ? $vars{$1} : ":$1"/ge;
			$line =~ s/;\s*$//;
			same($c, $line, $file =~ s/.*\///r) if $line =~ /@/;
		}
	}
	close $in;
}

# ---- what crosses the wire ----

my $grouped = 'SELECT hostname, avg(usage_user), stddev(usage_system), max(time), last(n, time) FROM spread GROUP BY 1';
my $few = bytes_of($c, $grouped);
is(rows_of($c, $grouped), 30, 'ten groups of each of three nodes are sent');
my $by_core = $grouped =~ s/hostname,/hostname, core,/r =~ s/BY 1/BY 1, 2/r;
my $keyed = bytes_of($c, $by_core);
my $all = bytes_of($c, 'SELECT * FROM spread');
cmp_ok($few, '<', 6000, "bytes of 30 groups: $few");
cmp_ok($all, '>', 100 * $total, "all rows: $all");
cmp_ok(rows_of($c, 'SELECT id FROM spread ORDER BY time DESC LIMIT 5'), '<=', 15, 'of the last five rows each node sends five');
cmp_ok(rows_of($c, 'SELECT DISTINCT ON (hostname, region, core) * FROM spread ORDER BY hostname, region, core, time DESC'), '<=', 3 * 70, 'of the last of each series one');
cmp_ok(rows_of($c, "SELECT time_bucket('1 minute', time), count(*) FROM spread GROUP BY 1 ORDER BY 1 DESC LIMIT 5"), '<=', 15, 'of the last five groups each sends five');
cmp_ok(rows_of($c, 'SELECT id, max(time) FROM spread GROUP BY 1 ORDER BY 2 DESC LIMIT 5'), '<=', 15, 'of the latest groups, too');
is(rows_of($c, 'SELECT id, min(n) FROM spread GROUP BY 1 HAVING min(n) < -1000'), 0, 'what HAVING leaves out on nodes is not sent');
is(rows_of($c, 'SELECT DISTINCT core FROM spread'), 6, 'of DISTINCT values each once');
is(rows_of($c, 'SELECT rack, sum(n) FROM spread JOIN hosts ON host = hostname GROUP BY 1'), 9, 'of a join the groups of keys that have a partner');
is(rows_of($c, "SELECT rack, n FROM spread JOIN hosts ON host = hostname AND rack = 'z'"), 0, 'and no row without');
is(rows_of($c, 'SELECT count(*) FROM spread WHERE id < 100 AND time < now()'), 3, 'now() is no reason to send rows');
for (1 .. 2)
{
	# Twice as many rows, and then twice as many again, of the same groups.
	my $from = $total + 1;
	my $to = $total * 2;
	sql('INSERT INTO whole ' . rows($from, $to, ''));
	$nodes[$_]->safe_psql('postgres', 'INSERT INTO spread ' . rows($from, $to, "WHERE i % 3 = $_")) for 0 .. 2;
	$total = $to;
}
my $after = bytes_of($c, $grouped);
cmp_ok(abs($after - $few), '<', 200, "of four times the rows the same groups are as many bytes: $after");
cmp_ok(bytes_of($c, 'SELECT id FROM spread'), '>', 2 * $total, 'while rows grow');
cmp_ok($keyed, '>=', $few, "bytes with another key: $keyed");

# A group is not unique, as it comes from each node: a join must not stop at the first one.
for my $setting ('', 'SET enable_hashjoin = off', 'SET enable_hashjoin = off; SET enable_mergejoin = off')
{
	same($c, $_, "$setting $_", $setting) for 'SELECT rack || hostname, bool_and(flag), approx_count_distinct(n)::text FROM @ JOIN hosts ON host = hostname GROUP BY rack || hostname',
	  'SELECT rack, sum(n), count(*) FROM @ JOIN hosts ON host = hostname GROUP BY 1';
}

# ---- random queries ----

my @keys = ('hostname', 'region', 'core', "time_bucket('1 hour', time)", "time_bucket('7 minutes', time)", "date_trunc('hour', time)",
	"time_bucket('1 day', time, 'Europe/Berlin')", 'time::date', 'extract(hour FROM time)', "hostname || '/' || core", 'flag', 'n % 7', 'note', 'price', 'upper(region)', 'core + 1', 'lower(hostname)', 'length(note)');
my @aggregates = ('count(*)', 'count(n)', 'sum(n)', 'sum(usage_user)', 'avg(n)', 'avg(usage_user)', 'avg(price)', 'sum(price)', 'min(time)', 'max(time)', 'min(note)', 'max(hostname)', 'min(usage_idle)',
	'max(n)', 'stddev(n)', 'variance(usage_nice)', 'stddev_pop(usage_user)', 'var_samp(price)', 'bool_and(flag)', 'bool_or(flag)', 'first(n, time)', 'last(usage_user, time)', 'last(note, time)',
	'count(DISTINCT n)', 'count(DISTINCT hostname)', "count(DISTINCT date_trunc('hour', time))", 'sum(DISTINCT core)', 'count(*) FILTER (WHERE usage_user > 50)', 'sum(n) FILTER (WHERE flag)',
	'approx_count_distinct(n)::text', 'histogram(usage_user, 0, 100, 4)::text', 'round(approx_percentile(0.9, sketch_agg(usage_user))::numeric, 6)', 'max(n) - min(n)', 'sum(n) / greatest(1, count(*))', 'max(usage_user + core)',
	'percentile_cont(0.5) WITHIN GROUP (ORDER BY n)', "string_agg(hostname, ',' ORDER BY id)", 'array_agg(n ORDER BY id)', 'rate(time, usage_user)', 'sum_over_time(usage_user)', 'avg_over_time(usage_nice)', 'min(extract(epoch FROM time))', 'bit_or(core)');
my @conditions = ("hostname = 'host_3'", "hostname IN ('host_1', 'host_5', 'nobody')", "hostname LIKE 'host_%'", "region IS NULL", "region = 'r1'", 'core = 1', 'n > 500', 'usage_user > 90', 'usage_user BETWEEN 10 AND 20 OR core = 0', 'flag', 'NOT flag', 'id % 10 = 3',
	"time >= '2023-11-15'", "time < '2023-11-15 06:00' AND time >= '2023-11-15 03:00'", "time > now() - interval '100 years'", "time > '2023-11-15'::date", "extract(hour FROM time) = 5", 'price > 50.5', "note = E'a\\tb'", "note ~ '^[a-c]'", 'note IS NOT NULL', 'random() >= 0',
	"hostname = ANY (ARRAY['host_1', 'host_2'])", '(n, core) < (500, 1)', "hostname IN (SELECT host FROM hosts)", "NOT EXISTS (SELECT FROM hosts WHERE host = hostname AND rack = 'b')", "id = (SELECT max(id) / 2 FROM whole)", 'id < (SELECT count(*) FROM hosts) * 1000', "coalesce(n, 0) > 100", "CASE core WHEN 1 THEN flag ELSE n > 3 END", 'false', "match(jsonb_build_object('h', hostname), '{h=~\"host_[1-3]\"}')", "hostname > 'host_5'", 'note COLLATE "C" < \'b\'');

sub where
{
	my @list = map { pick(@conditions) } 1 .. 1 + rand(2);
	return chance(0.7) ? ' WHERE ' . join(' AND ', map { "($_)" } @list) : '';
}

sub random_query
{
	my $kind = rand();
	my $from = '@';
	my %seen;

	if ($kind < 0.55)
	{
		my @k = grep { !$seen{$_}++ } map { pick(@keys) } 1 .. rand(4);
		my @a = map { pick(@aggregates) } 1 .. 1 + rand(3);
		my $join = chance(0.2);
		$from = pick('@ JOIN hosts ON host = hostname', '@ LEFT JOIN hosts ON host = hostname', 'hosts RIGHT JOIN @ ON host = hostname AND time > since', '@, hosts', '(SELECT * FROM @) s', '@ CROSS JOIN (VALUES (1), (2)) v (w)') if $join;
		# Of a whole sample's value the order of equal times may matter.
		push @k, pick('rack', 'rack', "rack || hostname") if $join && $from =~ /hosts/ && chance(0.6);
		my $q = 'SELECT ' . join(', ', @k, @a) . " FROM $from" . where();
		$q .= ' GROUP BY ' . join(', ', @k) if @k;
		$q .= ' HAVING ' . pick('count(*) > 10', 'max(n) > 990', 'avg(usage_user) > 49', 'min(core) = 1') if @k && chance(0.15);
		$q .= ' ORDER BY ' . join(', ', map { pick('', 'DESC ', 'NULLS FIRST ') =~ s/^/"$_ "/er } 1 .. @k) if @k && chance(0.4);
		$q .= ' LIMIT ' . int(rand(8)) . (chance(0.3) ? ' OFFSET ' . int(rand(3)) : '') if $q =~ / ORDER BY [^()]*$/ && chance(0.6);
		# The first in the order of an aggregate, or of those beyond something.
		if (@k && !$join && $q !~ / (?:HAVING|ORDER BY) .*$/ && chance(0.4))
		{
			my $a = pick('max(n)', 'min(n)', 'max(time)', 'min(usage_idle)', 'max(usage_idle)', 'max(note)', 'bool_or(flag)', 'min(hostname)');
			my $keys = join(', ', @k);
			$q = "SELECT $keys, $a" . (chance(0.3) ? ', ' . pick(@aggregates) : '') . ' FROM @' . where() . " GROUP BY $keys";
			$q .= ' HAVING ' . pick("$a > (SELECT $a FROM @ WHERE core = 1)", 'max(n) > 900', '30 >= min(usage_idle)', 'min(n) < 500', "$a IS NOT NULL") if chance(0.5);
			$q .= " ORDER BY $a" . pick('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST') . ", $keys LIMIT " . (1 + int(rand(8))) if chance(0.8);
		}
		return $q;
	}
	if ($kind < 0.7)
	{
		my @k = grep { !$seen{$_}++ } map { pick(@keys) } 1 .. 1 + rand(3);
		return 'SELECT DISTINCT ' . join(', ', @k) . ' FROM @' . where();
	}
	if ($kind < 0.8)
	{
		my @k = grep { !$seen{$_}++ } map { pick('hostname', 'region', 'core', 'upper(region)') } 1 .. 1 + rand(3);
		my $list = join(', ', @k);
		return "SELECT DISTINCT ON ($list) $list, id, usage_user, note FROM @" . where() . " ORDER BY $list, time" . pick('', ' DESC') . ', id';
	}
	if ($kind < 0.9)
	{
		my $targets = pick('*', 'id, time, hostname', 'id, n * 2, note', 'id, now() - now(), price, flag', 'count(*) OVER (PARTITION BY hostname), id', 't', 'id, t.*::text');
		my $q = "SELECT $targets FROM @ t" . where();
		$q .= ' ORDER BY ' . pick('id', 'time', 'time DESC, id', 'usage_user, id', 'note NULLS FIRST, id DESC', 'hostname DESC, id', 'n + core, id') if chance(0.7);
		$q .= pick('', ' LIMIT 10', ' LIMIT 7 OFFSET 5', ' LIMIT 0', ' FETCH FIRST 3 ROWS WITH TIES') if $q =~ /ORDER/;
		return $q;
	}
	return pick(
		'SELECT count(*) FROM @ a JOIN @ b ON a.id = b.id + 1 WHERE a.id < 2000',
		'WITH x AS (SELECT hostname, max(time) AS m FROM @ GROUP BY 1) SELECT t.id, t.hostname FROM @ t JOIN x ON x.hostname = t.hostname AND x.m = t.time',
		'SELECT h.host, (SELECT max(n) FROM @ t WHERE t.hostname = h.host) FROM hosts h',
		'SELECT h.host, l.id FROM hosts h CROSS JOIN LATERAL (SELECT id FROM @ t WHERE t.hostname = h.host ORDER BY time DESC LIMIT 2) l',
		'SELECT hostname, count(*) FROM @ GROUP BY GROUPING SETS ((hostname), ())',
		'SELECT hostname FROM @ WHERE core = 1 UNION SELECT host FROM hosts',
		'SELECT id FROM @ WHERE id < 20 UNION ALL SELECT -id FROM @ WHERE id < 10',
		'SELECT hostname, sum(count(*)) OVER (ORDER BY hostname) FROM @ GROUP BY 1',
		'SELECT max(s) FROM (SELECT hostname, sum(n) AS s FROM @ GROUP BY 1) x',
		"SELECT locf(avg(n)), time_bucket_gapfill('2 hours', time) FROM @ WHERE time >= '2023-11-15' AND time < '2023-11-16' GROUP BY 2",
		'SELECT count(*) FROM hosts h WHERE EXISTS (SELECT FROM @ t WHERE t.hostname = h.host AND t.n > 998)',
		'SELECT id FROM @ WHERE time = (SELECT max(time) FROM @)',
		'SELECT a.hostname, count(*), sum(b.n) FROM @ a JOIN whole b ON a.id = b.id WHERE a.core = 1 GROUP BY 1');
}

my %settings = (
	binary => '',
	text => "SET client_encoding = 'LATIN1'; SET DateStyle = 'German'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 0",
	zone => "SET timezone = 'America/St_Johns'",
	snapshot => 'SET default_transaction_isolation = serializable',
	generic => 'SET plan_cache_mode = force_generic_plan');
my $s = session($c);
$s->query('\set QUIET on');
for my $i (1 .. $goal)
{
	my $query = random_query();
	my $how = pick(sort keys %settings);
	# LATIN1 does not know the euro.
	$how = 'binary' if $how eq 'text' && ($query =~ /note|\*|SELECT t /);
	same($s, $query, "$i, $how: " . substr($query, 0, 150), $settings{$how});
}
same($c, 'SELECT * FROM @', 'all rows as text', "SET client_encoding = 'SQL_ASCII'");

# ---- what the planner knows ----

sql('ALTER SYSTEM SET metricsdb.dist_statistics_interval = 1; SELECT pg_reload_conf()');
ok(wait_for($c, "SELECT n_mod_since_analyze > 0 OR reltuples > 0 FROM pg_stat_user_tables JOIN pg_class c ON c.oid = relid WHERE c.relname = 'spread'"), 'rows that have come to nodes are what autovacuum goes by');
sql('ANALYZE spread');
like(sql('EXPLAIN SELECT * FROM spread'), qr/MetricsNodes\) on spread .*rows=$total /, 'and ANALYZE knows how many there are');
like(sql('EXPLAIN SELECT hostname, count(*) FROM spread GROUP BY 1'), qr/MetricsNodes\) .*rows=30 /, 'and how many groups');

# ---- cursors, cancel, nodes that do not answer ----

is(sql(q{BEGIN; DECLARE c CURSOR FOR SELECT id FROM spread ORDER BY id; FETCH 2 FROM c; SELECT count(*) > 0 FROM spread; FETCH 2 FROM c; SAVEPOINT s;
	DO $$ BEGIN PERFORM id / 0 FROM spread; EXCEPTION WHEN division_by_zero THEN END $$; ROLLBACK TO s; FETCH 1 FROM c; COMMIT}), "1\n2\nt\n3\n4\n5", 'a cursor goes on beside other queries, and errors');
is(sql(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM spread WHERE id <= 9; SAVEPOINT s; DO $$ BEGIN PERFORM id / 0 FROM spread; EXCEPTION WHEN division_by_zero THEN END $$;
	ROLLBACK TO s; SELECT count(*) FROM spread WHERE id <= 9; COMMIT}), "9\n9", 'and so does a transaction with one snapshot');
{
	$s->query('RESET ALL; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM spread');
	$nodes[1]->safe_psql('postgres', "INSERT INTO spread (id, time) VALUES (-1, '2023-11-14')");
	is($s->query('SELECT count(*) FROM spread WHERE id < 0'), '0', 'which does not see what comes later');
	is($s->query('COMMIT; SELECT count(*) FROM spread WHERE id < 0'), '1', 'but the next one does');
	$nodes[1]->safe_psql('postgres', 'DELETE FROM spread WHERE id = -1');
}
my ($rc, $out, $err) = $c->psql('postgres', q{SET statement_timeout = '1s'; SELECT count(*) FROM spread WHERE (SELECT true FROM generate_series(1, 2)) IS NOT NULL});
like($err, qr/more than one row/, 'errors of the coordinator are its own');
$nodes[0]->safe_psql('postgres', 'CREATE FUNCTION slow(int8) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN true; END $$;
	ALTER TABLE spread RENAME TO kept; CREATE VIEW spread AS SELECT * FROM kept WHERE slow(id)');
($rc, $out, $err) = $c->psql('postgres', q{SET statement_timeout = '1s'; SELECT count(*) FROM spread});
like($err, qr/statement timeout/, 'a query on a slow node is cancelled');
ok(wait_for($nodes[0], "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%COPY%' AND state = 'active' AND pid <> pg_backend_pid()"), 'on the node, too');
$nodes[0]->safe_psql('postgres', 'DROP VIEW spread; ALTER TABLE kept RENAME TO spread; ALTER TABLE spread RENAME COLUMN note TO remark');
($rc, $out, $err) = $c->psql('postgres', 'SELECT max(note) FROM spread');
like($err, qr/node "n1": column "note" does not exist.*query on node "n1" of shard "n1"/s, 'what a node says comes with its name, and the query');
$nodes[0]->safe_psql('postgres', 'ALTER TABLE spread RENAME COLUMN remark TO note');
$nodes[2]->restart;
same($c, 'SELECT count(*) FROM @', 'a node that was restarted');
my $kept = session($c);
is($kept->query('SELECT count(*) > 0 FROM spread'), 't', 'a session keeps connections');
$nodes[2]->restart;
is($kept->query('SELECT count(*) > 0 FROM spread'), 't', 'and connects anew when they are dead');
$nodes[2]->stop('immediate');
($rc, $out, $err) = $c->psql('postgres', 'SELECT count(*) FROM spread');
like($err, qr/node "n3".*shard "n3"/s, 'a node that is down is named');
is(sql('BEGIN; SET LOCAL metricsdb.partial_results = on; SELECT count(*) FROM spread; SELECT * FROM metricsdb.missing_shards(); COMMIT; SELECT count(*) FROM metricsdb.missing_shards()'),
	sql('SELECT count(*) FROM whole WHERE id % 3 < 2') . "\nn3\n0", 'where that is allowed the others answer, and what is missing is told');
is(sql("SELECT node, healthy, error IS NULL FROM metricsdb.nodes ORDER BY 1"), "n1|t|t\nn2|t|t\nn3|f|f", 'the view says who is down');
$nodes[2]->start;
same($c, 'SELECT count(*) FROM @', 'it is back');

is(sql("SELECT metricsdb.undistribute('spread')"), 't', 'a table is taken back');
is(sql('SELECT count(*) FROM spread'), '0', 'and is empty');
is(sql("SELECT metricsdb.remove_node('n1'), metricsdb.remove_node('n1')"), 't|f', 'so nodes may go');
is(sql("SELECT count(*) FROM pg_foreign_server WHERE srvname = 'n1'"), '0', 'with their servers');
done_testing();
