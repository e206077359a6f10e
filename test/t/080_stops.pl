# A session is killed at each point of src/stop.c that it passes, or gets an error there.  Afterwards
# each table holds what a heap holds that the same transactions wrote, is written to, compacted, and no
# larger than it has to be.
#
#   METRICSDB_STOPS=all	each point in each workload that passes it; else in one of them, by turns
#   METRICSDB_SEED=n	to choose the same again
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time usleep);
use StorageTest;
use StopTest;

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = stop_node('stops');
my %errors = map { $_ => 1 } stop_points($node, 'e');
my %where;	# point -> workloads that pass it

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

# The shipped library knows nothing of this.
unlike(slurp_file(`pg_config --pkglibdir` =~ s/\n//r . '/metricsdb.so'), qr/stop_at|metricsdb_stop/, 'the shipped library has no stop points');

for my $round (1 .. 2)
{
	for my $section (sections())
	{
		crash();	# what was unlogged is gone
		push @{ $where{$_} }, $section for grep { my $p = $_; !grep { $_ eq $section } @{ $where{$p} // [] } } passed($node, $section);
		usable($node, "$section, undisturbed");
	}
}
is(join(' ', grep { !$where{$_} } stop_points($node, 's')), '', 'each point is passed');

my $n = 0;
for my $point (stop_points($node, 's'))
{
	# What is passed depends on what was left before: where it is not this time, another workload does.
	my @sections = shuffle(@{ $where{$point} // [] }) or next;
	my @plans = [@sections];
	@plans = map { my $first = $_; [$first, grep { $_ ne $first } @sections] } @sections if ($ENV{METRICSDB_STOPS} // '') eq 'all';
	for my $plan (@plans)
	{
		for my $action ('kill', $errors{$point} ? 'error' : ())
		{
			my ($hit, $what, $log_end);

			empty_tables($node) if ++$n % 12 == 0;
			my $pass = 1 + int(rand(3));
			for my $section ($plan->[0], @$plan, @$plan)
			{
				$what = "$point in $section: $action";
				crash() if $section eq 'unlogged';
				$log_end = -s $node->logfile;
				run_at($node, $section, "$point:$action:$pass");
				$hit = stopped($node);
				$pass = 1;
				last if defined $hit;
			}
			is($hit, $point, "$what: stopped") or next;
			# The session is gone a moment before the server knows of the crash.
			my $until = time() + 60;
			while ($action eq 'kill' && time() < $until && PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_end) !~ /terminated by signal 9/) { usleep(20_000); }
			ok(wait_for($node, 'SELECT true'), "$what: the server is back") if $action eq 'kill';
			usable($node, $what);
		}
	}
}
my $log = slurp_file($node->logfile);
my $killed = () = $log =~ /was terminated by signal 9/g;
note "$n stops, $killed kills";
$node->stop;
grep_log($node, 'all stops');
done_testing();
