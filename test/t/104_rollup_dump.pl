# Dumps of continuous aggregates: views say in the copy what they said at the time of the dump, though part of the table,
# or all of it, is gone, and whatever was pending or dirty.  Nothing counts twice, nothing is lost.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

# The worker is kept away, so that what is pending stays so.
my $node = new_node('rollup_dump', 'metricsdb.direct_rows' => 100, 'metricsdb.rollup_interval' => -1, 'metricsdb.retention_interval' => -1,
	'metricsdb.rollup_routing' => 'off', timezone => "'UTC'");
my $dir = PostgreSQL::Test::Utils::tempdir;
my @views = ('m10', 'h1', 'day', 'month');
my @all = (@views, 'rates', 'own');

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

# Integers, so that sums do not hang on the order of rows.
sql(q{
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8, n int, hits float8) USING metricsdb WITH (metricsdb.series = 'host');
CREATE TABLE young (time timestamptz NOT NULL, host text, n int) USING metricsdb;
CREATE MATERIALIZED VIEW m10 WITH (metricsdb.continuous, metricsdb.lateness = '1 min 30 s') AS
	SELECT metricsdb.time_bucket('10 min', time) AS bucket, host, count(*), sum(n), avg(n) AS mean, min(v), max(v), metricsdb.first(v, time), metricsdb.last(v, time),
		stddev(n), metricsdb.sketch_agg(v), count(*) FILTER (WHERE n > 50) AS high FROM m WHERE n >= 0 GROUP BY 1, 2;
CREATE MATERIALIZED VIEW h1 WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, count(*), sum(n), max(v) FROM m WHERE n >= 0 GROUP BY 1, 2 HAVING count(*) > 0;
CREATE MATERIALIZED VIEW day WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 day', time, 'Europe/Berlin') AS day, count(*), sum(n) FROM m WHERE n >= 0 GROUP BY 1;
CREATE MATERIALIZED VIEW month WITH (metricsdb.continuous, metricsdb.stack = off) AS
	SELECT metricsdb.time_bucket('1 month', time) AS month, host, count(*), max(v) FROM m GROUP BY 1, 2;
CREATE MATERIALIZED VIEW rates WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, metricsdb.rate(time, hits) FROM m GROUP BY 1, 2;
CREATE MATERIALIZED VIEW own WITH (metricsdb.continuous, metricsdb.materialized_only) AS SELECT metricsdb.time_bucket('1 hour', time) AS bucket, sum(n) FROM young GROUP BY 1;
});

sub rows
{
	my ($from, $n, $step) = @_;
	return "INSERT INTO m SELECT $from + i * interval '$step', 'h' || i % 3, (i * 7919) % 1000, i % 100, i FROM generate_series(1, $n) i";
}

sub refresh { my ($db) = @_; sql("CALL metricsdb.refresh('$_')", $db) for @all; return }

sub say_of { my ($db, $view) = @_; return sql("SELECT count(*), coalesce(md5(string_agg(x::text, ',' ORDER BY x::text)), 'nothing') FROM $view x", $db) }
sub says { my ($db) = @_; return join "\n", map { "$_ " . say_of($db, $_) } @views }

# 70 days, all in the states
sql(rows("date_trunc('day', now()) - interval '70 days'", 20000, '302 s'));
sql("CALL metricsdb.compact('m')");
refresh('postgres');

# ---------- restoring ----------

my $copies = 0;

# What must hold of a copy, of what the views said when it was dumped.
sub good
{
	my ($db, $said, $what) = @_;

	is(says($db), $said, "$what: what views say");
	is(sql(q{SELECT string_agg(view::regclass::text, ',' ORDER BY view::regclass::text) FROM metricsdb.continuous_aggregate}, $db), 'day,h1,m10,month,own,rates', "$what: all are registered");
	is(sql(q{SELECT source::regclass, raw::regclass, lateness, materialized_only, attached FROM metricsdb.continuous_aggregate WHERE view IN ('m10'::regclass, 'h1'::regclass, 'own'::regclass) ORDER BY view::regclass::text}, $db),
		"m10_states|m|00:00:10|f|t\nm|m|00:01:30|f|t\nyoung|young|00:00:10|t|t", "$what: as they were");
	refresh($db);
	is(says($db), $said, "$what: what views say when all is applied");
	is(sql('SELECT count(*) FROM metricsdb.pending', $db), '0', "$what: nothing is pending");
	is(say_of($db, 'own'), say_of('postgres', 'own'), "$what: what states alone say");
	# Late samples lie between others: that cannot be told before it is made again.
	is(sql(q{SELECT count(*) FROM (SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, metricsdb.rate(time, hits) FROM m WHERE time > now() - interval '25 days' GROUP BY 1, 2) x
		JOIN rates USING (bucket, host) WHERE x.rate IS DISTINCT FROM rates.rate AND bucket > now() - interval '24 days'}, $db), '0', "$what: rates");
	sql("INSERT INTO m SELECT now() - interval '1 min', 'new', 1, 1, 1", $db);
	is(sql(q{SELECT count(*) FROM h1 WHERE host = 'new'}, $db), '1', "$what: new rows are seen");
	like(($node->psql($db, 'DELETE FROM m10'))[2], qr/cannot change rows of continuous aggregate "m10"/, "$what: nobody writes to the view");
	catalogs_in_order($node, $db, $what);
	is(sql("SELECT count(*) FROM metricsdb.check('m')", $db), '0', "$what: nothing is wrong with the table");
	return;
}

