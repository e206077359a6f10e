# Pages of shadows that nobody can come to any more: a session is killed, or fails, between such a page and
# the row that names it, or rolls back the part that the shadows are of.  VACUUM gives the pages free, on the
# primary and, by replay, on a standby; nothing is lost in the course of that, and no row comes back.
#
#   METRICSDB_SEED=n	to kill at the same moments again, as far as the processes allow
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use StorageTest;
use StopTest;

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = bare_node('leaks', init => [ allows_streaming => 1 ]);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('reader', install_path => $ENV{METRICSDB_TESTING});
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

my $rows = 50_000;
$node->safe_psql('postgres', qq{
	CREATE TABLE m (n int, v int) USING metricsdb;
	INSERT INTO m SELECT n, 0 FROM generate_series(1, $rows) n;
	CREATE FUNCTION strays() RETURNS int8 LANGUAGE plpgsql AS \$\$ DECLARE n int8; BEGIN
		EXECUTE (SELECT format('SELECT count(*) FROM %s d WHERE shadow IS NOT NULL AND NOT EXISTS
			(SELECT FROM metricsdb.shadow h WHERE h.run = d.shadow / 224 AND h.block = (d.ctid::text::point)[0]::int8)', relid) FROM row_heap) INTO n;
		RETURN n; END \$\$;
	CREATE VIEW row_heap AS SELECT d.relid::regclass, pg_relation_size(d.relid) / 8192 AS pages,
		(SELECT count(*) FROM metricsdb.shadow h WHERE h.storage_id = s.storage_id) AS named
		FROM metricsdb.storage s JOIN metricsdb.delta d USING (storage_id) WHERE s.relid = 'm'::regclass AND d.slot = 3;
});

sub value { return $node->safe_psql('postgres', $_[0]) }

# Some rows in each of n runs, from the k-th on: an UPDATE would take pages for new versions, too.
my $run = 224;

sub remove
{
	my ($k, $n) = @_;
	return "DELETE FROM m WHERE n > $k * $run AND n <= ($k + $n) * $run AND n % $run = 7";
}

# Run a statement that is stopped, by an error, or for long enough that what it has done is on disk before a crash.
sub stopped_by
{
	my ($stop, $sql) = @_;
	my @words = map { ('-c', $_) } "SET metricsdb.stop_at = '$stop'", $sql;
	my $run = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), @words ], '>', \my $out, '2>', \my $err);

	if ($stop =~ /wait/)
	{
		for (1 .. 6000) { last if is_stopped($node); usleep(10_000); }
		value('CREATE TABLE flushed (); DROP TABLE flushed');
		$node->stop('immediate');
		$node->start;
	}
	$run->finish;
	is(stopped($node), $stop =~ s/:.*//r, "$stop: stopped");
	return;
}

# No shadow that no run names, and hardly a page without one that is named.
sub no_space_lost
{
	my ($what, $spare) = @_;
	my ($pages, $named) = split /\|/, value('SELECT pages, named FROM row_heap');

	is(value('SELECT strays()'), 0, "$what: each shadow is named");
	cmp_ok($pages, '<=', $named + $spare, "$what: $pages pages of the row heap, $named of them named");
	is(value(q{SELECT * FROM metricsdb.check('m')}), '', "$what: check finds nothing");
	return;
}

# No page of the first rounds is named: all are given free.
for my $kind ('error', 'wait', 'error', 'wait')
{
	stopped_by("shadow.page:$kind:1", remove(0, 1));
	cmp_ok(value('SELECT strays()'), '>=', $run, 'its page is named by none');
	value('VACUUM m') if $kind eq 'wait';
}
value('VACUUM m');
is(value('SELECT pages FROM row_heap'), 0, 'nothing is left of pages that no run names');
is(value('SELECT count(*) FROM m'), $rows, 'and no row is deleted');

# Between others, on a page that is all visible.
value(remove(10, 10));
stopped_by("shadow.page:error:5", remove(30, 10));
value(remove(50, 10));
value("VACUUM (FREEZE) " . value('SELECT relid FROM row_heap'));
stopped_by("shadow.page:wait:3", remove(70, 10));
value("VACUUM (FREEZE) " . value('SELECT relid FROM row_heap'));
value('VACUUM m');
my $pages = value('SELECT pages FROM row_heap');
value(remove(36, 1));
is(value('SELECT pages FROM row_heap'), $pages, 'a page in the middle is taken again');
value('VACUUM m');
no_space_lost('between others', 0);

# What is named before the index entry is there is not named, also for who reads the catalog otherwise.
for my $kind ('error', 'wait')
{
	stopped_by("shadow.row:$kind:1", remove($kind eq 'error' ? 100 : 101, 1));
	value('REINDEX TABLE metricsdb.shadow');
	value('VACUUM metricsdb.shadow');
	value('VACUUM m');
	no_space_lost("stopped when the page is named: $kind", 0);
}

# A crash of the machine, at any moment of deleting.
for my $round (1 .. 4)
{
	my $s = session($node);
	$s->send('BEGIN; ' . remove(110 + $round * 20, 20) . '; COMMIT;');
	usleep(int(rand(40_000)));
	$node->stop('immediate');
	$node->start;
	$s->close;
	value('VACUUM m');
	no_space_lost("crash $round", 1);
}

