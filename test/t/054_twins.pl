# How many series there are, told without the dictionary being read: only rows that may share keys are compared,
# whoever wrote them, and however that has ended.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $primary = new_node('twins',
	init => [ allows_streaming => 1 ],
	'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1, autovacuum => 'off', max_prepared_transactions => 5);

sub sql { return $primary->safe_psql('postgres', $_[0]) }

# Hosts from .. to of a kind; each call takes time, which is no key.
sub put { return "INSERT INTO t SELECT timestamptz '2026-01-01' + i * interval '1 s', '$_[0]_' || i, i FROM generate_series($_[1], $_[2]) i" }

my $of_t = q{storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 't'::regclass)};
# What is counted by reading all keys.
my $truth = q{(SELECT count(*) FROM metricsdb.series('t'))};

sub told
{
	my ($n, $what) = @_;
	is(sql("SELECT metricsdb.cardinality('t'), metricsdb.cardinality('t', NULL, '-infinity', 'infinity'), $truth"), "$n|$n|$n", $what);
	return;
}

# The answer of a session that cannot read the keys of rows that meet a condition.
sub unread
{
	my ($where) = @_;
	my ($rc, $out, $err) = $primary->psql('postgres',
		"BEGIN; UPDATE metricsdb.series SET payload = '\\x00' WHERE $of_t AND ($where); SELECT metricsdb.cardinality('t'); ROLLBACK");
	return $rc == 0 ? $out : $err;
}

sub fresh
{
	sql('DROP TABLE IF EXISTS t; CREATE TABLE t (time timestamptz, host text, v float8) USING metricsdb');
	return;
}

# ---- one after the other ----

fresh();
sql(put('a', 1, 3000));
sql(put('a', 2000, 4000));
my ($one, $two, $three) = map { session($primary) } 1 .. 3;
$one->query(put('b', 1, 300));
$one->query(put('b', 200, 400));
$two->query(put('c', 1, 300));
sql(put('c', 200, 400));
$_->query("BEGIN; " . put('d', 1, 20) . "; SAVEPOINT s; " . put('e', 1, 20) . "; RELEASE s; COMMIT") for $three, $three;
told(4840, 'one after the other');
is(unread('true'), '4840', 'no key is read');
$one->query("BEGIN; " . put('f', 1, 20) . "; ROLLBACK");
told(4840, 'and one that is rolled back');
is(unread('true'), '4840', 'of which there is nothing');

# ---- at once ----

$one->query("BEGIN; " . put('g', 1, 200));
$two->query("BEGIN; " . put('g', 150, 300));
told(4840, 'nobody else sees them');
is($one->query("SELECT metricsdb.cardinality('t')"), '5040', 'but who wrote them');
$_->query('COMMIT') for $two, $one;
told(5140, 'at once');
like(unread('true'), qr/version 0|damaged/, 'is known to need a look,');
is(unread("xid < (SELECT max(horizon) FROM metricsdb.series WHERE $of_t)"), '5140', 'but only at these');
sql(put('h', 1, 10));
told(5150, 'and what comes later');

# Many of them: compaction compares them once.
$one->query("BEGIN; " . put('i', 1, 5000));
$two->query("BEGIN; " . put('i', 4998, 10000));
$_->query('COMMIT') for $one, $two;
told(15150, 'many at once');
sql("CALL metricsdb.compact('t')");
told(15150, 'compacted');
is(unread('registrar <> -1'), '15150', 'only those with twins are read');
like(unread('registrar = -1'), qr/version 0|damaged/, 'but these are');
is(sql("SELECT count(*) BETWEEN 2 AND 8 FROM metricsdb.series WHERE registrar = -1 AND $of_t"), 't', 'which are few');
$one->query(put('k', 1, 10));
told(15160, 'and one of the two goes on');
is(unread('registrar <> -1'), '15160', 'none of the others need be read');
sql(put('i', 1, 10010));
told(15170, 'or somebody else');
is(unread('registrar <> -1'), '15170', 'and none then');

# One that is older than those that were compared.
$one->query("BEGIN; " . put('j', 1, 10));
$two->query("BEGIN; " . put('j', 5, 5000));
$two->query('COMMIT');
sql("CALL metricsdb.compact('t')");
told(20166, 'before the older one has ended');
$one->query('COMMIT');
told(20170, 'and then');
sql("CALL metricsdb.compact('t')");
told(20170, 'and when that is compared, too');

# ---- what a process cannot be sure of ----

fresh();
$one->query("BEGIN; " . put('a', 1, 10) . "; PREPARE TRANSACTION 'p'");
$one->query(put('a', 5, 20));
$two->query(put('a', 1, 3));
told(19, 'one that is prepared');
sql("COMMIT PREPARED 'p'");
told(20, 'and committed: some ids have two rows, some keys two ids');
is(sql("SELECT sum(nseries) > 20 FROM metricsdb.series WHERE $of_t"), 't', 'indeed');
$one->query(put('a', 1, 30));
told(30, 'and goes on');

$one->query("BEGIN; " . put('b', 1, 10));
$three->query("SELECT count(*) FROM t");
$two->query("BEGIN; SAVEPOINT s; " . put('b', 1, 10) . "; ROLLBACK TO s");
$one->query('COMMIT');
$two->query(put('b', 1, 20) . "; COMMIT");
told(50, 'a savepoint that is rolled back, while somebody else registers the same');
$two->query("BEGIN; " . put('c', 1, 10) . "; ROLLBACK");
sql(put('c', 1, 5));
$two->query(put('c', 1, 10));
told(60, 'a transaction that is, and others that register the same before it comes again');

