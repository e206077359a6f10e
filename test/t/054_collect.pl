# Collection of series that have left: beside writers who come back to them, old snapshots here and on a
# standby, crashes, and other sessions that remember what was removed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;
use StopTest;

my $primary = new_node('collecting',
	init => [ allows_streaming => 1, extra => ['--data-checksums'] ],
	'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1, autovacuum => 'off', max_prepared_transactions => 5);

sub sql { return $primary->safe_psql('postgres', $_[0]) }

sql(q{
CREATE TABLE m (time timestamptz, tags jsonb, v float8) USING metricsdb;
CREATE TABLE h (time timestamptz, tags jsonb, v float8);
CREATE FUNCTION put(tag text, n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO m SELECT timestamptz '2026-01-01' + i % 3 * interval '1 day', jsonb_build_object('host', tag || i % 700), i FROM generate_series(1, n) i;
	INSERT INTO h SELECT timestamptz '2026-01-01' + i % 3 * interval '1 day', jsonb_build_object('host', tag || i % 700), i FROM generate_series(1, n) i; $$;
CREATE FUNCTION drop_tag(tag text) RETURNS void LANGUAGE sql AS $$
	DELETE FROM m WHERE tags->>'host' LIKE tag || '%'; DELETE FROM h WHERE tags->>'host' LIKE tag || '%'; $$;
CREATE VIEW sums AS SELECT (SELECT count(*) || ' ' || coalesce(sum(hashtextextended(m::text, 0)), 0) FROM m) AS m, (SELECT count(*) || ' ' || coalesce(sum(hashtextextended(h::text, 0)), 0) FROM h) AS h;
});
my $registered = q{SELECT sum(nseries) FROM metricsdb.series WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'm'::regclass)};

sub leave
{
	my ($tag) = @_;
	sql("SELECT drop_tag('$tag')");
	sql("CALL metricsdb.compact('m')");
	return;
}

sub collect
{
	my ($node) = @_;
	return sql("CALL metricsdb.collect_series('m', NULL)");
}

sub in_order
{
	my ($what) = @_;
	is(sql('SELECT m = h FROM sums'), 't', "$what: equal to the heap");
	is(sql("SELECT string_agg(c::text, E'\\n') FROM metricsdb.check('m') c"), '', "$what: nothing is damaged");
	is(sql(q{SELECT (SELECT count(*) FROM metricsdb.tag_values('m', NULL, 'host')) >= (SELECT count(DISTINCT tags->>'host') FROM h)}), 't', "$what: values");
	return;
}

# ---- alone ----

sql("SELECT put('a', 3000), put('b', 3000)");
is(collect(), '0', 'all series have rows');
is(sql($registered), '1400', 'registered');
leave('a');
is(collect(), '700', 'those without rows are removed');
is(sql($registered), '700', 'and the others stay');
is(sql("SELECT count(*) FROM metricsdb.tag_values('m', NULL, 'host')"), '700', 'in the index, too');
is(sql("SELECT metricsdb.cardinality('m')"), '700', 'and are counted');
in_order('collected');
is(collect(), '0', 'nothing is left to do');
sql("SELECT put('a', 1500)");
in_order('come back');
is(sql($registered), '1400', 'with ids of their own');

# ---- sessions that register the same at once ----

sql('CREATE TABLE twice (time timestamptz, host text, v float8) USING metricsdb');
my ($one, $two) = (session($primary), session($primary));
my $put = q{INSERT INTO twice SELECT timestamptz '2026-01-01' + i * interval '1 s', 'host_' || i % 50, i FROM generate_series(1, 1000) i};
$one->query("BEGIN; $put");
$two->query("BEGIN; $put; INSERT INTO twice SELECT '2026-01-02', 'other_' || i, i FROM generate_series(1, 1000) i");
is($one->query(q{SELECT metricsdb.cardinality('twice')}), '50', 'one knows its own');
$two->query('COMMIT');
$one->query('COMMIT');
is(sql(q{SELECT sum(nseries) FROM metricsdb.series WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'twice'::regclass)}), '1100', 'keys have two ids');
my $told = q{SELECT metricsdb.cardinality('twice'), metricsdb.cardinality('twice', NULL, '2026-01-01', '2026-01-02'), metricsdb.cardinality('twice', NULL, '2026-01-01', '2026-01-01 00:00:11'),
	(SELECT count(*) FROM metricsdb.series('twice')), metricsdb.cardinality('twice', 'twice')};
