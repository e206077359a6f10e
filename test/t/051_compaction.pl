# Compaction: bounded memory, parts that move, giving way, fairness, failures, and its status.
use strict;
use warnings;
use lib 'test/lib';
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = new_node('compaction', 'metricsdb.workers' => 'off', autovacuum => 'off', max_worker_processes => 16);

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub workers
{
	my ($on) = @_;
	sql("ALTER SYSTEM SET \"metricsdb.workers\" = $on");
	sql('SELECT pg_reload_conf()');
	return;
}

# ---- parts that move keep their rows' places ----

# Parts of falling size, so that what is at the end fits into what goes.
sql(q{CREATE TABLE m (time timestamptz, host text, v float8) USING metricsdb});
sql("INSERT INTO m SELECT timestamptz '2026-01-0$_' + i * interval '1 ms', 'h' || i % 7, random() FROM generate_series(1, 60000 / $_) i") for 1 .. 9;
my $rows = sql('SELECT count(*), sum(hashtext(m::text)) FROM m');
my $ids = "SELECT string_agg(format('%s %s %s', part_id, row_first, nrows), ',' ORDER BY row_first) FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = 'm'::regclass AND day > date '2026-01-01' - date '2000-01-01'";
my $before = sql($ids);
my $ctids = sql(q{SELECT sum(hashtext(ctid::text || m::text)) FROM m WHERE time >= '2026-01-02'});
# The first part goes, as retention would have it.
sql(q{DELETE FROM metricsdb.part WHERE part_id = (SELECT min(part_id) FROM metricsdb.part) });
my $pages = sql(q{SELECT pg_relation_size('m') / 8192});
{
	my $old = session($node);
	# A snapshot from before, in the middle of it.
	$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m');
	my $sum = $old->query('SELECT sum(hashtext(ctid::text || m::text)) FROM m');
	is($sum, $ctids, 'move: what is left');
	sql(q{CALL metricsdb.compact('m')});
	is($old->query('SELECT sum(hashtext(ctid::text || m::text)) FROM m'), $ctids, 'move: an older snapshot finds them');
	$old->close;
}
sql(q{CALL metricsdb.compact('m')}) for 1 .. 3;
is(sql($ids), $before, 'move: ids and row numbers stay');
is(sql('SELECT sum(hashtext(ctid::text || m::text)) FROM m'), $ctids, 'move: ctids stay');
cmp_ok(sql(q{SELECT pg_relation_size('m') / 8192}), '<', $pages, 'move: the file is shorter');
cmp_ok(sql(q{SELECT moved_bytes FROM metricsdb.compaction_status WHERE "table" = 'm'::regclass}), '>', 0, 'move: it says so');
catalogs_in_order($node, 'postgres', 'move');

# A last part that fits into no gap: others make room.  Live pages are 1 : 1.3 at most.
sql(q{CREATE TABLE r (time timestamptz, host text, v float8) USING metricsdb});
sql("INSERT INTO r SELECT timestamptz '2026-01-01' + $_ * interval '1 day' + i * interval '1 ms', 'h' || i % 7, random() FROM generate_series(1, 30000) i") for 0 .. 19;
sql("INSERT INTO r SELECT timestamptz '2026-02-01' + i * interval '1 ms', 'h' || i % 7, random() FROM generate_series(1, 90000) i");
$rows = sql(q{SELECT count(*), sum(hashtext(r::text)) FROM r WHERE time > '2026-02-01' OR extract(day FROM time)::int % 2 = 0});
sql(q{DELETE FROM metricsdb.part p USING metricsdb.storage s WHERE s.storage_id = p.storage_id AND relid = 'r'::regclass AND days = 1 AND extract(day FROM date '2000-01-01' + day)::int % 2 = 1 AND day < date '2026-02-01' - date '2000-01-01'});
sql(q{CALL metricsdb.compact('r')}) for 1 .. 3;
is(sql('SELECT count(*), sum(hashtext(r::text)) FROM r'), $rows, 'room is made: the rows');
is(sql(q{SELECT file_pages <= 1.3 * (file_pages - free_pages) FROM metricsdb.compaction_status WHERE "table" = 'r'::regclass}), 't',
	'room is made: ' . sql(q{SELECT format('%s of %s pages are free', free_pages, file_pages) FROM metricsdb.compaction_status WHERE "table" = 'r'::regclass}));
catalogs_in_order($node, 'postgres', 'room is made');

# ---- a database with many tables, and another ----

$node->safe_psql('postgres', 'CREATE DATABASE two');
$node->safe_psql('two', 'CREATE EXTENSION metricsdb');
my $load = q{
	DO $$ BEGIN
		FOR t IN 1 .. 50 LOOP
			EXECUTE format('CREATE TABLE fair_%s (time timestamptz, host text, v float8) USING metricsdb', t);
		END LOOP;
	END $$;
	SET metricsdb.direct_rows = 10;
	DO $$ BEGIN
		FOR s IN 1 .. 20 LOOP
			FOR t IN 1 .. 50 LOOP
				EXECUTE format('INSERT INTO fair_%s SELECT timestamptz ''2026-01-01'' + i * interval ''1 s'', ''h'' || i, i FROM generate_series(1, 40) i', t);
			END LOOP;
			COMMIT;
		END LOOP;
	END $$};