# ---- rows that do not tell: of an older release, or rewritten ----

sql("UPDATE metricsdb.series SET registrar = NULL, xid = NULL, horizon = NULL WHERE $of_t");
told(60, 'rows that tell nothing');
$one->query("BEGIN; " . put('d', 1, 5000));
$two->query("BEGIN; " . put('d', 4000, 5000));
$_->query('COMMIT') for $one, $two;
told(5060, 'and such that do');
sql("CALL metricsdb.compact('t')");
told(5060, 'compared');
is(sql("SELECT count(*) FROM metricsdb.series WHERE horizon IS NOT DISTINCT FROM xid + 1 AND $of_t") > 20, 1, 'and settled');
is(unread('registrar <> -1'), '5060', 'all of them');
sql("DELETE FROM t WHERE host LIKE 'd_%' AND v > 4900; CALL metricsdb.compact('t')");
isnt(sql("CALL metricsdb.collect_series('t', NULL)"), '0', 'some are collected');
told(4960, 'and the rows rewritten');
$one->query(put('d', 4800, 5000));
told(5060, 'registered again');

# What was settled shares keys with a row that nobody knew anything of.
fresh();
$one->query("BEGIN; " . put('a', 1, 5000));
$two->query("BEGIN; " . put('a', 1, 5000));
$_->query('COMMIT') for $one, $two;
sql("UPDATE metricsdb.series SET horizon = xid + 1 WHERE $of_t AND registrar = (SELECT max(registrar) FROM metricsdb.series WHERE $of_t)");
sql("UPDATE metricsdb.series SET registrar = NULL WHERE $of_t AND horizon <= xid");
told(5000, 'one that is settled, one that is not');
sql("CALL metricsdb.compact('t')");
told(5000, 'both are');
is(sql("SELECT bool_and(registrar = -1 AND horizon = xid + 1) FROM metricsdb.series WHERE $of_t"), 't', 'as they are');

# A key whose id is leaving gets another, beside that.
sql(put('d', 4700, 5100) . "; DELETE FROM t WHERE host LIKE 'd_%' AND v > 4700; CALL metricsdb.compact('t')");
my $leaving = session($primary);
$leaving->query("BEGIN; SELECT count(*) FROM metricsdb.series");
sql("CALL metricsdb.collect_series('t', NULL)");
$one->query(put('d', 4700, 4720));
$leaving->query('COMMIT');
is(sql("SELECT metricsdb.cardinality('t') = $truth"), 't', 'while some are leaving');
sql("CALL metricsdb.collect_series('t', NULL)");
sql("CALL metricsdb.compact('t')");
told(5021, 'and when they have left');

# ---- a standby ----

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# ---- any of it ----

srand(my $seed = $ENV{SEED} // 4711);
my @sessions = ($one, $two, $three);
my @in = (0, 0, 0);
my @marks = (0, 0, 0);
my $prepared = 0;
for my $round (1 .. 150)
{
	my $s = int rand 3;
	my $from = 1 + int rand 9000;
	my $rows = put('r', $from, $from + int rand(rand() < 0.2 ? 3000 : 30));
	my $dice = rand;

	if ($dice < 0.02)
	{
		# Whoever comes next knows nothing.
		next if $in[$s];
		$sessions[$s]->close;
		$sessions[$s] = session($primary);
	}
	elsif ($dice < 0.1 && !grep { $_ } @in, $prepared)
	{
		sql("CALL metricsdb.compact('t')");
		if (rand() < 0.4)
		{
			sql("DELETE FROM t WHERE host IN (SELECT 'r_' || i FROM generate_series($from, $from + 500) i); CALL metricsdb.compact('t')");
			sql("CALL metricsdb.collect_series('t', NULL)");
		}
	}
	elsif (!$in[$s])
	{
		$in[$s] = rand() < 0.7;
		$sessions[$s]->query(($in[$s] ? 'BEGIN; ' : '') . $rows);
	}
	elsif ($dice < 0.4) { $sessions[$s]->query($rows) }
	elsif ($dice < 0.5) { $sessions[$s]->query('SAVEPOINT s; ' . $rows); $marks[$s] = 1 }
	elsif ($dice < 0.6) { $sessions[$s]->query('ROLLBACK TO s') if $marks[$s] }
	elsif ($dice < 0.65 && !$prepared) { $sessions[$s]->query("PREPARE TRANSACTION 'any'"); $prepared = 1; $in[$s] = $marks[$s] = 0 }
	else
	{
		$sessions[$s]->query(rand() < 0.75 ? 'COMMIT' : 'ROLLBACK');
		$in[$s] = $marks[$s] = 0;
	}
	if ($prepared && rand() < 0.2) { sql((rand() < 0.7 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'any'"); $prepared = 0 }
	my $told = sql("SELECT metricsdb.cardinality('t') || ' ' || $truth");
	my ($is, $should) = split / /, $told;
	is($is, $should, "round $round, seed $seed: as many as there are keys");
	last if $is != $should;
}
$sessions[$_]->query('COMMIT') for grep { $in[$_] } 0 .. 2;
sql("ROLLBACK PREPARED 'any'") if $prepared;
$_->close for @sessions, $leaving;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $on_both = "SELECT metricsdb.cardinality('t'), $truth";
is($standby->safe_psql('postgres', $on_both), sql($on_both), 'a standby tells the same');
$primary->stop('immediate');
$primary->start;
is(sql("SELECT metricsdb.cardinality('t') = $truth"), 't', 'and who has crashed');
done_testing();
