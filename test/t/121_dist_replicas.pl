# Shards with replicas: a query reads one whole replica of each, goes on to another one if that is down, and never counts
# both.  A table that was dumped with its coordinator is distributed where it is restored.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StorageTest;

my ($c, $a1, $a2, $b) = dist_nodes('a1', 'a2', 'b');
sub sql { return $c->safe_psql('postgres', $_[0]) }
my $table = "CREATE TABLE m (time timestamptz NOT NULL, host text, n int8) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host')";

sql("$table; SELECT metricsdb.add_node('a1', '" . conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . conninfo($b) . "', shard => 'b'); SELECT metricsdb.distribute('m')");
is(sql('SELECT node, shard, replica FROM metricsdb.nodes ORDER BY 1'), "a1|a|1\na2|a|2\nb|b|1", 'replicas are numbered');
my $rows = "SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i % 5, i FROM generate_series(1, 1000) i WHERE";
$_->safe_psql('postgres', "INSERT INTO m $rows i % 2 = 0") for $a1, $a2;
$b->safe_psql('postgres', "INSERT INTO m $rows i % 2 = 1");
my $all = '1000|500500';
my $query = 'SELECT count(*), sum(n) FROM m';
is(sql($query), $all, 'one of two replicas counts');
like(sql("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) $query"), qr/Node a1: shard=a rows=1.*\n.*Node b: shard=b rows=1/, 'the first one');

