# Sessions side by side: snapshots keep what they see while parts are merged, deltas moved and pages
# used again; compaction never makes a user's statement wait or fail.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep usleep);
use StorageTest;

my $node = new_node('concurrency', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100, autovacuum => 'off');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub rows
{
	my ($from, $to, $host) = @_;
	$host //= 'h';
	return "SELECT timestamptz '2026-01-01' + i * interval '1 s', '$host' || i % 20, i, repeat(md5(i::text), 3) FROM generate_series($from, $to) i";
}
my $columns = '(time timestamptz, host text, value float8, note text)';
my $all = q{SELECT count(*), coalesce(sum(value), 0), count(DISTINCT host), md5(string_agg(time::text || host || value || note, ',' ORDER BY value, host)) FROM};

sub fresh
{
	sql('DROP TABLE IF EXISTS t');
	sql("CREATE TABLE t $columns USING metricsdb");
	sql('INSERT INTO t ' . rows($_ * 1000 + 1, $_ * 1000 + 500)) for 0 .. 5;
	sql('INSERT INTO t ' . rows(6001, 6030));
	return;
}

# Whatever may move rows and pages.
sub churn
{
	my ($from) = @_;

	for my $i (0 .. 5)
	{
		sql('INSERT INTO t ' . rows($from + $i * 1000, $from + $i * 1000 + 300, "n$i"));
		sql('INSERT INTO t ' . rows($from + $i * 1000 + 500, $from + $i * 1000 + 505, "n$i"));
		sql("CALL metricsdb.compact('t')");
		sql('VACUUM metricsdb.part');
	}
	sql('VACUUM t');
	return;
}

# ---- views of the past ----

fresh();
my $want = sql("$all t");
my $rr = session($node);
my $cursor = session($node);
my $hold = session($node);
my $rc = session($node);
is($rr->query("BEGIN ISOLATION LEVEL REPEATABLE READ; $all t;"), "BEGIN\n$want", 'REPEATABLE READ: at first');
$cursor->query('BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 10 FROM c;');
$hold->query('DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM t; FETCH 10 FROM c;');
$rc->query("BEGIN; $all t;");
churn(10000);
my $now = sql("$all t");
isnt($now, $want, 'the table has changed');
is($rr->query("$all t;"), $want, 'REPEATABLE READ: after merges and moves');
is($rc->query("$all t;"), $now, 'READ COMMITTED: the present');
is($cursor->query('MOVE FORWARD 3000 FROM c;'), 'MOVE 3000', 'cursor: on');
churn(20000);
is($rr->query("$all t;"), $want, 'REPEATABLE READ: after more');
is($cursor->query('MOVE FORWARD ALL FROM c;'), 'MOVE 20', 'cursor: to its end');
is($hold->query('MOVE BACKWARD ALL FROM c; MOVE FORWARD ALL FROM c;'), "MOVE 9\nMOVE 3030", 'cursor WITH HOLD: over all of it');
# Its own rows on top of the old view.
is($rr->query('INSERT INTO t ' . rows(1, 150, 'mine') . '; INSERT INTO t ' . rows(151, 155, 'mine') . '; SELECT count(*) FROM t'),
	"INSERT 0 150\nINSERT 0 5\n3185", 'REPEATABLE READ: and its own rows');
{
	my $c = session($node);
	$c->send("CALL metricsdb.compact('t')");
	ok($c->done(20), 'compaction beside an open transaction that wrote');
	is($c->result, 'CALL', 'which it does not disturb');
	$c->close;
}
is($rr->query('SELECT count(*) FROM t; COMMIT'), "3185\nCOMMIT", 'REPEATABLE READ: to the end');
$_->query('COMMIT') for $cursor, $rc;
$_->close for $rr, $cursor, $hold, $rc;
my $pages = sql("SELECT pg_relation_size('t')");
churn(30000);
size_bounded($node, 'postgres', 't', 'snapshots gone');

# ---- compaction waits for nobody, and nobody for it ----

fresh();
{
	my ($w, $c) = (session($node), session($node));
	$w->query('BEGIN; INSERT INTO t ' . rows(7001, 7001));
	for my $i (1 .. 8)
	{
		$c->send("CALL metricsdb.compact('t')");
		ok($c->done(20), "compaction $i beside a writer");
		is($c->result, 'CALL', 'and without error');
		$w->send('INSERT INTO t ' . rows(7001 + $i, 7001 + $i));
		ok($w->done(20), 'the writer goes on');
		is($w->result, 'INSERT 0 1', 'and without error');
		sql('INSERT INTO t ' . rows(7100 + $i, 7100 + $i, 'o'));
	}
	is($w->query('SELECT count(*) FROM t WHERE value BETWEEN 7001 AND 7099'), '9', 'the writer sees its rows');
	$w->query('COMMIT');
	is(sql('SELECT count(*) FROM t'), 3030 + 9 + 8, 'all rows are there');
	sql("CALL metricsdb.compact('t')") for 1 .. 3;
	is(sql('SELECT count(*) FROM t'), 3030 + 9 + 8, 'and after compaction');
	sql('VACUUM t');
	is(sql("SELECT sum(pg_relation_size(relid)) FROM metricsdb.delta"), '0', 'the deltas are empty');
	$_->close for $w, $c;
}

