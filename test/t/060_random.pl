# Random work done to a metricsdb table and to a heap; after each step both hold the same rows.
#
#   METRICSDB_STEPS=n	steps a run (150)
#   METRICSDB_SEED=n	to repeat a run: it is the same up to where background workers come in
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StorageTest;

my $steps = $ENV{METRICSDB_STEPS} || 150;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$);
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = new_node('random', 'metricsdb.direct_rows' => 50, 'metricsdb.write_buffer' => "'1MB'");
my $s = session($node);

# Names and types of the columns as they are now; each step's rows are made of random expressions over i.
my (@columns, $serial, @done);

sub pick { return $_[ int(rand(@_)) ] }

my %values = (
	'timestamptz' => sub {
		pick("timestamptz '2026-01-01' + i * interval '1 s'",
			"timestamptz '2026-01-01' + (i * 7919 % 100000) * interval '10 s'",
			"timestamptz '2026-01-02 03:04:05'",
			"CASE WHEN i % 7 = 0 THEN 'infinity' WHEN i % 11 = 0 THEN '-infinity' ELSE timestamptz '1999-12-31' - i * interval '1 day' END",
			"CASE WHEN i % 5 > 0 THEN timestamptz '2026-03-01' + i * interval '1 ms' END");
	},
	'text' => sub { pick("'h' || i % 7", "md5(i::text)", "repeat('x', i % 3000)", "CASE WHEN i % 3 = 0 THEN 'a' WHEN i % 3 = 1 THEN '' END", 'NULL') },
	'float8' => sub { pick('i', 'sqrt(i)', "CASE WHEN i % 9 = 0 THEN 'NaN' WHEN i % 9 = 1 THEN '-0' WHEN i % 9 = 2 THEN 'Infinity' ELSE i / 100.0::float8 END", 'NULL', 'random()::numeric(4,2)') },
	'float4' => sub { pick('i', 'i / 3.0', 'NULL') },
	'int4' => sub { pick('i', '-i', '2147483647 - i', 'CASE WHEN i % 2 = 0 THEN i END', '7') },
	'int8' => sub { pick('i', 'i * 1000000007::int8', '9223372036854775807 - i', 'NULL') },
	'int2' => sub { pick('i % 32767', '3') },
	'numeric' => sub { pick('i / 7.0', 'i', "CASE WHEN i % 5 = 0 THEN 'NaN' ELSE i::numeric END") },
	'bool' => sub { pick('i % 2 = 0', 'NULL', 'true') },
	'jsonb' => sub { pick("jsonb_build_object('a', i % 3, 'b', 'x')", "'{}'", 'NULL', "'[1, null]'") },
	'int4[]' => sub { pick('ARRAY[i, NULL, i % 3]', "'{}'", 'NULL') },
	'bytea' => sub { pick("decode(md5(i::text), 'hex')", "''", 'NULL') },
	'uuid' => sub { pick('md5((i % 5)::text)::uuid', 'NULL') },
	'interval' => sub { pick("i * interval '1 s'", 'NULL') },
	'name' => sub { pick("('n' || i % 4)::name", 'NULL') },
	'date' => sub { pick("date '2026-01-01' + i % 100", 'NULL') });

# Done to both: @ stands for the table.
sub both
{
	my ($sql) = @_;
	my @answers;

	# The same random numbers for both.
	$sql = 'SELECT setseed(' . (int(rand(1000)) / 1000) . "); $sql";
	push @done, $sql;
	for my $table ('t', 'h')
	{
		my $mine = $sql =~ s/@/$table/gr;
		my $answer = $s->query($mine);
		die "connection lost at: $mine\n$s->{last}" if !defined $answer;
		push @answers, $answer =~ s/\b(?:f_|p)?[th]\b/@/gr;
	}
	return @answers;
}

sub make_rows
{
	my ($n, $first) = @_;
	my $list = join ', ', map { '(' . $values{ $_->[1] }->() . ")::$_->[1]" } @columns;

	$serial += $n;
	$first //= $serial - $n + 1;
	return "SELECT $list FROM generate_series($first, " . ($first + $n - 1) . ') i';
}

sub size { return pick(1, 1, 2, 10, 49, 50, 60, 300, 3000, 3000) }

sub insert_sql { return 'INSERT INTO @ ' . make_rows(size()) . ';' }

sub create
{
	my @types = sort keys %values;

	@columns = ([ 'c1', pick('timestamptz', 'timestamptz', 'date', 'int4') ]);
	push @columns, [ 'c' . ($_ + 1), pick(@types) ] for 1 .. 2 + rand(6);
	$serial = 0;
	@done = ();
	my $list = join ', ', map { "$_->[0] $_->[1]" } @columns;
	$s->query("DROP TABLE IF EXISTS t, h; CREATE TABLE t ($list) USING metricsdb; CREATE TABLE h ($list);");
	push @done, "CREATE TABLE t ($list) USING metricsdb; CREATE TABLE h ($list);";
	return;
}