my $kept = session($c);
is($kept->query($query), $all, 'a session');
$a1->stop('immediate');
is(sql($query), $all, 'the other one counts when it is down');
is($kept->query($query), $all, 'in a session that had asked it, too');
like(sql("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) $query"), qr/Node a2: shard=a rows=1/, 'which is the second');
is($kept->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m;') =~ /1000/, 1, 'a transaction with one snapshot');
$a2->restart('immediate');
# Its helper takes the node's message for the end of its own connection.
like($kept->query('SELECT count(*) FROM m; ROLLBACK;') // $kept->{last}, qr/ERROR:  node "a2"/, 'does not go on with that of another connection');
is($kept->query($query), $all, 'but the next one does');
$a2->stop('immediate');
my ($rc, $out, $err) = $c->psql('postgres', $query);
like($err, qr/node "a[12]".*shard "a"/s, 'with both down the query fails, and names the shard');
is(sql("BEGIN; SET LOCAL metricsdb.partial_results = on; $query; SELECT * FROM metricsdb.missing_shards(); COMMIT"), "500|250000\na", 'or does without the shard');
is(sql("SELECT node, healthy, breaker <> 'closed', failures > 0 FROM metricsdb.nodes ORDER BY 1"), "a1|f|t|t\na2|f|t|t\nb|t|f|f", 'the view tells, also what sessions have met');
$a1->start;
is(sql($query), $all, 'one is back');
is(sql("SELECT breaker, failures FROM metricsdb.nodes WHERE node = 'a1'"), 'closed|0', 'and its breaker closed');
$a2->start;
is(sql("SELECT count(*) FROM metricsdb.nodes WHERE healthy AND breaker = 'closed'"), 3, 'so are all');

# A breaker that is half-open lets one ask, who must be one who does.
$a1->stop('immediate');
is(sql($query), $all, 'a node is down');
$a1->start;
# For how long it is open goes by how often it was asked in vain, by whom ever.
my $plan = '';
for (1 .. 60)
{
	sleep 1;
	sql('BEGIN; INSERT INTO m (time, host, n) VALUES (now(), NULL, 1); ROLLBACK');
	$plan = sql("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) $query");
	last if $plan =~ /Node a1/;
}
like($plan, qr/Node a1: shard=a rows=1/, 'and is tried by the first who reads, not by who only looks where rows might go');

# A node that hangs is gone round; while its breaker is open nobody waits for it.
my $master = $a1->{_pid};
is(sql("ALTER SERVER b OPTIONS (ADD connect_timeout '3')"), '', 'one that nobody stands in for is waited for three seconds');
kill 'STOP', $master;
is(sql($query), $all, 'the other one answers when a postmaster hangs');
like(sql("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) $query"), qr/Node a2: shard=a rows=1/, 'and is asked first from then on');
kill 'CONT', $master;
kill 'STOP', $b->{_pid};
($rc, $out, $err) = $c->psql('postgres', $query);
like($err, qr/node "b": connecting has taken too long/, 'without another one that fails');
# The time that a breaker is open doubles with each failure.
for (1 .. 5)
{
	($rc, $out, $err) = $c->psql('postgres', $query);
	last if $err =~ /DETAIL/;
}
like($err, qr/node "b": connecting has taken too long.*DETAIL:  It was not asked, since it had failed/s, 'and the next query does not wait');
is(sql("BEGIN; SET LOCAL metricsdb.partial_results = on; $query; SELECT * FROM metricsdb.missing_shards(); COMMIT"), "500|250500\nb", 'or does without at once');
kill 'CONT', $b->{_pid};
is(sql("SELECT count(*) FROM metricsdb.nodes WHERE healthy AND breaker = 'closed'"), 3, 'who asks for all closes breakers');
is(sql($query), $all, 'and all is there again');

# Adding and removing
($rc, $out, $err) = $c->psql('postgres', "SELECT metricsdb.remove_node('b')");
like($err, qr/node "b" has rows of "m" that no other node has/, 'the last node of a shard stays');
is(sql("SELECT metricsdb.remove_node('a2')"), 't', 'one of two may go, even if it is down');
is(sql($query), $all, 'and nothing is missing');

# Metadata
is(sql("SELECT string_agg(v, ',') FROM metricsdb.tag_values('m', NULL, 'host') v"), 'h0,h1,h2,h3,h4', 'nodes tell what series they have');
is(sql("SELECT metricsdb.cardinality('m'), metricsdb.approximate_row_count('m')"), '5|1000', 'and how many, each once');
$b->stop('immediate');
($rc, $out, $err) = $c->psql('postgres', "SELECT metricsdb.cardinality('m')");
like($err, qr/node "b".*shard "b"/s, 'one that is down is named');
is(sql("BEGIN; SET LOCAL metricsdb.partial_results = on; SELECT metricsdb.approximate_row_count('m'); SELECT * FROM metricsdb.missing_shards(); COMMIT"), "500\nb", 'or done without');
$b->start;

# A replica that comes later counts when it has what the others have.
$b->safe_psql('postgres', 'CREATE DATABASE later');
$b->safe_psql('later', "CREATE EXTENSION metricsdb; $table");
my $later = conninfo($b) =~ s/dbname=postgres/dbname=later/r;
($rc, $out, $err) = $c->psql('postgres', "SELECT metricsdb.add_node('a3', '$later', shard => 'a')");
like($err, qr/NOTICE:  node "a3" does not count yet.*rejoin_node\('a3'\)/s, 'a replica that comes later does not count yet');
$_->stop('immediate') for $a1, $a2;
($rc, $out, $err) = $c->psql('postgres', $query);
like($err, qr/node "a[12]".*shard "a"/s, 'even if it were the only one');
$_->start for $a1, $a2;
($rc, $out, $err) = $c->psql('postgres', "SELECT metricsdb.rejoin_node('a3')");
like($err, qr/node "a3" does not have the rows of "m" that node "a[12]" has/, 'while it lacks rows it cannot');
$b->safe_psql('later', "INSERT INTO m $rows i % 2 = 0");
is(sql("SELECT metricsdb.rejoin_node('a3')"), 't', 'then it does');
$_->stop('immediate') for $a1, $a2;
is(sql($query), $all, 'and answers for the shard');
$_->start for $a1, $a2;

# Dumps
my $dump = $c->data_dir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $c->connstr('postgres') ], 'the coordinator is dumped');
$c->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $c->connstr('restored') ], 'and restored');
is($c->safe_psql('restored', $query), $all, 'with its nodes');
done_testing();
