# Entries of indexes that nobody on the primary needs any more: those of hash and GiST go all at once, so the
# record of that must hold up a standby on which a query still sees the rows, also where these were in a heap of
# the delta that is retired by then.  Queries on the standby find the same rows by each way, or are cancelled.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;

my $node = new_node('primary', init => [ allows_streaming => 1 ], 'metricsdb.workers' => 'off', autovacuum => 'off', enable_bitmapscan => 'off',
	'metricsdb.enable_custom_scan' => 'off');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->start;

my $by_index = 'SET enable_seqscan = off; SET enable_indexscan = on';
my $by_scan = 'SET enable_seqscan = on; SET enable_indexscan = off';
my $query = 'SELECT count(*) FROM t WHERE x = -5 AND pad = \'victim\'';

for my $kind ('btree', 'hash')
{
	$node->safe_psql('postgres', qq{
		DROP TABLE IF EXISTS t; CREATE TABLE t (x int, time timestamptz, pad text) USING metricsdb; CREATE INDEX ON t USING $kind (x);
		INSERT INTO t SELECT i, now(), 'p' FROM generate_series(1, 20000) i});
	$node->safe_psql('postgres', q{CALL metricsdb.compact('t')});
	$node->safe_psql('postgres', q{INSERT INTO t VALUES (-5, now(), 'victim'); INSERT INTO t SELECT -5, now(), 'keep' FROM generate_series(1, 50)});
	$node->wait_for_catchup($standby);
	my $reader = session($standby);
	$reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; $by_index");
	is($reader->query($query), 1, "$kind: the standby sees the row");

	# It goes, and a scan notes that its entry is dead to all.
	$node->safe_psql('postgres', q{DELETE FROM t WHERE pad = 'victim'});
	is($node->safe_psql('postgres', "$by_index; SELECT count(*) FROM t WHERE x = -5"), 50, "$kind: it is deleted") for 1 .. 2;
	# Its heap is retired, but cannot be emptied.
	my $holder = session($node);
	$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t');
	$node->safe_psql('postgres', q{CALL metricsdb.compact('t')});
	# The index's page fills up, so that the entry is taken away.
	$node->safe_psql('postgres', q{INSERT INTO t SELECT -5, now(), 'more' FROM generate_series(1, 800)});
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	ok(wait_for($standby, qq{SELECT pg_last_wal_replay_lsn() >= '$lsn' OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
		AND wait_event LIKE 'RecoveryConflict%')}), "$kind: the standby has come to it");
	is($reader->query($query), 1, "$kind: by the index the same snapshot sees the row");
	is($reader->query("$by_scan; $query") =~ s/\D//gr, 1, "$kind: as it does without");
	$_->close for $reader, $holder;
	$node->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', "$by_index; $query"), 0, "$kind: later ones do not");
}
$node->stop;
$standby->stop;
done_testing();