$node->safe_psql($_, $load) for 'postgres', 'two';
# And one with so much to do that the others must not wait for the end of it.
sql('CREATE TABLE busy (time timestamptz, host text, v float8) USING metricsdb');
sql("INSERT INTO busy SELECT timestamptz '2026-01-01' + i * interval '1 ms', 'h' || i % 100, random() FROM generate_series(1, 100000) i") for 1 .. 40;
# One whose compaction fails.
sql('CREATE TABLE broken (time timestamptz, host text, v float8) USING metricsdb');
sql("INSERT INTO broken SELECT timestamptz '2026-01-01' + i * interval '1 ms', 'h', random() FROM generate_series(1, 2000) i") for 1 .. 16;
sql(q{UPDATE metricsdb.part p SET checksum = checksum + 1 FROM metricsdb.storage s WHERE s.storage_id = p.storage_id AND relid = 'broken'::regclass});
workers('on');
for my $db ('postgres', 'two')
{
	my $q = q{SELECT count(*) = 50 FROM metricsdb.compaction_status WHERE "table"::text ~ '^fair_' AND merges > 0};
	my $until = time() + 120;
	usleep(200_000) while $node->safe_psql($db, $q) ne 't' && time() < $until;
	is($node->safe_psql($db, $q), 't', "fair: all tables of $db were merged");
	is($node->safe_psql($db, q{SELECT count(*) FROM metricsdb.compaction_status WHERE "table"::text ~ '^fair_' AND (parts > 5 OR bytes_waiting > 0)}), '0', "fair: nothing waits in $db");
}
ok(wait_for($node, q{SELECT failures > 0 AND last_error ~ 'is damaged' AND retry_at > now() FROM metricsdb.compaction_status WHERE "table" = 'broken'::regclass}), 'a failure is in the books');
is(sql(q{SELECT bytes_waiting > 0 AND merges = 0 FROM metricsdb.compaction_status WHERE "table" = 'broken'::regclass}), 't', 'and what waits for it');
sql('DROP TABLE broken');

# ---- free pages of a table that rests ----

# A fifth of its pages are free: too few to move parts for, as long as something comes.
sql(q{CREATE TABLE rests (time timestamptz, host text, v float8) USING metricsdb});
sql("INSERT INTO rests SELECT timestamptz '2026-01-01' + $_ * interval '1 day' + i * interval '1 ms', 'h' || i % 7, random() FROM generate_series(1, 30000) i") for 0 .. 14;
$rows = sql(q{SELECT count(*), sum(hashtext(rests::text)) FROM rests WHERE time > '2026-01-07'});
my $rests = q{metricsdb.storage s WHERE s.storage_id = p.storage_id AND relid = 'rests'::regclass};
sql("DELETE FROM metricsdb.part p USING $rests AND day < date '2026-01-04' - date '2000-01-01'");
my $few = q{SELECT free_pages < 17 + file_pages / 64 FROM metricsdb.compaction_status WHERE "table" = 'rests'::regclass};
is(sql($few), 'f', 'rest: pages are free');
sql("UPDATE metricsdb.part p SET created_at = p.created_at - interval '11 minutes' FROM $rests");
ok(wait_for($node, $few), 'rest: they are given back once nothing comes any more');
sql("UPDATE metricsdb.compaction p SET moved_bytes = 1000000000000 FROM $rests");
sql("DELETE FROM metricsdb.part p USING $rests AND day < date '2026-01-07' - date '2000-01-01'");
ok(wait_for($node, $few), 'rest: and again, however much was moved before');
is(sql('SELECT count(*), sum(hashtext(rests::text)) FROM rests'), $rows, 'rest: the rows');
sql('DROP TABLE rests');

# ---- what is in the way ----

ok(wait_for($node, q{SELECT bool_and(bytes_waiting = 0) FROM metricsdb.compaction_status}), 'all is merged');
{
	my ($a, $b) = (session($node), session($node));
	$a->query('BEGIN; LOCK TABLE busy IN SHARE MODE; SELECT count(*) FROM busy');
	$b->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; INSERT INTO m VALUES (now()); PREPARE TRANSACTION 'idle'");
	like(sql(q{SELECT blocked_by FROM metricsdb.compaction_status WHERE "table" = 'busy'::regclass}), qr/pid \d+: ShareLock/, 'status: who locks the table');
	like(sql(q{SELECT oldest_blocking_xmin || ' ' || oldest_blocker FROM metricsdb.compaction_status LIMIT 1}), qr/^\d+ (pid|prepared transaction 'idle')/, 'status: who holds the horizon');
	$a->query('ROLLBACK');
	$b->query("ROLLBACK PREPARED 'idle'");
	$_->close for $a, $b;
}
sql('CREATE ROLE owner LOGIN; CREATE ROLE other LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor; ALTER TABLE fair_1 OWNER TO owner');
my %seen = map { $_ => $node->safe_psql('postgres', q{SELECT count(*), min("table"::text) FROM metricsdb.compaction_status}, connstr => $node->connstr('postgres') . " user=$_") } qw(owner other monitor);
is($seen{owner}, '1|fair_1', 'status: an owner sees his tables');
is($seen{other}, '0|', 'status: others none');
like($seen{monitor}, qr/^53\|/, 'status: monitors all');

