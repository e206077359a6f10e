# What continuous aggregates have not taken of parts, beside those who merge, delete and expire rows, and crashes.
# Of an aggregate there is the row in the catalog alone: nobody applies it but these tests.
use strict;
use warnings;
use lib 'test/lib';
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = new_node('rollup_parts', 'metricsdb.workers' => 'off', autovacuum => 'off', 'metricsdb.direct_rows' => 10, timezone => "'UTC'");

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub workers
{
	my ($on) = @_;
	sql("ALTER SYSTEM SET \"metricsdb.workers\" = $on");
	sql('SELECT pg_reload_conf()');
	return;
}

# A table with an aggregate that is not tried for a day.
sub make
{
	my ($t) = @_;
	sql("CREATE TABLE $t (time timestamptz, host text, v float8) USING metricsdb; CREATE TABLE ${t}_s (bucket timestamptz, n int8) USING metricsdb");
	sql(qq{INSERT INTO metricsdb.continuous_aggregate VALUES ('${t}_s'::regclass, '${t}_s'::regclass, '$t'::regclass, '$t'::regclass, 0, 3600000000,
		false, true, '1 min', true, -9223372036854775808, 9, 'not yet', now(), now() + interval '1 day', NULL, now());
		ALTER TABLE $t ALTER v SET STATISTICS -1});
	return;
}

# A part of 20 rows of a day, from a minute on.
sub part
{
	my ($t, $minute, $n) = @_;
	sql(qq{INSERT INTO $t SELECT timestamptz '2024-01-01' + $minute * interval '1 min' + i * interval '1 s', 'h', i FROM generate_series(1, 20) i}) for 1 .. $n // 1;
	return;
}

my $of = "storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = '%s'::regclass)";
sub rows { my ($t) = @_; return sprintf($of, $t) }
sub parts { my ($t) = @_; return sql('SELECT count(*) FROM metricsdb.part WHERE ' . rows($t)) }
sub pending { my ($t) = @_; return sql('SELECT count(*) FROM metricsdb.pending WHERE ' . rows($t)) }
sub dirty { my ($t) = @_; return sql("SELECT count(*) FROM metricsdb.dirty WHERE aggregate = '${t}_s'::regclass") }

# ---- who applies has the rows locked: a merge does not wait, and takes what is there afterwards ----

make('a');
part('a', $_) for 0 .. 2;
my $applier = session($node);
$applier->query('BEGIN; SELECT count(*) FROM (SELECT FROM metricsdb.pending WHERE part_id = 1 AND ' . rows('a') . ' FOR UPDATE) x');
sql(q{CALL metricsdb.compact('a')});
is(parts('a'), 3, 'a row of pending is locked: nothing is merged');
$applier->query('DELETE FROM metricsdb.pending WHERE part_id = 1 AND ' . rows('a'));
sql(q{CALL metricsdb.compact('a')});
is(parts('a'), 3, 'it is deleted, but not committed');
$applier->query('COMMIT');
sql(q{CALL metricsdb.compact('a')});
is(parts('a'), 1, 'it is applied: the parts are merged');
is(sql("SELECT to_timestamp(time_from / 1e6 + 946684800), time_to = 9223372036854775807 FROM metricsdb.pending WHERE " . rows('a')),
	'2024-01-01 00:01:01+00|t', 'what was pending is');

# ---- rows that are deleted: their mark is there with the deletion, and retention and merges do not come between ----

sql("SELECT metricsdb.set_retention('a', '1 year')");
sql('DELETE FROM metricsdb.pending');
my $deleter = session($node);
$deleter->query(q{BEGIN; DELETE FROM a WHERE v = 7});
is(dirty('a'), 0, 'a deletion that is under way marks nothing for others');
like(($node->psql('postgres', q{CALL metricsdb.apply_retention('a')}))[2], qr/1 old parts of table "a" stay because transactions are at their rows/,
	'its part does not go');
is(parts('a'), 1, 'the part');
$deleter->query('COMMIT');
is(dirty('a'), 1, 'a deletion that is committed has marked');
like(($node->psql('postgres', q{CALL metricsdb.apply_retention('a')}))[2], qr/stay because a continuous aggregate has not taken them yet/,
	'nor what is to be read again');
