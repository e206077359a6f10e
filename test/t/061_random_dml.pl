# Random changes of rows, done to a metricsdb table and to a heap alike: statements, what they say and
# what is in the tables afterwards must be the same.  Several pairs of sessions have transactions open
# at a time; a lock that is held is an error, on both.
#
#   METRICSDB_RANDOM_ROUNDS=n	rounds: each with tables of its own (6)
#   METRICSDB_STEPS=n	steps a round (120)
#   METRICSDB_SEED=n	to repeat a run
# A round that fails leaves its statements in the log's folder, as random_dml_SEED_ROUND.sql.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use StorageTest;

my $rounds = $ENV{METRICSDB_RANDOM_ROUNDS} || 6;
my $steps = $ENV{METRICSDB_STEPS} || 120;
my $first_seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
my $verbose = $ENV{METRICSDB_VERBOSE};

my $node = new_node('random_dml', 'metricsdb.workers' => 'off', autovacuum => 'off', lock_timeout => '60ms', max_prepared_transactions => 20);
my $admin = session($node);
my $dir = PostgreSQL::Test::Utils::tempdir;
my (%said, @done, @pairs, %round, $next_id, $next_name, @prepared, $count, $hot);
my $table_names = 'mm|hh';

sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# ---- statements; @ stands for the table, i for a number ----

# Often near the same place, so that transactions meet.
sub some_id
{
	$hot = 1 + int(rand($next_id)) if chance(0.03);
	return $hot + int(rand(8)) if chance(0.4);
	return $next_id > 1 ? 1 + int(rand($next_id)) : 1;
}

sub range
{
	my $from = some_id();
	return "BETWEEN $from AND " . ($from + int(rand(pick(3, 20, 200))));
}

# Which rows: few, mostly.
sub where
{
	my ($a) = @_;
	$a //= '@';
	my $p = pick(
		sub { "$a.id = " . some_id() },
		sub { "$a.id = " . some_id() },
		sub { "$a.id " . range() },
		sub { "$a.id " . range() },
		sub { "$a.id IN (" . join(', ', map { some_id() } 1 .. 1 + rand(6)) . ')' },
		sub { "$a.k = " . int(rand(20)) },
		sub { "$a.k IN (1, 5, " . int(rand(20)) . ')' },
		sub { "$a.id % " . (2 + int(rand(30))) . ' = 1' },
		sub { "$a.host = 'h" . int(rand(7)) . "' AND $a.k < " . int(rand(20)) },
		sub { "$a.time > timestamptz '2026-01-01' + interval '" . int(rand(3000)) . " min'" },
		sub { "$a.v < " . int(rand(100)) },
		sub { "$a.note IS NULL AND $a.id % 5 = " . int(rand(5)) },
		sub { "length($a.note) > " . pick(0, 30, 3000) },
		sub { "EXISTS (SELECT FROM @ o WHERE o.k = $a.k AND o.id > $a.id AND o.id " . range() . ')' },
		sub { "$a.id IN (SELECT id FROM @ o WHERE o.v > " . int(rand(100)) . ' AND o.id ' . range() . ')' },
		sub { chance(0.1) ? 'true' : "$a.id < " . (1 + int(rand(80))) })->();
	return $p =~ /^\S+ (?:BETWEEN|=|IN|%)/ || chance(0.2) ? $p : "$p AND $a.id % 3 = " . int(rand(3));
}

# What to set; keys stay unique however the rows are ordered.
sub sets
{
	my ($a) = @_;
	$a //= '@';
	my %set = (
		v => pick("$a.v + 1", int(rand(100)), 'NULL', "$a.id * 1.5", "-$a.v"),
		k => pick("($a.k * 7 + 3) % 20", int(rand(20)), "$a.k", "($a.id % 20)::int"),
		note => pick("'n' || $a.id", 'NULL', "repeat(md5($a.id::text), " . pick(1, 3, 100) . ')', "$a.note || 'x'", "''"),
		host => pick("'h' || $a.k", "'moved'", "$a.host"),
		time => pick("$a.time + interval '1 day'", "timestamptz '2026-01-05'", "$a.time - interval '1 min'"),
		extra => extra("($a.id % 1000)"));
	my @names = sort keys %set;
	my %take = map { pick(@names) => 1 } 1 .. pick(1, 1, 2, 3);
	my @list = map { "$_ = $set{$_}" } grep { $take{$_} } @names;
	if (chance(0.08))
	{
		my $step = 1_000_000 * (1 + int(rand(1000)));
		push @list, "id = $a.id + $step";
	}
	return join ', ', @list;
}

