# A primary and its standby while rows are copied in, moved and merged, and space is used again: open
# cursors, a backup, recovery to a named point, promotion.
#
# Everything inserted is batches of N rows whose sum is known, one transaction each.  So what any
# snapshot may see can be told from the rows alone: whole batches, no batch twice, and within a
# transaction the same each time.  A cursor on the standby gives that, or is cancelled in the
# standard's words.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;
use Time::HiRes qw(usleep time);

my $seconds = $ENV{METRICSDB_LOAD_SECONDS} // 15;
my $batch = 400;
my $primary = new_node('primary',
	init => [ allows_streaming => 1, has_archiving => 1, extra => ['--data-checksums'] ],
	'metricsdb.direct_rows' => 100, 'metricsdb.workers' => 'on', max_wal_size => "'1GB'");

sub sql { return $primary->safe_psql('postgres', $_[0]) }

# batch(b): its rows; a third of the batches is so small that the delta takes it.
sub size { my ($b) = @_; return $b % 3 == 0 ? 20 : $batch }

sub batch
{
	my ($b) = @_;
	my $n = size($b);
	return "SELECT timestamptz '2026-01-01' + ($b / 40) * interval '1 d' + i * interval '1 s', 'h' || i % 10, $b, i, md5(($b * 1000 + i)::text) FROM generate_series(1, $n) i";
}

sql('CREATE TABLE t (time timestamptz, host text, batch int, n int, note text) USING metricsdb');

# What is wrong with the rows of t, as one snapshot sees them: batches that are not whole, or doubled,
# or whose bytes differ.
my $wrong = qq{SELECT count(*) FROM (SELECT batch, count(*) AS c, count(DISTINCT n) AS d, sum(n) AS s, bool_and(note = md5((batch * 1000 + n)::text)) AS same FROM t GROUP BY batch) x
	WHERE (c, d, s, same) IS DISTINCT FROM (CASE WHEN batch % 3 = 0 THEN 20 ELSE $batch END, CASE WHEN batch % 3 = 0 THEN 20 ELSE $batch END, CASE WHEN batch % 3 = 0 THEN 210 ELSE $batch * ($batch + 1) / 2 END, true)};

my $b = 0;
sql('INSERT INTO t ' . batch(++$b)) for 1 .. 30;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\nhot_standby_feedback = off\n");
$standby->start;
my $patient = PostgreSQL::Test::Cluster->new('patient');
$patient->init_from_backup($primary, 'base', has_streaming => 1);
$patient->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nhot_standby_feedback = on\n");
$patient->start;

# A transaction that reads t through a cursor, bit by bit, and then by a query: both must agree, with
# the count it began with and with what was inserted.
sub reader
{
	my ($node, $what, $must_work) = @_;
	my $r = { node => $node, what => $what, session => session($node), must_work => $must_work, right => 0, cancelled => 0, wrong => '', step => 0 };
	return $r;
}

my $words = qr/canceling statement due to conflict with recovery|terminating connection due to conflict with recovery|connection to server was lost|server closed the connection/;

# advance(r): one step of the reader.
sub advance
{
	my ($r) = @_;
	my $s = $r->{session};
	my $answer;

	if ($r->{step} == 0)
	{
		$answer = $s->query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; DECLARE c CURSOR FOR SELECT batch, n, note FROM t; SELECT 'n', count(*) FROM t; FETCH 7 FROM c");
		$r->{count} = defined $answer && $answer =~ /^n\|(\d+)$/m ? $1 : -1;
		$r->{seen} = 7;
		# How much of the table is read before it changes differs.
		$r->{steps} = 2 + int(rand(8));
	}
	elsif ($r->{step} < $r->{steps})
	{
		# MOVE 0 would count the row that it stands on again.
		my $n = 1 + int(rand($r->{count} / 8));
		$answer = $s->query("MOVE FORWARD $n FROM c");
		$r->{seen} += $1 if defined $answer && $answer =~ /^MOVE (\d+)$/m;
	}
	else
	{
		$answer = $s->query("MOVE FORWARD ALL FROM c; SELECT 'again', count(*) FROM t; SELECT 'wrong', ($wrong); COMMIT");
		if (defined $answer && $answer =~ /^MOVE (\d+)$/m)
		{
			my $seen = $r->{seen} + $1;
			my ($again) = $answer =~ /^again\|(\d+)$/m;
			my ($bad) = $answer =~ /^wrong\|(\d+)$/m;

			if (defined $again && defined $bad)
			{
				if ($seen == $r->{count} && $again == $seen && $bad == 0) { $r->{right}++ }
				else { $r->{wrong} .= "cursor $seen, first count $r->{count}, second $again, $bad batches wrong\n" }
			}
		}
		$r->{step} = -1;
	}
	if (!defined $answer || $answer =~ /ERROR|FATAL/)
	{
		my $text = $answer // $s->{last};
		if (!$r->{must_work} && $text =~ $words) { $r->{cancelled}++ }
		else { $r->{wrong} .= "$text\n" }
		$s->connect if !defined $answer;
		$s->query('ROLLBACK');
		$r->{step} = -1;
	}
	$r->{step}++;
	return;
}