# A lock of a user's: compaction by hand waits as any command does, and its time-out works.
{
	my $l = session($node);
	$l->query('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
	like($l->query("ROLLBACK; BEGIN; LOCK TABLE t IN SHARE MODE; SELECT 1"), qr/1$/, 'locked');
	my ($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '500ms'; CALL metricsdb.compact('t')");
	like($err // '', qr/lock timeout/, 'compaction by hand meets lock_timeout');
	$l->query('COMMIT');
	$l->close;
}

# ---- many at once ----

# run(seconds, name => code ...): each in a process of its own, again and again; code gets a session.
# Errors come back, but for those that are allowed.  Who answers DONE ends it for all.
sub run
{
	my ($seconds, $allowed, %jobs) = @_;
	my ($until, @pids) = (time() + $seconds);
	my $file = PostgreSQL::Test::Utils::tempdir . '/errors';

	for my $name (sort keys %jobs)
	{
		my $pid = fork() // die;
		if ($pid == 0)
		{
			srand($$);
			eval {
				my $s = session($node);
				my $turns = 0;
				while (time() < $until && !-e "$file.done")
				{
					my $from = time();
					my $answer = $jobs{$name}->($s, $turns++) // "lost: $s->{last}";
					my $took = time() - $from;
					if ($answer =~ /ERROR|lost/ && $answer !~ /$allowed/ || $answer =~ /WRONG/ || $took > 60)
					{
						append_to_file($file, "$name, $took s: " . ($answer =~ s/\n/ /gr) . "\n");
						last;
					}
					append_to_file("$file.done", '') if $answer eq 'DONE';
				}
				append_to_file("$file.turns", "$name $turns\n");
				$s->close;
				1;
			} or append_to_file($file, "$name: $@");
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	waitpid($_, 0) for @pids;
	note 'turns: ', join(', ', split /\n/, slurp_file("$file.turns"));
	return -e $file ? slurp_file($file) : '';
}

sub compactor { my ($table) = @_; return sub { $_[0]->query("CALL metricsdb.compact('$table')") } }

# Writers count what they write in a heap, in the same transaction; readers compare, in one snapshot.
fresh();
sql("TRUNCATE t");
sql('CREATE TABLE book (n int)');
sub writer
{
	my ($name, $max) = @_;
	return sub {
		my ($s, $turn) = @_;
		my $n = 1 + int(rand() < 0.7 ? rand(4) : rand($max));
		my $from = $turn % 30 * 10000;
		return $s->query('BEGIN; INSERT INTO t ' . rows($from + 1, $from + $n, $name) . "; INSERT INTO book VALUES ($n); " . (rand() < 0.8 ? 'COMMIT' : 'ROLLBACK'));
	}
}
my $reader = sub {
	my ($s) = @_;
	my $level = rand() < 0.5 ? 'READ COMMITTED' : 'REPEATABLE READ';
	# One statement, one snapshot.
	my $check = 'SELECT CASE WHEN (SELECT count(*) FROM t) <> (SELECT coalesce(sum(n), 0) FROM book) THEN \'WRONG \' || (SELECT count(*) FROM t) || \' \' || (SELECT sum(n) FROM book) ELSE \'right\' END;';
	return $s->query("BEGIN ISOLATION LEVEL $level; $check SELECT pg_sleep(random() * 0.2); $check COMMIT");
};
my $cursor_reader = sub {
	my ($s) = @_;
	my $answer = $s->query('BEGIN; DECLARE a CURSOR FOR SELECT sum(n) FROM book; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 1 FROM c; SELECT pg_sleep(random() * 0.3); MOVE FORWARD ALL FROM c; COMMIT');
	return $answer;
};
my $errors = run(
	$ENV{METRICSDB_SECONDS} || 12, 'nothing is allowed',
	'writer 1' => writer('a', 300),
	'writer 2' => writer('b', 3000),
	'writer 3' => writer('c', 10),
	'reader 1' => $reader,
	'reader 2' => $reader,
	'cursor' => $cursor_reader,
	'compactor 1' => compactor('t'),
	'compactor 2' => compactor('t'),
	'vacuum' => sub { usleep(300_000); $_[0]->query('VACUUM metricsdb.part; VACUUM t; ANALYZE t') });
is($errors, '', 'writers, readers and compactors');
is(sql('SELECT count(*) - (SELECT sum(n) FROM book) FROM t'), '0', 'and all rows are there');
catalogs_in_order($node, 'postgres', 'writers, readers and compactors');
size_bounded($node, 'postgres', 't', 'writers, readers and compactors');

# Compaction by hand comes to an end though others go on writing: they do until it has ended three times.
{
	my $ended = 0;
	$errors = run(180, 'nothing is allowed',
		'writer 1' => writer('a', 300),
		'writer 2' => writer('b', 30),
		'compactor' => sub {
			my $r = $_[0]->query("SET statement_timeout = '50s'; CALL metricsdb.compact('t')");
			return $r =~ /CALL$/ && ++$ended == 3 ? 'DONE' : $r;
		});
	is($errors, '', 'compaction ends while others write');
}

# DDL beside all of it.
$errors = run(
	$ENV{METRICSDB_SECONDS} || 10, 'deadlock detected|does not exist|already exists|more expressions than target|tuple concurrently|cached plan',
	'writer 1' => sub { my ($s, $turn) = @_; $s->query('INSERT INTO t (time, host, value, note) ' . rows($turn % 100 * 1000, $turn % 100 * 1000 + int(rand(300)))) },
	'writer 2' => sub { my ($s, $turn) = @_; $s->query('BEGIN; INSERT INTO t (time, host, value, note) ' . rows($turn % 100 * 1000, $turn % 100 * 1000 + int(rand(3))) . '; SAVEPOINT a; INSERT INTO t (time, host, value, note) ' . rows(1, 200) . '; ROLLBACK TO a; COMMIT') },
	'reader' => sub { $_[0]->query('SELECT count(*), count(t.*), max(t::text) FROM t') },
	'compactor 1' => compactor('t'),
	'compactor 2' => compactor('t'),
	'ddl' => sub {
		my ($s, $turn) = @_;
		usleep(100_000);
		return $s->query((
			'TRUNCATE t', "ALTER TABLE t ADD c$turn int DEFAULT 3; ALTER TABLE t DROP c$turn", 'VACUUM FULL t',
			'ALTER TABLE t ALTER value TYPE numeric; ALTER TABLE t ALTER value TYPE float8',
			'BEGIN; TRUNCATE t; SELECT pg_sleep(0.1); ROLLBACK', 'BEGIN; TRUNCATE t; INSERT INTO t (time, host, value, note) ' . rows(1, 500) . '; COMMIT',
			'ALTER TABLE t SET (autovacuum_enabled = off)', "BEGIN; DROP TABLE t; CREATE TABLE t $columns USING metricsdb; COMMIT",
			'CREATE INDEX CONCURRENTLY ON t (value)', 'ALTER TABLE t ADD CHECK (value > -1)')[ $turn % 8 ]);
	});
is($errors, '', 'DDL beside writers and compactors');
catalogs_in_order($node, 'postgres', 'DDL');
is(sql('SELECT count(*) = count(t.*) FROM t'), 't', 'DDL: the table is readable');

# ---- SERIALIZABLE ----

fresh();
{
	my ($a, $b) = (session($node), session($node));
	sql('CREATE TABLE t2 (time timestamptz, value float8) USING metricsdb');
	$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') for $a, $b;
	# Each writes what the other has read the absence of.
	is($a->query('SELECT count(*) FROM t2 WHERE value = 2'), '0', 'SERIALIZABLE: a reads');
	is($b->query('SELECT count(*) FROM t2 WHERE value = 1'), '0', 'SERIALIZABLE: b reads');
	$a->query('INSERT INTO t2 VALUES (now(), 1)');
	$b->query('INSERT INTO t2 VALUES (now(), 2)');
	my @ends = ($a->query('COMMIT'), $b->query('COMMIT'));
	like("@ends", qr/could not serialize/, 'SERIALIZABLE: one of them fails');
	like("@ends", qr/COMMIT/, 'SERIALIZABLE: and one does not');
	$_->close for $a, $b;
	# Compaction is nobody's write.
	($a, $b) = (session($node), session($node));
	$a->query("BEGIN ISOLATION LEVEL SERIALIZABLE; $all t");
	$a->query('INSERT INTO book VALUES (1)');
	sql("CALL metricsdb.compact('t')");
	is($a->query("SELECT count(*) FROM t"), '3030', 'SERIALIZABLE: after compaction');
	is($a->query('COMMIT'), 'COMMIT', 'SERIALIZABLE: compaction costs no failure');
	$_->close for $a, $b;
}

# ---- the background compactor ----

sql("ALTER SYSTEM SET \"metricsdb.workers\" = on");
sql('SELECT pg_reload_conf()');
fresh();
ok(wait_for($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type ~ 'maintainer'}), 'it runs');
# A large merge, and a user who wants the table: he must not wait for the whole of it.
sql('TRUNCATE t');
sql("INSERT INTO t SELECT timestamptz '2026-01-01' + i * interval '10 ms', 'h' || i % 100, sqrt(i), md5(i::text) FROM generate_series(1, 400000) i") for 1 .. 16;
ok(wait_for_merge($node, 't'), 'a merge runs') or diag(sql(q{SELECT c FROM metricsdb.compaction_status c WHERE "table" = 't'::regclass}));
my $from = time();
sql('TRUNCATE t');
my $took = time() - $from;
cmp_ok($took, '<', 3, sprintf 'TRUNCATE in the middle of a merge waits %.1f s', $took);
ok(wait_for($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type ~ 'maintainer'}), 'it still runs');
$node->stop;
grep_log($node, 'concurrency');
done_testing();