sub extra
{
	my ($i) = @_;
	return {
		int4 => pick("$i", "-$i", 'NULL', '7'),
		numeric => pick("$i / 7.0", "'NaN'::numeric", 'NULL'),
		jsonb => pick("jsonb_build_object('a', $i % 3)", "'[1, null]'::jsonb", 'NULL'),
		'int4[]' => pick("ARRAY[$i, NULL, $i % 3]", "'{}'::int4[]", 'NULL'),
		bool => pick("$i % 2 = 0", 'NULL'),
		bytea => pick("decode(md5(($i)::text), 'hex')", "''::bytea", 'NULL'),
		uuid => pick("md5(($i % 5)::text)::uuid", 'NULL') }->{ $round{extra} };
}

my $columns = '(id, k, time, host, v, note, extra)';

sub row_of
{
	my ($i) = @_;
	return join ', ', $i, pick("($i % 20)::int", int(rand(20))), pick("timestamptz '2026-01-01' + ($i % 5000) * interval '1 min'", "timestamptz '2026-01-03'"),
	  pick("'h' || $i % 7", "'h1'", "md5(($i % 3)::text)"), pick("$i % 100", "sqrt($i % 1000)", 'NULL', "'NaN'"),
	  pick("'n' || $i", 'NULL', "repeat(md5($i\::text), " . pick(1, 2, 90) . ')', "''"), extra("($i % 1000)\::int4");
}

sub size { return pick(1, 1, 1, 2, 3, 10, 49, 60, 120, 120, 400) }

sub fresh_rows
{
	my ($n) = @_;
	my $from = $next_id;
	$next_id += $n;
	return 'SELECT ' . row_of('i') . " FROM generate_series($from\::int8, " . ($from + $n - 1) . ') i';
}

sub returning { return chance(0.3) ? ' RETURNING ' . pick('id', '*', 'id, v, note', 'id + k AS s', 'count_of(id)') : '' }

sub insert_sql
{
	return 'INSERT INTO @ ' . $columns . ' VALUES (' . row_of($next_id++ . '::int8') . ')' . returning() if chance(0.3);
	return 'INSERT INTO @ ' . $columns . ' ' . fresh_rows(size()) . returning();
}

# Rows that are not there.
sub refill_sql
{
	my $n = pick(100, 300, 500);
	my $sql = "INSERT INTO @ $columns SELECT " . row_of('i') . " FROM generate_series(1::int8, $n) i WHERE NOT EXISTS (SELECT FROM @ o WHERE o.id = i)";
	$next_id = $n + 1 if $next_id <= $n;
	return $sql;
}

# Rows some of which are there already.
sub mixed_rows
{
	my $from = some_id();
	my $n = pick(1, 2, 10, 60);
	my $step = pick(1, 1, 3);
	$next_id = $from + $n * $step if $from + $n * $step > $next_id;
	return "generate_series($from\::int8, " . ($from + ($n - 1) * $step) . ", $step)";
}

sub conflict_sql
{
	my $rows = 'SELECT ' . row_of('i') . ' FROM ' . mixed_rows() . ' i';
	my $what = pick('NOTHING', 'UPDATE SET v = excluded.v, note = x.note', 'UPDATE SET (k, host) = (excluded.k, x.host)',
		"UPDATE SET note = coalesce(x.note, '') || '+', v = x.v + 1 WHERE x.k < " . int(rand(20)));
	my $on = $round{partitioned} || $round{two_keys} ? '(id, k)' : '(id)';
	$on = '' if $what eq 'NOTHING' && chance(0.3);
	return "INSERT INTO @ AS x $columns $rows ON CONFLICT $on DO $what" . (chance(0.3) ? ' RETURNING x.id, x.v' : '');
}

sub merge_sql
{
	my $source = pick("(SELECT i AS n FROM " . mixed_rows() . " i)", '(SELECT DISTINCT id + ' . pick(0, 0, 5) . ' AS n FROM @ WHERE ' . where() . ')');
	my $sql = "MERGE INTO @ AS x USING $source s ON x.id = s.n";
	$sql .= ' WHEN MATCHED AND ' . where('x') . ' THEN DELETE' if chance(0.4);
	$sql .= ' WHEN MATCHED AND x.k = 3 THEN DO NOTHING' if chance(0.3);
	$sql .= ' WHEN MATCHED THEN UPDATE SET ' . sets('x') if chance(0.8);
	$sql .= " WHEN NOT MATCHED THEN INSERT $columns VALUES (" . row_of('s.n') . ')' if chance(0.7) || $sql !~ /WHEN/;
	return $sql;
}

