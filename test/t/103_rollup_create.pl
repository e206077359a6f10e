# Continuous aggregates that are made, changed and dropped while others write: no row slips through, and none counts twice.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('rollup_create', 'metricsdb.direct_rows' => 100, 'metricsdb.rollup_routing' => 'off', 'metricsdb.rollup_interval' => "'100ms'", timezone => "'UTC'");
my $writer = session($node);
my $maker = session($node);

sub sql { return $node->safe_psql('postgres', shift) }
sub rows { my ($n) = @_; return "INSERT INTO m SELECT now() - i * interval '1 min', 'h' || i % 7, i FROM generate_series(1, $n) i" }
sub waits { return wait_for($node, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'm'::regclass)") }

# Rows of the table and of a view that differ
sub differ
{
	my ($view) = @_;
	my $definition = "SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, count(*), sum(n) FROM m GROUP BY 1, 2";

	return sql("SELECT count(*) FROM ((SELECT bucket, host, count, sum FROM $view EXCEPT ALL ($definition)) UNION ALL (($definition) EXCEPT ALL SELECT bucket, host, count, sum FROM $view)) x");
}

my $create = "CREATE MATERIALIZED VIEW v%s WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, count(*), sum(n) FROM m GROUP BY 1, 2";

sql('CREATE TABLE m (time timestamptz NOT NULL, host text, n int) USING metricsdb');
sql(rows(3000));

# A writer who has begun before is waited for, be his rows in a part or in the delta, and whether he commits or not.
my $n = 0;
for my $how ([ 3000, 'COMMIT' ], [ 50, 'COMMIT' ], [ 3000, 'ROLLBACK' ])
{
	my ($rows, $end) = @$how;
	my $what = "$rows rows, $end";

	$n++;
	$writer->query('BEGIN; ' . rows($rows));
	$maker->send(sprintf($create, $n));
	ok(waits(), "$what: CREATE waits");
	$writer->query($end);
	unlike($maker->result, qr/ERROR/, "$what: and goes on");
	is(differ("v$n"), '0', "$what: all rows count once");
}

# One who comes later waits for CREATE, and knows of the aggregate then.
$n++;
$maker->query('BEGIN; ' . sprintf($create, $n));
$writer->send(rows(2000));
ok(waits(), 'a writer waits for CREATE');
$maker->query('COMMIT');
unlike($writer->result, qr/ERROR/, 'and goes on');
is(differ("v$n"), '0', 'his rows count once');

# A snapshot that is older than rows which others have committed since
$n++;
$maker->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
sql(rows(1500));
unlike($maker->query(sprintf($create, $n) . '; COMMIT'), qr/ERROR/, 'CREATE by an old snapshot');
is(differ("v$n"), '0', 'rows that it does not see count once');

# Rolled back
$maker->query('BEGIN; ' . sprintf($create, 99) . '; ROLLBACK');
is(sql("SELECT count(*) FROM metricsdb.pending WHERE aggregate NOT IN (SELECT aggregate FROM metricsdb.continuous_aggregate)"), '0', 'nothing is pending for what is not there');

# Changed, and filled, while rows come
$maker->send("DO \$\$ BEGIN FOR i IN 1..40 LOOP INSERT INTO m SELECT now() - j * interval '1 min', 'h' || j % 7, j FROM generate_series(1, 400) j; COMMIT; END LOOP; END \$\$");
for my $i (1 .. 10)
{
	sql('ALTER MATERIALIZED VIEW v1 SET (metricsdb.materialized_only = ' . ($i % 2 ? 'on' : 'off') . ", metricsdb.lateness = '$i s')");
}
sql("SELECT metricsdb.add_aggregate('v1', 'max(n)', 'most')");
unlike($maker->result // 'gone', qr/ERROR|gone/, 'the writer was not disturbed');
for my $view (map { "v$_" } 1 .. $n)
{
	is(differ($view), '0', "$view: all rows count once");
	sql("CALL metricsdb.refresh('$view')");
	is(differ($view), '0', "$view: and after refresh()");
}
is(sql("SELECT count(*) FROM (SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, max(n) FROM m GROUP BY 1, 2) x JOIN v1 USING (bucket, host) WHERE most IS DISTINCT FROM max"), '0', 'the column that was added');

# Dropped while the worker is at it, and others write
$maker->send("DO \$\$ BEGIN FOR i IN 1..40 LOOP INSERT INTO m SELECT now() - j * interval '1 min', 'h' || j % 7, j FROM generate_series(1, 400) j; COMMIT; END LOOP; END \$\$");
# A deadlock with who writes is PostgreSQL's to solve: DROP is tried again.
for my $view (map { "v$_" } reverse 1 .. $n)
{
	my ($rc, $out, $err);

	for (1 .. 10)
	{
		($rc, $out, $err) = $node->psql('postgres', "DROP MATERIALIZED VIEW $view");
		last if $rc == 0 || $err !~ /deadlock/;
	}
	unlike($err, qr/ERROR/, "$view is dropped");
}
unlike($maker->result // 'gone', qr/ERROR|gone/, 'the writer was not disturbed');
is(sql("SELECT count(*) FROM pg_class WHERE relname ~ '^v.*_states'"), '0', 'no states are left');
is(sql('SELECT (SELECT count(*) FROM metricsdb.pending) + (SELECT count(*) FROM metricsdb.dirty) + (SELECT count(*) FROM metricsdb.continuous_aggregate)'), '0', 'nor anything about them');
catalogs_in_order($node, 'postgres', 'at the end');

$_->close for $writer, $maker;
$node->stop;
done_testing();
