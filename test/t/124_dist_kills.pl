# A transaction that writes to the nodes of a distributed table, of which the coordinator, or a node, is killed at each point
# of its two phases: its rows are on all replicas of their shards, or nowhere, as the coordinator has decided.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DistTest;
use StopTest;
use StorageTest;
use Time::HiRes qw(sleep);

my %conf = (fsync => 'off', search_path => "'public, metricsdb'", 'metricsdb.distributed_tables' => 'on', 'metricsdb.dist_recovery_interval' => 1);
my $c = new_node('coordinator', new => { install_path => StopTest::testing_path() }, %conf);
my ($a1, $a2, $b) = map { new_node($_, %conf) } qw(a1 a2 b);
my @nodes = ($a1, $a2, $b);
$c->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw');
sub sql { return $c->safe_psql('postgres', $_[0]) }

# Rows as the shards have them, replicas alike, and nothing left prepared.
my $digest = 'SELECT count(*), sum(hashtextextended(m::text, 0)) FROM m';

sub settled
{
	my ($rows, $what) = @_;
	$c->poll_query_until('postgres', 'SELECT count(*) = 0 FROM metricsdb.dist_transaction') or diag('transactions stay');
	for my $n (@nodes)
	{
		$n->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_prepared_xacts') or diag('prepared transactions stay on ' . $n->name);
	}
	is($a1->safe_psql('postgres', $digest), $a2->safe_psql('postgres', $digest), "$what: replicas are alike");
	is(sql('SELECT count(*), count(DISTINCT n) FROM m'), "$rows|$rows", "$what: rows are there once");
	return;
}

sub restarted
{
	my ($node) = @_;
	$node->kill9 if kill 0, $node->{_pid} // 0;
	for (1 .. 100)
	{
		last if system('pg_ctl', '-s', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start') == 0;
		sleep 0.1;
	}
	$node->_update_pid(1);
	return;
}

sql(q(CREATE TABLE m (n int8, time timestamptz NOT NULL, metric text, tags jsonb) USING metricsdb
	WITH (metricsdb.time = 'time', metricsdb.series = 'metric, tags')));
sql("SELECT metricsdb.add_node('a1', '" . conninfo($a1) . "', shard => 'a'), metricsdb.add_node('a2', '" . conninfo($a2)
	  . "', shard => 'a'), metricsdb.add_node('b', '" . conninfo($b) . "'); SELECT metricsdb.distribute('m')");
my $rows = q(SELECT i, timestamptz '2026-01-01' + i * interval '1 s', 'cpu', jsonb_build_object('host', i % 50) FROM generate_series);

my $n = 0;
for my $who ('coordinator', 'node')
{
	for my $stop ('dist.sent', 'dist.prepared:1', 'dist.prepared:2', 'dist.prepared:3', 'dist.logged', 'dist.committed', 'dist.told:1', 'dist.told:2')
	{
		my ($point, $pass) = split /:/, $stop;
		my $there = $stop =~ /committed|told/;
		my $at = "$point:" . ($who eq 'coordinator' ? 'kill' : 'wait') . ($pass ? ":$pass" : '');
		my ($from, $to) = ($n + 1, $n + 50);
		my $insert = "SET metricsdb.stop_at = '$at'; INSERT INTO m $rows ($from, $to) i";
		my $file = $c->data_dir . '/metricsdb_stop';
		unlink $file;
		if ($who eq 'coordinator')
		{
			$c->psql('postgres', $insert);
			ok(-e $file, "killed at $stop");
			$c->poll_query_until('postgres', 'SELECT true');
		}
		else
		{
			my ($out, $err) = ('', '');
			my $h = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $c->connstr('postgres'), '-c', "SET metricsdb.stop_at = '$at'", '-c', "INSERT INTO m $rows ($from, $to) i" ], '>', \$out, '2>', \$err);
			for (1 .. 1200) { last if -e $file; sleep 0.05 }
			ok(-e $file, "a node is killed at $stop");
			restarted($b);
			unlink $file;
			$h->finish;
			# A node that had not prepared yet stops it all; one that had does not.
			$there = $err !~ /ERROR/;
			ok($there, 'it has been decided') if $stop =~ /prepared:3|logged|committed|told/;
			ok(!$there, 'it cannot go on') if $stop eq 'dist.sent';
		}
		$c->poll_query_until('postgres', 'SELECT count(*) = 0 FROM metricsdb.dist_transaction') or diag('transactions stay');
		$n += 50 if $there;
		settled($n, "$who at $stop");
	}
}
done_testing();
