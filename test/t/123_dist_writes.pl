# INSERT and COPY into a distributed table: rows are on all replicas of their shard or nowhere, whoever is killed when.
use strict;
use warnings;
use FindBin;
use IO::Socket::INET;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;

my ($c, $a1, $a2, $b) = dist_nodes('a1', 'a2', 'b');
my @nodes = ($a1, $a2, $b);
sub sql { return $c->safe_psql('postgres', $_[0]) }

sub error
{
	my ($rc, $out, $err) = $c->psql('postgres', $_[0]);
	return $rc == 0 ? "no error: $out" : $err;
}

# Rows as the shards have them, replicas alike, and nothing left prepared.
my $digest = 'SELECT count(*), sum(hashtextextended(m::text, 0)) FROM m';

sub settled
{
	my ($rows, $what) = @_;
	$c->poll_query_until('postgres', 'SELECT count(*) = 0 FROM metricsdb.dist_transaction') or diag('transactions stay');
	for my $n (@nodes)
	{
		$n->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_prepared_xacts') or diag('prepared transactions stay on ' . $n->name);
	}
	is($a1->safe_psql('postgres', $digest), $a2->safe_psql('postgres', $digest), "$what: replicas are alike");
	is(sql('SELECT count(*), count(DISTINCT n) FROM m'), "$rows|$rows", "$what: rows are there once");
	return;
}

$c->append_conf('postgresql.conf', 'metricsdb.dist_recovery_interval = 1');
$c->reload;
sql(q(CREATE TABLE m (n int8, time timestamptz NOT NULL, metric text, tags jsonb, x float8, note text) USING metricsdb
	WITH (metricsdb.time = 'time', metricsdb.series = 'metric, tags')));
sql("SELECT metricsdb.add_node('a1', '" . conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . conninfo($b) . "'); SELECT metricsdb.distribute('m')");
my $text = "'a' || chr(9) || 'b' || chr(92) || 'c' || chr(10) || chr(13) || chr(8364)";
my $rows = "SELECT i, timestamptz '2026-01-01 UTC' + i * interval '1 s', 'cpu', jsonb_build_object('host', i % 50), i + 0.1, $text FROM generate_series";

# What is written is what is read.
sql("INSERT INTO m $rows (1, 1000) i");
settled(1000, 'INSERT');
cmp_ok($b->safe_psql('postgres', 'SELECT count(DISTINCT tags) FROM m'), '>', 5, 'series of one metric are spread');
is(sql('SELECT count(*) FROM (SELECT tags FROM m GROUP BY 1) x'), '50', 'and all there');
is(sql("SELECT count(*) FROM m WHERE x = (n + 0.1)::float8 AND note = $text"), '1000', 'values are what they were');
sql("SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'; SET extra_float_digits = -3; INSERT INTO m $rows (1001, 1100) i");
settled(1100, 'odd settings');
is(sql("SELECT max(abs(extract(epoch FROM time - timestamptz '2026-01-01 UTC') - n)), count(*) FILTER (WHERE x <> (n + 0.1)::float8) FROM m"), '0.000000|0', 'they change nothing');
sql("COPY m (n, time, metric) FROM stdin;\n" . join('', map { "$_\t2026-01-02\tmem\n" } 1101 .. 1200) . "\\.\n");
settled(1200, 'COPY');
is(sql(q(INSERT INTO m (n, time, metric) VALUES (1201, '2026-01-02', NULL) RETURNING n, metric)), '1201|', 'RETURNING');
sql("BEGIN; INSERT INTO m $rows (1202, 1300) i; SAVEPOINT s; INSERT INTO m $rows (1, 100) i; ROLLBACK TO s; INSERT INTO m $rows (1301, 1400) i; RELEASE s; COMMIT");
settled(1400, 'savepoints');
my ($rc, $out, $err) = $c->psql('postgres', "SET work_mem = '64kB'; SET metricsdb.direct_rows = 10; INSERT INTO m $rows (1401, 20000) i");
unlike($err, qr/file/, 'files of rows are closed');
settled(20000, 'many rows');
sql("BEGIN; INSERT INTO m $rows (1, 100) i; ROLLBACK");
settled(20000, 'rolled back');

