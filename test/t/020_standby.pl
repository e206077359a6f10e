# A streaming standby: it returns what the primary had at the point that it has replayed, or cancels
# the query; it never returns something else.  Base backups with checksums, promotion, and
# recovery to a point in time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $primary = new_node('primary',
	init => [ allows_streaming => 1, has_archiving => 1, extra => ['--data-checksums'] ],
	'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100, autovacuum => 'off');

sub sql { return $primary->safe_psql('postgres', $_[0]) }

sub rows
{
	my ($from, $to, $host) = @_;
	$host //= 'h';
	return "SELECT timestamptz '2026-01-01' + i * interval '1 s', '$host' || i % 20, i, repeat(md5(i::text), 3) FROM generate_series($from, $to) i";
}
my $columns = '(time timestamptz, host text, value float8, note text)';
my $all = q{SELECT count(*), coalesce(sum(value), 0), count(DISTINCT host), md5(string_agg(time::text || host || value || note, ',' ORDER BY value, host)) FROM};

sql("CREATE TABLE s $columns USING metricsdb");
sql('INSERT INTO s ' . rows(1, 5000));

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# Conflicts cancel at once.
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\nhot_standby_feedback = off\n");
$standby->start;

# Both give the same for a table.
sub same
{
	my ($table, $what) = @_;
	my $lsn = $primary->lsn('insert');
	my $want = sql("$all $table");

	$primary->wait_for_catchup($standby, 'replay', $lsn);
	is($standby->safe_psql('postgres', "$all $table"), $want, "$what: the standby agrees");
	return;
}

same('s', 'base backup');
sql('INSERT INTO s ' . rows(5001, 5010));
same('s', 'a few rows');
sql('INSERT INTO s ' . rows(5011, 9000, 'n'));
same('s', 'new series');
sql("CALL metricsdb.compact('s')");
same('s', 'compacted');
sql('INSERT INTO s ' . rows($_ * 1000, $_ * 1000 + 150, "r$_")) for 10 .. 20;
sql("CALL metricsdb.compact('s')");
same('s', 'merged');
sql("CALL metricsdb.compact('s')") for 1 .. 2;
sql('VACUUM s');
same('s', 'truncated');
sql('BEGIN; TRUNCATE s; INSERT INTO s ' . rows(1, 500) . '; COMMIT');
same('s', 'emptied and filled again');
sql('BEGIN; TRUNCATE s; INSERT INTO s ' . rows(1, 700) . '; ROLLBACK');
sql('ALTER TABLE s ADD x int DEFAULT 7; ALTER TABLE s DROP x');
sql('ALTER TABLE s ALTER value TYPE numeric');
same('s', 'rewritten');
sql('VACUUM FULL s');
same('s', 'rewritten by VACUUM FULL');

# ---- snapshots on the standby that are older than what is replayed ----

# Open one that has read only part of the table, or nothing yet; change the table on the primary so
# that rows move and pages are taken by others; read on.  The rows come out right or the query is
# cancelled.
my $seen = { right => 0, cancelled => 0 };

