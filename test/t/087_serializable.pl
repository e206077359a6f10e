# Serializable transactions, at moments that SQL alone does not reach: rows of a bulk INSERT are read past while
# they are being encoded, and rows that a merge writes to several parts die while it runs.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;
use StopTest;

my $node = bare_node('moments');

sub wait_stopped
{
	for (1 .. 6000) { return 1 if is_stopped($node); usleep(10_000); }
	return 0;
}

# T1 reads b and writes a, T2 reads a and writes b: one of them must fail, whenever T2 looks.
for my $stop ('append.dictionary', 'append.part', 'append.written', 'delta.before', 'delta.after')
{
	my $rows = $stop =~ /delta/ ? 20 : 2000;

	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS a, b; CREATE TABLE a (time timestamptz, host text, v float8) USING metricsdb; CREATE TABLE b (LIKE a) USING metricsdb');
	my ($t1, $t2) = (session($node), session($node));
	$t1->query("SET metricsdb.stop_at = '$stop:wait'; BEGIN ISOLATION LEVEL SERIALIZABLE");
	$t2->query('BEGIN ISOLATION LEVEL SERIALIZABLE');
	is($t1->query('SELECT count(*) FROM b'), 0, "$stop: T1 reads b");
	$t1->send("INSERT INTO a SELECT now(), 'h' || i % 3, i FROM generate_series(1, $rows) i; COMMIT");
	ok(wait_stopped(), "$stop: T1 writes a");
	is($t2->query('SELECT count(*) FROM a'), 0, "$stop: T2 does not see it");
	$t2->query("INSERT INTO b VALUES (now(), 'h', 1)");
	my $second = $t2->query('COMMIT');
	is(stopped($node), $stop, "$stop: T1 goes on");
	my $first = $t1->result;
	is((grep { /could not serialize access/ } $first, $second) + 0, 1, "$stop: one of them fails") or diag "T1: $first, T2: $second";
	$_->close for $t1, $t2;
}

# A merge that begins a new part with each block: rows that were deleted or changed while it ran stay so.
$node->safe_psql('postgres', q{
	CREATE TABLE m (time timestamptz, host text, v float8) USING metricsdb;
	CREATE TABLE h (LIKE m);
	CREATE PROCEDURE put(f int, t int) LANGUAGE sql AS $$
		INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h', i FROM generate_series(f, t) i $$;
	SET metricsdb.direct_rows = 1;
	CALL put(1, 300); CALL put(301, 1400); CALL put(1401, 1500); CALL put(1501, 4000);
	INSERT INTO h SELECT * FROM m;
});
for my $stop ('merge.start', 'merge.middle')
{
	my $s = session($node);
	my $change = join ';', map { ("DELETE FROM $_ WHERE v IN (10, 750, 1100, 1390, 1450, 2000, 3999)", "UPDATE $_ SET v = -v WHERE v IN (20, 760, 1110, 1391, 1451, 2001, 3998)") } 'm', 'h';

	$node->safe_psql('postgres', "SET metricsdb.direct_rows = 1; TRUNCATE m, h; CALL put(1, 300); CALL put(301, 1400); CALL put(1401, 1500); CALL put(1501, 4000); INSERT INTO h SELECT * FROM m");
	$s->query("SET metricsdb.testing_directory = 0; SET metricsdb.stop_at = '$stop:wait'");
	$s->send("CALL metricsdb.compact('m')");
	ok(wait_stopped(), "$stop: a merge");
	$node->safe_psql('postgres', $change);
	my $parts = q{SELECT string_agg(part_id::text, ' ' ORDER BY part_id) FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = 'm'::regclass};
	my $before = $node->safe_psql('postgres', $parts);
	is(stopped($node), $stop, "$stop: goes on");
	# Parts as small as these are merged again and again.
	ok(wait_for($node, "SELECT ($parts) <> '$before'"), "$stop: is merged");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL metricsdb.compact%' AND pid <> pg_backend_pid()");
	like($s->result, qr/canceling statement|CALL/, "$stop: ends");
	cmp_ok(scalar(split ' ', $node->safe_psql('postgres', $parts)), '>', 1, "$stop: several parts");
	is($node->safe_psql('postgres', '(TABLE m EXCEPT ALL TABLE h) UNION ALL (TABLE h EXCEPT ALL TABLE m)'), '', "$stop: the rows of the heap");
	is($node->safe_psql('postgres', q{SELECT * FROM metricsdb.check('m')}), '', "$stop: in order");
	$s->close;
}

$node->stop;
done_testing();