# What is refused
like(error("SET metricsdb.distributed_writes = off; INSERT INTO m $rows (1, 1) i"), qr/cannot insert rows .*metricsdb.distributed_writes is off.*HINT/s, 'if the setting says so');
like(error("BEGIN; INSERT INTO m $rows (1, 1) i; SELECT count(*) FROM m"), qr/cannot read distributed tables, or change them, after rows were inserted/, 'reading what nodes do not have yet');
like(error("BEGIN; INSERT INTO m $rows (1, 1) i; PREPARE TRANSACTION 'x'"), qr/cannot PREPARE/, 'another two phases');
like(error("INSERT INTO m $rows (1, 1) i ON CONFLICT DO NOTHING"), qr/cannot change rows/, 'ON CONFLICT');
like(error('UPDATE m SET x = 1'), qr/cannot change rows/, 'UPDATE');
like(error("INSERT INTO m (n) VALUES (1)"), qr/null value in column "time"/, 'what the table here refuses');
$b->safe_psql('postgres', 'ALTER TABLE m ADD CHECK (n <> 666666)');
like(error("INSERT INTO m SELECT 666666, now(), 'cpu', jsonb_build_object('host', i) FROM generate_series(1, 50) i"), qr/node "b": new row for relation "m" violates check constraint/, 'what a node refuses');
settled(20000, 'refused by one');
sql("SELECT metricsdb.drain_node('b'); INSERT INTO m $rows (20001, 20100) i; SELECT metricsdb.drain_node('b', false)");
is($b->safe_psql('postgres', 'SELECT count(*) FROM m WHERE n > 20000'), '0', 'a node that is drained gets nothing');
settled(20100, 'drained');

# A node is down
$a2->stop('immediate');
like(error("INSERT INTO m $rows (20101, 20200) i"), qr/node "a2": .*All replicas of shard "a" must get its rows.*HINT:  .*evict_node\('a2'\)/s, 'all replicas must be there');
$a2->start;
settled(20100, 'not there');
is(sql("SELECT metricsdb.evict_node('a2')"), 't', 'unless one is evicted');
is(sql("SELECT metricsdb.evict_node('a2')"), 'f', 'once');
like(error("SELECT metricsdb.evict_node('a1')"), qr/node "a1" is the last one that has the rows of shard "a"/, 'the last one is not');

# It comes back when those have ended who had chosen their nodes before
sql("UPDATE metricsdb.node SET state = 'joining' WHERE name = 'a2'");
my $writer = $c->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe("INSERT INTO m $rows (1, 1) i");
like(error("SET lock_timeout = '100ms'; SELECT metricsdb.rejoin_node('a2')"), qr/lock timeout/, 'a replica that joins waits for writers');
$writer->query_safe('ROLLBACK');
$writer->quit;
is(sql("SELECT metricsdb.rejoin_node('a2')"), 't', 'and then counts');

# Connections are not left behind, neither by a session that writes often nor by recovery.
sql("CREATE FOREIGN TABLE activity (application_name text) SERVER b OPTIONS (schema_name 'pg_catalog', table_name 'pg_stat_activity')");
my $inserts = join(';', map { "INSERT INTO m $rows ($_, $_) i" } 30001 .. 30020);
cmp_ok(sql("$inserts; SELECT count(*) FROM activity WHERE application_name = 'metricsdb'"), '<', 10, 'connections are used again');
sql('DROP FOREIGN TABLE activity');
settled(20120, 'one after the other');

# Keys that somebody else holds are not waited for without end: he may wait for us, on another node.
$b->safe_psql('postgres', 'CREATE UNIQUE INDEX unique_n ON m (n)');
my $holder = $b->background_psql('postgres');
$holder->query_safe("BEGIN; INSERT INTO m $rows (40001, 40050) i");
like(error("INSERT INTO m $rows (40001, 40050) i"), qr/node "b": canceling statement due to lock timeout.*HINT:  Another transaction may wait for a row of this one on another node/s, 'two transactions that wait for each other');
$holder->query_safe('ROLLBACK');
$holder->quit;
$b->safe_psql('postgres', 'DROP INDEX unique_n');
settled(20120, 'one has failed');

# What nodes compute is not sent.
sql("CREATE TABLE g (n int8, double int8 GENERATED ALWAYS AS (n * 2) STORED, time timestamptz NOT NULL, metric text) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'metric'); SELECT metricsdb.distribute('g')");
sql("INSERT INTO g (n, time, metric) SELECT i, now(), 'g' || i FROM generate_series(1, 100) i; COPY g (n, time, metric) FROM stdin;\n101\t2026-01-02\tg\n\\.\n");
is(sql('SELECT count(*), sum(n), sum(double) FROM g'), '101|5151|10302', 'generated columns');

# Each owner's transactions are ended as him, if nobody may end them all.
$c->append_conf('postgresql.conf', 'metricsdb.dist_recovery_interval = 86400');
$c->reload;
$_->safe_psql('postgres', 'CREATE ROLE w1 LOGIN; CREATE ROLE w2 LOGIN') for $b, $c;
my $me = sql("SELECT umoptions[1] FROM pg_user_mappings WHERE srvname = 'b'") =~ s/^user=//r;
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER b OPTIONS (SET user 'w1'); CREATE USER MAPPING FOR w2 SERVER b OPTIONS (user 'w2', password_required 'false')");
my $prefix = sql("SELECT 'metricsdb/' || system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()");
# Recovery of before may be under way still.
sql('SELECT metricsdb.recover_transactions()');
$b->safe_psql('postgres', "SET SESSION AUTHORIZATION w" . (1 + $_ % 2) . "; BEGIN; SELECT txid_current(); PREPARE TRANSACTION '$prefix/3/0$_/0'") for 1 .. 4;
is(sql('SELECT metricsdb.recover_transactions()'), '4', 'of several owners all are ended at once');
is($b->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'and gone');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER b OPTIONS (SET user '$me'); DROP USER MAPPING FOR w2 SERVER b");