is($one->query($told), '1050|50|10|1050|1050', 'and are told once');
is(sql($told), '1050|50|10|1050|1050', 'by others, too');
sql(q{INSERT INTO twice SELECT '2026-01-02', 'more_' || i, i FROM generate_series(1, 10) i});
is($one->query(q{SELECT metricsdb.cardinality('twice')}), '1060', 'what comes later is counted');
$_->close for $one, $two;

# ---- sessions that remember ----

my $writer = session($primary);
$writer->query("SELECT put('c', 1500)");
leave('c');
is(collect(), '700', 'those of another session');
$writer->query("SELECT put('c', 1500)");
in_order('a session that knew them');
$writer->query("PREPARE p AS SELECT put('c', 800)");
$writer->query('EXECUTE p');
leave('c');
collect();
$writer->query('EXECUTE p');
in_order('and again');

# A transaction that writes is in the way of the mark, not of anything else.
leave('c');
$writer->query("BEGIN; SELECT put('d', 1500)");
my ($rc, $out, $err) = $primary->psql('postgres', "CALL metricsdb.collect_series('m', NULL)");
like($err, qr/could not be collected/, 'a writer is in the way');
$writer->query('COMMIT');
is(collect(), '700', 'and then no more');
in_order('after a writer');

# A savepoint that is rolled back lets go of the table: what the transaction knew of it is no longer true.
$writer->query("SELECT put('g', 1500)");
leave('g');
$writer->query("BEGIN; SAVEPOINT s; SELECT put('i', 1500); ROLLBACK TO s");
is(collect(), '700', 'what was rolled back is not in the way');
$writer->query("SELECT put('g', 1500); COMMIT");
in_order('after a savepoint');

# A prepared transaction has written what it will write.
sql("BEGIN; SELECT put('e', 1500); PREPARE TRANSACTION 'e'");
leave('d');
($rc, $out, $err) = $primary->psql('postgres', "CALL metricsdb.collect_series('m', NULL)");
sql("COMMIT PREPARED 'e'");
collect();
in_order('a prepared transaction');

# ---- old snapshots ----

my $reader = session($primary);
$reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m");
my $before = $reader->query("SELECT count(*), count(DISTINCT tags) FROM m WHERE tags->>'host' LIKE 'e%'");
leave('e');
is(collect(), '0', 'an old snapshot needs them');
is($reader->query("SELECT count(*), count(DISTINCT tags) FROM m WHERE tags->>'host' LIKE 'e%'"), $before, 'and sees them');
$reader->query('COMMIT');
is(collect(), '700', 'and then no more');
in_order('after an old snapshot');

# ---- a standby ----

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# It waits for its queries, however long they take.
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nhot_standby_feedback = off\n");
$standby->start;
sql("SELECT put('f', 1500)");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $patient = session($standby);
$patient->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM h');
leave('f');
is(collect(), '700', 'the primary knows nothing of the snapshots of a standby');
is($patient->query("SELECT count(*), count(DISTINCT tags) FROM m WHERE tags->>'host' LIKE 'f%'"), '1500|700', 'which sees them all the same');
$patient->query('COMMIT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT m = h FROM sums'), 't', 'the standby agrees');
is($standby->safe_psql('postgres', "SELECT count(*) FROM metricsdb.check('m')"), '0', 'and is in order');
is($standby->safe_psql('postgres', "SELECT count(*), (SELECT count(*) FROM metricsdb.tag_keys('m')) FROM metricsdb.tag_values('m', NULL, 'host')"), sql("SELECT count(*), 1 FROM metricsdb.tag_values('m', NULL, 'host')"), 'and finds the same in the index');
sql("SELECT put('f', 1500)");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT m = h FROM sums'), 't', 'also what came back');

# ---- all at once, with crashes ----