my @readers = ((map { reader($primary, "primary $_", 1) } 1 .. 2), (map { reader($standby, "standby $_", 0) } 1 .. 3), reader($patient, 'standby with feedback', 1));
my ($writer, $compactor) = (session($primary), session($primary));
my $until = time() + $seconds;
my ($compactions, $point) = (0, undef);
my %at_point;

$writer->send('SELECT 1');
$compactor->send('SELECT 1');
my $round = 0;
# Longer if so far nobody was in the way of recovery: that there are conflicts is what is being tested.
while (time() < $until || (time() < $until + 60 && !grep { $_->{what} =~ /^standby \d/ && $_->{cancelled} } @readers))
{
	if ($writer->done)
	{
		my $answer = $writer->result;
		is($answer, '', 'the writer goes on') if !defined $answer || $answer =~ /ERROR/;
		# Old rows go with the whole table now and then: its pages are taken again.
		$writer->send('INSERT INTO t ' . batch(++$b));
	}
	if ($compactor->done)
	{
		my $answer = $compactor->result;
		is($answer, '', 'the compactor goes on') if !defined $answer || $answer =~ /ERROR/;
		$compactor->send($compactions++ % 4 == 3 ? 'VACUUM metricsdb.part' : "CALL metricsdb.compact('t')");
		if (!$point && time() > $until - $seconds / 2)
		{
			# Merges go on while the point is set; what is committed by then is in it.
			$point = $primary->safe_psql('postgres', q{SELECT count(DISTINCT batch) FROM t});
			$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('amid')});
			$at_point{after} = $b;
		}
	}
	advance($_) for @readers;
	usleep(5000);
}
$writer->result;
$compactor->result;
for my $r (@readers)
{
	is($r->{wrong}, '', "cursors on the $r->{what}: right or cancelled");
	note "$r->{what}: $r->{right} right, $r->{cancelled} cancelled";
}
note "$b batches, $compactions compactions";
my ($right, $cancelled) = (0, 0);
$right += $_->{right}, $cancelled += $_->{cancelled} for grep { $_->{what} =~ /^standby \d/ } @readers;
cmp_ok($_->{right}, '>', 0, "some cursors on the $_->{what} read to the end") for grep { $_->{must_work} } @readers;
cmp_ok($cancelled, '>', 0, 'some on the impatient standby were cancelled');
cmp_ok($compactions, '>', 3, 'there was compaction');
cmp_ok(sql('SELECT max(level) FROM metricsdb.part'), '>', 0, 'and merges');
is(sql('SELECT count(DISTINCT batch) FROM t'), $b, 'no batch is lost');
is(sql($wrong), '0', 'all are whole');
my $all = q{SELECT count(*), sum(n), md5(string_agg(t::text, ',' ORDER BY batch, n)) FROM t};
my $want = sql($all);
# A cursor that is still open would keep the patient standby from going on.
$_->{session}->close for @readers;
for my $node ($standby, $patient)
{
	$primary->wait_for_catchup($node, 'replay', $primary->lsn('insert'));
	is($node->safe_psql('postgres', $all), $want, 'the same on the ' . $node->name);
}
$_->close for $writer, $compactor;
# A standby with feedback keeps the pages of its last reader for up to ten seconds more.
$patient->stop;
size_bounded($primary, 'postgres', 't', 'after the load');
$patient->start;

# ---- a backup made while rows move ----

