# DistTest.pm: a coordinator and nodes, which are clusters of their own.
#
#   dist_nodes(names)                    a coordinator, and a cluster for each name, not added yet
#   add_nodes(coordinator, nodes)        each a shard of its own
#   same(coordinator, query, what, before)  by psql, or a session that is quiet, after some SETs: the query, in which @ is a table, on `spread`, which is distributed, and on
#                                        `whole`, which has the same rows: one result
#   bytes_of(coordinator, query)         how many bytes nodes and coordinator have exchanged for it
package DistTest;

use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;
use StorageTest;

our @EXPORT = qw(dist_nodes add_nodes conninfo same differs bytes_of rows_of);

sub dist_nodes
{
	my (@names) = @_;
	my %conf = (
		fsync => 'off',
		search_path => "'public, metricsdb'",
		timezone => "'UTC'",
		jit => 'off',
		shared_buffers => "'16MB'",
		'metricsdb.direct_rows' => 50,
		'metricsdb.rollup_routing' => 'exact');

	my @nodes = map { new_node($_, %conf, init => [ extra => [ '-E', 'UTF8', '--no-locale' ] ]) } 'coordinator', @names;

	$nodes[0]->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw');
	return @nodes;
}

sub conninfo
{
	my ($node) = @_;
	return 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';
}

sub add_nodes
{
	my ($coordinator, @nodes) = @_;
	for my $n (@nodes)
	{
		$coordinator->safe_psql('postgres', "SELECT metricsdb.add_node('" . $n->name . "', '" . conninfo($n) . "')");
	}
	return;
}

# Values that are equal but for the order in which floats were added up.
sub alike
{
	my ($x, $y) = @_;
	return 1 if $x eq $y;
	return 0 if $x !~ /^-?\d+(?:\.\d+)?(?:e[-+]\d+)?$/ || $y !~ /^-?\d+(?:\.\d+)?(?:e[-+]\d+)?$/;
	return abs($x - $y) <= 1e-9 * (abs($x) + abs($y)) || abs($x - $y) < 1e-7;
}

# What tells two results apart; undef if nothing does.
sub differs
{
	my ($a, $b, $ordered) = @_;
	# A row may end with a line's end of its own.
	my @a = split /\n/, $a, -1;
	my @b = split /\n/, $b, -1;

	return scalar(@a) . ' rows, and ' . scalar(@b) if @a != @b;
	if (!$ordered)
	{
		@a = sort @a;
		@b = sort @b;
	}
	for my $i (0 .. $#a)
	{
		my @x = split /\|/, $a[$i], -1;
		my @y = split /\|/, $b[$i], -1;
		return "$a[$i]\n$b[$i]" if @x != @y || grep { !alike($x[$_], $y[$_]) } 0 .. $#x;
	}
	return;
}

sub same
{
	my ($coordinator, $query, $what, $before) = @_;
	my @results;

	$before //= '';
	$what //= $query;
	for my $table ('spread', 'whole')
	{
		my $sql = $query =~ s/@/$table/gr;
		my ($rc, $out, $err);
		if (ref $coordinator eq 'StorageTest::Session')
		{
			$out = $err = $coordinator->query("RESET ALL;\n$before;\n$sql");
			$rc = !defined $out || $out =~ /^(?:psql:.*)?ERROR: /m;
			$err //= $coordinator->{last};
		}
		else { ($rc, $out, $err) = $coordinator->psql('postgres', "$before;\n$sql") }
		if ($rc != 0)
		{
			fail($what);
			diag("$sql\n$err");
			return;
		}
		push @results, $out;
	}
	my $difference = differs(@results, scalar $query =~ /ORDER BY[^()]*$/);
	ok(!defined $difference, $what) or diag("$query\n" . ($difference // ''));
	return;
}

sub walk
{
	my ($plan, $key) = @_;
	my $sum = 0;

	$sum += $_->{$key} for @{ $plan->{Nodes} // [] };
	$sum += walk($_, $key) for @{ $plan->{Plans} // [] };
	return $sum;
}

sub explained
{
	my ($coordinator, $query, $key, $before) = @_;
	my $json = $coordinator->safe_psql('postgres', ($before // '') . ";EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) $query");
	return walk(decode_json($json)->[0]{Plan}, $key);
}

sub bytes_of { return explained($_[0], $_[1], 'Bytes', $_[2]) }
sub rows_of { return explained($_[0], $_[1], 'Rows', $_[2]) }

1;
