# NetTest.pm: nodes in networks of their own, whose cables can be cut: what is sent is lost then, and nobody says so.
#
#   use NetTest;             before all others: runs the test again in a network of its own, as the same user, who need not be
#                            root; skips it where that is not permitted
#   net_node(name, %options) a cluster in another one; new_node()'s options
#   net_start(node)          starts it again there
#   cut(node), mend(node)    its cable
#   $HOME_ADDRESS            ours, for whom nodes shall reach
package NetTest;

use strict;
use warnings;
use Exporter ();
use Test::More;
use Time::HiRes qw(usleep);

our ($HOME_ADDRESS, @unshare);
BEGIN
{
	$HOME_ADDRESS = '10.77.0.1';
	@unshare = ('unshare', '--user', '--map-current-user', '--keep-caps', '--net');
}
our @EXPORT = qw($HOME_ADDRESS net_node net_start net_conninfo cut mend);

my %nets;
my $last = 1;

sub run
{
	my (@command) = @_;
	system(@command) == 0 or BAIL_OUT("@command failed");
	return;
}

# Before PostgreSQL::Test::Utils takes standard output for itself.
sub enter
{
	if (!$ENV{METRICSDB_NET})
	{
		plan skip_all => 'network namespaces are not permitted here'
		  if system("@unshare sh -c 'ip link add br0 type bridge && unshare --net true' >/dev/null 2>&1") != 0;
		$ENV{METRICSDB_NET} = 1;
		exec @unshare, $^X, $0 or die "could not run $0 again: $!";
	}
	run('ip', 'link', 'set', 'lo', 'up');
	# Its address must not change with its ports.
	run('ip', 'link', 'add', 'br0', 'address', '02:00:00:00:00:01', 'type', 'bridge');
	run('ip', 'addr', 'add', "$HOME_ADDRESS/24", 'dev', 'br0');
	run('ip', 'link', 'set', 'br0', 'up');
	return;
}

BEGIN { enter() }
# Only now
require StorageTest;
require PostgreSQL::Test::Utils;

sub import { goto &Exporter::import }

# A network with a cable to ours.  Neighbours are known for good: who asks for one that is away would be told so.
sub new_net
{
	my $n = ++$last;
	my $net = { address => "10.77.0.$n", port => "port$n" };
	my $pid = fork // die "fork: $!";
	my $mac = sprintf '02:00:00:00:00:%02x', $n;

	exec 'unshare', '--net', 'sleep', '900' if $pid == 0;
	for (1 .. 500)
	{
		my $theirs = readlink "/proc/$pid/ns/net";
		last if defined $theirs && $theirs ne readlink '/proc/self/ns/net';
		usleep(10_000);
	}
	$net->{pid} = $pid;
	$net->{enter} = [ 'nsenter', "--net=/proc/$pid/ns/net" ];
	run('ip', 'link', 'add', $net->{port}, 'type', 'veth', 'peer', 'name', 'eth0', 'address', $mac, 'netns', $pid);
	run('ip', 'link', 'set', $net->{port}, 'master', 'br0', 'up');
	run('ip', 'neigh', 'replace', $net->{address}, 'lladdr', $mac, 'nud', 'permanent', 'dev', 'br0');
	run(@{ $net->{enter} }, 'sh', '-c', "ip link set lo up && ip addr add $net->{address}/24 dev eth0 && ip link set eth0 up && "
		  . "ip neigh replace $HOME_ADDRESS lladdr 02:00:00:00:00:01 nud permanent dev eth0");
	return $net;
}

# What starts servers does so in a node's network.
sub within
{
	my ($net, $code) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my ($real) = grep { -x } map { "$_/pg_ctl" } split /:/, $ENV{PATH};

	PostgreSQL::Test::Utils::append_to_file("$dir/pg_ctl", "#!/bin/sh\nexec @{ $net->{enter} } $real \"\$@\"\n");
	chmod 0755, "$dir/pg_ctl";
	local $ENV{PATH} = "$dir:$ENV{PATH}";
	return $code->();
}

sub net_node
{
	my ($name, %options) = @_;
	my $net = new_net();
	my $node = within($net, sub { return StorageTest::new_node($name, listen_addresses => "'$net->{address}'", %options) });

	$nets{$name} = $net;
	$node->append_conf('pg_hba.conf', 'host all all 10.77.0.0/24 trust');
	$node->reload;
	return $node;
}

sub net_start
{
	my ($node) = @_;
	return within($nets{ $node->name }, sub { return StorageTest::restart_after_crash($node) });
}

sub net_conninfo
{
	my ($node) = @_;
	return "host=$nets{ $node->name }{address} port=" . $node->port . ' dbname=postgres';
}

sub cut
{
	my ($node) = @_;
	run('ip', 'link', 'set', $nets{ $node->name }{port}, 'down');
	return;
}

sub mend
{
	my ($node) = @_;
	run('ip', 'link', 'set', $nets{ $node->name }{port}, 'up');
	return;
}

END
{
	my $status = $?;
	for my $net (values %nets) { kill 'KILL', $net->{pid}; waitpid $net->{pid}, 0 }
	$? = $status;
}

1;
