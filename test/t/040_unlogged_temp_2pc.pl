# Unlogged and temporary tables over crashes and restarts, and prepared transactions.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('unlogged', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100);
my $rows = q{SELECT timestamptz '2026-01-01' + i * interval '1 s', 'host' || i % 7, i FROM generate_series};

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

# contents(table): rows, sum, series: all that was inserted by $rows shows in these.
sub contents { return sql("SELECT count(*), coalesce(sum(value), 0), string_agg(DISTINCT host, ',' ORDER BY host) FROM $_[0]") }

# ---- unlogged ----

sql('CREATE UNLOGGED TABLE u (time timestamptz, host text, value float8) USING metricsdb');
sql("INSERT INTO u $rows (1, 500) i");
sql("INSERT INTO u $rows (501, 510) i");
sql("CALL metricsdb.compact('u')");
sql("INSERT INTO u $rows (511, 512) i");
my $all = 'host0,host1,host2,host3,host4,host5,host6';
is(contents('u'), "512|131328|$all", 'unlogged: written');

$node->restart;
is(contents('u'), "512|131328|$all", 'unlogged: a clean restart keeps the rows');

for my $round (1 .. 4)
{
	crash();
	is(contents('u'), '0|0|', "unlogged, crash $round: empty");
	is(sql('SELECT count(*) FROM u WHERE value > 3'), '0', "unlogged, crash $round: empty with a filter");
	# Other series than before the crash, in another order: ids must not be mixed up.
	sql("INSERT INTO u SELECT time, 'r$round-' || host, value FROM ($rows (1, 5) i) x(time, host, value)");
	is(contents('u'), "5|15|" . join(',', map { "r$round-host$_" } 1 .. 5), "unlogged, crash $round: some rows");
	sql("INSERT INTO u SELECT time, 'r$round-' || host, value FROM ($rows (6, 500) i) x(time, host, value)");
	my $names = join ',', map { "r$round-host$_" } 0 .. 6;
	is(contents('u'), "500|125250|$names", "unlogged, crash $round: many rows");
	sql("CALL metricsdb.compact('u')") if $round != 2;
	is(contents('u'), "500|125250|$names", "unlogged, crash $round: compacted");
	sql("INSERT INTO u SELECT time, 'r$round-' || host, value FROM ($rows (501, 510) i) x(time, host, value)");
	is(contents('u'), "510|130305|$names", "unlogged, crash $round: rows on top");
	sql('VACUUM u') if $round == 3;
}
$node->restart;
is(sql('SELECT count(*), sum(value) FROM u'), '510|130305', 'unlogged: kept by a clean restart after crashes');
is(sql('SELECT count(*) FROM metricsdb.part p JOIN metricsdb.storage s USING (storage_id) WHERE s.relid = \'u\'::regclass') <= 3,
	1, 'unlogged: parts that a crash took are forgotten');

sql('ALTER TABLE u SET LOGGED');
crash();
is(sql('SELECT count(*), sum(value) FROM u'), '510|130305', 'SET LOGGED: a crash keeps the rows');
sql("INSERT INTO u $rows (1, 500) i");
crash();
is(sql('SELECT count(*), sum(value) FROM u'), '1010|255555', 'SET LOGGED: and new ones');
sql('ALTER TABLE u SET UNLOGGED');
is(sql('SELECT count(*), sum(value) FROM u'), '1010|255555', 'SET UNLOGGED: rows kept');
sql("CALL metricsdb.compact('u')");
crash();
is(contents('u'), '0|0|', 'SET UNLOGGED: a crash empties it');
sql("INSERT INTO u $rows (1, 500) i");
is(contents('u'), "500|125250|$all", 'and it is used again');
sql('TRUNCATE u');
crash();
sql("INSERT INTO u $rows (1, 500) i");
is(contents('u'), "500|125250|$all", 'after TRUNCATE and a crash');

# Two sessions write at once to a table that was reset.
sql('CREATE UNLOGGED TABLE u2 (time timestamptz, host text, value float8) USING metricsdb');
sql("INSERT INTO u2 $rows (1, 500) i");
sql("CALL metricsdb.compact('u2')");
crash();
{
	my ($a, $b) = (session($node), session($node));
	$a->query("BEGIN; SELECT count(*) FROM u2");
	$b->query("BEGIN; SELECT count(*) FROM u2");
	$a->query("INSERT INTO u2 $rows (1, 300) i;");
	$b->query("INSERT INTO u2 SELECT time, 'b' || host, value FROM ($rows (1, 300) i) x(time, host, value);");
	$b->query("INSERT INTO u2 SELECT time, 'b' || host, value FROM ($rows (301, 310) i) x(time, host, value);");
	is($a->query('SELECT count(*) FROM u2'), '300', 'a session sees its own rows after a reset');
	$a->query('COMMIT');
	is($b->query("SELECT count(*), count(*) FILTER (WHERE host ~ '^b') FROM u2"), '610|310', 'and those of the other');
	$b->query('COMMIT');
	is(sql("SELECT count(*), count(*) FILTER (WHERE host ~ '^b') FROM u2"), '610|310', 'as do all');
	$_->close for $a, $b;
}
sql('DROP TABLE u, u2');
catalogs_in_order($node, 'postgres', 'unlogged');

