# Retention: nothing of what goes is read, its pages are used again once nobody needs them, here and on a standby;
# policies are in dumps; the background applies them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('keeper', init => [ allows_streaming => 1 ], 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100,
	'metricsdb.retention_interval' => -1, autovacuum => 'off', timezone => "'UTC'");

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

# Rows of a day so many days ago, of values that do not compress.
sub day
{
	my ($days, $n) = @_;
	return "SELECT now() - interval '$days days' + interval '1 h', 'h' || i % 20, hashint4(i + $days) FROM generate_series(1, $n) i";
}
my $all = q{SELECT count(*), coalesce(sum(v), 0), count(DISTINCT host) FROM};

# ---- no row is read ----
sql('CREATE TABLE t (time timestamptz, host text, v int) USING metricsdb');
sql(join ';', map { 'INSERT INTO t ' . day($_, 20000) } reverse 0 .. 40);
sql("CALL metricsdb.compact('t')");
sql("SELECT metricsdb.set_retention('t', '30 days')");
my $pages = sql("SELECT pg_relation_size('t') / 8192");
my $kept = sql("$all t WHERE time >= now() - interval '30 days'");
my $fetched = q{SELECT pg_stat_get_blocks_fetched('t'::regclass)};
sql('SELECT pg_stat_reset()');
my $before = sql($fetched);
my $out = sql("CALL metricsdb.apply_retention('t')");
cmp_ok(sql($fetched) - $before, '<', 10, "no page of the $pages but the first is looked at");
is(sql("$all t"), $kept, 'what is old is gone');
is(sql("SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 't'"), 10 * 20000, 'and counted');
is(sql("SELECT count(*) FROM metricsdb.check('t')"), 0, 'check() finds nothing');

# ---- the end of the file is cut, but waits for nobody ----
sql('TRUNCATE t');
sql('INSERT INTO t ' . day(0, 20000));
sql('INSERT INTO t ' . day(50, 200000));
$pages = sql("SELECT pg_relation_size('t')");
my $reader = session($node);
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
$reader->query("$all t");
sql("CALL metricsdb.apply_retention('t')");
is(sql('SELECT count(*) FROM t'), 20000, 'a snapshot does not keep rows from going');
is(sql("SELECT pg_relation_size('t')"), $pages, 'but their pages');
like($reader->query('SELECT count(*) FROM t'), qr/220000/, 'and still sees them');
sql('INSERT INTO t ' . day(1, 20000));
cmp_ok(sql("SELECT pg_relation_size('t')"), '>', $pages, 'what is written meanwhile goes elsewhere');
like($reader->query('SELECT count(*) FROM t'), qr/220000/, 'and still');
$reader->query('COMMIT');
$pages = sql("SELECT pg_relation_size('t')");
sql('INSERT INTO t ' . day(2, 100000));
is(sql("SELECT pg_relation_size('t')"), $pages, 'pages are used again afterwards');
is(sql('SELECT count(*) FROM t'), 140000, 'all rows');
sql('TRUNCATE t');
sql('INSERT INTO t ' . day(0, 20000));
sql('INSERT INTO t ' . day(50, 200000));
$pages = sql("SELECT pg_relation_size('t')");
sql("CALL metricsdb.apply_retention('t')");
cmp_ok(sql("SELECT pg_relation_size('t')"), '<', $pages / 4, 'the end of the file is cut at once if nobody is in the way');
is(sql("SELECT count(*) FROM metricsdb.check('t', free => true) WHERE kind <> 'free'"), 0, 'check() finds nothing');

# ---- transactions at old rows are not waited for ----
sql('INSERT INTO t ' . day($_, 1000)) for 50, 51;
for my $change ("UPDATE t SET v = 0 WHERE time < now() - interval '50 days 12 hours'", "SELECT count(*) FROM (SELECT FROM t WHERE time < now() - interval '50 days 12 hours' FOR KEY SHARE) x")
{
	$reader->query('BEGIN');
	$reader->query($change);
	my ($rc, $ignored, $err) = $node->psql('postgres', "SET lock_timeout = '10s'; CALL metricsdb.apply_retention('t')");
	is($rc, 0, 'nobody is waited for');
	like($err, qr/1 old parts of table "t" stay because transactions are at their rows/, 'which is told');
	like(sql("SELECT count(*) FROM t WHERE time < now() - interval '30 days'"), qr/^1000$/, 'these rows stay');
	$reader->query('ROLLBACK');
}
sql("CALL metricsdb.apply_retention('t')");
is(sql("SELECT count(*) FROM t WHERE time < now() - interval '30 days'"), 0, 'and go the next time');