sub restored
{
	my ($what, $said, @dump) = @_;
	my $db = 'copy' . ++$copies;

	sql("CREATE DATABASE $db");
	command_ok([ @dump, '-d', $node->connstr($db), ], "$what: restored");
	good($db, $said, $what);
	sql("DROP DATABASE $db");
	return;
}

sub dumped_and_restored
{
	my ($what, $said, $options) = @_;
	my @options = @{ $options // [] };
	my $file = "$dir/" . ($what =~ s/\W+/_/gr);

	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', "$file.sql", @options ], "$what: pg_dump, plain");
	restored("$what, plain", $said, 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$file.sql");
	command_ok([ 'pg_dump', '-Fd', '-j', '2', '-d', $node->connstr('postgres'), '-f', "$file.d", @options ], "$what: pg_dump, two jobs");
	restored("$what, two jobs", $said, 'pg_restore', '--exit-on-error', '-j', '2', "$file.d");
	restored("$what, one transaction", $said, 'pg_restore', '--exit-on-error', '-1', "$file.d");
	return;
}

# Late and new rows that are pending, in parts and in the delta; rows that are gone
sql(rows("now() - interval '20 days'", 3000, '97 s'));
sql(rows("now() - interval '2 days'", 50, '611 s'));
sql("DELETE FROM m WHERE n = 37 AND time > now() - interval '15 days'; UPDATE m SET n = 60 WHERE n = 61 AND time > now() - interval '3 days'");
sql("INSERT INTO young SELECT now() - i * interval '1 hour', 'h', i FROM generate_series(1, 300) i");
cmp_ok(sql('SELECT count(*) FROM metricsdb.pending WHERE NOT backfill'), '>', 0, 'something is pending');
cmp_ok(sql('SELECT count(*) FROM metricsdb.dirty'), '>', 0, 'something is dirty');
# materialized_only: a copy has taken what the original has not.
sql("CALL metricsdb.refresh('own')");
dumped_and_restored('all of the table', says('postgres'));

# The first 40 days of the table are gone, its states are not.
refresh('postgres');
my $before = says('postgres');
sql("SELECT metricsdb.set_retention('m', '30 days'); CALL metricsdb.apply_retention('m')");
is(sql("SELECT min(time) > now() - interval '45 days' FROM m"), 't', 'old rows are gone');
is(says('postgres'), $before, 'old states are not');
like(sql("SELECT label FROM pg_seclabels WHERE objoid = 'm10_states'::regclass"), qr/"floor": "\d+"/, 'the label says from when on there are rows');
sql(rows("now() - interval '10 days'", 2000, '97 s'));
sql("DELETE FROM m WHERE n = 11 AND time > now() - interval '12 days'");
my $said = says('postgres');
dumped_and_restored('part of the table', $said);

# Section by section: before the triggers are there, views show what the states have, and nothing twice.
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', "$dir/sections" ], 'pg_dump, custom format');
sql('CREATE DATABASE sections');
command_ok([ 'pg_restore', '--exit-on-error', "--section=$_", '-d', $node->connstr('sections'), "$dir/sections" ], "section $_") for ('pre-data', 'data');
is(sql('SELECT sum(count) FROM m10', 'sections'), sql('SELECT sum(count) FROM m10_states'), 'before they are attached views show states alone');
is(sql('SELECT count(*) FROM metricsdb.continuous_aggregate', 'sections'), '0', 'and are not registered');
command_ok([ 'pg_restore', '--exit-on-error', '--section=post-data', '-d', $node->connstr('sections'), "$dir/sections" ], 'section post-data');
good('sections', $said, 'sections');

# Over what is there already
command_ok([ 'pg_restore', '--clean', '--exit-on-error', '-d', $node->connstr('sections'), "$dir/sections" ], '--clean');
good('sections', $said, '--clean');

# A dump of the copy
$said = says('sections');
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('sections'), '-f', "$dir/again" ], 'pg_dump of a copy');
sql('CREATE DATABASE again');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dir/again" ], 'and restored');
is(says('again'), $said, 'a copy of a copy: what views say');

