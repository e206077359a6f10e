# Snapshots that are older than a rewrite of a table, or of states, under which continuous aggregates are read: what was
# pending then is not to be told by the parts that the table has now.
use strict;
use warnings;
use lib 'test/lib';
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;

my $node = new_node('rollup_snapshots', 'metricsdb.workers' => 'off', autovacuum => 'off', 'metricsdb.direct_rows' => 10, timezone => "'UTC'");

sub sql { return $node->safe_psql('postgres', $_[0]) }

my @queries = (
	'SELECT sum(count), sum(sum) FROM hours',
	'SELECT sum(count), sum(sum) FROM days',
	q{SELECT sum(count), sum(sum) FROM (SELECT metricsdb.time_bucket('1 day', time), count(*), sum(n) FROM t GROUP BY 1) x});
my $truth = 'SET metricsdb.rollup_routing = off; SELECT count(*), sum(n) FROM t';

# Hours are taken up to the ninth, days have one of two; then come rows, and some go.
sub prepare
{
	sql(q{DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (time timestamptz NOT NULL, n int) USING metricsdb;
		INSERT INTO t SELECT timestamptz '2026-01-01' + i * interval '1 min', i FROM generate_series(1, 2000) i;
		CREATE MATERIALIZED VIEW hours WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('1 h', time) AS bucket, count(*), sum(n) FROM t GROUP BY 1;
		CREATE MATERIALIZED VIEW days WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('1 day', time) AS bucket, count(*), sum(n) FROM t GROUP BY 1});
	sql(q{CALL metricsdb.refresh('days', '2026-01-01', '2026-01-02')});
	sql(q{INSERT INTO t SELECT timestamptz '2026-01-01' + i * interval '1 min', i FROM generate_series(1, 300) i});
	sql(q{CALL metricsdb.refresh('hours', '2026-01-01 04:00', '2026-01-01 09:00')});
	sql(q{DELETE FROM t WHERE n % 10 = 3});
	return;
}

for my $case (
	[ 'the table is rewritten', 'VACUUM FULL t' ],
	[ 'it is rewritten when all was taken', q{CALL metricsdb.refresh('days')}, 'VACUUM FULL t' ],
	[ 'it is, and then all is taken', 'VACUUM FULL t', q{CALL metricsdb.refresh('days')} ],
	[ 'finer states are rewritten', 'VACUUM FULL hours_states' ],
	[ 'these are rewritten when all was taken', q{CALL metricsdb.refresh('days')}, 'VACUUM FULL hours_states' ],
	[ 'all are rewritten', 'VACUUM FULL t', 'VACUUM FULL hours_states', 'VACUUM FULL days_states', q{CALL metricsdb.refresh('days')} ],
	[ 'rows are changed, and all is rewritten', 'UPDATE t SET n = n + 1', q{CALL metricsdb.refresh('days')}, 'VACUUM FULL t', 'VACUUM FULL hours_states' ])
{
	my ($name, @commands) = @$case;

	prepare();
	my $old = session($node);
	my $wanted = sql($truth);
	$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	sql($_) for @commands;
	$old->query('SET metricsdb.rollup_routing = off');
	is($old->query('SELECT count(*), sum(n) FROM t'), $wanted, "$name: the table");
	$old->query('RESET metricsdb.rollup_routing');
	is($old->query($_), $wanted, "$name: $_") for @queries;
	$old->query('COMMIT');
	$wanted = sql($truth);
	is(sql($_), $wanted, "$name: now: $_") for @queries;
}
done_testing();
