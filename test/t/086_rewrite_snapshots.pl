# Random transactions on a metricsdb table and on a heap, compaction, and VACUUM FULL and CLUSTER of both, while
# sessions have snapshots of all ages.  Each of them comes to the tables only after a rewrite: it finds
# the same rows in both, can change the same ones, and fails where it would fail on the heap.
#
#   METRICSDB_STEPS=n	rewrites (8)
#   METRICSDB_SEED=n	to repeat a run
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use StorageTest;
use StopTest qw(bare_node is_stopped stopped);

my $steps = $ENV{METRICSDB_STEPS} || 8;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$);
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = new_node('rewrite', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 20, autovacuum => 'off');
my $s = session($node);
my @old;	# sessions with snapshots
my $id = 0;

$s->query('CREATE TABLE o (n int);
	CREATE TABLE t (id int, g int, v int, note text) USING metricsdb; CREATE INDEX t_id ON t (id);
	CREATE TABLE h (id int, g int, v int, note text); CREATE INDEX h_id ON h (id);
	CREATE TABLE p (id int, g int, v int, note text) USING metricsdb; CREATE TABLE ph (LIKE h)');
my %heaps = (t => 'h', p => 'ph');

sub pick { return $_[ int(rand(@_)) ] }

# The same change of a table and of its heap.
sub change
{
	my $n = int(rand() < 0.5 ? rand(10) : rand(300));
	my ($g, $v) = (int(rand(9)), int(rand(1000)));
	my $sql = pick(
		"INSERT INTO \@ SELECT i, i % 9, $v, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 200) END FROM generate_series($id + 1, $id + 1 + $n) i",
		"INSERT INTO \@ SELECT i, i % 9, $v, 'x' FROM generate_series($id + 1, $id + 1 + $n) i",
		"INSERT INTO \@ SELECT i, i % 9, $v, (SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 100) k) FROM generate_series($id + 1, $id + 1 + $n) i",
		"UPDATE \@ SET v = v + 1 WHERE g = $g", "UPDATE \@ SET v = v + 1, note = repeat('n', v) WHERE id % 37 = $v % 37",
		"UPDATE \@ SET id = id + 100000 WHERE id < 100000 AND id % 41 = $v % 41", "DELETE FROM \@ WHERE id % 29 = $v % 29",
		"DELETE FROM \@ WHERE g = $g AND v % 2 = 0", "SELECT count(*) FROM (SELECT 1 FROM \@ WHERE id % 7 = $g FOR UPDATE) q");
	$id += $n + 1;
	return join '; ', map { $sql =~ s/@/$_/gr } %heaps;
}

sub transaction
{
	my @sql = ('BEGIN');

	for (0 .. int(rand(3)))
	{
		push @sql, rand() < 0.3 ? ('SAVEPOINT a', change(), rand() < 0.5 ? 'ROLLBACK TO a' : 'RELEASE a') : change();
	}
	push @sql, pick('COMMIT', 'COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK', "PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'");
	return join '; ', @sql;
}

sub contents
{
	my ($table) = @_;
	return "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 0)), 0) || ' ' || coalesce(min(id), 0) FROM $table x";
}

# What the two say to the same, in the words of the heap.
sub answers
{
	my ($session, $sql, $table) = @_;
	my @answers = map { $session->query($sql =~ s/@/$_/gr) } $table, $heaps{$table};
	# Which row a statement comes to first is not said.
	s/concurrent (update|delete)/concurrent change/g for @answers;
	return @answers;
}

my ($reads, $changes, $refused, $left) = (0, 0, 0, 0);

sub come
{
	my ($o, $what) = @_;
	my $bad = '';

	for my $table (sort keys %heaps)
	{
		my $g = int(rand(9));
		my ($k, $n) = (int(rand($id + 1)), int(rand(5)));
		for my $sql (contents('@'), "SELECT id, v FROM @ WHERE id BETWEEN $k AND $k + 20 ORDER BY id, v",
			map { "SAVEPOINT a; $_; " . contents('@') . '; ROLLBACK TO a' } "UPDATE @ SET v = -v WHERE id BETWEEN $k AND $k + $n",
			"DELETE FROM @ WHERE id BETWEEN $k + 50 AND $k + 50 + $n", "SELECT count(*) FROM (SELECT 1 FROM @ WHERE id BETWEEN $k AND $k + $n FOR SHARE) q",
			"SELECT count(*) FROM (SELECT 1 FROM @ WHERE g = $g FOR UPDATE) q")
		{
			my ($own, $heap) = answers($o->{session}, $sql, $table);
			$bad .= "$table: $sql\n$own\nheap:\n$heap\n" if $own ne $heap;
			$reads++ if $sql =~ /^SELECT count.*x$/;
			$changes++ if $heap =~ /^(UPDATE|DELETE) [1-9]/m;
			$refused++ if $heap =~ /could not serialize/;
		}
	}
	is($bad, '', "$what: a snapshot of $o->{since} finds what it would in a heap");
	$o->{session}->query('ROLLBACK');
	return;
}

for my $step (1 .. $steps)
{
	for (0 .. 2 + int(rand(4)))
	{
		if (rand() < 0.6 && @old < 8)
		{
			my $o = { session => session($node), since => "step $step" };
			$o->{session}->query('BEGIN ISOLATION LEVEL ' . pick('REPEATABLE READ', 'REPEATABLE READ', 'SERIALIZABLE') . '; SELECT count(*) FROM o;');
			push @old, $o;
		}
		my $sql = transaction();
		my $answer = $s->query($sql);
		is($answer =~ /ERROR/ ? "$sql\n$answer" : '', '', "step $step: a transaction") if $answer =~ /ERROR/;
		# It waits for these snapshots, as long as it may.
		$s->query("CALL metricsdb.compact('" . pick('t', 'p') . "')") if rand() < 0.25;
		$s->query("VACUUM t, p, h, ph") if rand() < 0.1;
		$left += $s->query("SELECT count(*) FROM metricsdb.delta WHERE NOT live AND pg_relation_size(relid) > 0");
	}
	my $rewrite = pick('VACUUM FULL t; VACUUM FULL p; VACUUM FULL ph', 'CLUSTER t USING t_id; VACUUM FULL p', 'VACUUM FULL t, p, h',
		'BEGIN; ' . change() . '; CLUSTER t USING t_id; ' . change() . '; ' . pick('COMMIT', 'ROLLBACK') . '; VACUUM FULL p');
	my $answer = $s->query($rewrite);
	is($answer =~ /ERROR/ ? $answer : '', '', "step $step: $rewrite");
	for my $table (sort keys %heaps)
	{
		my ($own, $heap) = answers($s, contents('@'), $table);
		is($own, $heap, "step $step: $table is the same now");
	}
	# Who has been there keeps the next rewrite waiting.
	my @stay;
	for my $o (@old) { if (rand() < 0.5) { come($o, "step $step") } else { push @stay, $o } }
	@old = @stay;
	is($s->query("SELECT * FROM metricsdb.check('t') UNION ALL SELECT * FROM metricsdb.check('p')"), '', "step $step: check finds nothing");
}
come($_, 'in the end') for @old;
note "$reads tables read, $changes changes, $refused refused, $left heaps that rows had left";
$node->stop;
grep_log($node, 'rewrites');

# The oldest snapshot ends between passes of a rewrite, and VACUUM removes and freezes what it may then: another
# snapshot, and the table itself, miss nothing and have nothing twice.
my $stops = bare_node('rewrite_stops', init => [ allows_streaming => 1 ]);
sub value { return $stops->safe_psql('postgres', $_[0]) }
sub twice { return value(join '; ', map { my $t = $_; map { s/@/$t/gr } @_ } 't', 'h') }

value('CREATE TABLE o (n int); CREATE TABLE h (id int, v int)');
for my $round (0 .. 3)
{
	value('TRUNCATE h; CREATE TABLE t (id int, v int) USING metricsdb');
	twice('INSERT INTO @ SELECT i, 0 FROM generate_series(1, 3000) i', 'INSERT INTO @ VALUES (5001, 0), (5002, 0), (5003, 0)');
	value(q{CALL metricsdb.compact('t')}) if $round & 1;
	twice('INSERT INTO @ VALUES (5004, 0), (5005, 0), (5006, 0)', 'UPDATE @ SET v = 1 WHERE id % 100 = 0');
	my $oldest = session($stops);
	$oldest->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM o;');
	value(q{CALL metricsdb.compact('t')}) if $round & 2;
	twice('INSERT INTO @ SELECT i, 2 FROM generate_series(6001, 6500) i', 'INSERT INTO @ VALUES (5007, 0), (5008, 0)');
	twice('UPDATE @ SET v = 3 WHERE id % 70 = 1', 'DELETE FROM @ WHERE id % 70 = 2 OR id IN (5002, 5005, 5007)');
	value(q{CALL metricsdb.compact('t')});
	twice('UPDATE @ SET v = 4 WHERE id % 50 = 7');
	my $younger = session($stops);
	$younger->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM o;');
	my $was = value(contents('h'));
	twice('DELETE FROM @ WHERE id % 50 = 8', 'UPDATE @ SET v = 5 WHERE id % 50 IN (7, 9)');
	my $full = session($stops);
	$full->send("SET metricsdb.stop_at = 'file.lives:wait:1'; VACUUM FULL t;");
	for (1 .. 6000) { last if is_stopped($stops); usleep(10_000); }
	$oldest->query('COMMIT');
	$oldest->close;
	value('VACUUM (FREEZE, INDEX_CLEANUP off) ' . value(q{SELECT string_agg(d.relid::regclass::text, ', ') FROM metricsdb.delta d JOIN metricsdb.storage s USING (storage_id)
		WHERE s.relid = 't'::regclass}));
	value('VACUUM (FREEZE) metricsdb.part, metricsdb.delta, metricsdb.moved, metricsdb.shadow');
	is(stopped($stops), 'file.lives', "round $round: stopped between passes");
	unlike($full->result // 'gone', qr/ERROR|gone/, "round $round: VACUUM FULL");
	$full->close;
	is(value(contents('t')), value(contents('h')), "round $round: all rows are there once");
	is($younger->query(contents('t')), $was, "round $round: so they are for a snapshot that is older");
	$younger->close;
	is(value(q{SELECT * FROM metricsdb.check('t')}), '', "round $round: check finds nothing");
	value('VACUUM metricsdb.part');
	catalogs_in_order($stops, 'postgres', "round $round");
	value('DROP TABLE t');
}

# So it is if what holds back VACUUM is no session: the slot of a standby, a standby without one, a setting.
my @holders = ('a slot', 'a standby without a slot', $stops->pg_version < 16 ? 'a setting' : ());
$stops->backup('base');
for my $holder (@holders)
{
	my ($standby, $reader);
	value('TRUNCATE h; CREATE TABLE t (id int, v int) USING metricsdb');
	twice('INSERT INTO @ SELECT i, 0 FROM generate_series(1, 3000) i');
	if ($holder eq 'a setting')
	{
		value('ALTER SYSTEM SET vacuum_defer_cleanup_age = 50');
		$stops->reload;
	}
	else
	{
		$standby = PostgreSQL::Test::Cluster->new('reader_' . ($holder =~ s/ /_/gr), install_path => $ENV{METRICSDB_TESTING});
		$standby->init_from_backup($stops, 'base', has_streaming => 1);
		$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\nmax_standby_streaming_delay = -1\n");
		if ($holder eq 'a slot')
		{
			value(q{SELECT pg_create_physical_replication_slot('reader')});
			$standby->append_conf('postgresql.conf', "primary_slot_name = 'reader'");
		}
		$standby->start;
		$stops->wait_for_catchup($standby, 'replay', $stops->lsn('insert'));
		$reader = session($standby);
		$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM o;');
	}
	my $was = value(contents('h'));
	my $next = value('SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8');
	twice('DELETE FROM @ WHERE id % 50 = 8', 'UPDATE @ SET v = 5 WHERE id % 50 IN (7, 9)');
	# Until the primary has heard of it.
	ok(wait_for($stops, "SELECT age(x.xmin) >= age('$next'::xid) FROM (SELECT xmin FROM pg_replication_slots UNION ALL SELECT backend_xmin FROM pg_stat_replication) x WHERE xmin IS NOT NULL"),
		"$holder holds the horizon") if $standby;
	# Before the standby hears of the rewrite's lock.
	is($reader->query(contents('t')), $was, "$holder: a snapshot of the standby finds all") if $standby;
	my $full = session($stops);
	$full->send("SET metricsdb.stop_at = 'file.lives:wait:1'; VACUUM FULL t;");
	for (1 .. 6000) { last if is_stopped($stops); usleep(10_000); }
	if ($standby)
	{
		$reader->query('COMMIT');
		$reader->close;
		$standby->stop;
		value(q{SELECT pg_drop_replication_slot('reader')}) if $holder eq 'a slot';
	}
	else
	{
		value('ALTER SYSTEM RESET vacuum_defer_cleanup_age');
		$stops->reload;
	}
	value('VACUUM (FREEZE) metricsdb.part, metricsdb.delta, metricsdb.moved, metricsdb.shadow');
	is(stopped($stops), 'file.lives', "$holder: stopped between passes");
	unlike($full->result // 'gone', qr/ERROR|gone/, "$holder: VACUUM FULL");
	$full->close;
	is(value(contents('t')), value(contents('h')), "$holder: all rows are there once");
	is(value(q{SELECT * FROM metricsdb.check('t')}), '', "$holder: check finds nothing");
	value('DROP TABLE t');
}
$stops->stop;
grep_log($stops, 'rewrites that are stopped');

# Where PostgreSQL may remove what old snapshots see, nothing is rewritten; compaction needs none.
SKIP:
{
	skip 'snapshots do not expire', 4 if $stops->pg_version >= 17;
	my $expire = new_node('rewrite_expire', old_snapshot_threshold => "'1min'");
	$expire->safe_psql('postgres', 'CREATE TABLE t (id int) USING metricsdb; INSERT INTO t SELECT generate_series(1, 5000); CREATE INDEX t_id ON t (id)');
	for my $rewrite ('VACUUM FULL t', 'CLUSTER t USING t_id')
	{
		my ($rc, $out, $err) = $expire->psql('postgres', $rewrite);
		like($err, qr/table "t" cannot be rewritten while "old_snapshot_threshold" is set/, "$rewrite is refused where snapshots expire");
	}
	$expire->safe_psql('postgres', "CALL metricsdb.compact('t', full => true); ALTER TABLE t ALTER id TYPE int8");
	is($expire->safe_psql('postgres', 'SELECT count(*), sum(id) FROM t'), '5000|12502500', 'no row is lost');
	is($expire->safe_psql('postgres', "SELECT * FROM metricsdb.check('t')"), '', 'check finds nothing');
	$expire->stop;
}
done_testing();