# Who waits for a node that does not answer may cancel.
my $mute = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
sql("CREATE SERVER mute FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '" . $mute->sockport . "'); CREATE USER MAPPING FOR CURRENT_USER SERVER mute");
sql("INSERT INTO metricsdb.node VALUES ('mute', 'mute', 1, false, false, now(), 'evicted')");
like(error("SET statement_timeout = '500ms'; SELECT metricsdb.recover_transactions()"), qr/canceling statement due to statement timeout/, 'recovery is cancelled while it connects');
sql("DELETE FROM metricsdb.node WHERE name = 'mute'; DROP SERVER mute CASCADE");
$c->append_conf('postgresql.conf', 'metricsdb.dist_recovery_interval = 1');
$c->reload;

# What has committed since is seen by recovery, whatever its own snapshot.
my $gid = sql("SELECT 'metricsdb/' || system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/3/00' FROM pg_control_system()");
my $reader = $c->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$reader->query_safe('SELECT count(*) FROM metricsdb.dist_transaction');
sql("INSERT INTO metricsdb.dist_transaction VALUES ('$gid', '{b}', now() + interval '1 h')");
$b->safe_psql('postgres', "BEGIN; INSERT INTO m $rows (30021, 30021) i; PREPARE TRANSACTION '$gid/0'");
$reader->query_safe('SELECT metricsdb.recover_transactions()');
$reader->query_safe('COMMIT');
$reader->quit;
sql("DELETE FROM metricsdb.dist_transaction WHERE gid = '$gid'");
settled(20121, 'recovered');

# Rows are moved away, so that a shard's nodes can go.
my $all = sql($digest);
like(error("SELECT metricsdb.remove_node('b')"), qr/node "b" has rows of "m" that no other node has/, 'a node with rows stays');
is(sql("SELECT metricsdb.drain_node('a1', move_rows => true), metricsdb.drain_node('a1', false)"), 't|t', 'what another replica has stays');
like(error("SELECT metricsdb.drain_node('a1'), metricsdb.drain_node('a2'), metricsdb.drain_node('b', move_rows => true)"), qr/no shard takes rows/, 'rows must have where to go');
like(error("DO 'BEGIN PERFORM metricsdb.drain_node(''b'', move_rows => true); EXCEPTION WHEN division_by_zero THEN END'"), qr/inside a subtransaction/, 'not by halves');
like(error("SET statement_timeout = '20s'; BEGIN; SELECT metricsdb.drain_node('b', move_rows => true); SELECT metricsdb.remove_node('b')"), qr/cannot read distributed tables/, 'nor is a node looked at by who would wait for himself');
like(error("SET statement_timeout = '20s'; BEGIN; SELECT metricsdb.drain_node('b', move_rows => true); SELECT metricsdb.drain_node('a1'); SELECT metricsdb.drain_node('a2', move_rows => true)"), qr/rows of two shards cannot be moved in one transaction/, 'one shard after the other');
like(error("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m; SELECT metricsdb.drain_node('b', move_rows => true)"), qr/cannot be moved in a transaction with one snapshot/, 'nor while it is read with one snapshot');
like(error("BEGIN; DECLARE c CURSOR FOR SELECT * FROM m; FETCH c; SELECT metricsdb.drain_node('b', move_rows => true)"), qr/"m" because it is being used by active queries/, 'or with a cursor');
is(sql("BEGIN; SELECT metricsdb.drain_node('b', move_rows => true); ROLLBACK; SELECT count(*) FROM metricsdb.node WHERE draining"), "t\n0", 'rolled back');
is(sql($digest), $all, 'nothing has happened');
is(sql("SELECT metricsdb.drain_node('b', move_rows => true)"), 't', 'rows are moved');
is(sql($digest), $all, 'all are there');
is(sql('SELECT count(*), sum(n), sum(double) FROM g'), '101|5151|10302', 'generated columns, too');
is($b->safe_psql('postgres', 'SELECT count(*) FROM m'), '0', 'none of them where they were');
is($a1->safe_psql('postgres', $digest), $a2->safe_psql('postgres', $digest), 'replicas are alike');
$b->safe_psql('postgres', "BEGIN; INSERT INTO m $rows (1, 1) i; PREPARE TRANSACTION 'metricsdb/another'");
like(error("SELECT metricsdb.remove_node('b')"), qr/node "b" has transactions of which it has not heard the end/, 'rows that are about to come are rows');
$b->safe_psql('postgres', "ROLLBACK PREPARED 'metricsdb/another'");
is(sql("SELECT metricsdb.remove_node('b')"), 't', 'the node may go');
is(sql($digest), $all, 'and nothing is missing');
done_testing();