# Parts that were rolled back, whose runs are named: once their rows in metricsdb.part are gone VACUUM forgets
# them, at whatever point it was stopped before.
my $named = value('SELECT named FROM row_heap');
my $roll_back = "BEGIN; INSERT INTO m SELECT -n, 0 FROM generate_series(1, 3000) n; DELETE FROM m WHERE n < 0 AND n % 100 = 0; ROLLBACK";
for my $round (1 .. 3)
{
	value($roll_back);
	cmp_ok(value('SELECT named FROM row_heap'), '>', $named + 8, 'pages of a part that was rolled back are named');
	value('VACUUM metricsdb.part');
	stopped_by('shadow.free:' . ($round == 2 ? 'error' : 'wait') . ':4', 'VACUUM m') if $round > 1;
	value('VACUUM m');
	# Runs that the part shared with others stay.
	cmp_ok(value('SELECT named FROM row_heap'), '<=', $named + 2 * $round, 'and forgotten');
	no_space_lost("rolled back, round $round", 16);
}

# Nothing but VACUUM of the table is needed for that, nor but autovacuum.
for my $by ('VACUUM', 'autovacuum')
{
	value('VACUUM m');
	$named = value('SELECT named FROM row_heap');
	value($roll_back);
	cmp_ok(value('SELECT named FROM row_heap'), '>', $named + 8, "$by: pages of a part that was rolled back are named");
	if ($by eq 'VACUUM') { value('VACUUM m'); }
	else
	{
		value('ALTER TABLE m SET (autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0)');
		value("ALTER SYSTEM SET $_") for 'autovacuum = on', 'autovacuum_naptime = 1';
		$node->reload;
		ok(wait_for($node, "SELECT named <= $named + 2 FROM row_heap"), 'autovacuum comes to it');
		value("ALTER SYSTEM RESET $_") for 'autovacuum', 'autovacuum_naptime';
		$node->reload;
	}
	cmp_ok(value('SELECT named FROM row_heap'), '<=', $named + 2, "$by: and forgotten");
	no_space_lost("rolled back, $by", 24);
}

# Nor is VACUUM needed for pages of parts that were rolled back: the next takes them.
value('CREATE TABLE back (n int, v float8) USING metricsdb');
my $bulk = 'INSERT INTO back SELECT n, random() FROM generate_series(1, 20000) n';
value("BEGIN; $bulk; ROLLBACK");
my $size = value("SELECT pg_relation_size('back')");
value("BEGIN; $bulk; ROLLBACK") for 1 .. 5;
value($bulk);
cmp_ok(value("SELECT pg_relation_size('back')"), '<', 1.5 * $size, 'parts that are rolled back leave their pages to the next');
value("BEGIN; $bulk; $bulk; $bulk; ROLLBACK");
value('VACUUM back');
cmp_ok(value("SELECT pg_relation_size('back')"), '<', 1.5 * $size, 'and VACUUM cuts them off the end of the file');
is(value(q{SELECT count(*) FROM back}) . value(q{SELECT * FROM metricsdb.check('back')}), '20000', 'which is whole');

# Who is at it, and whom somebody still waits for, keeps what he has.
my $s = session($node);
$s->query('BEGIN; INSERT INTO m SELECT -n, 0 FROM generate_series(1, 3000) n; DELETE FROM m WHERE n < 0 AND n % 100 = 0;');
value('VACUUM m');
$s->query('COMMIT;');
is(value('SELECT count(*) FROM m WHERE n < 0'), 2970, 'a transaction that goes on keeps its shadows');
$s->close;

# The standby replays all of it, and reads meanwhile as it did before.
my $own = "SELECT count(*) || ' ' || sum(n) FROM m";
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', $own), value($own), 'the standby has the same rows');
is($standby->safe_psql('postgres', 'SELECT pages FROM row_heap'), value('SELECT pages FROM row_heap'), 'and as many pages');
stopped_by("shadow.page:error:2", remove(215, 3));
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->promote;
cmp_ok($standby->safe_psql('postgres', 'SELECT strays()'), '>=', $run, 'it has pages that are named by none, too');
$standby->safe_psql('postgres', 'VACUUM m');
is($standby->safe_psql('postgres', 'SELECT strays()'), 0, 'promoted, it gives them free');
is($standby->safe_psql('postgres', $own), value($own), 'with the same rows');

# Rows that are dead to all leave with their parts, and their runs.
value($_) for 'VACUUM m', "CALL metricsdb.compact('m')", 'VACUUM m', "CALL metricsdb.compact('m')", 'VACUUM m';
is(value('SELECT strays()'), 0, 'in the end each shadow is named');
$pages = value('SELECT pages FROM row_heap');
value("DELETE FROM m WHERE n % $run = 9 AND n < $pages / 2 * $run");
is(value('SELECT pages FROM row_heap'), $pages, 'and pages are taken again');
$node->stop;
$standby->stop;
grep_log($node, 'leaks');
done_testing();
