#!/usr/bin/perl
# judge.pl: what a run of PostgreSQL's tests on metricsdb says other than the run on heap did.
#
#   judge.pl --baseline --suite SUITE --input DIR --ours DIR
#       is heap's own run fit to compare with?
#   judge.pl --suite SUITE --input DIR --heap DIR --ours DIR --rules FILE --ratchet FILE [--slice] [--cold]
#
# Crashes, hangs and internal errors come first, then the files that differ.  A file passes if it equals
# what heap gave or a file of expected output, or would but for the rules (see README.md).
# Ends with the line "N passed, N failed".
use strict;
use warnings;
use Getopt::Long;

my ($baseline, $suite, $input, $heap, $ours, $rules, $ratchet, $slice, $cold);
GetOptions(
	'baseline'  => \$baseline,
	'suite=s'   => \$suite,
	'input=s'   => \$input,
	'heap=s'    => \$heap,
	'ours=s'    => \$ours,
	'rules=s'   => \$rules,
	'ratchet=s' => \$ratchet,
	'slice'     => \$slice,
	'cold'      => \$cold) or die "judge.pl: see its head\n";

sub lines_of
{
	my ($file) = @_;
	open(my $f, '<', $file) or return undef;
	my @lines = <$f>;
	chomp @lines;
	return \@lines;
}

# Tests of the schedule, and those whose failure it says to ignore.
sub tests_of
{
	my (@tests, %ignored);
	foreach (@{ lines_of($_[0]) })
	{
		if (/^test:\s*(.*)/) { push @tests, split ' ', $1; }
		elsif (/^ignore:\s*(.*)/) { $ignored{$_} = 1 foreach split ' ', $1; }
	}
	return (\@tests, \%ignored);
}

# --- What the server's log tells

# Crashes; and internal errors, without what changes from run to run: { message => first line }.
sub server_log
{
	my ($file) = @_;
	my (@crashes, %internal);
	open(my $f, '<', $file) or die "$file: $!\n";
	while (<$f>)
	{
		chomp;
		if (/PANIC|TRAP: |was terminated by (signal|exception)|AddressSanitizer|runtime error: /)
		{
			push @crashes, $_;
			# What the process was doing.
			while (defined($_ = <$f>) && /DETAIL:|STATEMENT:|^\t/)
			{
				chomp;
				push @crashes, "  $_";
			}
			last if !defined;
			redo;
		}
		elsif (/\b(ERROR|FATAL|WARNING|LOG): +(XX\d\d\d): (.*)/)
		{
			my ($line, $what) = ($_, "$1 $2 $3");
			$what =~ s/\d+/N/g;
			$internal{$what} //= $line;
		}
	}
	return (\@crashes, \%internal);
}

# --- Rules