# ---- of all tables each is tried ----
sql("CREATE TABLE before_t (LIKE t) USING metricsdb; CREATE TABLE t2 (LIKE t) USING metricsdb");
sql("INSERT INTO $_ " . day(50, 1000)) for qw(before_t t t2);
sql("SELECT metricsdb.set_retention('$_', '30 days')") for qw(before_t t2);
$reader->query('BEGIN; LOCK TABLE t');
{
	my ($rc, $ignored, $err) = $node->psql('postgres', "SET lock_timeout = '100ms'; CALL metricsdb.apply_retention()");
	like($err, qr/WARNING:  retention was not applied to table "t": canceling statement due to lock timeout/, 'which could not be locked is told');
	like($err, qr/ERROR:  retention was not applied to 1 table\n/, 'and the call fails');
	is(sql("SELECT count(*) FROM $_"), 0, "$_ has not waited for that") for qw(before_t t2);
}
$reader->query('ROLLBACK');
sql('CALL metricsdb.apply_retention()');
is(sql("SELECT count(*) FROM t WHERE time < now() - interval '30 days'"), 0, 'the next call does what is left');
sql('DROP TABLE before_t, t2');

# ---- a standby ----
$node->backup('base');
my %standby;
for (['waits', "max_standby_streaming_delay = -1\n"], ['cancels', "max_standby_streaming_delay = 0\n"], ['tells', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\n"])
{
	my ($name, $conf) = @$_;
	$standby{$name} = PostgreSQL::Test::Cluster->new($name);
	$standby{$name}->init_from_backup($node, 'base', has_streaming => 1);
	$standby{$name}->append_conf('postgresql.conf', $conf);
	$standby{$name}->start;
}
sql('TRUNCATE t');
sql('INSERT INTO t ' . day(50, 100000));
sql('INSERT INTO t ' . day(0, 1000));
my $want = sql('SELECT sum(v::int8) FROM t');
$node->wait_for_catchup($_) for values %standby;
my %cursor = map { $_ => session($standby{$_}) } keys %standby;
for my $name (keys %cursor)
{
	$cursor{$name}->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$cursor{$name}->query('DECLARE c CURSOR FOR SELECT v FROM t');
	like($cursor{$name}->query('FETCH 1 FROM c'), qr/\d/, "$name: a cursor is open");
}
ok(wait_for($node, q{SELECT bool_or(backend_xmin IS NOT NULL) FROM pg_stat_replication WHERE application_name = 'tells'}), 'the primary knows of one');
sub rest { my ($s) = @_; return join ' ', map { $s->query($_) // $s->{last} } 'MOVE 99000 FROM c', 'FETCH 1 FROM c', 'SELECT sum(v::int8) FROM t' }
sql("CALL metricsdb.apply_retention('t')");
sql('INSERT INTO t ' . day(1, 100000));
is(sql("SELECT count(*) FROM t WHERE time < now() - interval '30 days'"), 0, 'old rows are gone on the primary');
$node->wait_for_catchup($standby{tells});
like(rest($cursor{tells}), qr/\b\Q$want\E\b/, 'tells: the cursor goes on, its rows are there');
$cursor{tells}->query('COMMIT');
# Their pages are free now.
ok(wait_for($node, q{SELECT bool_and(backend_xmin IS NULL OR age(backend_xmin) < 3) FROM pg_stat_replication WHERE application_name = 'tells'}), 'which the primary hears of');
sql("CALL metricsdb.apply_retention('t'); VACUUM metricsdb.part; VACUUM t;");
sql('INSERT INTO t ' . day(2, 100000));
my $lsn = $node->lsn('insert');
like(rest($cursor{waits}), qr/\b\Q$want\E\b/, 'waits: the cursor goes on, its rows are there');
$cursor{waits}->query('COMMIT');
# It has been told, or is told at its next word.
like(rest($cursor{cancels}), qr/conflict with recovery|\b\Q$want\E\b/, 'cancels: the query is cancelled, or has its rows');
$_->close for values %cursor;
for my $name (keys %standby)
{
	$node->wait_for_catchup($standby{$name}, 'replay', $lsn);
	is($standby{$name}->safe_psql('postgres', "$all t"), sql("$all t"), "$name: the same rows in the end");
	$standby{$name}->stop;
}

# ---- dump and restore ----
sql(q{
SELECT metricsdb.create_metrics_table('m');
SELECT metricsdb.set_retention('m', '30 days');
SELECT metricsdb.set_retention('m', '2 years', 'audit_*');
SELECT metricsdb.set_retention('m', '1 day', 'debug');
SELECT metricsdb.set_retention('m', '1 day', 'it''s "odd" \\');
INSERT INTO m SELECT n, '{}', now() - d * interval '1 day' + interval '1 h', d FROM unnest(array['audit_x', 'cpu', 'debug']) n, generate_series(0, 60) d, generate_series(1, 200);
});
my $policies = 'SELECT "table", metric, keep, parts, rows, due_parts, unsorted_parts FROM metricsdb.retention_policies ORDER BY "table"::text, 2';
my $dir = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'dumped');
for my $jobs (1, 2)
{
	sql("CREATE DATABASE restored$jobs TEMPLATE template0");
	$node->command_ok([ 'pg_restore', '-j', $jobs, '-d', $node->connstr("restored$jobs"), "$dir/dump" ], 'restored');
	is(sql($policies, "restored$jobs"), sql($policies), 'policies are back, and rows have their classes');
	sql('CALL metricsdb.apply_retention()', "restored$jobs");
	is(sql('SELECT metric_name, max(value) FROM m GROUP BY 1 ORDER BY 1', "restored$jobs"), "audit_x|60\ncpu|30\ndebug|1", 'and go by them');
}

# ---- a crash while nothing of it was flushed ----
sql("CALL metricsdb.apply_retention('m')");
$node->stop('immediate');
$node->start;
is(sql('SELECT metric_name, max(value) FROM m GROUP BY 1 ORDER BY 1'), "audit_x|60\ncpu|30\ndebug|1", 'what is gone is gone after a crash');
catalogs_in_order($node, 'postgres', 'in the end');

# ---- the background ----
sql('INSERT INTO t ' . day(50, 1000));
sql('INSERT INTO t ' . day(50, 5));
sql($_) for q{ALTER SYSTEM SET metricsdb.workers = on}, 'SELECT pg_reload_conf()';
ok(wait_for($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'metricsdb maintainer'}), 'a maintainer comes');
# It has looked at all tables when one that is new is compacted.
sql('CREATE TABLE probe (time timestamptz, v int) USING metricsdb');
sql("INSERT INTO probe SELECT now(), i FROM generate_series(1, 150) i") for 1 .. 20;
ok(wait_for($node, q{SELECT count(*) < 20 FROM metricsdb.parts WHERE "table" = 'probe'::regclass}), 'it works');
is(sql("SELECT count(*) FROM t WHERE time < now() - interval '30 days'"), 1005, 'with an interval of -1 it leaves old rows');
my $log_end = -s $node->logfile;
sql($_) for q{ALTER SYSTEM SET metricsdb.retention_interval = '1 s'}, 'SELECT pg_reload_conf()';
ok(wait_for($node, q{SELECT count(*) = 0 FROM t WHERE time < now() - interval '30 days'}), 'else they go by themselves');
like(slurp_file($node->logfile, $log_end), qr/retention has removed 1005 rows of table with OID \d+, with \d+ parts/, 'as the log tells');
# Parts are sorted by other classes there, too.
sql("SELECT metricsdb.set_retention('m', '10 days', 'c*')");
ok(wait_for($node, q{SELECT sum(unsorted_parts) = 0 FROM metricsdb.retention_policies}), 'parts are sorted by class');
ok(wait_for($node, q{SELECT max(value) = 10 FROM m WHERE metric_name = 'cpu'}), 'and go by that');
$node->stop;
grep_log($node, 'retention');
done_testing();