sql('DELETE FROM metricsdb.dirty');
# Who applies holds the aggregate's row; retention waits for him.
$applier->query(q{BEGIN; SELECT count(*) FROM (SELECT FROM metricsdb.continuous_aggregate WHERE aggregate = 'a_s'::regclass FOR NO KEY UPDATE) x});
my $retention = session($node);
$retention->send(q{CALL metricsdb.apply_retention('a')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL metricsdb.apply%' AND wait_event_type = 'Lock'}), 'retention waits for who applies');
$applier->query(q{UPDATE metricsdb.continuous_aggregate SET last_applied_at = now() WHERE aggregate = 'a_s'::regclass; COMMIT});
is($retention->result, 'CALL', 'and goes on');
is(parts('a'), 0, 'what is not needed goes');
is(sql(q{SELECT to_timestamp(floor / 1e6 + 946684800), last_applied_at IS NOT NULL FROM metricsdb.continuous_aggregate WHERE aggregate = 'a_s'::regclass}),
	'2024-01-01 00:02:20.000001+00|t', 'and the aggregate is told');
$_->close for $deleter, $retention;

# ---- TRUNCATE and who reads states first, then the table: no deadlock ----

make('tr');
part('tr', 0);
my $reader = session($node);
$reader->query('BEGIN; LOCK TABLE tr_s IN ACCESS SHARE MODE');
my $truncate = session($node);
$truncate->send('TRUNCATE tr');
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'tr_s'::regclass}), 'TRUNCATE waits for who reads the states');
is($reader->query('SELECT count(*) FROM tr'), 20, 'who can go on and read the table');
$reader->query('COMMIT');
is($truncate->result, 'TRUNCATE TABLE', 'TRUNCATE goes on');
is(pending('tr'), 0, 'and nothing is pending');
# Who may not truncate the table gets no lock on the states.
sql('CREATE ROLE nobody LOGIN; GRANT SELECT ON tr TO nobody');
$reader->query('BEGIN; LOCK TABLE tr_s IN ACCESS SHARE MODE');
like(($node->psql('postgres', 'SET ROLE nobody; SET lock_timeout = 1; TRUNCATE tr'))[2], qr/permission denied for table tr/, 'but not for who may not');
$reader->query('COMMIT');
$_->close for $reader, $truncate;

# ---- what the background merges: parts that do not fit wait for a while, and not for ever ----

make($_) for qw(fit prefix apart);
# all pending; twenty applied and one that came late and is pending; applied and pending ones in turn
part('fit', $_) for 0 .. 15;
part('prefix', $_) for 0 .. 15;
sql('DELETE FROM metricsdb.pending WHERE ' . rows('prefix'));
part('prefix', 3);
part('apart', 0, 20);
sql('DELETE FROM metricsdb.pending WHERE part_id % 2 = 0 AND ' . rows('apart'));
workers('on');
ok(wait_for($node, "SELECT count(*) = 1 FROM metricsdb.part WHERE " . rows('fit')), 'sixteen parts that are pending merge');
ok(wait_for($node, "SELECT count(*) = 2 FROM metricsdb.part WHERE " . rows('prefix')), 'sixteen that are applied do so, too, though a newer one is pending');
is(pending('fit') . pending('prefix'), '11', 'what is pending');
is(parts('apart') . ' ' . dirty('apart'), '20 0', 'twenty of which no two fit together wait');
part('apart', 0, 12);
ok(wait_for($node, "SELECT count(*) <= 17 FROM metricsdb.part WHERE " . rows('apart')), 'thirty-two do not');
workers('off');
cmp_ok(dirty('apart'), '>=', 1, 'what was pending of them is dirty');
is(sql(q{SELECT count(*), min(time), max(time) FROM apart}), '640|2024-01-01 00:00:01+00|2024-01-01 00:00:20+00', 'the rows are all there');
is(sql("SELECT count(*) FROM metricsdb.check('$_')"), 0, "$_ is in order") for qw(fit prefix apart);

# ---- crashes: a part and what is pending of it are there together ----

make('k');
for my $round (1 .. 4)
{
	my @sessions = map { session($node) } 1 .. 3;
	$sessions[0]->send(qq{DO \$\$ BEGIN FOR m IN 0 .. 100000 LOOP INSERT INTO k SELECT timestamptz '2024-01-01' + m % 1000 * interval '1 min' + i * interval '1 s', 'h', i FROM generate_series(1, 20) i; COMMIT; END LOOP; END \$\$});
	$sessions[1]->send(qq{DO \$\$ BEGIN FOR m IN 0 .. 100000 LOOP DELETE FROM k WHERE time >= timestamptz '2024-01-01' + m % 1000 * interval '1 min' AND v > 18; COMMIT; PERFORM pg_sleep(0.05); END LOOP; END \$\$});
	$sessions[2]->send(join ';', (q{CALL metricsdb.compact('k')}) x 1000);
	usleep(400_000 * $round);
	$node->stop('immediate');
	$_->close for @sessions;
	restart_after_crash($node);
	is(sql(q{SELECT count(*) FROM metricsdb.check('k')}), 0, "round $round: all is in order");
	# Nothing was applied, so all that is there is pending or dirty.
	is(sql('SELECT count(*) FROM metricsdb.part p WHERE ' . rows('k') . ' AND NOT EXISTS (SELECT FROM metricsdb.pending q WHERE (q.storage_id, q.part_id) = (p.storage_id, p.part_id)
		AND time_from <= time_min AND (time_to > time_max OR time_to = 9223372036854775807))'), 0, "round $round: each part is pending");
}
sql(q{CALL metricsdb.compact('k')});
is(parts('k') . pending('k'), '11', 'they merge, and the one is pending');
catalogs_in_order($node, 'postgres', 'at the end');
grep_log($node, 'rollup parts');
done_testing();
