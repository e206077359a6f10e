# kill -9 of the postmaster, of a backend or of the compactor, and immediate stops, again and again,
# while writers, compaction and DDL run.  Each writer notes what it was told was committed.
# Afterwards all of that is there once, nothing else is, and what was never answered is there
# wholly or not at all.
#
#   METRICSDB_CRASHES=n	number of crashes (10)
#   METRICSDB_SEED=n	to see the same again, as far as the processes allow
use strict;
use warnings;
use IO::Handle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time sleep);
use StorageTest;

my $crashes = $ENV{METRICSDB_CRASHES} || 10;
my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
my $nwriters = 4;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = new_node('crash', 'autovacuum_naptime' => 1, 'metricsdb.direct_rows' => 100, 'wal_keep_size' => 0);
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Some partitions, a column of each kind; writer, txn, seq tell who wrote a row and check is made of them.
my $columns = q{(time timestamptz, host text, tags jsonb, writer int, txn int, seq int, v float8, f float4, n numeric, note text)};
sql("CREATE TABLE m $columns USING metricsdb");
sql("CREATE TABLE t$_ $columns USING metricsdb") for 1 .. $nwriters;

# rows(writer, txn, from, to): a SELECT of the rows of that transaction.
sub rows
{
	my ($writer, $txn, $from, $to) = @_;
	return "SELECT timestamptz '2026-01-01' + i % 3 * interval '1 day' + ($txn * interval '1 min') - i * interval '7 s',"
	  . " 'h' || ($txn / 5 + i) % 200, jsonb_build_object('w', $writer, 'k', i % 5), $writer, $txn, i, $txn + i * 0.25,"
	  . " CASE WHEN i % 10 > 0 THEN i END, ($txn * 1000 + i) / 100.0, CASE WHEN i % 50 = 0 THEN repeat('x', i % 3000) ELSE 'n' || i END"
	  . " FROM generate_series($from, $to) i";
}

# good: a row that is what rows() made of its writer, txn and seq.
my $good = q{host = 'h' || (txn / 5 + seq) % 200 AND tags = jsonb_build_object('w', writer, 'k', seq % 5) AND v = txn + seq * 0.25
	AND f IS NOT DISTINCT FROM CASE WHEN seq % 10 > 0 THEN seq END::float4 AND n = (txn * 1000 + seq) / 100.0
	AND note = CASE WHEN seq % 50 = 0 THEN repeat('x', seq % 3000) ELSE 'n' || seq END
	AND time = timestamptz '2026-01-01' + seq % 3 * interval '1 day' + txn * interval '1 min' - seq * interval '7 s'};

# A writer's life between two crashes.  Its ledger gets a line "begin TXN ROWS" before, and
# "commit TXN" or "abort TXN" after the server's answer; "truncate" lines concern table t<writer>.
sub write_until_crash
{
	my ($writer, $round, $file) = @_;
	open(my $ledger, '>>', $file) or die;
	$ledger->autoflush(1);
	my $s = session($node);
	my $txn = $round * 10000;

	while (!-e "$dir/over")
	{
		$txn++;
		my $n = 1 + int(rand(10) < 6 ? rand(5) : rand(10) < 7 ? rand(400) : rand(6000));
		my $kind = int(rand(12));
		my ($answer, $expect);
		my $table = rand() < 0.6 ? 'm' : "t$writer";
		my $half = int($n / 2);
		my $truncate = '';

		if ($kind == 9)
		{
			# Another file in the same transaction, which may be rolled back.
			$table = "t$writer";
			$truncate = "TRUNCATE $table;";
		}
		my $end = $kind % 4 == 3 ? 'ROLLBACK' : 'COMMIT';
		print $ledger "begin $txn $n $table", ($truncate && $end eq 'COMMIT' ? ' truncate' : ''), "\n";
		if ($kind == 0)
		{
			$answer = $s->query("INSERT INTO $table " . rows($writer, $txn, 1, $n));
			$expect = 'INSERT 0';
			$end = 'COMMIT';
		}
		elsif ($kind == 1)
		{
			# One statement a row.
			$n = 20 if $n > 20;
			print $ledger "rows $txn $n\n";
			$answer = $s->query('BEGIN;' . join(';', map { "INSERT INTO $table " . rows($writer, $txn, $_, $_) } 1 .. $n) . '; COMMIT;');
			$end = $expect = 'COMMIT';
		}
		elsif ($kind == 2 || $kind == 3)
		{
			$answer = $s->query("BEGIN; INSERT INTO $table " . rows($writer, $txn, 1, $half) . '; SAVEPOINT a; INSERT INTO '
				  . "$table " . rows($writer, -$txn, 1, $n) . '; ROLLBACK TO a; INSERT INTO '
				  . "$table " . rows($writer, $txn, $half + 1, $n) . "; $end;");
			$expect = $end;
		}
		elsif ($kind == 4)
		{
			# COPY in, from a file that the server writes: the same rows as text.
			$answer = $s->query("COPY (" . rows($writer, $txn, 1, $n) . ") TO '$dir/w$writer.csv'; COPY $table FROM '$dir/w$writer.csv';");
			$expect = "COPY $n\nCOPY $n";
			$end = 'COMMIT';
		}
		elsif ($kind == 5)
		{
			$answer = $s->query("CREATE TABLE c${writer}_$txn $columns USING metricsdb; INSERT INTO c${writer}_$txn " . rows($writer, $txn, 1, $n)
				  . "; INSERT INTO $table SELECT * FROM c${writer}_$txn; DROP TABLE c${writer}_$txn;");
			$expect = 'DROP TABLE';
			# The drop may be lost and the insert not.
			$end = 'COMMIT';
		}
		elsif ($kind == 6)
		{
			$answer = $s->query("CALL metricsdb.compact('$table'); INSERT INTO $table " . rows($writer, $txn, 1, $n));
			$expect = 'INSERT 0';
			$end = 'COMMIT';
		}
		else
		{
			$answer = $s->query("BEGIN; $truncate INSERT INTO $table " . rows($writer, $txn, 1, $n) . "; $end;");
			$expect = $end;
		}
		if (!defined $answer)
		{
			$s->close;
			return;
		}
		if ($answer =~ /ERROR/ || index($answer, $expect) < 0)
		{
			print $ledger "failed $txn ", $answer =~ s/\n/ /gr, "\n";
			$s->close;
			return;
		}
		print $ledger $end eq 'COMMIT' ? 'commit' : 'abort', " $txn\n";
		print $ledger "error $txn more than $expect: $answer\n" if $kind == 4 && $answer ne $expect;
	}
}

