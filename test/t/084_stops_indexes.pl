# Rows are being moved, and the mover is held up in the middle: whoever inserts a key that one of them has
# waits or fails, and never gets in; whoever wants to change one by its key changes it, once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;
use StopTest;

my $node = stop_node('stops_indexes');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub fill
{
	my ($from, $n) = @_;
	return "INSERT INTO k SELECT i, '2026-01-01'::timestamptz + i * interval '1 s', 0 FROM generate_series($from, $from + $n - 1) i";
}

# What is done before, and where compaction stops then.
my %rows = (before => [fill(1, 500)], n => 500);
my %ring = (before => [fill(1, 10000), "CALL metricsdb.compact('k')", fill(10001, 5000)], n => 15000, base => 10000);
my %parts = (before => [fill(1, 400), "CALL metricsdb.compact('k')", fill(401, 400), 'DELETE FROM k WHERE id = 800'], n => 799);
my @cases = (
	['index.part', %rows], ['rows.middle', %rows], ['rows.end', %rows],
	['index.part', %ring], ['retire.parts', %ring], ['retire.end', %ring],
	['merge.output', %parts], ['merge.end', %parts], ['commit.before', %rows]);

for my $case (@cases)
{
	my ($point, %c) = @$case;
	my $b = $c{base} // 0;
	my ($k7, $k8, $k9, $k10, $k11, $k350, $k390) = map { $b + $_ } 7 .. 11, 350, 390;
	my @s = map { session($node) } 0 .. 6;
	my ($mover, $insert, $copy, $upsert, $nothing, $update, $child) = @s;
	my $what = "$point, $c{n} rows";

	sql('DROP TABLE IF EXISTS f, k');
	sql('CREATE TABLE k (id int PRIMARY KEY, time timestamptz, v int) USING metricsdb; CREATE TABLE f (k int REFERENCES k) USING heap');
	sql($_) for @{ $c{before} };
	$update->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM k');
	$mover->query("SET metricsdb.stop_at = '$point:wait'");
	$mover->send("CALL metricsdb.compact('k')");
	for (1 .. 600) { last if is_stopped($node); usleep(50_000); }
	ok(is_stopped($node), "$what: stopped") or next;
	$insert->send("INSERT INTO k VALUES ($k7, now(), 1)");
	$copy->send("INSERT INTO k SELECT i, now(), 1 FROM generate_series(900000, 900100) i UNION ALL SELECT $k350, now(), 1");
	$upsert->send("INSERT INTO k VALUES ($k8, now(), 1) ON CONFLICT (id) DO UPDATE SET v = k.v + 1");
	$nothing->send("INSERT INTO k VALUES ($k9, now(), 1) ON CONFLICT DO NOTHING");
	$update->send("UPDATE k SET v = v + 10 WHERE id IN ($k10, $k390)");
	$child->send("INSERT INTO f VALUES ($k11)");
	is(sql('SELECT count(*), sum(v) FROM k'), "$c{n}|0", "$what: readers see what was there");
	is(sql("SET enable_seqscan = off; SELECT count(*) FROM k WHERE id IN ($k7, $k8, $k350)"), '3', "$what: by the index, too");
	usleep(300_000);
	is(stopped($node), $point, "$what: goes on");
	is($mover->result, 'CALL', "$what: ends");
	like($insert->result, qr/duplicate key value/, "$what: a key that is there");
	like($copy->result, qr/duplicate key value/, "$what: and many rows");
	is($upsert->result, 'INSERT 0 1', "$what: ON CONFLICT DO UPDATE");
	is($nothing->result, 'INSERT 0 0', "$what: ON CONFLICT DO NOTHING");
	is($update->result, 'UPDATE 2', "$what: an update by the key, with an older snapshot");
	is($update->query('COMMIT'), 'COMMIT', "$what: which commits");
	is($child->result, 'INSERT 0 1', "$what: a foreign key");
	is(sql('SELECT count(*), count(DISTINCT id), sum(v) FROM k'), "$c{n}|$c{n}|21", "$what: in the end");
	is(sql("SET enable_seqscan = off; SELECT count(*), sum(v) FROM k WHERE id IN ($k7, $k8, $k9, $k10, $k390)"), '5|21', "$what: by the index, too");
	$_->close for @s;
}
$node->stop;
done_testing();