for my $round (1 .. 3)
{
	my @writers = map {
		my $n = $_;
		my $script = join '', map { my $tag = chr(ord('p') + ($_ + $n) % 3); "BEGIN; SELECT put('$tag', 900); COMMIT;\n" . ($_ % 4 == $n ? "SELECT pg_sleep(0.05);\n" : '') } 1 .. 12;
		my %run = (in => $script, out => '', err => '');
		$run{handle} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr('postgres') ], '<', \$run{in}, '>', \$run{out}, '2>', \$run{err});
		\%run;
	} 0 .. 1;
	my $dropper = join '', map { my $tag = chr(ord('p') + $_ % 3); "BEGIN; LOCK TABLE h; SELECT drop_tag('$tag'); COMMIT;\nCALL metricsdb.compact('m');\nCALL metricsdb.collect_series('m', NULL);\n" } 1 .. 6;
	my ($dout, $derr) = ('', '');
	my $d = IPC::Run::start([ 'psql', '-XAtq', '-d', $primary->connstr('postgres') ], '<', \$dropper, '>', \$dout, '2>', \$derr);
	if ($round == 2)
	{
		select(undef, undef, undef, 1.5);
		$primary->stop('immediate');
		eval { $_->finish } for $d, map { $_->{handle} } @writers;
		$primary->start;
	}
	else
	{
		$_->finish for $d, map { $_->{handle} } @writers;
		is($_->{err}, '', "round $round: a writer has no errors") for @writers;
		unlike($derr, qr/(?!could not be collected)damaged|not in the dictionary/, "round $round: nor who collects");
	}
	in_order("round $round");
}
collect();
in_order('at the end');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT m = h FROM sums'), 't', 'the standby agrees at the end');

# ---- the index is made anew ----

my $of_m = q{storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'm'::regclass)};
sql("UPDATE metricsdb.posting SET payload = '\\x0100ffff' WHERE $of_m");
($rc, $out, $err) = $primary->psql('postgres', "SELECT count(*) FROM m WHERE tags->>'host' = 'a1'");
like($err, qr/index over series is damaged.*rebuild_series_index/s, 'what is damaged is said');
isnt(sql("SELECT count(*) FROM metricsdb.check('m')"), '0', 'and found');
is(sql("SET metricsdb.on_corruption = skip; SELECT count(*) FROM m WHERE tags->>'host' = 'a1'"), sql("SELECT count(*) FROM h WHERE tags->>'host' = 'a1'"), 'what is to be had is read without it');
sql("SELECT metricsdb.rebuild_series_index('m')");
in_order('made anew');
is(sql("SELECT count(*) FROM m WHERE tags->>'host' = 'a1'"), sql("SELECT count(*) FROM h WHERE tags->>'host' = 'a1'"), 'and filters by it');
$standby->stop;
$primary->stop;

# ---- in the background ----

SKIP:
{
	skip 'METRICSDB_TESTING does not say where the library with settings for tests is', 1 unless $ENV{METRICSDB_TESTING};
	my $node = bare_node('background', 'metricsdb.workers' => 'on', 'metricsdb.direct_rows' => 1, 'metricsdb.testing_collect' => '200ms');
	my $pid = q{SELECT pid FROM pg_stat_activity WHERE backend_type ~ 'maintainer'};
	my $left = q{SELECT sum(nseries) FROM metricsdb.series WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'b'::regclass)};

	$node->safe_psql('postgres', q{CREATE TABLE b (time timestamptz, host text, v float8) USING metricsdb;
		CREATE TABLE idle (time timestamptz, host text, v float8) USING metricsdb;
		INSERT INTO idle VALUES ('2026-01-01', 'x', 1)});
	ok(wait_for($node, "SELECT EXISTS ($pid)"), 'there is a maintainer');
	$pid = $node->safe_psql('postgres', $pid);
	for my $round (1 .. 3)
	{
		$node->safe_psql('postgres', qq{INSERT INTO b SELECT '2026-01-01', 'gone_' || i, i FROM generate_series(1, 2000) i;
			INSERT INTO b SELECT '2026-01-01', 'stays_${round}_' || i, i FROM generate_series(1, 50) i; DELETE FROM b WHERE host LIKE 'gone%'});
		ok(wait_for($node, "SELECT ($left) = 50 * $round"), "background, round $round: collected");
	}
	is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT host), metricsdb.cardinality('b'), (SELECT count(*) FROM metricsdb.check('b')) FROM b}), '150|150|150|0', 'background: the others stay');
	is($node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type ~ 'maintainer'}), $pid, 'background: by the same maintainer');
	$node->stop;
	unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'background: nobody has crashed');
}
done_testing();