{
	my $w = session($primary);
	$w->send(join ';', map { ('INSERT INTO t ' . batch(++$b), "CALL metricsdb.compact('t')") } 1 .. 40);
	my $dir = $primary->backup_dir . '/amid';
	command_ok([ 'pg_basebackup', '-D', $dir, '-h', $primary->host, '-p', $primary->port, '--checkpoint', 'fast', '--no-sync', '-X', 'stream' ],
		'pg_basebackup amid compaction');
	$w->result;
	$w->close;
	command_ok([ 'pg_verifybackup', '-n', $dir ], 'pg_verifybackup');
	my $copy = PostgreSQL::Test::Cluster->new('copy');
	$copy->init_from_backup($primary, 'amid');
	$copy->start;
	is($copy->safe_psql('postgres', $wrong), '0', 'the backup: batches are whole');
	my ($n, $max) = split /\|/, $copy->safe_psql('postgres', 'SELECT count(DISTINCT batch), max(batch) FROM t');
	is($n, $max, "the backup: all up to batch $max");
	$copy->safe_psql('postgres', 'INSERT INTO t ' . batch($max + 1));
	$copy->safe_psql('postgres', "CALL metricsdb.compact('t')");
	is($copy->safe_psql('postgres', $wrong), '0', 'the backup: is written and compacted');
	catalogs_in_order($copy, 'postgres', 'the backup');
	$copy->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $copy->data_dir ], 'the backup: checksums');
	grep_log($copy, 'the backup');
}

# ---- back to a named point in the middle of merges ----

{
	sql('SELECT pg_switch_wal()');
	my $pitr = PostgreSQL::Test::Cluster->new('pitr');
	$pitr->init_from_backup($primary, 'base', has_restoring => 1);
	$pitr->append_conf('postgresql.conf', "recovery_target_name = 'amid'\nrecovery_target_action = 'promote'\n");
	$pitr->start;
	$pitr->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
	my $n = $pitr->safe_psql('postgres', 'SELECT count(DISTINCT batch) FROM t');
	ok($n >= $point && $n <= $at_point{after}, "recovered: $n batches, of $point to $at_point{after}");
	is($pitr->safe_psql('postgres', 'SELECT max(batch) FROM t'), $n, 'recovered: none is left out');
	is($pitr->safe_psql('postgres', $wrong), '0', 'recovered: batches are whole');
	# What the merge that was under way has written is no part, and its pages are taken again.
	for my $i (1 .. 10)
	{
		$pitr->safe_psql('postgres', 'INSERT INTO t ' . batch($n + $i));
		$pitr->safe_psql('postgres', "CALL metricsdb.compact('t')");
	}
	is($pitr->safe_psql('postgres', $wrong), '0', 'recovered: written and compacted');
	is($pitr->safe_psql('postgres', 'SELECT max(batch), count(DISTINCT batch) FROM t'), join('|', ($n + 10) x 2), 'recovered: all there');
	catalogs_in_order($pitr, 'postgres', 'recovered');
	size_bounded($pitr, 'postgres', 't', 'recovered');
	$pitr->stop;
	command_ok([ 'pg_checksums', '--check', '-D', $pitr->data_dir ], 'recovered: checksums');
	grep_log($pitr, 'recovered');
}

# ---- promotion under load ----

{
	my $w = session($primary);
	$w->send(join ';', map { ('INSERT INTO t ' . batch($b + $_), "CALL metricsdb.compact('t')") } 1 .. 60);
	usleep(700_000);
	my $open = session($standby);
	$standby->promote;
	$w->close;
	my $n = $standby->safe_psql('postgres', 'SELECT count(DISTINCT batch) FROM t');
	is($standby->safe_psql('postgres', $wrong), '0', "promoted: $n batches, whole");
	cmp_ok($n, '>=', $b, 'promoted: nothing is lost that was there before');
	$open->query('INSERT INTO t ' . batch($n + $_)) for 1 .. 9;
	$standby->safe_psql('postgres', "CALL metricsdb.compact('t')");
	$open->query('INSERT INTO t ' . batch($n + $_)) for 10 .. 14;
	is($open->query('SELECT count(DISTINCT batch), max(batch) FROM t'), join('|', ($n + 14) x 2), 'promoted: written');
	is($standby->safe_psql('postgres', $wrong), '0', 'promoted: compacted');
	ok(wait_for($standby, q{SELECT count(*) > 0 FROM metricsdb.workers WHERE worker = 'metricsdb maintainer'}), 'promoted: the background worker is there');
	catalogs_in_order($standby, 'postgres', 'promoted');
	size_bounded($standby, 'postgres', 't', 'promoted');
	$open->close;
}
$_->stop for $standby, $patient, $primary;
for my $node ($primary, $standby, $patient)
{
	command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'checksums of ' . $node->name);
	grep_log($node, $node->name);
}
done_testing();
