# A session on the primary is held up at a point of src/stop.c; the standby has replayed all until
# there when it is killed, and comes back.  A copy of what was killed is promoted.  Both have what
# the primary has once that session is gone, and the promoted one goes on working.
#
#   METRICSDB_STOPS=all	each point; else every fifth
#   METRICSDB_SEED=n	to choose the same again
use strict;
use warnings;
use File::Path qw(rmtree);
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;
use StopTest;

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $primary = bare_node('primary', init => [ allows_streaming => 1 ], wal_keep_size => "'512MB'");
my @install = (install_path => $ENV{METRICSDB_TESTING});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby', @install);
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = off\nmax_standby_streaming_delay = 0\n");
$standby->start;
prepare_node($primary);
my $promoted = PostgreSQL::Test::Cluster->new('promoted', @install);

# Everything until now, also of transactions that have not ended, is on the standby, and replayed.
sub catch_up
{
	$primary->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'stop', '')});
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# The permanent tables of a server; undef if one is locked by the session that was held up.
sub permanent
{
	my ($node) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '300ms'; SELECT * FROM state() WHERE tab <> 'u'");
	return $out if $rc == 0;
	die $err unless $err =~ /lock timeout|canceling statement due to conflict/;
	return undef;
}

sub kill_standby
{
	$standby->kill9;
	usleep(50_000);
	rmtree($promoted->data_dir);
	# Its children may live a moment longer: what they write now, they could have written before.
	system('cp', '-a', $standby->data_dir, $promoted->data_dir) == 0 or die;
	restart_after_crash($standby);
	return;
}

sub promote_copy
{
	unlink $promoted->data_dir . '/postmaster.pid', $promoted->data_dir . '/postmaster.opts';
	$promoted->append_conf('postgresql.conf', "primary_conninfo = ''\nport = @{[$promoted->port]}\nunix_socket_directories = '@{[$promoted->host]}'\n");
	$promoted->start;
	$promoted->promote;
	return;
}

# Elsewhere a process is not to be interrupted.
my %errors = map { $_ => 1 } stop_points($primary, 'e');
my %where;
for my $section (sections())
{
	push @{ $where{$_} }, $section for passed($primary, $section);
	usable($primary, "$section, undisturbed");
}

my @points = stop_points($primary, 's');
if (($ENV{METRICSDB_STOPS} // '') ne 'all')
{
	my $first = int(rand(5));
	@points = @points[ grep { $_ % 5 == $first } 0 .. $#points ];
}
my ($n, $locked) = (0, 0);
for my $point (@points)
{
	# An unlogged table's life is not the standby's concern.
	my @sections = grep { $_ ne 'unlogged' } @{ $where{$point} // [] } or next;
	my ($run, $what);

	empty_tables($primary) if ++$n % 12 == 0;
	# What is passed depends on what was left before: where it is not this time, another workload does.
	@sections = shuffle(@sections);
	my $pass = 1 + int(rand(2));
	for my $section ($sections[0], @sections, @sections)
	{
		$what = "$point in $section";
		$run = start_at($primary, $section, "$point:wait:$pass");
		while (!is_stopped($primary) && $run->{handle}->pumpable) { $run->{handle}->pump_nb; usleep(10_000); }
		last if is_stopped($primary);
		$run->{handle}->finish;
		$pass = 1;
	}
	ok(is_stopped($primary), "$what: stopped") or next;

	catch_up();
	kill_standby();
	my ($want, $have) = (permanent($primary), permanent($standby));
	if (defined $want && defined $have) { is($have, $want, "$what: the standby, killed, agrees") }
	else { $locked++ }

	# The one that was held up ends: by a signal, or by a crash of the primary.
	my $pid = $primary->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'stopping'});
	if (rand() < 0.5 || !$errors{$point}) { kill 'KILL', $pid }
	else { $primary->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)") }
	$run->{handle}->finish;
	ok(wait_for($primary, 'SELECT true'), "$what: the primary is back");
	is(stopped($primary), $point, "$what: it was there");
	$want = permanent($primary);

	promote_copy();
	is(permanent($promoted), $want, "$what: promoted: all rows");
	usable($promoted, "$what: promoted");
	$promoted->stop('immediate');

	usable($primary, $what) if rand() < 0.3;
	$primary->safe_psql('postgres', "ROLLBACK PREPARED '$_'") for split /\n/, $primary->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');
	catch_up();
	is(permanent($standby), permanent($primary), "$what: the standby agrees afterwards");
}
note "$n points, at $locked of which a table was locked";
$standby->stop;
$primary->stop;
grep_log($_, $_->name) for $primary, $standby, $promoted;
done_testing();