sub old_snapshot
{
	my ($what, $how, @statements) = @_;
	my $want = sql("$all o");

	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	my $s = session($standby);
	if ($how eq 'cursor')
	{
		$s->query('BEGIN; DECLARE c CURSOR FOR SELECT * FROM o');
		$s->query('FETCH 10 FROM c');
	}
	elsif ($how eq 'transaction') { $s->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM s;') }
	else { $s->query("BEGIN ISOLATION LEVEL REPEATABLE READ; $all o;") }
	sql($_) for @statements;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	my $answer;
	if ($how eq 'cursor')
	{
		my ($n) = split /\|/, $want;
		$answer = $s->query('MOVE FORWARD ALL FROM c') // $s->{last};
		$want = 'MOVE ' . ($n - 10);
	}
	else { $answer = $s->query("$all o") // $s->{last} }
	# TRUNCATE is not for older snapshots, on heaps neither.
	if ($what eq 'emptied' && $how eq 'transaction' && $answer =~ /^0\|/)
	{
		pass("$what, $how: empty");
	}
	elsif ($answer =~ /canceling statement due to conflict|conflict with recovery|snapshot too old|terminating connection/)
	{
		$seen->{cancelled}++;
		pass("$what, $how: cancelled");
	}
	else
	{
		$seen->{right}++;
		is($answer, $want, "$what, $how: right");
	}
	$s->close;
	same('o', "$what, $how: afterwards");
	return;
}

for my $how ('cursor', 'transaction', 'query')
{
	sql('DROP TABLE IF EXISTS o');
	sql("CREATE TABLE o $columns USING metricsdb");
	sql('INSERT INTO o ' . rows(1, 3000));
	sql('INSERT INTO o ' . rows(3001, 6000));
	sql('INSERT INTO o ' . rows(6001, 6030));
	old_snapshot('nothing happens', $how);
	old_snapshot('more rows', $how, 'INSERT INTO o ' . rows(6031, 9000), 'INSERT INTO o ' . rows(9001, 9002));
	old_snapshot('delta moved', $how, "CALL metricsdb.compact('o')");
	sql('INSERT INTO o ' . rows(10001, 10030));
	old_snapshot('delta moved and emptied', $how, ("CALL metricsdb.compact('o')") x 3);
	sql('INSERT INTO o ' . rows($_ * 1000, $_ * 1000 + 500)) for 11 .. 14;
	old_snapshot('merged', $how, "CALL metricsdb.compact('o')");
	sql('INSERT INTO o ' . rows($_ * 1000, $_ * 1000 + 500)) for 15 .. 18;
	old_snapshot('merged, pages taken by others',
		$how,
		"CALL metricsdb.compact('o')",
		'VACUUM metricsdb.part',
		"CALL metricsdb.compact('o')",
		(map { 'INSERT INTO o ' . rows($_ * 1000, $_ * 1000 + 500, 'x') } 20 .. 30),
		"CALL metricsdb.compact('o')");
	sql('INSERT INTO o ' . rows($_ * 1000, $_ * 1000 + 500)) for 31 .. 34;
	old_snapshot('cut off', $how, ("CALL metricsdb.compact('o')") x 3, 'VACUUM o');
	sql('INSERT INTO o ' . rows(35001, 35010));
	old_snapshot('delta, emptied and used again', $how,
		map { ('INSERT INTO o ' . rows($_ * 1000, $_ * 1000 + 5), "CALL metricsdb.compact('o')") } 36 .. 42);
	old_snapshot('emptied', $how, 'TRUNCATE o', 'INSERT INTO o ' . rows(1, 500));
}
# No part is merged here: all that tells the standby of the move is the delta's own catalog.
for my $how ('cursor', 'transaction', 'query')
{
	sql('DROP TABLE o');
	sql("CREATE TABLE o $columns USING metricsdb");
	sql('INSERT INTO o ' . rows(1, 60));
	old_snapshot('delta alone', $how, ("CALL metricsdb.compact('o')") x 3);
}
note "old snapshots: $seen->{right} right, $seen->{cancelled} cancelled";
cmp_ok($seen->{cancelled}, '>', 0, 'some were cancelled');

# ---- backups ----

sql("CALL metricsdb.compact('s')");
my $expected = sql("$all s");
my $target = sql("SELECT pg_create_restore_point('here')");
sql('INSERT INTO s ' . rows(1, 2000, 'late'));
sql("CALL metricsdb.compact('s')");
sql('SELECT pg_switch_wal()');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my $pitr = PostgreSQL::Test::Cluster->new('pitr');
$pitr->init_from_backup($primary, 'base', has_restoring => 1);
$pitr->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = 'promote'\n");
$pitr->start;
$pitr->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
is($pitr->safe_psql('postgres', "$all s"), $expected, 'recovery to a point in time');
$pitr->safe_psql('postgres', 'INSERT INTO s ' . rows(1, 2000, 'other'));
$pitr->safe_psql('postgres', "CALL metricsdb.compact('s')");
is($pitr->safe_psql('postgres', "SELECT count(*) - 2000 FROM s"), (split /\|/, $expected)[0], 'and written to');
$pitr->stop;

# ---- promotion ----

my $want = sql("$all s");
sql("CREATE UNLOGGED TABLE u $columns USING metricsdb");
sql('INSERT INTO u ' . rows(1, 500));
sql("CALL metricsdb.compact('u')");
sql('INSERT INTO u ' . rows(501, 510));
my $waiting = session($standby);
is($waiting->query("SELECT count(*) FROM s"), (split /\|/, $want)[0], 'a session on the standby');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "$all s"), $want, 'promoted: all rows');
$waiting->query('INSERT INTO s ' . rows(1, 2000, 'mine'));
$waiting->query('INSERT INTO s ' . rows(2001, 2003, 'mine'));
is($waiting->query("SELECT count(*) FROM s"), (split /\|/, $want)[0] + 2003, 'promoted: the session goes on, writing');
$standby->safe_psql('postgres', "CALL metricsdb.compact('s')");
is($standby->safe_psql('postgres', 'SELECT count(*) FROM s'), (split /\|/, $want)[0] + 2003, 'promoted: compacted');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM u'), '0', 'promoted: the unlogged table is empty');
is($waiting->query('INSERT INTO u ' . rows(1, 500, 'v') . '; INSERT INTO u ' . rows(501, 505, 'v') . "; SELECT count(*) FROM u WHERE host ~ '^v'"),
	"INSERT 0 500\nINSERT 0 5\n505", 'promoted: and is written to');
$waiting->close;
catalogs_in_order($standby, 'postgres', 'promoted');
$standby->stop;
for my $node ($primary, $standby, $pitr)
{
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'checksums of ' . $node->name);
	grep_log($node, $node->name);
}
done_testing();