# ---- temporary ----

{
	my $s = session($node);
	$s->query('CREATE TEMP TABLE t (time timestamptz, host text, value float8) USING metricsdb;'
		  . 'CREATE TEMP TABLE td (time timestamptz, host text, value float8) USING metricsdb ON COMMIT DELETE ROWS;');
	$s->query("INSERT INTO t $rows (1, 500) i; INSERT INTO t $rows (501, 510) i;");
	like($s->query('SELECT count(*), sum(value) FROM t'), qr/^510\|130305$/, 'temporary: rows');
	$s->query("CALL metricsdb.compact('t');");
	is($s->query('SELECT count(*), sum(value) FROM t'), '510|130305', 'temporary: compacted');
	$s->query("BEGIN; INSERT INTO td $rows (1, 500) i; INSERT INTO td $rows (501, 510) i;");
	is($s->query('SELECT count(*) FROM td'), '510', 'ON COMMIT DELETE ROWS: before');
	$s->query('COMMIT');
	is($s->query('SELECT count(*) FROM td'), '0', 'ON COMMIT DELETE ROWS: after');
	$s->query("BEGIN; INSERT INTO td $rows (1, 300) i; SAVEPOINT a; INSERT INTO td $rows (301, 310) i; ROLLBACK TO a;");
	is($s->query('SELECT count(*) FROM td'), '300', 'ON COMMIT DELETE ROWS: again');
	$s->query('COMMIT');
	is($s->query('SELECT count(*) FROM td'), '0', 'ON COMMIT DELETE ROWS: again after');
	$s->query("BEGIN; CREATE TEMP TABLE tc (time timestamptz, host text, value float8) USING metricsdb ON COMMIT DROP; INSERT INTO tc $rows (1, 500) i;");
	is($s->query('SELECT count(*) FROM tc'), '500', 'ON COMMIT DROP: before');
	unlike($s->query('COMMIT'), qr/ERROR/, 'ON COMMIT DROP: dropped');
	$s->query("ALTER TABLE t ALTER value TYPE numeric; INSERT INTO t $rows (1, 5) i;");
	is($s->query('SELECT count(*), sum(value) FROM t'), '515|130320', 'temporary: rewritten');
	unlike($s->query('DISCARD ALL'), qr/ERROR/, 'DISCARD ALL');
	like($s->query('SELECT count(*) FROM t'), qr/does not exist/, 'DISCARD ALL: gone');
	catalogs_in_order($node, 'postgres', 'DISCARD');
	$s->query('CREATE TEMP TABLE t (time timestamptz, host text, value float8) USING metricsdb');
	$s->query("INSERT INTO t $rows (1, 500) i; INSERT INTO t $rows (501, 510) i;");
	$s->query("ALTER TABLE t ALTER value TYPE numeric; INSERT INTO t $rows (1, 5) i;");
	$s->close;
	ok(wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'session'"), 'session ended');
	catalogs_in_order($node, 'postgres', 'end of a session');
}
for my $how ('backend', 'server')
{
	my $s = session($node);
	$s->query('CREATE TEMP TABLE t (time timestamptz, host text, value float8) USING metricsdb');
	$s->query("INSERT INTO t $rows (1, 500) i; INSERT INTO t $rows (501, 510) i;");
	$s->query('CREATE TEMP TABLE tr (time timestamptz, host text, value float8) USING metricsdb');
	$s->query("INSERT INTO tr $rows (1, 500) i; ALTER TABLE tr ALTER value TYPE numeric; INSERT INTO tr $rows (1, 5) i;");
	if ($how eq 'backend')
	{
		my $pid = $s->query('SELECT pg_backend_pid()');
		my $log_end = -s $node->logfile;
		kill 'KILL', $pid;
		# The server may answer a moment longer, before it knows.
		$node->wait_for_log(qr/database system is ready to accept connections/, $log_end);
		ok(wait_for($node, "SELECT pg_postmaster_start_time() IS NOT NULL"), 'server is back');
	}
	else
	{
		crash();
	}
	$s->close;
	# Sessions that get the dead one's number clean up after it; several, to hit it.
	my @sessions = map { session($node) } 1 .. 6;
	for my $x (@sessions)
	{
		unlike($x->query('CREATE TEMP TABLE t2 (time timestamptz, host text, value float8) USING metricsdb'),
			qr/ERROR/, "a temporary table after the $how was killed");
		$x->query("INSERT INTO t2 $rows (1, 500) i");
		is($x->query('SELECT count(*) FROM t2'), '500', 'and its rows');
	}
	$_->close for @sessions;
	# What no session came by is autovacuum's.
	sql('ALTER SYSTEM SET autovacuum_naptime = 1');
	sql('SELECT pg_reload_conf()');
	ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_class WHERE relpersistence = 't'}, 30), "$how killed: no temporary table is left");
	sleep 1;
	catalogs_in_order($node, 'postgres', "$how killed");
}