# The schema first, rows later: states are put beside those that are computed, so that these are left out until it is said
# that all is there.
$said = says('postgres');
sql('CREATE DATABASE two');
command_ok([ 'pg_restore', '--exit-on-error', '--schema-only', '-d', $node->connstr('two'), "$dir/sections" ], 'schema alone');
command_ok([ 'pg_restore', '--data-only', '-f', "$dir/data.sql", "$dir/sections" ], 'rows alone');
my ($out, $err) = run_command([ 'psql', '-X', '-q', '-d', $node->connstr('two'), '-f', "$dir/data.sql" ]);
like($err, qr/continuous aggregate "m10" shows the states that were restored/, 'a warning');
is(sql('SELECT sum(count) FROM m10', 'two'), sql('SELECT sum(count) FROM m10_states'), 'states alone');
sql("SELECT metricsdb.attach_aggregate('$_')", 'two') for @all;
good('two', $said, 'schema, then data');
# In another order
sql('CREATE DATABASE three');
run_command([ 'pg_restore', '--schema-only', '-d', $node->connstr('three'), "$dir/sections" ]);
run_command([ 'psql', '-X', '-q', '-d', $node->connstr('three'), '-f', "$dir/data.sql" ]);
sql("SELECT metricsdb.attach_aggregate('$_')", 'three') for reverse @all;
good('three', $said, 'in another order');

# Without the table's rows: the states stay.
command_ok([ 'pg_dump', '-Fc', '--exclude-table-data=m', '-d', $node->connstr('postgres'), '-f', "$dir/without" ], 'pg_dump without rows');
sql('CREATE DATABASE without');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('without'), "$dir/without" ], 'restored without rows');
is(sql('SELECT sum(count) FROM m10', 'without'), sql('SELECT sum(count) FROM m10_states'), 'states are as they were');
sql("CALL metricsdb.refresh('m10'); CALL metricsdb.refresh('day')", 'without');
is(sql('SELECT sum(count) FROM m10', 'without'), sql('SELECT sum(count) FROM m10_states'), 'and stay so');

# Nothing is left of the table.
sql("CALL metricsdb.compact('m')");
refresh('postgres');
$before = says('postgres');
sql("SELECT metricsdb.set_retention('m', '1 hour')");
sql("DELETE FROM m WHERE time > now() - interval '3 days'");
refresh('postgres');
$before = says('postgres');
sql("CALL metricsdb.apply_retention('m')");
is(sql('SELECT count(*) FROM m'), '0', 'all rows are gone');
is(says('postgres'), $before, 'no state is');
dumped_and_restored('nothing of the table', $before);

# Few rows, in the delta, in the middle of a bucket of which some are gone
sql(q{
CREATE TABLE few (time timestamptz NOT NULL, n int) USING metricsdb;
CREATE MATERIALIZED VIEW few_year WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('1 year', time) AS year, count(*), sum(n) FROM few GROUP BY 1;
SELECT metricsdb.set_retention('few', '20 days');
INSERT INTO few SELECT date_trunc('day', now()) - i * interval '1 day', i FROM generate_series(0, 199) i;
CALL metricsdb.compact('few');
CALL metricsdb.refresh('few_year');
CALL metricsdb.apply_retention('few');
});
$said = say_of('postgres', 'few_year');
cmp_ok(sql('SELECT count(*) FROM few'), '<', 90, 'few rows are left');
command_ok([ 'pg_dump', '-Fc', '-t', 'few*', '-d', $node->connstr('postgres'), '-f', "$dir/few" ], 'pg_dump of some tables');
sql('CREATE DATABASE few');
sql('CREATE EXTENSION metricsdb', 'few');
($out, $err) = run_command([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('few'), "$dir/few" ]);
is($err, '', 'restored');
is(say_of('few', 'few_year'), $said, 'rows that are in the states do not count twice');
sql('INSERT INTO few VALUES (now(), 1000)', 'few');
sql("CALL metricsdb.compact('few'); CALL metricsdb.refresh('few_year')", 'few');
is(sql('SELECT sum(count) FROM few_year', 'few'), '201', 'new ones do, once');

# Who has not the rights registers nothing.
sql(q{
CREATE ROLE stranger LOGIN;
CREATE VIEW lookalike AS SELECT * FROM few_year;
GRANT ALL ON lookalike, few_year, few, few_year_states TO stranger;
GRANT USAGE ON SCHEMA metricsdb TO stranger;
GRANT CREATE ON SCHEMA public TO stranger;
});
my $trigger = 'CREATE TRIGGER t INSTEAD OF INSERT ON %s FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view()';
like(($node->psql('postgres', 'SET ROLE stranger; ' . sprintf($trigger, 'few_year')))[2], qr/must be owner of view few_year/, 'not the owner');
like(($node->psql('postgres', 'SET ROLE stranger; ' . sprintf($trigger, 'lookalike')))[2], qr/"lookalike" is not a continuous aggregate/, 'not such a view');
like(($node->psql('postgres', sprintf($trigger, 'few_year')))[2], qr/"few_year" is a continuous aggregate already/, 'it is one already');
my $definition = sql("SELECT pg_get_viewdef('few_year'::regclass)");
like(($node->psql('postgres', "SET ROLE stranger; CREATE VIEW mine AS $definition; " . sprintf($trigger, 'mine')))[2], qr/must be owner of table few/, 'the tables are somebody else\'s');

$node->stop;
done_testing();
