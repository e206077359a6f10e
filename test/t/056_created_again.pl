# The extension is dropped and created again while sessions live that remember what there was: rows keep their
# series, and none is lost.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('again', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1, autovacuum => 'off', client_min_messages => 'warning');
my $create = q{CREATE EXTENSION IF NOT EXISTS metricsdb; CREATE TABLE m (name text, t timestamptz, v float8) USING metricsdb;};
my $again = "DROP EXTENSION metricsdb CASCADE; $create";
my $rows = 'SELECT name, count(*) FROM m GROUP BY 1 ORDER BY 1';

sub put { return "INSERT INTO m SELECT '$_[0]' || i % 3, timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, 1000) i;" }
sub counts { return join("\n", map { my $t = $_; map { "$t$_|" . ($_ == 0 ? 333 : $_ == 1 ? 334 : 333) } 0 .. 2 } @_) }

sub in_order
{
	my ($what, @tags) = @_;
	is($node->safe_psql('postgres', $rows), counts(@tags), "$what: every row has its series");
	is($node->safe_psql('postgres', 'SELECT * FROM metricsdb.check($$m$$)'), '', "$what: nothing is damaged");
	return;
}

my @ids;
sub new_id
{
	push @ids, $node->safe_psql('postgres', 'SELECT max(storage_id) FROM metricsdb.storage');
	return;
}

# Sessions that live through it all
my $one = session($node);
my $two = session($node);

$one->query($create);
$one->query(put('old'));
is($two->query($rows), counts('old'), 'before');
new_id();

# The same session
$one->query($again);
$one->query(put('old'));
in_order('created again', 'old');
new_id();

# Another one: what A remembers is not what is there
$two->query($again);
$two->query(put('new'));
is($one->query($rows), counts('new'), 'the other session sees what is there');
$one->query(put('third'));
$two->query(put('fourth'));
in_order('both have written', 'fourth', 'new', 'third');
new_id();

# Rolled back, and in a savepoint: the first extension is there again
for my $undo ([ 'BEGIN', 'ROLLBACK' ], [ 'BEGIN; SAVEPOINT s', 'ROLLBACK TO s; COMMIT' ])
{
	$one->query("$undo->[0]; $again");
	$one->query(put('none'));
	is($one->query($rows), counts('none'), 'in the transaction');
	$one->query($undo->[1]);
	is($one->query($rows), counts('fourth', 'new', 'third'), "$undo->[1]: the session sees what there was");
}
in_order('rolled back', 'fourth', 'new', 'third');

# Several times in a transaction, of which the last stays
$one->query("BEGIN; $again");
$one->query(put('one'));
$one->query("SAVEPOINT s; $again");
$one->query(put('two'));
$one->query("ROLLBACK TO s; $again");
$one->query(put('three'));
$one->query($again);
$one->query(put('four'));
$one->query('COMMIT');
is($two->query($rows), counts('four'), 'the other session sees the last one');
in_order('several times', 'four');
new_id();
is(join(' ', @ids), join(' ', sort { $a <=> $b } @ids), 'ids of storages grow');
is(scalar(keys %{ { map { $_ => 1 } @ids } }), scalar(@ids), 'and none comes twice');
$one->close;
$two->close;
$node->stop;
done_testing();