# What the ledgers say of each transaction: state{writer}{txn} = [table, rows, commit | abort | open].
# Those left open by a crash are settled by what is there, once and for all.
my (%state, %offset, @failed);

sub read_ledgers
{
	for my $w (1 .. $nwriters)
	{
		open(my $in, '<', "$dir/ledger$w") or next;
		seek($in, $offset{$w} // 0, 0);
		while (my $line = <$in>)
		{
			my ($what, $txn, $n, $table, $truncate) = split ' ', $line;
			my $st = $state{$w};

			if ($what eq 'begin') { $state{$w}{$txn} = { table => $table, n => $n, what => 'open', truncate => $truncate } }
			elsif ($what eq 'rows') { $state{$w}{$txn}{n} = $n }
			elsif ($what eq 'failed' || $what eq 'error')
			{
				# The statement before the one that failed may have been a transaction of its own.
				push @failed, "writer $w: $line";
			}
			else
			{
				$state{$w}{$txn}{what} = $what;
				truncated($w, $txn) if $what eq 'commit' && $state{$w}{$txn}{truncate};
			}
		}
		$offset{$w} = tell($in);
		close $in;
	}
	return;
}

# A TRUNCATE took what that writer had in its own table.
sub truncated
{
	my ($w, $txn) = @_;

	for my $t (keys %{ $state{$w} })
	{
		my $x = $state{$w}{$t};
		$x->{what} = 'abort' if $t < $txn && $x->{table} eq "t$w" && $x->{what} eq 'commit';
	}
	return;
}

sub verify
{
	my ($what) = @_;
	my (%found, @wrong);

	for my $table ('m', map { "t$_" } 1 .. $nwriters)
	{
		for my $line (split /\n/, sql("SELECT writer, txn, count(*), count(DISTINCT seq), min(seq), max(seq), count(*) FILTER (WHERE $good) FROM $table GROUP BY 1, 2"))
		{
			my ($w, $txn, $count, $distinct, $min, $max, $ok) = split /\|/, $line;
			push @wrong, "$table: writer $w txn $txn: $count rows, $distinct distinct, $min to $max, $ok good"
			  unless $count == $distinct && $min == 1 && $max == $count && $ok == $count;
			push @wrong, "$table: writer $w txn $txn is in two tables" if exists $found{$w}{$txn};
			$found{$w}{$txn} = [ $table, $count ];
		}
	}
	# First the open ones, in order: a TRUNCATE among them tells of others.
	for my $w (keys %state)
	{
		for my $txn (sort { $a <=> $b } keys %{ $state{$w} })
		{
			my $x = $state{$w}{$txn};
			next if $x->{what} ne 'open';
			$x->{what} = $found{$w}{$txn} ? 'commit' : 'abort';
			truncated($w, $txn) if $x->{truncate} && $x->{what} eq 'commit';
		}
	}
	for my $w (keys %state)
	{
		for my $txn (keys %{ $state{$w} })
		{
			my $x = $state{$w}{$txn};
			my $f = delete $found{$w}{$txn};
			if ($x->{what} eq 'commit')
			{
				push @wrong, "writer $w txn $txn: committed $x->{n} rows in $x->{table}, found " . ($f ? "$f->[1] in $f->[0]" : 'none')
				  unless $f && $f->[0] eq $x->{table} && $f->[1] == $x->{n};
			}
			elsif ($f)
			{
				push @wrong, "writer $w txn $txn: was rolled back, found $f->[1] rows in $f->[0]";
			}
		}
	}
	for my $w (keys %found)
	{
		push @wrong, "writer $w txn $_: unheard of" for keys %{ $found{$w} };
	}
	@wrong = (@wrong[ 0 .. 19 ], '...') if @wrong > 20;
	is(join("\n", @wrong), '', "$what: each row once");
	# By another way: row by row, all columns, without grouping; and counting alone.
	for my $table ('m', map { "t$_" } 1 .. $nwriters)
	{
		my ($a, $b) = (sql("SELECT count(*) FROM $table"), sql("SELECT count(*) FILTER (WHERE x.* IS NOT NULL OR x.v IS NOT NULL) FROM $table x"));
		push @wrong, "$table: $a, $b" if $a ne $b;
	}
	is(join("\n", @wrong), '', "$what: counts agree");
	return;
}

my (%hit, $kills);
for my $round (1 .. $crashes)
{
	my @pids;

	for my $w (1 .. $nwriters, 'compact', 'vacuum')
	{
		my $pid = fork() // die;
		if ($pid == 0)
		{
			srand($seed + $round * 100 + ord($w));
			# Leave without END blocks: they would stop the server.
			if ($w =~ /\d/) { eval { write_until_crash($w, $round, "$dir/ledger$w") } }
			else
			{
				eval {
					my $s = session($node);
					while (!-e "$dir/over" && defined(my $answer = $s->query($w eq 'compact' ? "CALL metricsdb.compact('m')" : 'VACUUM m')))
					{
						if ($answer =~ /ERROR/)
						{
							open(my $l, '>>', "$dir/ledger1");
							print $l "failed 0 $w: ", $answer =~ s/\n/ /gr, "\n";
							last;
						}
						usleep($w eq 'compact' ? 200_000 : 700_000);
					}
					$s->close;
				};
			}
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	sleep(0.3 + rand(2.5));

	my $how = (qw(postmaster postmaster backend compactor immediate postmaster))[ int(rand(6)) ];
	my $victim;
	if ($how eq 'backend' || $how eq 'compactor')
	{
		my $where = $how eq 'backend' ? "application_name = 'session' ORDER BY random()" : "backend_type ~ 'maintainer'";
		(undef, $victim) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $where LIMIT 1");
		$how = 'postmaster' unless $victim;
	}
	$hit{$how}++;
	if ($how eq 'postmaster') { $node->kill9 }
	elsif ($how eq 'immediate') { $node->stop('immediate') }
	else
	{
		kill 'KILL', $victim;
	}
	wait_for_crash("$dir/over", @pids);
	if ($how eq 'postmaster' || $how eq 'immediate') { restart_after_crash($node) }
	else
	{
		ok(wait_for($node, 'SELECT true'), 'the server is back by itself');
	}
	read_ledgers();
	verify("crash $round ($how)");
}
my $commits = grep { $_->{what} eq 'commit' } map { values %{ $state{$_} } } keys %state;
note "crashes: ", join(', ', map { "$_ $hit{$_}" } sort keys %hit), "; transactions: ", scalar(map { keys %{ $state{$_} } } keys %state),
  ", whose rows are there: $commits";

# A statement fails for no other reason than a crash.
@failed = grep { !/terminating|shutting down|starting up|in recovery mode|the database system|could not connect|No such file|Connection refused/ } @failed;
is(join('', @failed), '', 'no statement failed');

# Tables that a crash left between CREATE and DROP.
sql($_) for split /\n/, sql(q{SELECT 'DROP TABLE ' || relname FROM pg_class WHERE relname ~ '^c[0-9]+_'});
catalogs_in_order($node, 'postgres', 'after the crashes');
sql("CALL metricsdb.compact('$_')") for 'm', map { "t$_" } 1 .. $nwriters;
verify('compacted');
size_bounded($node, 'postgres', $_, 'compacted') for 'm', map { "t$_" } 1 .. $nwriters;
is(sql("SELECT sum(pg_relation_size(relid)) <= 8192 * 64 FROM metricsdb.delta"), 't', 'deltas are empty');
$node->restart;
verify('restarted');
sql("VACUUM FULL m");
verify('rewritten');
catalogs_in_order($node, 'postgres', 'at the end');
$node->stop;
grep_log($node, 'all crashes');
done_testing();