sub lock_mode { return pick('UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE') }

my @statements = (
	[ 20, sub { insert_sql() } ],
	[ 22, sub { 'UPDATE @ SET ' . sets() . ' WHERE ' . where() . returning() } ],
	[ 14, sub { 'DELETE FROM @ WHERE ' . where() . returning() } ],
	[ 10, sub { $round{unique} ? conflict_sql() : insert_sql() } ],
	[ 8, sub { merge_sql() } ],
	[ 8, sub { 'SELECT id, k, v FROM @ WHERE ' . where() . ' FOR ' . lock_mode() . pick('', '', ' NOWAIT', ' SKIP LOCKED') } ],
	[ 4, sub { 'UPDATE @ SET ' . sets() . ' FROM (SELECT DISTINCT o.id AS n FROM @ o WHERE ' . where('o') . ') s WHERE s.n = @.id + ' . pick(0, 1) . returning() } ],
	[ 3, sub { 'DELETE FROM @ USING @ o WHERE o.id = @.id + 1 AND ' . where('o') . (chance(0.3) ? ' RETURNING @.id, @.v' : '') } ],
	[ 4, sub { my $far = 10_000_000 + int(rand(1e9)); 'WITH gone AS (DELETE FROM @ WHERE ' . where() . " RETURNING *) INSERT INTO @ SELECT (g).* FROM (SELECT gone AS g FROM gone) x WHERE (g).k < 10" . returning() } ],
	[ 3, sub { 'WITH w AS (UPDATE @ SET ' . sets() . ' WHERE ' . where() . ' RETURNING id, v) SELECT count(*), sum(id), (SELECT count(*) FROM @) FROM w' } ],
	[ 3, sub { my $far = 10_000_000 + 1000 * int(rand(1e8)); "INSERT INTO @ $columns SELECT id + $far, k, time, host, v, note, extra FROM @ WHERE " . where() . returning() } ],
	[
		3,
		sub {
			my ($a, $b, $c) = ('UPDATE @ SET ' . sets() . ' WHERE ' . where(), pick(insert_sql(), 'DELETE FROM @ WHERE ' . where()), insert_sql());
			s/ RETURNING .*// for $a, $b, $c;
			my $fail = pick('PERFORM 1/0;', '');
			"DO \$\$ DECLARE n int8; BEGIN $a; BEGIN $b; SELECT count(*) INTO n FROM @; $fail EXCEPTION WHEN division_by_zero THEN $c; END; SELECT count(*) INTO n FROM @; RAISE NOTICE 'n %', n; END \$\$";
		}
	],
	[
		2,
		sub {
			'SELECT touch_@(id, ' . int(rand(5)) . ') FROM @ WHERE ' . where();
		}
	],
	[ 2, sub { return insert_sql() if !$round{unique} || $round{two_keys} || $round{partitioned}; my $one = some_id(); "DECLARE c CURSOR FOR SELECT * FROM @ WHERE id = $one FOR UPDATE; MOVE 1 FROM c; " . pick('UPDATE @ SET ' . sets(), 'DELETE FROM @') . ' WHERE CURRENT OF c; CLOSE c' } ],
	[ 1, sub { 'SELECT count(*), sum(id), sum(k), count(note), max(host) FROM @ WHERE ' . where() } ],
	[ 2, sub { 'SELECT a.id, b.v FROM @ a JOIN @ b ON a.id = b.id + 1 WHERE ' . where('a') . ' AND ' . where('b') } ],
	[ 3, sub { return insert_sql() if $round{partitioned}; my $rows = 'ctid = ANY (ARRAY(SELECT ctid FROM @ o WHERE ' . where('o') . '))'; pick('UPDATE @ SET ' . sets(), 'DELETE FROM @', 'SELECT id, v FROM @') . " WHERE $rows" } ],
	[ 2, sub { 'DELETE FROM @ WHERE id = (SELECT id FROM @ WHERE id > ' . some_id() . ' ORDER BY id, k LIMIT 1 FOR UPDATE' . pick('', ' SKIP LOCKED') . ')' } ],
	[ 1, sub { 'UPDATE p_@ SET n = n + 20 WHERE n = ' . int(rand(40)) } ],
	[ 2, sub { pick('DELETE FROM p_@ WHERE n = ' . int(rand(40)), 'INSERT INTO p_@ SELECT generate_series(0, 19) ON CONFLICT DO NOTHING') } ],
	[ 3, sub { "COPY @ $columns FROM '" . copy_file(pick(1, 5, 60, 150)) . "'" } ]);
