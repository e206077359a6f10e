# kill -9 of the postmaster, of a session or of the maintainer at random moments, while sessions change
# tables at random: INSERT, COPY, UPDATE, DELETE, savepoints, prepared transactions, TRUNCATE, VACUUM,
# compaction.  Each transaction does the same to a heap: after each crash both are equal.
#
#   METRICSDB_RANDOM_KILLS=n	number of kills (15)
#   METRICSDB_SEED=n	to see the same again, as far as the processes allow
use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep usleep);
use StorageTest;
use StopTest;

my $crashes = $ENV{METRICSDB_RANDOM_KILLS} || 15;
my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = stop_node('kills', 'metricsdb.workers' => 'on', autovacuum => 'on', autovacuum_naptime => 1, log_statement => 'none');
my $dir = PostgreSQL::Test::Utils::tempdir;

# One step of a transaction on a table; its heap has the same done to it.
sub step
{
	my ($t, $n) = @_;
	my $kind = int(rand(10));

	return put($t, 1 + int(rand(5))) if $kind < 3;
	return put($t, 1 + int(rand(90))) if $kind < 5;
	return put($t, 100 + int(rand(1500))) if $kind == 5;
	return put_wide($t, 1 + int(rand(60))) if $kind == 6;
	if ($kind == 7)
	{
		my $file = "$dir/copy$n";
		return "COPY (SELECT * FROM rows(" . (1 + int(rand(400))) . ", 'c$n') ) TO '$file'; COPY ${t}_h FROM '$file'; COPY $t FROM '$file';\n";
	}
	return change($t);
}

# A session's life until a crash.  Two sessions that change the same rows may fall into a deadlock, or
# one may see what the other has just changed, where the heap has the tables in another order: so each
# has its table, and all of them insert into m.
sub live
{
	my ($w, $round) = @_;
	my $s = session($node);
	my $n = 0;

	while (!-e "$dir/over")
	{
		my $gid = "g${w}_${round}_" . ++$n;
		my $t = rand() < 0.3 ? 'm' : "w$w";
		my $kind = int(rand(14));
		my $sql = 'BEGIN;';

		if ($t eq 'm') { $sql .= join('', map { put('m', 1 + int(rand() < 0.8 ? rand(20) : rand(800))) } 0 .. int(rand(3))) }
		else
		{
			$sql .= "TRUNCATE $t, ${t}_h;" if $kind == 0;
			for (0 .. int(rand(4)))
			{
				$sql .= rand() < 0.2 ? 'SAVEPOINT a;' . step($t, $w) . (rand() < 0.6 ? 'ROLLBACK TO a;' : 'RELEASE a;') : step($t, $w);
			}
		}
		if ($kind == 1) { $sql .= 'ROLLBACK' }
		elsif ($kind == 2) { $sql .= "PREPARE TRANSACTION '$gid'; COMMIT PREPARED '$gid'" }
		elsif ($kind == 3) { $sql .= "PREPARE TRANSACTION '$gid'; ROLLBACK PREPARED '$gid'" }
		else { $sql .= 'COMMIT' }
		$sql .= ";CALL metricsdb.compact('$t')" if $kind == 4;
		$sql .= ";VACUUM $t" if $kind == 5;
		my $answer = $s->query($sql);
		return if !defined $answer;
		next unless $answer =~ /ERROR/;
		# A crash of another session, or what a heap would say, too.
		return if $answer =~ /terminating|shutting down|starting up|recovery mode|could not connect/;
		open(my $out, '>>', "$dir/failed");
		print $out "$t: $answer\n";
		close $out;
		$s->query('ROLLBACK');
	}
}

my $nwriters = 3;
my $columns = '(time timestamptz, host text, v float8, note bytea)';
$node->safe_psql('postgres', "CREATE TABLE w$_ $columns USING metricsdb; CREATE TABLE w${_}_h $columns") for map { chr(ord('a') + $_) } 1 .. $nwriters;

my (%hit, $up);
for my $round (1 .. $crashes)
{
	my @pids;
	for my $w (map { chr(ord('a') + $_) } 1 .. $nwriters)
	{
		my $pid = fork() // die;
		if ($pid == 0)
		{
			srand($seed + $round * 100 + ord($w));
			eval { live($w, $round) };
			# Leave without END blocks: they would stop the server.
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	sleep(0.1 + rand(1.2));
	my $how = (qw(postmaster postmaster session session maintainer))[ int(rand(5)) ];
	my $victim;
	if ($how ne 'postmaster')
	{
		my $where = $how eq 'session' ? "application_name = 'session' AND state = 'active' ORDER BY random()" : "backend_type ~ 'maintainer'";
		(undef, $victim) = eval { $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where LIMIT 1") };
		$how = 'postmaster' unless $victim;
	}
	$hit{$how}++;
	if ($how eq 'postmaster') { $node->kill9 } else { kill 'KILL', $victim }
	wait_for_crash("$dir/over", @pids);
	if ($how eq 'postmaster') { restart_after_crash($node) }
	else { BAIL_OUT('the server does not come back') unless wait_for($node, 'SELECT true') }
	end_prepared($node);
	my $bad = $node->safe_psql('postgres', 'SELECT * FROM state() WHERE own IS DISTINCT FROM heap');
	is($bad, '', "kill $round ($how): tables equal their heaps") if $bad ne '' || $round % 10 == 0 || $round == $crashes;
	last if $bad ne '';
	if ($round % 20 == 0 || $round == $crashes)
	{
		forget_orphans($node);
		catalogs_in_order($node, 'postgres', "kill $round");
		$node->safe_psql('postgres', join ';', map { "TRUNCATE $_, ${_}_h" } 'm', map { 'w' . chr(ord('a') + $_) } 1 .. $nwriters) if $round % 100 == 0;
	}
}
note 'kills: ', join ', ', map { "$_ $hit{$_}" } sort keys %hit;
is(-e "$dir/failed" ? slurp_file("$dir/failed") : '', '', 'no statement failed');
usable($node, 'at the end');
my @tables = ('m', map { 'w' . chr(ord('a') + $_) } 1 .. $nwriters);
$node->safe_psql('postgres', "CALL metricsdb.compact('$_'); VACUUM $_; CALL metricsdb.compact('$_');") for @tables;
size_bounded($node, 'postgres', $_, 'at the end') for @tables;
pairs_equal($node, 'compacted');
$node->safe_psql('postgres', "VACUUM FULL $_") for @tables;
pairs_equal($node, 'rewritten');
$node->stop;
grep_log($node, 'all kills');
done_testing();
