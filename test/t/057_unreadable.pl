# Tables whose file cannot be read, or is not there, can be dropped and emptied.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('unreadable', init => [ extra => ['--data-checksums'] ], 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1, autovacuum => 'off');
my %file;

# Rewrites fail as they do for a heap.  Only that takes a page of zeros for an empty one.
for my $t (map { ("damaged_$_", "gone_$_", "zero_$_") } 'drop', 'truncate', 'extension', 'heap')
{
	my $am = $t =~ /heap/ ? 'heap' : 'metricsdb';
	$node->safe_psql('postgres', qq{
		CREATE TABLE $t (name text, t timestamptz, v float8) USING $am;
		INSERT INTO $t SELECT 'a' || i % 3, timestamptz '2026-01-01' + i * interval '1 s', i FROM generate_series(1, 1000) i});
	$file{$t} = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$t')");
}
$node->safe_psql('postgres', 'CREATE TABLE whole (t timestamptz, v float8) USING metricsdb; INSERT INTO whole VALUES (now(), 1)');
$node->stop;
for my $t (keys %file)
{
	if ($t =~ /gone/)
	{
		unlink $file{$t} or die;
		next;
	}
	open my $f, '+<', $file{$t} or die;
	binmode $f;
	if ($t =~ /zero/)
	{
		print $f "\0" x 8192;
	}
	else
	{
		seek $f, 24, 0;
		print $f 'x' x 100;
	}
	close $f;
}
$node->start;

for my $how ('damaged', 'gone', 'zero')
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT count(*) FROM ${how}_drop");
	isnt($rc, 0, "$how: cannot be read");
	($rc, $out, $err) = $node->psql('postgres', "DROP TABLE ${how}_drop");
	is($rc, 0, "$how: is dropped");
	like($err, qr/WARNING:  the file of table "${how}_drop" cannot be read/, "$how: with a warning");
	($rc, $out, $err) = $node->psql('postgres', "TRUNCATE ${how}_truncate");
	is($rc, 0, "$how: is emptied");
	like($err, qr/WARNING/, "$how: with a warning");
	is($node->safe_psql('postgres', "INSERT INTO ${how}_truncate SELECT 'a', now(), i FROM generate_series(1, 100) i; SELECT count(*), sum(v) FROM ${how}_truncate"), '100|5050', "$how: and used again");
	is($node->safe_psql('postgres', "SELECT * FROM metricsdb.check('${how}_truncate')"), '', "$how: nothing is damaged");
}

# What cannot be read is not written anew, with the same error as heap's where that has one; the table stays.
my %state = (damaged => 'XX001', gone => '58P01', zero => 'XX001');
for my $how ('damaged', 'gone', 'zero')
{
	for my $rewrite ('VACUUM FULL @', 'ALTER TABLE @ ALTER v TYPE float4', 'ALTER TABLE @ ADD w float8 DEFAULT random()')
	{
		for my $t ("${how}_extension", $how eq 'zero' ? () : "${how}_heap")
		{
			my ($rc, $out, $err) = $node->psql('postgres', '\set VERBOSITY sqlstate' . "\n" . $rewrite =~ s/@/$t/r);
			like($err, qr/ERROR:  $state{$how}$/m, "$t: $rewrite fails");
		}
	}
}
catalogs_in_order($node, 'postgres', 'afterwards');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION metricsdb CASCADE');
is($rc, 0, 'the extension is dropped');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname ~ '^(damaged|gone|zero)_' AND relam <> 2}), '0', 'with all tables');
$node->stop;
done_testing();