my $weight = 0;
$weight += $_->[0] for @statements;

# A file of rows for COPY.
sub copy_file
{
	my $file = "$dir/copy" . $next_name++;
	$admin->query('COPY (' . fresh_rows($_[0]) . ") TO '$file'");
	return $file;
}

sub statement
{
	my $at = rand($weight);
	for my $s (@statements)
	{
		$at -= $s->[0];
		return $s->[1]->() if $at < 0;
	}
	return insert_sql();
}

# ---- pairs of sessions ----

# What comes back in the order of rows, or names the tables, or depends on the order in which rows are met.
sub normal
{
	my ($text) = @_;
	$text =~ s/\b(p_|touch_|)(?:$table_names)/$1@/g;
	my @lines = grep { !/^(?:DETAIL|HINT|CONTEXT|LINE|QUERY|WHERE):?|^ +\^|^PL\/pgSQL|^SQL statement/ } split /\n/, $text;
	s/ERROR:  (?:canceling statement due to lock timeout|could not serialize access.*|could not obtain lock.*|duplicate key value.*|(?:insert or )?update or delete on table.*|insert or update on table.*|tuple to be (?:updated|locked|deleted).*)/ERROR: conflict/
	  for @lines;
	return join "\n", sort @lines;
}

sub both
{
	my ($p, $sql) = @_;
	my %answer;

	push @done, "/* $p->{n} */ $sql;";
	note $done[-1] if $verbose;
	for my $side ('mm', 'hh')
	{
		my $mine = $sql =~ s/@/$side/gr;
		$p->{$side}->send($mine);
	}
	for my $side ('mm', 'hh')
	{
		$answer{$side} = $p->{$side}->result;
		die "connection lost ($side): $p->{$side}{last}\n" if !defined $answer{$side};
		$answer{"n$side"} = normal($answer{$side});
	}
	die "internal error: $answer{mm}\n" if $answer{mm} =~ /XX000|unexpected|could not (?:read|find|open)|failed to|cache lookup|invalid|damaged|corrupt/i && $answer{nmm} ne $answer{nhh};
	if ($answer{nmm} ne $answer{nhh})
	{
		my %count;
		$count{$_}++ for split /\n/, $answer{nmm};
		$count{$_}-- for split /\n/, $answer{nhh};
		my @more = map { ($count{$_} > 0 ? '+' : '-') . substr($_, 0, 300) } grep { $count{$_} } sort keys %count;
		splice @more, 12 if @more > 12;
		die "answers differ (+ metricsdb, - heap):\n" . join("\n", @more) . "\n";
	}
	note '  ', substr($answer{nmm}, 0, 200) =~ s/\n/ /gr if $verbose;
	$said{ $answer{nmm} =~ /^(ERROR.{0,60})/m ? $1 : 'no error' }++;
	$p->{failed} = 1 if $p->{open} && $answer{mm} =~ /ERROR/;
	return $answer{nmm};
}

my $digest = q{SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM (SELECT * FROM @ %s OFFSET 0) x};

sub compare_tables
{
	my ($p) = @_;
	return if $p->{failed};
	$count = (split /\|/, both($p, sprintf($digest, '')))[0];
	# The same through indexes.
	if ($round{indexes} && chance(0.3))
	{
		my $where = pick('WHERE id > -1', 'WHERE id > -1', 'WHERE k >= 0', "WHERE host > ''", 'WHERE k = ' . int(rand(20)), 'WHERE id ' . range());
		both($p, 'SET enable_seqscan = off; SET metricsdb.enable_custom_scan = off');
		both($p, sprintf($digest, $where));
		both($p, 'SELECT id FROM @ ' . $where . ' ORDER BY id LIMIT 20');
		both($p, 'RESET enable_seqscan; RESET metricsdb.enable_custom_scan' . ($round{plans} =~ /seqscan/ ? "; SET $round{plans}" : ''));
		return if $p->{failed};
	}
	return;
}