# ---- a merge gives way ----

sql('TRUNCATE busy');
sql("INSERT INTO busy SELECT timestamptz '2026-01-01' + i * interval '10 ms', 'h' || i % 1000, random() FROM generate_series(1, 800000) i") for 1 .. 16;
ok(wait_for_merge($node, 'busy'), 'a merge runs');
sql('ALTER TABLE busy ADD COLUMN late int');
is(sql(q{SELECT parts >= 16 OR last_merge_seconds < 3 FROM metricsdb.compaction_status WHERE "table" = 'busy'::regclass}), 't', 'it gave way, or was short');
ok(wait_for($node, q{SELECT merges > 0 AND parts < 16 FROM metricsdb.compaction_status WHERE "table" = 'busy'::regclass}), 'and was done later');
workers('off');
$node->stop;
grep_log($node, 'compaction', qr/broken/);

# ---- more databases than worker processes ----

# Of four the launchers, ours and that of logical replication, take two.
$node->append_conf('postgresql.conf', "max_worker_processes = 4\n");
$node->start;
for my $db (map { "turn_$_" } 1 .. 5)
{
	sql("CREATE DATABASE $db");
	$node->safe_psql($db, q{CREATE EXTENSION metricsdb; CREATE TABLE t (time timestamptz, host text, v float8) USING metricsdb});
	$node->safe_psql($db, q{SET metricsdb.direct_rows = 10; INSERT INTO t SELECT now(), 'h' || i, i FROM generate_series(1, 40) i}) for 1 .. 16;
}
workers('on');
my $until = time() + 240;
my @left = map { "turn_$_" } 1 .. 5;
while (@left && time() < $until)
{
	usleep(300_000);
	@left = grep { $node->safe_psql($_, q{SELECT merges > 0 FROM metricsdb.compaction_status}) ne 't' } @left;
}
is("@left", '', 'turns: each database had its own');
workers('off');
$node->stop;

# ---- memory ----

# Large values in many parts of one series: a merge takes a few of them at a time, not all.
SKIP:
{
	skip 'the sanitizers take all address space', 4 if $ENV{LD_ASAN};
	$node->append_conf('postgresql.conf', "shared_buffers = '16MB'\nshared_preload_libraries = ''\n");
	my $bin = $node->config_data('--bindir');
	my $cap = 600_000;
	$node->{_pid} = undef;
	system('sh', '-c', "ulimit -v $cap; exec \"\$0\" -D \"\$1\" -l \"\$2\" -w start >/dev/null", "$bin/pg_ctl", $node->data_dir, $node->logfile);
	sql(q{CREATE TABLE big (time timestamptz, host text, t text) USING metricsdb; SELECT metricsdb.set_options('big', series => '{host}')});
	# 24 x 16 MB, of which no two are alike, in order and in reverse
	sql("SET metricsdb.direct_rows = 1; INSERT INTO big SELECT timestamptz '2026-01-01' + $_ * interval '1 s', 'h', repeat(md5('$_'), 16 * 1024 * 32)") for 1 .. 12, reverse 13 .. 24;
	# interleaved: 16 parts of 300 values of 10 kB
	sql("SET metricsdb.direct_rows = 1; INSERT INTO big SELECT timestamptz '2026-01-02' + (i * 16 + $_) * interval '1 s', 'h', string_agg(md5((i * k)::text), '') FROM generate_series(1, 300) i, generate_series(1, 320) k GROUP BY i") for 1 .. 16;
	my $sum = "SELECT time, length(t), hashtext(left(t, 100)), hashtext(right(t, 100)) FROM big ORDER BY time";
	my $was = sql("SELECT md5(string_agg(x::text, ',')) FROM ($sum) x");
	is(sql('SELECT count(*) FROM big'), '4824', 'memory: the values are there');
	sql(q{CALL metricsdb.compact('big')});
	is(sql(q{SELECT count(*) FROM metricsdb.parts WHERE "table" = 'big'::regclass}), '2', 'memory: merged');
	is(sql("SELECT md5(string_agg(x::text, ',')) FROM ($sum) x"), $was, 'memory: the values are the same');
	is(sql(q{SELECT merges > 1 AND failures = 0 FROM metricsdb.compaction_status WHERE "table" = 'big'::regclass}), 't', 'memory: without an error');
	system("$bin/pg_ctl", '-D', $node->data_dir, '-m', 'fast', '-w', 'stop');
}
done_testing();
