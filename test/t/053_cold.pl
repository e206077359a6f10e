# The cold stage: what the background makes of parts past metricsdb.cold_after, once, and what it leaves alone.
use strict;
use warnings;
use lib 'test/lib';
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_node('cold', 'metricsdb.cold_after' => '-1', autovacuum => 'off', fsync => 'off');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub cold_after
{
	my ($value) = @_;
	sql("ALTER SYSTEM SET \"metricsdb.cold_after\" = '$value'");
	sql('SELECT pg_reload_conf()');
	return;
}

my $rows = 'SELECT count(*), sum(hashtext(c::text)) FROM c';
my $parts = q{SELECT string_agg(format('%s %s %s', part_id, format, rows), ', ' ORDER BY part_id) FROM metricsdb.parts WHERE "table" = 'c'::regclass};
my $status = q{FROM metricsdb.compaction_status WHERE "table" = 'c'::regclass};

# ---- not before its time ----

sql('CREATE TABLE c (time timestamptz, host text, v float8, n int) USING metricsdb');
for my $day (1 .. 3)
{
	sql("INSERT INTO c SELECT timestamptz '2026-01-0$day 00:00Z' + i * interval '10 s', 'h' || h, round((50 + 40 * sin(i / 300.0 + h))::numeric, 2), i % 7
		FROM generate_series(" . (2000 * $_ - 1999) . ', ' . 2000 * $_ . ') i, generate_series(1, 10) h') for 1 .. 4;
}
my $before = sql($rows);
sleep 3;
is(sql("SELECT cold_parts, parts $status"), '0|12', 'off: nothing is made cold');
cold_after('1h');
sleep 3;
is(sql("SELECT cold_parts, parts $status"), '0|12', 'nor before its time');

# ---- once ----

cold_after('1s');
ok(wait_for($node, "SELECT cold_parts = 3 AND parts = 3 AND bytes_waiting = 0 $status"), 'each day becomes one cold part')
	or diag(sql($parts));
is(sql($rows), $before, 'with the same rows');
is(sql("SELECT merged_bytes < 1.5 * bytes AND merges = 3 AND write_amplification > 1.3 $status"), 't', 'in one merge, which is counted')
	or diag(sql("SELECT merges, merged_bytes, bytes, write_amplification $status"));
is(sql(q{SELECT count(*) FROM metricsdb.check('c')}), '0', 'and nothing is damaged');
my $now = sql($parts);
sleep 12;
is(sql($parts), $now, 'they stay as they are');

# ---- late rows ----

sql("INSERT INTO c SELECT timestamptz '2026-01-02 00:00Z' + i * interval '1 s', 'late', i, i FROM generate_series(1, 2000) i");
$before = sql($rows);
ok(wait_for($node, "SELECT cold_parts = 4 AND parts = 4 $status"), 'a few late rows become a cold part of their own') or diag(sql($parts));
like(sql($parts), qr/^\Q$now\E, /, 'for whose sake the day is not written again');
is(sql($rows), $before, 'and are there');

# ---- off again, a crash, and a reader that does not know the format ----

cold_after('-1');
sql("INSERT INTO c SELECT timestamptz '2026-01-04 00:00Z' + i * interval '1 s', 'h1', i, i FROM generate_series(1, 2000) i");
$before = sql($rows);
$node->stop('immediate');
$node->start;
sleep 3;
is(sql($rows), $before, 'after a crash both formats are read');
is(sql("SELECT cold_parts, parts $status"), '4|5', 'and off is off');
sql(q{UPDATE metricsdb.part SET format = 3 WHERE part_id = (SELECT max(part_id) FROM metricsdb.part)});
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT count(v) FROM c');
like($err, qr/has format 3, this library reads formats up to 2/, 'a format of the future is told apart from damage');
like(sql(q{SELECT string_agg(message, '') FROM metricsdb.check('c')}), qr/It has format 3, this library reads formats up to 2/, 'also by check()');

done_testing();