sub all_idle { return !@prepared && !grep { $_->{open} } @pairs }

sub finish
{
	my ($p) = @_;
	my $how = $p->{failed} ? 'ROLLBACK' : pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK', @prepared < 4 && !$p->{view} ? 'PREPARE' : 'COMMIT');
	if ($how eq 'PREPARE')
	{
		my $name = 'p' . $next_name++;
		# It may fail by a deferred constraint.
		push @prepared, $name if both($p, "PREPARE TRANSACTION '$name\@'") !~ /ERROR|ROLLBACK/;
	}
	else { both($p, $how) }
	@$p{qw(open failed view)} = (0, 0, undef);
	$p->{points} = [];
	return;
}

sub finish_prepared
{
	my ($n) = @_;
	for my $i (1 .. $n)
	{
		my $name = shift @prepared or last;
		both($admin_pair::pair, pick('COMMIT', 'COMMIT', 'ROLLBACK') . " PREPARED '$name\@'");
	}
	return;
}

sub begin
{
	my ($p) = @_;
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ');
	both($p, "BEGIN ISOLATION LEVEL $level");
	$p->{open} = 1;
	$p->{points} = [];
	return;
}

# One that only looks: what it sees stays the same.
sub look
{
	my ($p) = @_;
	if (!$p->{open})
	{
		$p->{kind} = pick('snapshot', 'cursor');
		if ($p->{kind} eq 'snapshot')
		{
			both($p, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
			$p->{open} = 1;
			$p->{saw} = both($p, sprintf($digest, ''));
		}
		else
		{
			both($p, 'BEGIN; DECLARE c CURSOR FOR SELECT * FROM @ ' . pick('', 'WHERE id > 0'));
			$p->{open} = 1;
		}
		return;
	}
	if ($p->{kind} eq 'snapshot')
	{
		my $sees = both($p, sprintf($digest, ''));
		die "a snapshot has changed: $p->{saw} to $sees\n" if $sees ne $p->{saw};
		return if chance(0.6);
	}
	else { both($p, 'FETCH ALL FROM c') }
	both($p, 'COMMIT');
	$p->{open} = 0;
	return;
}

sub upkeep
{
	my $p = $admin_pair::pair;
	my $what = pick(qw(compact compact compact compact vacuum check settings));

	if ($what eq 'compact')
	{
		push @done, '/* admin */ CALL metricsdb.compact()';
		my $a = $p->{mm}->query("SET statement_timeout = '20s'; SELECT format('CALL metricsdb.compact(%L)', c.oid::regclass) FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE amname = 'metricsdb' AND relkind = 'r' ORDER BY c.oid \\gexec\n; RESET statement_timeout");
		die "compact: " . ($a // 'lost') . "\n" if !defined $a || $a =~ /ERROR/;
	}
	elsif ($what eq 'vacuum')
	{
		push @done, '/* admin */ VACUUM';
		my $a = $p->{mm}->query(pick('VACUUM mm; VACUUM metricsdb.part', 'VACUUM', 'VACUUM ANALYZE mm', 'VACUUM (INDEX_CLEANUP on) mm'));
		# Whoever changes rows now may keep it waiting.
		die "VACUUM: $a\n" if $a =~ /ERROR/ && $a !~ /lock timeout/;
	}
	elsif ($what eq 'check') { check() }
	else
	{
		my $q = pick(@pairs);
		both($q, 'SET metricsdb.direct_rows = ' . pick(1, 1, 50, 1000));
	}
	return;
}

sub check
{
	my $a = $admin->query(q{SELECT c.relname, f::text FROM pg_class c JOIN pg_am a ON a.oid = relam, metricsdb.check(c.oid) f WHERE amname = 'metricsdb' AND relkind = 'r' AND severity <> 'info'});
	die "check: " . ($a // 'lost') . "\n" if !defined $a || $a ne '';
	return;
}

# When nothing is open.
sub alter
{
	my $p = $admin_pair::pair;
	my $sql = pick(
		'REINDEX TABLE @', 'REINDEX TABLE CONCURRENTLY @',
		'VACUUM FULL @', 'VACUUM @',
		'TRUNCATE @', 'CLUSTER',
		'ALTER TABLE @ ALTER v TYPE numeric; ALTER TABLE @ ALTER v TYPE float8',
		"ALTER TABLE \@ ADD c$next_name int DEFAULT 3; ALTER TABLE \@ DROP c$next_name",
		"CREATE INDEX i\@_$next_name ON \@ (" . pick('k', 'host, time', 'v', '(id + k)', 'note') . ')',
		"CREATE INDEX CONCURRENTLY i\@_$next_name ON \@ " . pick('(k DESC)', 'USING hash (host)', '(time) WHERE k > 5'),
		'there and back', 'crash', 'session');
	$next_name++;
	if ($sql eq 'crash')
	{
		push @done, '/* crash */';
		$node->stop('immediate');
		$node->start;
		connect_all();
		compare_tables($p);
		return;
	}
	if ($sql eq 'session') { push @done, '/* sessions anew */'; connect_all(); return; }
	if ($sql eq 'CLUSTER')
	{
		return if !$round{unique} || $round{partitioned};
		$sql = 'CLUSTER @ USING u_@';
	}
	if ($sql eq 'there and back')
	{
		return if $round{partitioned};
		push @done, '/* SET ACCESS METHOD */';
		my $a = $p->{mm}->query('ALTER TABLE mm SET ACCESS METHOD heap; ALTER TABLE mm SET ACCESS METHOD metricsdb');
		die "SET ACCESS METHOD: $a\n" if $a =~ /ERROR/;
	}
	else
	{
		return if $round{partitioned} && $sql =~ /CONCURRENTLY i/;
		return if $sql eq 'TRUNCATE @' && chance(0.7);
		$next_name++;
		both($p, $sql);
	}
	compare_tables($p);
	return;
}

sub connect_all
{
	$_->connect for map { ($_->{mm}, $_->{hh}) } $admin_pair::pair, @pairs;
	for my $p (@pairs)
	{
		@$p{qw(open failed)} = (0, 0);
		$p->{points} = [];
		my $rows = $p->{direct_rows} // 50;
		my $plans = $round{plans} // '';
		$p->{$_}->query("SET metricsdb.direct_rows = $rows; SET max_parallel_workers_per_gather = " . ($plans =~ /parallel/ ? 2 : 0) . ($plans ? "; SET $plans" : '')) for 'mm', 'hh';
	}
	return;
}

# ---- a round ----

sub create
{
	my ($r) = @_;

	%round = (
		extra => pick(qw(int4 numeric jsonb int4[] bool bytea uuid)),
		unique => chance(0.7),
		indexes => chance(0.7),
		partitioned => chance(0.2),
		triggers => chance(0.25),
		parent => chance(0.25),
		settled => chance(0.5),
		plans => pick(('') x 5, 'enable_seqscan = off; SET metricsdb.enable_custom_scan = off', 'enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off',
			'parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0'));
	$round{indexes} ||= $round{unique};
	($next_id, $next_name, $hot, $count, @done, @prepared) = (1, 1, 1, 1000);
	connect_all();
	@pairs = @pairs[ 0 .. 2 ];
	$_->{direct_rows} = $round{settled} ? 1 : pick(1, 50, 1000) for @pairs;
	connect_all();

	my @sql = ("DROP TABLE IF EXISTS @, p_@, log_@ CASCADE", 'DROP FUNCTION IF EXISTS touch_@, count_of');
	my %am = (mm => 'metricsdb', hh => 'heap');
	my $list = "(id int8, k int, time timestamptz, host text, v float8, note text, extra $round{extra})";
	if ($round{partitioned})
	{
		push @sql, "CREATE TABLE @ $list PARTITION BY RANGE (k)", 'CREATE TABLE @_1 PARTITION OF @ FOR VALUES FROM (MINVALUE) TO (7) USING #',
		  'CREATE TABLE @_2 PARTITION OF @ FOR VALUES FROM (7) TO (14) USING ' . pick('#', 'heap'), 'CREATE TABLE @_3 PARTITION OF @ FOR VALUES FROM (14) TO (MAXVALUE) USING #';
	}
	else { push @sql, 'CREATE ' . (chance(0.1) ? 'UNLOGGED ' : '') . "TABLE @ $list USING #" }
	push @sql, 'CREATE TABLE p_@ (n int PRIMARY KEY) USING #', 'INSERT INTO p_@ SELECT generate_series(0, 39)';
	push @sql, q{CREATE FUNCTION touch_@(int8, int) RETURNS int8 LANGUAGE plpgsql AS $$ DECLARE n int8; BEGIN UPDATE @ SET v = coalesce(v, 0) + 1000 WHERE id = $1 AND $2 > 0; GET DIAGNOSTICS n = ROW_COUNT; IF $2 = 3 THEN PERFORM 1 / ($1 % 7); END IF; RETURN n; EXCEPTION WHEN division_by_zero THEN RETURN -1; END $$};
	push @sql, q{CREATE OR REPLACE FUNCTION count_of(int8) RETURNS int8 LANGUAGE sql AS $$ SELECT $1 % 10 $$};
	if ($round{unique})
	{
		my $method = $round{partitioned} || chance(0.3) ? '(id, k)' : '(id)';
		$round{two_keys} = $method eq '(id, k)';
		push @sql, "CREATE UNIQUE INDEX u_@ ON @ $method";
	}
	if ($round{indexes})
	{
		push @sql, 'CREATE INDEX ON @ (k)' if chance(0.5);
		push @sql, 'CREATE INDEX ON @ (host, time)' if chance(0.4);
		push @sql, 'CREATE INDEX ON @ USING hash (note)' if chance(0.2);
		push @sql, 'CREATE INDEX ON @ (v) WHERE k > 3' if chance(0.3);
	}
	if ($round{parent})
	{
		push @sql, 'ALTER TABLE @ ADD FOREIGN KEY (k) REFERENCES p_@ ON DELETE ' . pick('CASCADE', 'NO ACTION', 'RESTRICT', $round{partitioned} ? 'CASCADE' : 'SET NULL') . ' ON UPDATE ' . pick('CASCADE', 'NO ACTION') . pick('', ' DEFERRABLE INITIALLY DEFERRED');
	}
	if ($round{triggers})
	{
		push @sql, 'CREATE TABLE log_@ (op text, n int8, m float8)',
		  q{CREATE OR REPLACE FUNCTION before_@() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF tg_op = 'DELETE' THEN IF old.id % 11 = 0 THEN RETURN NULL; END IF; RETURN old; END IF; IF new.id % 13 = 0 THEN RETURN NULL; END IF; new.v := new.v + 0.5; RETURN new; END $$},
		  q{CREATE OR REPLACE FUNCTION after_@() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log_@ VALUES (tg_op, CASE WHEN tg_op = 'INSERT' THEN new.id ELSE old.id END, CASE WHEN tg_op = 'DELETE' THEN old.v ELSE new.v END); RETURN NULL; END $$},
		  q{CREATE OR REPLACE FUNCTION statement_@() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log_@ SELECT 'all ' || tg_op, count(*), sum(id) FROM tt; RETURN NULL; END $$};
		push @sql, 'CREATE TRIGGER b BEFORE ' . pick('INSERT', 'UPDATE', 'DELETE', 'INSERT OR UPDATE OR DELETE') . ' ON @ FOR EACH ROW EXECUTE FUNCTION before_@()' if chance(0.5);
		push @sql, 'CREATE TRIGGER a AFTER ' . pick('INSERT', 'UPDATE', 'DELETE', 'INSERT OR UPDATE OR DELETE') . ' ON @ FOR EACH ROW EXECUTE FUNCTION after_@()' if chance(0.6);
		push @sql, 'CREATE TRIGGER s1 AFTER UPDATE ON @ REFERENCING NEW TABLE AS tt FOR EACH STATEMENT EXECUTE FUNCTION statement_@()' if chance(0.5);
		push @sql, 'CREATE TRIGGER s2 AFTER DELETE ON @ REFERENCING OLD TABLE AS tt FOR EACH STATEMENT EXECUTE FUNCTION statement_@()' if chance(0.5);
	}
	for my $sql (@sql)
	{
		for my $side ('mm', 'hh')
		{
			my $mine = $sql =~ s/@/$side/gr =~ s/#/$am{$side}/gr;
			push @done, "$mine;";
			my $a = $admin->query("SET client_min_messages = warning; $mine");
			die "$mine: $a" if $a =~ /ERROR/;
		}
	}
	both($pairs[0], 'INSERT INTO @ ' . $columns . ' ' . fresh_rows(pick(50, 300, 1000)));
	upkeep() if $round{settled};
	return;
}

sub step
{
	my $p = pick(@pairs[ 0, 0, 0, 1, 1 ]);

	if (chance(0.12)) { upkeep(); return }
	if (chance(0.06)) { look($pairs[2]); return }
	if (@prepared && chance(0.1)) { finish_prepared(1); return }
	if (chance(0.02))
	{
		# An end of all, now and then.
		finish($_) for grep { $_->{open} } @pairs[ 0, 1 ];
		look($pairs[2]) while $pairs[2]{open};
		finish_prepared(scalar @prepared);
		compare_tables($p);
		check();
		alter() if chance(0.8);
		return;
	}
	if ($p->{failed} && @{ $p->{points} } && chance(0.7))
	{
		my $at = int(rand(@{ $p->{points} }));
		both($p, "ROLLBACK TO $p->{points}[$at]");
		splice @{ $p->{points} }, $at + 1;
		$p->{failed} = 0;
		compare_tables($p);
		return;
	}
	if ($p->{failed}) { finish($p); compare_tables($p); return }
	if (!$p->{open} && chance(0.5)) { begin($p) }
	if ($p->{open} && chance(0.2)) { finish($p); compare_tables($p); return }
	if ($p->{open} && chance(0.2))
	{
		push @{ $p->{points} }, 's' . $next_name++;
		both($p, "SAVEPOINT $p->{points}[-1]");
	}
	elsif ($p->{open} && @{ $p->{points} } && chance(0.2))
	{
		my $at = int(rand(@{ $p->{points} }));
		my $back = chance(0.6);
		both($p, ($back ? 'ROLLBACK TO ' : 'RELEASE ') . $p->{points}[$at]);
		splice @{ $p->{points} }, $back ? $at + 1 : $at;
	}
	my $sql = $count < 150 && chance(0.3) ? refill_sql() : statement();
	if ($sql =~ /DECLARE c / && !$p->{open}) { $sql = "BEGIN; $sql; COMMIT" }
	both($p, $sql);
	compare_tables($p);
	both($p, 'SELECT op, n, m FROM log_@') if $round{triggers} && !$p->{failed} && chance(0.1);
	return;
}

for my $n (0 .. 2)
{
	push @pairs, { n => $n, mm => session($node), hh => session($node), open => 0, failed => 0, points => [] };
}
{
	package admin_pair;
	our $pair = { n => 'admin', mm => $admin, hh => $admin, open => 0, failed => 0, points => [] };
}
$admin_pair::pair->{hh} = session($node);

my $bad = 0;
my $began = time();
for my $r (0 .. $rounds - 1)
{
	my $seed = $first_seed + $r;
	my $at = 0;
	srand($seed);
	eval {
		create($r);
		for (1 .. $steps) { $at++; step(); }
		finish($_) for grep { $_->{open} } @pairs[ 0, 1 ];
		look($pairs[2]) while $pairs[2]{open};
		finish_prepared(scalar @prepared);
		compare_tables($pairs[0]);
		both($pairs[0], 'SELECT op, n, m FROM log_@') if $round{triggers};
		my $a = $admin->query("SELECT format('CALL metricsdb.compact(%L)', c.oid::regclass) FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE amname = 'metricsdb' AND relkind = 'r' \\gexec\n");
		die "compact at the end: $a" if $a =~ /ERROR/;
		compare_tables($pairs[1]);
		check();
	};
	next if $@ eq '';
	my $error = $@;
	fail("METRICSDB_SEED=$seed, step $at");
	diag("METRICSDB_SEED=$seed step $at: ", substr($done[-1], 0, 1500), "\n$error",
		join(', ', map { "$_ $round{$_}" } sort keys %round), "\n");
	open(my $out, '>', "$PostgreSQL::Test::Utils::log_path/random_dml_$seed.sql");
	print $out "$_\n" for @done;
	close $out;
	$_->query('ROLLBACK') for grep { 1 } map { ($_->{mm}, $_->{hh}) } @pairs;
	connect_all();
	for my $name (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts')) { $node->safe_psql('postgres', "ROLLBACK PREPARED '$name'") }
	last if ++$bad >= ($ENV{METRICSDB_FAILURES} || 3);
}
note "$said{$_} $_" for sort keys %said;
is($bad, 0, sprintf '%d rounds, seeds from %d, %.0f s', $rounds, $first_seed, time() - $began);
eval { $_->close } for $admin_pair::pair->{hh}, map { ($_->{mm}, $_->{hh}) } @pairs;
$admin->query('DROP TABLE IF EXISTS mm, hh, p_mm, p_hh, log_mm, log_hh CASCADE');
$admin->close;
catalogs_in_order($node, 'postgres', 'at the end');
$node->stop;
grep_log($node, 'random changes');
done_testing();
