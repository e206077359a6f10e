# A plan that is kept runs in parallel again after a transaction in which it could not.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('cached', 'metricsdb.workers' => 'off', autovacuum => 'off');
$node->safe_psql('postgres', q{
	CREATE TABLE m (id int, t timestamptz, v float8) USING metricsdb;
	INSERT INTO m SELECT i, timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, 300) i;
	-- it is not: so it tells whether it runs in parallel mode
	CREATE FUNCTION probe(i int) RETURNS bool PARALLEL SAFE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('test.probe', 'x', true); RETURN true; END $$});
my $s = session($node);
$s->query(q{SET plan_cache_mode = force_generic_plan; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	PREPARE p AS SELECT count(*) FROM m WHERE probe(id)});
my $parallel = qr/during a parallel operation/;
like($s->query('EXECUTE p'), $parallel, 'in parallel');
$s->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m');
$node->safe_psql('postgres', q{CALL metricsdb.compact('m')});
$s->query('UPDATE m SET v = 0 WHERE id = 5');
is($s->query('EXECUTE p'), '300', 'not where rows were moved and changed');
$s->query('COMMIT');
like($s->query('EXECUTE p'), $parallel, 'and again afterwards');
$s->close;
$node->stop;
done_testing();
