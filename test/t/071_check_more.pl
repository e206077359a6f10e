# metricsdb.check() on tables that change under it, on a standby, and on files of random bytes.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;
use Time::HiRes qw(time);

my $seed = $ENV{METRICSDB_SEED} // time() * 1000 % 1_000_000;
srand $seed;
note "METRICSDB_SEED=$seed";

my $node = new_node('more', 'autovacuum' => 'off', 'metricsdb.direct_rows' => 100, init => [ allows_streaming => 1 ]);
my $page = 8192;
my $columns = 'time timestamptz NOT NULL, host text, a float8, b int8, c float4, d text';
my $rows = q{SELECT timestamptz '2026-01-01 00:00:00+00' + d * interval '1 day' + i * interval '1 min', 'host' || i % 7,
	CASE WHEN i % 10 = 3 THEN NULL ELSE i * 0.1 END, i * 1000, i, md5(i::text) FROM generate_series(0, 2) d, generate_series(1, 600) i};

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub create { return sql("CREATE TABLE $_[0] ($columns) USING metricsdb; SELECT metricsdb.set_options('$_[0]', series => '{host}')") }

# ---- a table that is written to, changed and merged ----

create('live');
sql("INSERT INTO live $rows");
{
	my @writers = map { session($node) } 1 .. 2;
	my $until = time() + 8;
	my ($checks, $found) = (0, '');

	while (time() < $until)
	{
		$writers[0]->send("INSERT INTO live $rows; INSERT INTO live $rows LIMIT 10; BEGIN; INSERT INTO live $rows; ROLLBACK");
		$writers[1]->send('CALL metricsdb.compact(\'live\')');
		my $found_now = sql("SELECT * FROM metricsdb.check('live')");
		$found .= $found_now if $found eq '';
		$checks++;
		$_->result for @writers;
		sql('DELETE FROM live WHERE b % 7000 = 0; UPDATE live SET a = a + 1 WHERE b = 3000 AND host = \'host3\'') if $checks % 5 == 0;
		sql('VACUUM live') if $checks % 7 == 0;
	}
	is($found, '', "no findings in $checks checks of a table that changes");
	$_->close for @writers;
}

# ---- a standby, without the library preloaded ----

$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$standby->start;
create('replicated');
sql("INSERT INTO replicated $rows");
sql("INSERT INTO replicated $rows");
sql("CALL metricsdb.compact('replicated')");
sql("DELETE FROM replicated WHERE b = 5000; INSERT INTO replicated $rows LIMIT 5");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', "SELECT * FROM metricsdb.check('$_')"), '', "standby: $_") for qw(replicated live);
$standby->stop;

# ---- an unlogged table after a crash: rows that were deleted before have no say ----

sql("CREATE UNLOGGED TABLE gone ($columns) USING metricsdb; SELECT metricsdb.set_options('gone', series => '{host}')");
sql("INSERT INTO gone $rows");
sql('DELETE FROM gone');
$node->stop('immediate');
$node->start;
is(sql("SELECT * FROM metricsdb.check('gone')"), '', 'unlogged, after a crash');
sql("INSERT INTO gone $rows");
is(sql('SELECT count(*) FROM gone'), '1800', 'unlogged: all rows that came after the crash are there');
sql('DELETE FROM gone WHERE b % 7000 = 0');
sql("CALL metricsdb.compact('gone')");
is(sql("SELECT * FROM metricsdb.check('gone')"), '', 'unlogged, used again');

# ---- any bytes ----

my $count = $ENV{METRICSDB_RANDOM} // 60;
my @files;
for my $i (1 .. $count)
{
	create("r$i");
	sql("INSERT INTO r$i $rows");
	push @files, $node->data_dir . '/' . sql("SELECT pg_relation_filepath('r$i')");
}
$node->stop('fast');
my @changed;
for my $i (0 .. $#files)
{
	open my $f, '+<:raw', $files[$i] or die;
	my $size = -s $f;
	# Some of them in the metapage or in the tail of a page, where every bit means something.
	for (1 .. 1 + int rand 4)
	{
		my $at = rand() < 0.2 ? 24 + int rand 60 : rand() < 0.2 ? (1 + int rand($size / $page)) * $page - 1 - int rand 16 : int rand $size;
		my $len = rand() < 0.7 ? 1 : 1 + int rand 64;

		$len = $size - $at if $at + $len > $size;
		seek $f, $at, 0;
		print $f join '', map { chr int rand 256 } 1 .. $len;
		push @{ $changed[$i] }, "$at+$len";
	}
	close $f;
}
$node->append_conf('postgresql.conf', "metricsdb.workers = off\n");
$node->start;
my $pid = slurp_file($node->data_dir . '/postmaster.pid');
my ($found, $disagree) = (0, '');
for my $i (1 .. $count)
{
	my ($rc, $out) = $node->psql('postgres', "SELECT count(*) FROM metricsdb.check('r$i') WHERE severity = 'error'");
	my $said = $out;
	$disagree .= "r$i: check() failed; " if $rc != 0;
	$found += $rc == 0 && $said > 0;
	# What fails to be read must have been found.
	my ($rc2) = $node->psql('postgres', "SELECT max(time), max(a), max(b), max(c), max(d), max(host) FROM r$i");
	$disagree .= "r$i (@{$changed[$i - 1]}): unreadable, but not found; " if $rc2 != 0 && $rc == 0 && $said == 0;
	my ($rc3, undef, $err3) = $node->psql('postgres', "SET metricsdb.on_corruption = skip; SELECT max(time), max(a), max(b), max(c), max(d), max(host) FROM r$i");
	$disagree .= "r$i (@{$changed[$i - 1]}): skip failed with $err3; " if $rc3 != 0 && $err3 !~ /metapage|file of table|could not/;
	$node->psql('postgres', "CALL metricsdb.compact('r$i')");
}
is($disagree, '', "files of random bytes: findings and errors agree (seed $seed)");
ok($found > $count / 2, "damage was found in $found of $count");
is(slurp_file($node->data_dir . '/postmaster.pid'), $pid, 'the server is the same');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'no process crashed');
$node->stop('fast');
done_testing();