# Compared as text, bit by bit: jsonb, -0 and NaN have their own ideas of equality.
sub differ
{
	my $d = $s->query(q{SELECT (SELECT count(*) FROM (SELECT t::text FROM t EXCEPT ALL SELECT h::text FROM h) x),
		(SELECT count(*) FROM (SELECT h::text FROM h EXCEPT ALL SELECT t::text FROM t) x), (SELECT count(*) FROM t) - (SELECT count(*) FROM h)});
	return defined $d && $d eq '0|0|0' ? undef : ($d // $s->{last});
}

sub end_sql { return pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK') . ';' }

my @kinds = (
	[ 30, 'insert', sub { both(insert_sql()) } ],
	[ 8, 'rows one by one', sub { both('BEGIN;' . join('', map { 'INSERT INTO @ ' . make_rows(1) . ';' } 1 .. 1 + rand(20)) . end_sql()) } ],
	[
		10,
		'savepoints',
		sub {
			my $sql = 'BEGIN;';
			my @open;
			for (1 .. 2 + rand(8))
			{
				my $what = rand();
				if ($what < 0.4) { $sql .= insert_sql() }
				elsif ($what < 0.6) { push @open, 's' . int(rand(1000000)); $sql .= "SAVEPOINT $open[-1];" }
				elsif ($what < 0.7 && @open) { my $at = int(rand(@open)); $sql .= "ROLLBACK TO $open[$at];"; splice @open, $at + 1 }
				elsif ($what < 0.8 && @open) { my $at = int(rand(@open)); $sql .= "RELEASE $open[$at];"; splice @open, $at }
				elsif ($what < 0.9) { $sql .= 'SELECT count(*), min(@::text), max(@::text) FROM @;' }
				elsif ($what < 0.95) { $sql .= 'TRUNCATE @;' }
				else { $sql .= 'INSERT INTO @ SELECT * FROM @ ORDER BY @::text LIMIT 100;' }
			}
			both($sql . end_sql());
		}
	],
	[
		8,
		'exception blocks',
		sub {
			my ($a, $b, $c) = (make_rows(size()), make_rows(size()), make_rows(1));
			my ($fail, $end) = (pick('PERFORM 1/0;', ''), end_sql());
			both("BEGIN; DO \$\$ DECLARE n int8; BEGIN INSERT INTO @ $a; BEGIN INSERT INTO @ $b; SELECT count(*) INTO n FROM @; $fail "
				  . "EXCEPTION WHEN division_by_zero THEN INSERT INTO @ $c; END; SELECT count(*) INTO n FROM @; RAISE NOTICE 'n %', n; INSERT INTO @ $c; END \$\$; $end");
		}
	],
	[
		6,
		'a function that writes in the middle of a statement that writes',
		sub {
			my ($a, $c) = (make_rows(size()), make_rows(2));
			my $fail = pick('IF k % 3 = 0 THEN PERFORM 1/0; END IF;', '');
			both("CREATE OR REPLACE FUNCTION f_@(k int) RETURNS int LANGUAGE plpgsql AS \$\$ DECLARE n int8; BEGIN INSERT INTO @ $c; $fail SELECT count(*) INTO n FROM @; RETURN n; "
				  . "EXCEPTION WHEN division_by_zero THEN RETURN -1; END \$\$;");
			both("BEGIN; INSERT INTO @ SELECT x.* FROM ($a) x, f_@(3) y WHERE y IS NOT NULL; SELECT f_@(i) FROM generate_series(1, 4) i; " . end_sql());
		}
	],
	[ 4, 'WITH', sub { both('WITH w AS (INSERT INTO @ ' . make_rows(size()) . ' RETURNING *) INSERT INTO @ SELECT * FROM w LIMIT 60; ') } ],
	[ 5, 'a statement that fails', sub { both('INSERT INTO @ ' . make_rows(size()) . " UNION ALL SELECT " . join(', ', map { "NULL::$_->[1]" } @columns) . " FROM (SELECT 1/0) x;") } ],
	[
		5,
		'COPY',
		sub {
			my $file = PostgreSQL::Test::Utils::tempdir . '/copy';
			both("COPY (SELECT * FROM \@ ORDER BY \@::text LIMIT 500) TO '$file'; COPY \@ FROM '$file';");
		}
	],
	[ 10, 'compact', sub { push @done, 'compact'; my $a = $s->query("CALL metricsdb.compact('t')"); die "compact: $a" if $a =~ /ERROR/; } ],
	[ 4, 'vacuum', sub { both(pick('VACUUM @', 'VACUUM FULL @', 'VACUUM ANALYZE @', 'ANALYZE @')) } ],
	[
		5,
		'add column',
		sub {
			my $type = pick(sort keys %values);
			my $name = 'a' . int(rand(1e9));
			my $default = pick('', '', ' DEFAULT ' . ({ text => "'dflt'", float8 => '1.5', int4 => '42', int8 => '42', jsonb => "'{\"d\": 1}'", bool => 'true' }->{$type} // 'NULL'));
			push @columns, [ $name, $type ];
			both("ALTER TABLE @ ADD $name $type$default");
		}
	],
	[
		4,
		'drop column',
		sub {
			return if @columns < 3;
			my ($gone) = splice @columns, 1 + int(rand(@columns - 1)), 1;
			both("ALTER TABLE @ DROP $gone->[0]");
		}
	],
	[ 1, 'drop the first column', sub { return if @columns < 3; my $gone = shift @columns; both("ALTER TABLE @ DROP $gone->[0]"); } ],
	[
		3,
		'alter type',
		sub {
			my @can = grep { $_->[1] =~ /^(int4|int2|float4|date|name|text|uuid)$/ } @columns;
			return unless @can;
			my $c = pick(@can);
			my $type = { int4 => 'int8', int2 => 'int4', float4 => 'float8', date => 'timestamptz', name => 'text', text => 'bytea', uuid => 'text' }->{ $c->[1] };
			$c->[1] = $type;
			both("ALTER TABLE @ ALTER $c->[0] TYPE $type USING " . ($type eq 'bytea' ? "convert_to($c->[0], 'UTF8')" : "$c->[0]::$type"));
		}
	],
	[ 2, 'truncate', sub { both('TRUNCATE @') } ],
	[ 1, 'truncate and more', sub { both('BEGIN; TRUNCATE @;' . insert_sql() . insert_sql() . end_sql()) } ],
	[ 1, 'there and back', sub { push @done, 'set access method'; $s->query('ALTER TABLE t SET ACCESS METHOD heap; ALTER TABLE t SET ACCESS METHOD metricsdb;') } ],
	[
		2,
		'prepared',
		sub {
			my ($sql) = (insert_sql() . insert_sql());
			my $end = pick('COMMIT', 'COMMIT', 'ROLLBACK');
			both("BEGIN; $sql PREPARE TRANSACTION 'p\@'; $end PREPARED 'p\@';");
		}
	],
	[
		3,
		'crash',
		sub {
			push @done, 'crash';
			$node->stop('immediate');
			$node->start;
			$s->connect;
		}
	],
	[ 3, 'another session', sub { push @done, 'session'; $s->connect } ],
	[
		4,
		'cursor',
		sub {
			# What it sees stays as it was, whatever follows.
			my @n = both('SELECT count(*) FROM @');
			my ($sql) = (insert_sql());
			my @a = both("BEGIN; DECLARE c CURSOR FOR SELECT * FROM @; MOVE 3 FROM c; $sql MOVE FORWARD ALL FROM c; MOVE BACKWARD ALL FROM c; COMMIT;");
			is($a[0], $a[1], 'a cursor moves alike');
		}
	]);
my $total = 0;
$total += $_->[0] for @kinds;

sub step
{
	my $at = rand($total);

	for my $k (@kinds)
	{
		$at -= $k->[0];
		next if $at >= 0;
		my @answers = $k->[2]->();
		return ($k->[1], @answers);
	}
	return ('nothing');
}

my ($bad, $count) = (0, 0);
create();
for my $step (1 .. $steps)
{
	create() if $step % 50 == 0;
	my ($what, $a, $b) = eval { step() };
	my $error = $@;
	my $d;
	$count++;
	if ($error) { $d = $error }
	else { $d = differ() }
	# Counts that queries saw on the way, and errors, are the same, too; plans and plain order may differ.
	if (!defined $d && defined $b && $what ne 'cursor')
	{
		my ($x, $y) = map { join "\n", grep { !/setseed|^$|CONTEXT|PL\/pgSQL|LINE|\^/ } split /\n/, $_ } ($a, $b);
		$d = "answers differ:\n$x\n---\n$y" if $x ne $y;
	}
	if (defined $d)
	{
		fail("step $step, $what");
		diag("METRICSDB_SEED=$seed step $step, $what: $d\n");
		open(my $out, '>', "$PostgreSQL::Test::Utils::log_path/random_$seed.sql");
		print $out "$_\n" for @done;
		close $out;
		last if ++$bad >= 3;
		$s->connect;
		create();
	}
}
is($bad, 0, "$count steps");
$s->query("CALL metricsdb.compact('t')");
is(differ(), undef, 'equal at the end, compacted');
$s->query('DROP TABLE t, h');
$s->close;
catalogs_in_order($node, 'postgres', 'at the end');
$node->stop;
grep_log($node, 'random work');
done_testing();