# Each: { tests, why, todo, anything, subs, plans, rows, hunks, used }
sub read_rules
{
	my (@rules, $rule, $hunk);
	my $where = sub { die "$rules line $.: $_[0]\n" };
	open(my $f, '<', $_[0]) or die "$_[0]: $!\n";
	while (<$f>)
	{
		chomp;
		if ($hunk)
		{
			if ($_ eq 'end') { $hunk = undef; }
			elsif (/^[-+]/) { push @$hunk, $_; }
			else { $where->("a hunk has lines with - and +, then 'end'"); }
			next;
		}
		next if /^\s*(#|$)/;
		if (/^\[(.+)\]$/)
		{
			# Names of regress, or isolation/name; * stands for anything.
			my @tests;
			foreach my $t (split ' ', $1)
			{
				my ($of, $name) = $t =~ m{^(isolation)/(.*)} ? ($1, $2) : ('regress', $t);
				my $regex = join '.*', map { quotemeta } split /\*/, $name, -1;
				push @tests, qr/^(?:$regex)\z/ if $of eq $suite;
			}
			$rule = { tests => \@tests, name => $_, line => $., subs => [], plans => [], rows => [], hunks => [] };
			push @rules, $rule;
			next;
		}
		$where->('not in a section') if !$rule;
		if (/^why\s+(.+)/) { $rule->{why} = $1; }
		elsif (/^todo\s+(.+)/) { $rule->{todo} = $1; }
		elsif (/^anything$/) { $rule->{anything} = 1; }
		elsif (/^plans(?:\s+(.+))?$/) { push @{ $rule->{plans} }, $1 // '.'; }
		elsif (/^rows(?:\s+(.+))?$/) { push @{ $rule->{rows} }, $1 // '.'; }
		elsif (m{^s/((?:[^/\\]|\\.)*)/((?:[^/\\]|\\.)*)/$})
		{
			my ($from, $to) = ($1, $2);
			push @{ $rule->{subs} }, [ qr/$from/, $to ];
		}
		elsif ($_ eq 'hunk') { push @{ $rule->{hunks} }, $hunk = []; }
		else { $where->("not understood: $_"); }
	}
	foreach (@rules)
	{
		die "$rules line $_->{line}: $_->{name} has neither 'why' nor 'todo'\n" if !$_->{why} && !$_->{todo};
	}
	return @rules;
}

# The replacement's $1 ... $4 are the groups of the match that is being replaced.
sub expand
{
	my ($to) = @_;
	my @groups = ($&, $1, $2, $3, $4);
	$to =~ s/\$([0-4])/$groups[$1] \/\/ ''/ge;
	return $to;
}

# What the rules make of an output.  A result is a line of dashes, below it lines until "(N rows)"; the
# statement it belongs to is what stands above it, back to the result before.
sub normalise
{
	my ($lines, $applicable, $mark) = @_;
	my @out;
	my @statement;
	my @subs = map { my $r = $_; map { [ @$_, $r ] } @{ $r->{subs} } } @$applicable;
	my @blocks = map { my $r = $_; (map { [ 'plan', $_, $r ] } @{ $r->{plans} }), (map { [ 'rows', $_, $r ] } @{ $r->{rows} }) }
	  @$applicable;

	for (my $i = 0; $i < @$lines; $i++)
	{
		my $line = $lines->[$i];
		foreach my $s (@subs)
		{
			my ($from, $to, $rule) = @$s;
			$rule->{used} = 1 if $line =~ s/$from/expand($to)/ge && $mark;
		}
		push @out, $line;
		if (@blocks && $i > 0 && $line =~ /^-[-+]*$/)
		{
			my $end = $i + 1;
			$end++ while $end < @$lines && $lines->[$end] !~ /^\(\d+ rows?\)$/ && $end - $i < 20000;
			my $statement = join ' ', @statement;
			my $plan = $lines->[ $i - 1 ] =~ /QUERY PLAN/;
			if ($end < @$lines)
			{
				foreach my $b (@blocks)
				{
					my ($kind, $regex, $rule) = @$b;
					next if ($kind eq 'plan') != !!$plan || $statement !~ /$regex/i;
					$rule->{used} = 1 if $mark;
					if ($kind eq 'plan')
					{
						pop @out;
						pop @out;
						push @out, '(a plan)';
						$i = $end;
					}
					else
					{
						push @out, sort @$lines[ $i + 1 .. $end - 1 ];
						$i = $end - 1;
					}
					last;
				}
			}
			@statement = ();
			next;
		}
		push @statement, $line;
		@statement = () if $line =~ /^\(\d+ rows?\)$/;
	}
	return \@out;
}

my $tmp = "/tmp/torture-judge-$$";

# Hunks of the difference, each a list of lines with - and +.
sub hunks
{
	my ($a, $b) = @_;
	my @files = ("$tmp.a", "$tmp.b");
	foreach ([ $files[0], $a ], [ $files[1], $b ])
	{
		open(my $f, '>', $_->[0]) or die "$_->[0]: $!\n";
		print $f map { "$_\n" } @{ $_->[1] };
		close $f;
	}
	my @hunks;
	open(my $d, '-|', 'diff', '-a', '-U0', @files) or die "diff: $!\n";
	while (<$d>)
	{
		chomp;
		next if $. <= 2;
		if (/^\@\@/) { push @hunks, []; }
		else { push @{ $hunks[-1] }, $_; }
	}
	close $d;
	unlink @files;
	return @hunks;
}

sub size { my $n = 0; $n += @$_ foreach @_; return $n; }

# --- The judgement

my ($tests, $ignored) = tests_of("$ours/schedule");
my ($crashes, $internal) = server_log("$ours/server.log");
my ($passed, $failed) = (0, 0);

# Expected output has variants: name.out, name_1.out ...
sub expected
{
	my ($test) = @_;
	return grep { defined } map { lines_of("$input/$suite/expected/$test$_.out") } '', map { "_$_" } 0 .. 9;
}

sub equal { return join("\n", @{ $_[0] }) eq join("\n", @{ $_[1] }); }

if ($baseline)
{
	my @differ;
	foreach my $t (@$tests)
	{
		my $lines = lines_of("$ours/results/$t.out");
		push @differ, $t if !$lines || !grep { equal($_, $lines) } expected($t);
	}
	print "heap: ", @$tests - @differ, " of ", scalar(@$tests), " files as expected";
	print ", the tests being of another minor version than the server or sensitive to the machine: @differ" if @differ;
	print "\n";
	print "CRASH: $_\n" foreach @$crashes;
	exit(@$crashes || @differ > 0.5 * @$tests + 3 ? 1 : 0);
}

my @rules = read_rules($rules);
my (undef, $heap_internal) = server_log("$heap/server.log");
foreach (@$crashes)
{
	print "CRASH: $_\n";
	$failed++ if !/^  /;
}
foreach (@{ lines_of("$ours/hangs") // [] })
{
	print "HANG: $_\n";
	$failed++;
}
foreach (sort keys %$internal)
{
	next if $heap_internal->{$_};
	print "INTERNAL ERROR: $internal->{$_}\n";
	$failed++;
}

# In cold mode rows are where parts put them and plans are what they are.
my $any = { name => 'cold', subs => [], hunks => [], plans => ['.'], rows => ['.'] };
my (@explained, @todo, @done, @bad);
mkdir "$ours/left";
foreach my $t (@$tests)
{
	my $b = lines_of("$ours/results/$t.out");
	my @candidates = grep { defined } lines_of("$heap/results/$t.out"), expected($t);
	my @applicable = grep { my $r = $_; grep { $t =~ $_ } @{ $r->{tests} } } @rules;
	my ($todo) = grep { $_->{todo} } @applicable;
	if ($b && grep { equal($_, $b) } @candidates)
	{
		$passed++;
		push @done, $t if $todo;
		next;
	}
	my @left;
	if (!$b) { @left = (['+ (no output)']); }
	elsif (grep { $_->{anything} } @applicable) { $_->{used} = 1 foreach grep { $_->{anything} } @applicable; }
	else
	{
		push @applicable, $any if $cold && $suite eq 'regress';
		my $nb = normalise($b, \@applicable, 1);
		my $best;
		foreach my $a (@candidates)
		{
			my @rest = hunks(normalise($a, \@applicable, 0), $nb);
			foreach my $rule (@applicable)
			{
				foreach my $accepted (@{ $rule->{hunks} })
				{
					my $text = join "\n", @$accepted;
					my @others = grep { join("\n", @$_) ne $text } @rest;
					$rule->{used} = 1 if @others < @rest;
					@rest = @others;
				}
			}
			$best = \@rest if !$best || size(@rest) < size(@$best);
			last if !@$best;
		}
		@left = @{ $best // [ ['+ (nothing to compare with)'] ] };
	}
	if (!@left)
	{
		$passed++;
		push @explained, $t;
		push @done, $t if $todo;
		next;
	}
	my @text = map { @$_, '' } @left;
	splice @text, 5000, @text - 5000, '...' if @text > 5000;
	open(my $f, '>', "$ours/left/$t.diff") or die "$ours/left/$t.diff: $!\n";
	print $f map { "$_\n" } @text;
	close $f;
	if ($ignored->{$t}) { $passed++; }
	elsif ($todo)
	{
		$passed++;
		push @todo, $t;
	}
	else { push @bad, [ $t, size(@left) ]; }
}

@bad = sort { $a->[1] <=> $b->[1] } @bad;
print "DIFFER (how many lines; see $ours/left): ", join(', ', map { "$_->[0] $_->[1]" } @bad), "\n" if @bad;
# In cold mode only what cannot be a matter of order or plan is a failure, so for regress none of these.
if ($cold && $suite eq 'regress') { $passed += @bad; }
else { $failed += @bad; }
print "known to fail: @todo\n" if @todo;
print "no longer to fail, a 'todo' can go: @done\n" if @done && !$slice;
print "explained by rules: @explained\n" if @explained;
print scalar(@$tests), " files: ", @$tests - @bad - @todo - @explained, " as on heap, ", scalar(@explained), " explained, ",
  scalar(@todo), " known to fail, ", scalar(@bad), " unexplained\n";

if (!$slice && !$cold)
{
	foreach (grep { @{ $_->{tests} } && !$_->{todo} && !$_->{used} } @rules)
	{
		print "rule not needed: line $_->{line} $_->{name}\n";
	}
	my %limit = map { /^(\w+)\s+(\d+)/ ? ($1, $2) : () } @{ lines_of($ratchet) };
	my $limit = $limit{$suite} // 0;
	my $n = @explained + @todo;
	if ($n > $limit)
	{
		print "RATCHET: $n files differ from heap, the ratchet allows $limit\n";
		$failed++;
	}
	elsif ($n < $limit) { print "the ratchet can be lowered: $suite $n\n"; }
}
print "$passed passed, $failed failed\n";
exit($failed ? 1 : 0);
