# sql/FUNCTIONS.md: every example prints what it says, and every function for queries has one.
#
# A block of SQL that a block of text follows is an example; what psql prints for it must be that text.  A block
# without one prepares something.  All run in one session of psql, in the order of the file.  Functions for
# queries are those whose SQL is in sql/3[5-9]_*.sql, without those that only serve an aggregate, an operator,
# a type or a cast.
#
# A run that fails leaves the file as it would be right in METRICSDB_RUN/FUNCTIONS.md.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;
use StorageTest;

my $top = $ENV{METRICSDB_TOP} || '.';
my $file = "$top/sql/FUNCTIONS.md";
my $node = PostgreSQL::Test::Cluster->new('examples');

$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nautovacuum = off\n");
$node->start;

# ---------- the file ----------

# Text and blocks in turn: { text => ... } or { sql => ..., output => ..., line => ... }
my @pieces;
{
	my ($kind, $line, $body, $text) = ('', 0, '', '');
	my $n = 0;

	for my $l (split /^/, slurp_file($file))
	{
		$n++;
		if ($kind eq '')
		{
			if ($l =~ /^```(\w+)$/) { ($kind, $line, $body) = ($1, $n, '') }
			else { $text .= $l }
			next;
		}
		if ($l !~ /^```$/) { $body .= $l; next }
		if ($kind eq 'text' && $text eq '' && @pieces && defined $pieces[-1]{sql} && !defined $pieces[-1]{output})
		{
			$pieces[-1]{output} = $body;
		}
		else
		{
			push @pieces, { text => $text };
			$text = '';
			if ($kind eq 'sql') { push @pieces, { sql => $body, line => $line } }
			else { fail("line $line: a block of $kind that follows no SQL") }
		}
		$kind = '';
	}
	is($kind, '', 'the last block ends');
	push @pieces, { text => $text };
}

my @blocks = grep { defined $_->{sql} } @pieces;
cmp_ok(scalar(@blocks), '>', 3, 'there are examples');
ok(!defined $blocks[0]{output}, 'the first block prepares');

# ---------- running them ----------

my $mark = '==== block';
my $script = "\\set QUIET on\n\\set ON_ERROR_STOP on\n\\pset pager off\n";
$script .= "\\echo $mark $_\n$blocks[$_]{sql}\n" for 0 .. $#blocks;
my ($out, $err) = ('', '');
IPC::Run::run [ 'psql', '-X', '-d', $node->connstr('postgres'), '-f', '-' ], '<', \$script, '>', \$out, '2>', \$err;
is($err, '', 'no example fails');

# Blanks at the ends of lines and empty lines at the end are psql's, not the reader's.
sub tidy
{
	my ($s) = @_;
	$s =~ s/[ \t]+$//mg;
	$s =~ s/\n+\z/\n/;
	return $s;
}

my %got = map { /\A (\d+)\n(.*)\z/s ? ($1 => tidy($2)) : () } split /^\Q$mark\E/m, $out;
for my $i (0 .. $#blocks)
{
	next if !defined $blocks[$i]{output};
	is($got{$i}, tidy($blocks[$i]{output}), "the example in line $blocks[$i]{line}");
}

# ---------- is there one for each function? ----------

my %made;
for my $f (glob "$top/sql/3[5-9]_*.sql")
{
	my $sql = slurp_file($f);
	$made{$1} = 1 while $sql =~ /^CREATE (?:OR REPLACE )?(?:FUNCTION|AGGREGATE|PROCEDURE)\s+(?:metricsdb\.)?(\w+)/mg;
}
cmp_ok(scalar(keys %made), '>', 3, 'the list of functions is not empty');
my @functions = split /\n/, $node->safe_psql('postgres', q{
	SELECT DISTINCT proname FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'metricsdb'
	WHERE NOT 'internal'::regtype = ANY (p.proargtypes::oid[] || p.prorettype)
	AND NOT EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
		a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn))
	AND NOT EXISTS (SELECT FROM pg_operator o WHERE p.oid IN (o.oprcode, o.oprrest, o.oprjoin))
	AND NOT EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend,
		t.typmodin, t.typmodout, t.typanalyze))
	AND NOT EXISTS (SELECT FROM pg_cast c WHERE c.castfunc = p.oid)
	AND NOT EXISTS (SELECT FROM pg_amproc m WHERE m.amproc = p.oid)
	ORDER BY 1});
my $examples = join '', map { defined $_->{output} ? $_->{sql} : '' } @blocks;
my @missing = grep { $made{$_} && $examples !~ /\b\Q$_\E\s*\(/ } @functions;
is("@missing", '', 'each function has an example');

if (!Test::More->builder->is_passing && $ENV{METRICSDB_RUN})
{
	my $right = '';
	for my $p (@pieces)
	{
		if (defined $p->{text}) { $right .= $p->{text}; next }
		$right .= "```sql\n$p->{sql}```\n";
		next if !defined $p->{output};
		my ($i) = grep { $blocks[$_] == $p } 0 .. $#blocks;
		$right .= "```text\n" . ($got{$i} // '') . "```\n";
	}
	open my $h, '>', "$ENV{METRICSDB_RUN}/FUNCTIONS.md" or die $!;
	print $h $right;
	close $h;
	diag("what is printed now: $ENV{METRICSDB_RUN}/FUNCTIONS.md");
}
$node->stop;
done_testing();
