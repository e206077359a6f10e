# Row numbers that come round: the library of the stop points is told that there are few, and tables use
# many times as many.  Their rows are those of heaps that the same statements wrote, for old snapshots, by
# indexes, on a standby and after crashes, too.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;
use StopTest;

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $rounds = $ENV{ROW_NUMBERS_ROUNDS} || 26;
my $kilo = 40;
my $node = bare_node('row_numbers', 'metricsdb.testing_rows' => $kilo, wal_level => 'replica', max_wal_senders => 4);
$node->backup('start');
my $standby = PostgreSQL::Test::Cluster->new('row_numbers_standby', install_path => $ENV{METRICSDB_TESTING});
$standby->init_from_backup($node, 'start', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\n");
$standby->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

my @tables = qw(plain keyed);
sql(q{CREATE TABLE plain (time timestamptz, host text, id int, v float8) USING metricsdb;
	CREATE TABLE keyed (time timestamptz, host text, id int PRIMARY KEY, v float8) USING metricsdb;
	CREATE INDEX ON keyed (v);
	CREATE TABLE plain_h (time timestamptz, host text, id int, v float8) USING heap;
	CREATE TABLE keyed_h (time timestamptz, host text, id int, v float8) USING heap});

# A statement for a table and its heap, in one transaction.
sub twice
{
	my ($table, @statements) = @_;
	return join ' ', 'BEGIN;', (map { my $t = $_; map { s/\bT\b/$t/gr . ';' } @statements } $table, "${table}_h"), 'COMMIT;';
}

my $id = 0;

sub alter_rows
{
	my ($table) = @_;
	my ($n, $k) = (1200 + int(rand(800)), int(rand(13)));
	my $from = $id;
	$id += $n;
	my $gone = $from - 4000;
	my $day = "timestamptz '2026-01-01' + i / 5000 * interval '1 day' + i * interval '1 s'";
	sql(twice($table, "INSERT INTO T SELECT $day, 'h' || i % 7, i, i % 1000 FROM generate_series($from, $id - 1) i",
			"UPDATE T SET v = v + 0.5 WHERE id % 13 = $k", "DELETE FROM T WHERE id < $gone OR id % 31 = $k"));
	sql(twice($table, 'INSERT INTO T SELECT ' . "$day, 'x', i, 7 FROM generate_series($from + 2000000, $from + 2000000 + 20) i"));
	sql(twice($table, "DELETE FROM T WHERE id >= 2000000 AND id < 2000000 + $gone"));
	return;
}

my $state = q{SELECT count(*), sum(hashtextextended(x::text, 0)) FROM T x};

sub equal
{
	my ($table, $what) = @_;
	my ($own, $heap) = map { my $t = $_; sql($state =~ s/\bT\b/$t/r) } $table, "${table}_h";
	is($own, $heap, "$table: $what");
	return;
}

sub used
{
	my ($table) = @_;
	return sql("SELECT max(row_first), count(*) FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = '$table'::regclass");
}

my %turns = map { $_ => 0 } @tables;
# Numbers below have identities that bitmaps have room for.
my $narrow = int($kilo * 1000 / 291 / 4) * 291;
my %highest = map { $_ => 0 } @tables;
my %last = map { $_ => 0 } @tables;
my %failed;
for my $round (1 .. $rounds)
{
	for my $table (@tables)
	{
		my $old = session($node);
		$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
		my $was = $old->query($state =~ s/\bT\b/$table/r);
		alter_rows($table);
		# Compaction may be refused numbers until VACUUM has freed some; what is stored stays as it is.
		my ($rc, $out, $err) = $node->psql('postgres', "CALL metricsdb.compact('$table')");
		is($old->query($state =~ s/\bT\b/$table/r), $was, "$table, round $round: an old snapshot sees what it saw");
		$old->close;
		like($err, $rc == 0 ? qr/^$/ : qr/no \d+ row numbers left for a part/, "$table, round $round: compaction");
		$failed{$table} += $rc != 0;
		sql("VACUUM $table") if $round % 7 == 0;
		sql('VACUUM metricsdb.part, metricsdb.shadow, metricsdb.moved') if $round % 5 == 0;
		my ($max) = split /\|/, used($table);
		$turns{$table}++ if $max < $last{$table};
		$last{$table} = $max;
		$highest{$table} = $max + 0 > $highest{$table} ? $max : $highest{$table};
		cmp_ok($max, '<', $kilo * 1000, "$table, round $round: no number is beyond the end");
		equal($table, "round $round");
	}
	is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM keyed_h h JOIN LATERAL (SELECT * FROM keyed k WHERE k.id = h.id OFFSET 0) k ON (k.v, k.time) = (h.v, h.time)}),
		sql('SELECT count(*) FROM keyed_h'), "round $round: each row by its key");
	is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM generate_series(0, 60000) i JOIN LATERAL (SELECT k.id FROM keyed k WHERE k.id = i OFFSET 0) k ON k.id <> i}),
		'0', "round $round: no other row by a key");
	is(sql(q{SET enable_seqscan = off; SELECT count(*), sum(id) FROM keyed WHERE v BETWEEN 100 AND 200}),
		sql('SELECT count(*), sum(id) FROM keyed_h WHERE v BETWEEN 100 AND 200'), "round $round: by another index");
	# By a bitmap, as long as there can be one.
	my $by_v = 'SELECT count(*), sum(id) FROM T WHERE v BETWEEN 300 AND 350 OR id % 2 = 0 AND v < 20';
	my $set = 'SET enable_seqscan = off; SET enable_indexscan = off; SET metricsdb.enable_custom_scan = off;';
	is(sql("$set " . $by_v =~ s/\bT\b/keyed/r), sql($by_v =~ s/\bT\b/keyed_h/r), "round $round: by bitmaps");
	my $fits = sql($set . "EXPLAIN (COSTS OFF) " . $by_v =~ s/\bT\b/keyed/r) =~ /BitmapOr/ ? 1 : 0;
	is($fits, $highest{keyed} < $narrow ? 1 : 0, "round $round: " . ($highest{keyed} < $narrow ? 'there are some' : 'there are none any more'));
	if ($round % 10 == 0)
	{
		for my $table (@tables)
		{
			is(sql("SELECT string_agg(c::text, E'\\n') FROM metricsdb.check('$table') c WHERE severity = 'error'"), '', "$table, round $round: no damage");
		}
		catalogs_in_order($node, 'postgres', "round $round");
		$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
		for my $table (@tables)
		{
			is($standby->safe_psql('postgres', $state =~ s/\bT\b/$table/r), sql($state =~ s/\bT\b/${table}_h/r), "$table, round $round: the standby");
		}
	}
	if ($round % 13 == 0)
	{
		$node->stop('immediate');
		$node->start;
		equal($_, "round $round, after a crash") for @tables;
	}
}
note "numbers came round $turns{$_} times in $_, " . ($failed{$_} // 0) . ' compactions failed' for @tables;
cmp_ok($turns{plain}, '>=', 2, 'plain: numbers came round');
cmp_ok($turns{keyed}, '>=', 1, 'keyed: numbers came round');
is($failed{plain}, 0, 'without an index there are always some');

# Without VACUUM a table with an index ends with an error, which says what to do.
my ($rc, $out, $err);
for (1 .. 60)
{
	my $n = $id + 3_000_000;
	($rc, $out, $err) = $node->psql('postgres', "DELETE FROM keyed WHERE host = 'z'; INSERT INTO keyed SELECT '2026-03-01', 'z', i, 0 FROM generate_series($n, $n + 2999) i; CALL metricsdb.compact('keyed')");
	$id += 3000;
	last if $rc != 0;
}
like($err, qr/table "keyed" has no \d+ row numbers left for a part\n.*HINT:  Run VACUUM \(INDEX_CLEANUP ON\)/s, 'it says what to do');
equal('keyed', 'nothing is lost') if sql(q{DELETE FROM keyed WHERE host = 'z'}) || 1;
sql('VACUUM (INDEX_CLEANUP ON) keyed');
sql(q{CALL metricsdb.compact('keyed')});
equal('keyed', 'and goes on after VACUUM');

# Of a table that VACUUM comes to in time the numbers stay among those for which there are bitmaps.
sql('CREATE TABLE swept (time timestamptz, id int, v float8) USING metricsdb; CREATE INDEX ON swept (v)');
my $given = 0;
for my $i (1 .. 24)
{
	sql("SET metricsdb.direct_rows = 10; INSERT INTO swept SELECT '2026-03-01', i, i % 50 FROM generate_series(1, 1000) i");
	sql("DELETE FROM swept WHERE id % 10 <> $i % 10; CALL metricsdb.compact('swept')");
	sql('VACUUM metricsdb.part, metricsdb.shadow, metricsdb.moved; VACUUM swept');
	my ($max) = split /\|/, used('swept');
	$given += 1000;
	last if $max >= $narrow;
}
cmp_ok($given, '>', 2 * $narrow, 'swept: it has had twice as many as there are of them');
like(sql('SET enable_seqscan = off; SET enable_indexscan = off; SET metricsdb.enable_custom_scan = off; EXPLAIN (COSTS OFF) SELECT count(*) FROM swept WHERE v = 3 OR v = 4'), qr/BitmapOr/, 'swept: there are bitmaps still');

# More rows at once than there are numbers.
($rc, $out, $err) = $node->psql('postgres', q{INSERT INTO plain SELECT '2026-03-01', 'y', i, 0 FROM generate_series(1, 60000) i});
like($err, qr/table "plain" has no \d+ row numbers left for a part\n.*HINT:  Partition the table, or drop old data/s, 'too many at once');
equal('plain', 'the statement has left nothing');
alter_rows('plain');
equal('plain', 'and others go on');

# A window is opened, a part placed in it and rows of that deleted, while VACUUM looks for shadows to give up: those
# of the part stay.
sql(q{CREATE TABLE r (n int) USING metricsdb; INSERT INTO r SELECT generate_series(1, 12000); INSERT INTO r SELECT generate_series(12001, 20000)});
sql('DELETE FROM r WHERE n <= 12000');
sql(q{CALL metricsdb.compact('r')});
sql('VACUUM metricsdb.part, metricsdb.shadow, metricsdb.moved');
sql('INSERT INTO r SELECT generate_series(30001, 39000)');
sql('DELETE FROM r WHERE n = 30001');
my $first = q{SELECT min(row_first) FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = 'r'::regclass};
cmp_ok(sql($first), '>=', 12000, 'numbers are free again');
my $vacuum = session($node);
$vacuum->send("SET metricsdb.stop_at = 'shadow.ranges:wait:1'; VACUUM r;");
for (1 .. 6000) { last if is_stopped($node); usleep(10_000); }
sql('INSERT INTO r SELECT generate_series(50001, 56000)');
cmp_ok(sql($first), '<', 12000, 'they are given out');
sql('DELETE FROM r WHERE n > 50000 AND n % 2 = 0');
is(stopped($node), 'shadow.ranges', 'VACUUM has waited');
unlike($vacuum->result, qr/ERROR/, 'VACUUM goes on');
is(sql('SELECT count(*) FROM r WHERE n > 50000'), 3000, 'rows that were deleted meanwhile stay so');
$standby->stop;
$node->stop;
grep_log($node, 'row numbers');
done_testing();
