# VACUUM FULL of the engine's own catalogs, while somebody remembers places of rows in them: it has to wait.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;

my $node = new_node('rewritten', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1);

sub sql { return $node->safe_psql('postgres', $_[0]) }

my ($hold, $merge, $full) = map { session($node) } 1 .. 3;

# Asked by who holds what others wait for: queries look into that catalog, too.
sub waits
{
	my ($relation, $mode) = @_;
	for (1 .. 600)
	{
		return 1 if $hold->query("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND mode = '$mode' AND relation = '$relation'::regclass") eq 't';
		usleep(100_000);
	}
	return 0;
}

# Places in metricsdb.part: some that are free, then those of m, then those of another table.
sub fill
{
	sql(q{DROP TABLE IF EXISTS gone, m, other;
		CREATE TABLE gone (time timestamptz, host text, v float8) USING metricsdb;
		CREATE TABLE m (LIKE gone) USING metricsdb;
		CREATE TABLE other (LIKE gone) USING metricsdb;});
	for my $t (('gone') x 2, ('m') x 2, ('other') x 6)
	{
		sql("INSERT INTO $t SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i % 3, i FROM generate_series(1, 1000) i");
	}
	sql('DROP TABLE gone');
	sql('VACUUM metricsdb.part');
	return;
}

# A merge that knows its inputs' places, and has not claimed them: it comes to a catalog that somebody has locked.
fill();
$hold->query('BEGIN; LOCK TABLE metricsdb.continuous_aggregate');
$merge->send("CALL metricsdb.compact('m')");
ok(waits('metricsdb.continuous_aggregate', 'AccessShareLock'), 'a merge');
$full->send('VACUUM FULL metricsdb.part');
ok(waits('metricsdb.part', 'AccessExclusiveLock'), 'VACUUM FULL of the catalog waits for it');
$hold->query('COMMIT');
is($merge->result, 'CALL', 'it ends');
is($full->result, 'VACUUM', 'then VACUUM FULL does');
is(sql('SELECT count(*), count(DISTINCT v) FROM m'), '2000|1000', 'rows of the table');
is(sql('SELECT count(*) FROM other'), '6000', 'rows of another one');
is(sql(q{SELECT count(*) FROM metricsdb.check('m')}) . sql(q{SELECT count(*) FROM metricsdb.check('other')}), '00', 'nothing is damaged');

# Who changes rows of parts.
fill();
$hold->query('BEGIN; DELETE FROM other WHERE v = 1');
$full->send('VACUUM FULL metricsdb.part');
ok(waits('metricsdb.part', 'AccessExclusiveLock'), 'VACUUM FULL waits for who deletes');
$hold->query('DELETE FROM other WHERE v > 1; COMMIT');
is($full->result, 'VACUUM', 'and goes on');
is(sql('SELECT count(*) FROM m') . '|' . sql('SELECT count(*) FROM other'), '2000|0', 'all of one table is gone, nothing of the other');
$_->close for $hold, $merge, $full;

done_testing();