# ---- two-phase commit ----

sql('CREATE TABLE p (time timestamptz, host text, value float8) USING metricsdb');
my $s = session($node);
$s->query("BEGIN; INSERT INTO p $rows (1, 500) i; INSERT INTO p $rows (501, 510) i; PREPARE TRANSACTION 'a';");
$s->query("BEGIN; INSERT INTO p SELECT time, 'x' || host, value FROM ($rows (1, 500) i) x(time, host, value); PREPARE TRANSACTION 'b';");
is(contents('p'), '0|0|', 'prepared: not visible');
# The same series by the session that prepared: those rows may yet be rolled back.
$s->query("INSERT INTO p SELECT time, 'x' || host, value FROM ($rows (1, 500) i) x(time, host, value);");
is(contents('p'), '500|125250|' . join(',', map { "xhost$_" } 0 .. 6), 'the same series in the session that prepared');
{
	my $c = session($node);
	$c->send("CALL metricsdb.compact('p');");
	ok($c->done(20), 'compaction is not blocked by prepared transactions');
	$c->result;
	$c->query("INSERT INTO p $rows (600, 601) i;");
	$c->close;
}
crash();
is(sql('SELECT count(*), sum(value) FROM p'), '502|126451', 'a crash with prepared transactions');
sql("COMMIT PREPARED 'a'");
is(contents('p'), "1012|256756|$all," . join(',', map { "xhost$_" } 0 .. 6), 'COMMIT PREPARED');
sql("ROLLBACK PREPARED 'b'");
is(sql('SELECT count(*), sum(value) FROM p'), '1012|256756', 'ROLLBACK PREPARED');
sql("CALL metricsdb.compact('p')");
is(contents('p'), "1012|256756|$all," . join(',', map { "xhost$_" } 0 .. 6), 'compacted');
$s->close;
$s = session($node);
$s->query("BEGIN; INSERT INTO p SELECT time, 'y' || host, value FROM ($rows (1, 500) i) x(time, host, value); PREPARE TRANSACTION 'c';");
$s->query("ROLLBACK PREPARED 'c'");
$s->query("INSERT INTO p SELECT time, 'y' || host, value FROM ($rows (1, 500) i) x(time, host, value);");
is(sql("SELECT count(*), count(DISTINCT host) FROM p WHERE host ~ '^y'"), '500|7', 'the series of a transaction that was rolled back');
$s->query("BEGIN; TRUNCATE p; INSERT INTO p $rows (1, 200) i; PREPARE TRANSACTION 'd';");
crash();
$s->close;
{
	my $c = session($node);
	$c->send('SELECT count(*) FROM p;');
	ok(!$c->done(1), 'a prepared TRUNCATE keeps its lock over a crash');
	sql("COMMIT PREPARED 'd'");
	is($c->result, '200', 'a prepared TRUNCATE, committed');
	$c->close;
}
$s = session($node);
$s->query("BEGIN; TRUNCATE p; INSERT INTO p $rows (1, 100) i; PREPARE TRANSACTION 'e';");
$node->restart;
sql("ROLLBACK PREPARED 'e'");
is(sql('SELECT count(*) FROM p'), '200', 'a prepared TRUNCATE, rolled back');
$s->close;
$s = session($node);
like($s->query("BEGIN; CREATE TEMP TABLE t (time timestamptz) USING metricsdb; INSERT INTO t VALUES (now()); PREPARE TRANSACTION 'f';"),
	qr/cannot PREPARE a transaction that has operated on temporary objects/, 'temporary tables cannot be prepared');
$s->close;
sql('DROP TABLE p');
catalogs_in_order($node, 'postgres', 'prepared');

# ---- the dictionary over savepoints ----

sql('CREATE TABLE d (time timestamptz, host text, value float8) USING metricsdb');
$s = session($node);
# The inner subtransaction's end must not hide what the outer one wrote before.
$s->query("BEGIN; SAVEPOINT a; SAVEPOINT b; INSERT INTO d $rows (1, 500) i; SAVEPOINT c;"
	  . "INSERT INTO d SELECT time, 'c' || host, value FROM ($rows (1, 500) i) x(time, host, value);"
	  . "RELEASE c; RELEASE b; ROLLBACK TO a; INSERT INTO d $rows (1, 500) i; COMMIT;");
is(contents('d'), "500|125250|$all", 'series written by a subtransaction that was rolled back');
is($s->query("INSERT INTO d $rows (501, 1000) i; SELECT count(DISTINCT host) FROM d;"), "INSERT 0 500\n7", 'and later');
is(contents('d'), "1000|500500|$all", 'seen by others');
$s->close;
$node->stop;
grep_log($node, 'all of it');
done_testing();
