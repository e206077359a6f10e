# Several sessions do whatever comes to their mind to the same tables, beside a worker that compacts,
# for some seconds.  What they do keeps what must be kept: money goes from account to account, each key
# is there once, and a heap table that is written to in the same transactions tells what must be there.
# Sessions may fail, by locks, conflicts and DDL of others, but never by an internal error; nothing crashes.
#
#   METRICSDB_SECONDS=n	how long (20)
#   METRICSDB_SEED=n	of the statements; what they meet is never the same
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use StorageTest;

my $seconds = $ENV{METRICSDB_SECONDS} || 20;
my $seed = $ENV{METRICSDB_SEED} || (time() ^ $$) & 0xffffff;
note "METRICSDB_SEED=$seed";

my $accounts = 3000;
my $money = $accounts * 100;
my $node = new_node('smith', 'metricsdb.direct_rows' => 40, autovacuum_naptime => '1s', deadlock_timeout => '100ms', max_prepared_transactions => 20,
	log_error_verbosity => 'verbose', shared_buffers => "'32MB'");
my $file = PostgreSQL::Test::Utils::tempdir . '/errors';

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub pick { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# account: transfers between its rows.  event: rows come and go; audit says which are there, by their
# sums.  plain: the same without an index, changed by conditions.
sql(qq{
	CREATE TABLE account (id int8 PRIMARY KEY, time timestamptz, host text, money int8, note text) USING metricsdb;
	INSERT INTO account SELECT i, timestamptz '2026-01-01' + i * interval '1 min', 'h' || i % 10, 100, 'n' || i FROM generate_series(1, $accounts) i;
	CREATE TABLE event (id int8, time timestamptz, host text, v int8, note text) USING metricsdb;
	CREATE UNIQUE INDEX event_id ON event (id);
	CREATE TABLE plain (time timestamptz, host text, id int8, v int8) USING metricsdb;
	CREATE TABLE audit (tab text, n int8, sum_id numeric, sum_v numeric) USING heap;
	CREATE SEQUENCE ids;
	CREATE TABLE child (id int8 PRIMARY KEY, account int8 REFERENCES account) USING metricsdb;
});

# In a data-modifying statement: what it has done to a table goes into the audit.
sub audited
{
	my ($table, $sign, $statement) = @_;
	return "WITH w AS ($statement) INSERT INTO audit SELECT '$table', $sign * count(*), $sign * coalesce(sum(id), 0), $sign * coalesce(sum(v), 0) FROM w HAVING count(*) > 0;";
}

sub near { my $at = int(rand(200)); return "id BETWEEN (SELECT last_value FROM ids) - $at - " . pick(1, 5, 50) . " AND (SELECT last_value FROM ids) - $at" }
sub some_host { return "'h" . int(rand(10)) . "'" }

sub insert_event
{
	my ($table) = @_;
	my $n = pick(1, 1, 2, 10, 39, 60, 200);
	my $rows = "SELECT nextval('ids'), timestamptz '2026-01-01' + i * interval '1 min', 'h' || i % 10, (i * 7) % 100 FROM generate_series(1, $n) i";
	return audited($table, 1, "INSERT INTO $table (id, time, host, v) $rows RETURNING id, v");
}

sub transfer
{
	my ($a, $b) = (1 + int(rand(pick(50, $accounts))), 1 + int(rand(pick(50, $accounts))));
	my $m = int(rand(50));
	return '' if $a == $b;
	return pick(
		"UPDATE account SET money = money + CASE id WHEN $a THEN -$m ELSE $m END WHERE id IN ($a, $b) AND (SELECT count(*) FROM account WHERE id IN ($a, $b)) = 2;",
		"WITH x AS (UPDATE account SET money = money - $m WHERE id = $a RETURNING 1) UPDATE account SET money = money + $m WHERE id = $b AND EXISTS (SELECT FROM x); ",
		"UPDATE account SET money = money - $m WHERE id = $a; UPDATE account SET money = money + $m WHERE id = $b;",
		"SELECT money FROM account WHERE id IN ($a, $b) ORDER BY id FOR UPDATE; UPDATE account SET money = money - $m WHERE id = $a; UPDATE account SET money = money + $m WHERE id = $b;",
		"INSERT INTO account (id, money) VALUES ($a, -$m), ($b, $m) ON CONFLICT (id) DO UPDATE SET money = account.money + excluded.money;",
		"MERGE INTO account x USING (VALUES ($a, -$m), ($b, $m)) s (id, m) ON x.id = s.id WHEN MATCHED THEN UPDATE SET money = x.money + s.m, note = 'merged ' || s.m;",
		"UPDATE account SET money = money - 1 WHERE id BETWEEN $a AND $a + 9 AND id <= $accounts - 500; UPDATE account SET money = money + (SELECT count(*) FROM generate_series($a, $a + 9) i WHERE i <= $accounts - 500) WHERE id = $b;",
		"SAVEPOINT a; UPDATE account SET money = money + 1000 WHERE host = " . some_host() . " AND id < 300; ROLLBACK TO a;",
		"UPDATE account SET note = repeat(md5(id::text), " . pick(1, 100) . '), time = time + interval \'1 day\' WHERE host = ' . some_host() . ' AND id % 13 = ' . int(rand(13)) . ';');
}

# The whole of an account goes to another one, under a new number.
sub renumber
{
	my $a = 1 + int(rand($accounts));
	return "UPDATE account SET id = id + 1000000 WHERE id = $a; UPDATE account SET id = id - 1000000 WHERE id = $a + 1000000;";
}

sub change
{
	my ($t) = @_;
	my $where = $t eq 'event' ? near() : pick(near(), 'host = ' . some_host() . ' AND v < ' . int(rand(20)));
	return pick(
		sub { insert_event($t) },
		sub { insert_event($t) },
		sub { audited($t, -1, "DELETE FROM $t WHERE $where RETURNING id, v") },
		sub { my $d = int(rand(20)); "WITH w AS (UPDATE $t SET v = v + $d WHERE $where RETURNING 1) INSERT INTO audit SELECT '$t', 0, 0, $d * count(*) FROM w HAVING count(*) > 0;" },
		sub { "UPDATE $t SET host = " . some_host() . ", time = time + interval '1 hour' WHERE $where;" },
		sub { "SELECT count(*) FROM (SELECT FROM $t WHERE $where FOR " . pick('UPDATE', 'SHARE', 'KEY SHARE', 'NO KEY UPDATE') . pick('', ' NOWAIT', ' SKIP LOCKED') . ') x;' },
		sub { 'SAVEPOINT b; ' . insert_event($t) . " UPDATE $t SET v = v + 1 WHERE $where; ROLLBACK TO b;" },
		sub {
			return insert_event($t) if $t ne 'event';
			# Some may have been deleted meanwhile.
			audited('event', 1, 'INSERT INTO event (id, time, host, v) SELECT id, time, host, 5 FROM event WHERE ' . near() . ' ON CONFLICT '
				  . pick('DO NOTHING', "(id) DO UPDATE SET note = 'updated'") . ' RETURNING id, v, note') =~ s/FROM w/FROM w WHERE note IS NULL/r;
		},
		sub { "DECLARE c CURSOR FOR SELECT * FROM $t WHERE $where FOR UPDATE; MOVE 1 FROM c; UPDATE $t SET host = 'current' WHERE CURRENT OF c; CLOSE c;" },
		sub { my $d = int(rand(5)); "DO \$\$ BEGIN UPDATE $t SET v = v + 3 WHERE $where; PERFORM 1 / $d; UPDATE $t SET v = v - 3 WHERE false; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$;" })->();
}

sub writer
{
	return sub {
		my ($s, $turn) = @_;
		my $level = pick('READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
		my $sql = "BEGIN ISOLATION LEVEL $level;";
		$sql .= pick(\&transfer, sub { change('event') }, sub { change('plain') }, sub { chance(0.2) ? renumber() : transfer() }, \&family)->() . "\n" for 1 .. pick(1, 1, 2, 4);
		$sql .= 'SELECT pg_sleep(0.0' . int(rand(10)) . ');' if chance(0.1);
		# One transaction in a single message would end at its first error; here ROLLBACK follows each.
		my $end = pick('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK', 'PREPARE');
		if ($end eq 'PREPARE')
		{
			my $name = "p$$.$turn";
			return $s->query("$sql PREPARE TRANSACTION '$name';") . $s->query('ROLLBACK') . $s->query(pick('COMMIT', 'ROLLBACK') . " PREPARED '$name';");
		}
		return $s->query("SET metricsdb.direct_rows = " . pick(1, 40, 1000) . ";$sql $end;");
	}
}

sub family
{
	my $a = 1 + int(rand($accounts));
	return pick("INSERT INTO child SELECT nextval('ids'), $a;", "DELETE FROM child WHERE account = $a;", "UPDATE child SET account = $a WHERE id % 50 = " . int(rand(50)) . ';',
		"DELETE FROM account WHERE id = $a AND money = 123456789;");
}

my @oracles = (
	"SELECT CASE WHEN count(*) <> $accounts OR sum(money) <> $money OR count(DISTINCT id) <> count(*) THEN 'WRONG account ' || count(*) || ' ' || sum(money) || ' ' || count(DISTINCT id) END FROM account;",
	map { qq{SELECT CASE WHEN (a.n, a.i, a.v) <> (t.n, t.i, t.v) OR t.n <> t.d THEN 'WRONG $_ ' || t::text || ' ' || a::text END
		FROM (SELECT count(*) AS n, coalesce(sum(id), 0) AS i, coalesce(sum(v), 0) AS v, count(DISTINCT id) AS d FROM $_) t,
			(SELECT coalesce(sum(n), 0) AS n, coalesce(sum(sum_id), 0) AS i, coalesce(sum(sum_v), 0) AS v FROM audit WHERE tab = '$_') a;} } 'event',
	'plain');
my $family_oracle = "SELECT 'WRONG child ' || c::text FROM child c WHERE NOT EXISTS (SELECT FROM account a WHERE a.id = c.account);";
my $index_oracle = "SET enable_seqscan = off; SET metricsdb.enable_custom_scan = off; SELECT CASE WHEN a.n <> b.n OR a.s <> b.s THEN 'WRONG index ' || a::text || ' ' || b::text END
	FROM (SELECT count(*) AS n, sum(money) AS s FROM account WHERE id > 0) a, (SELECT count(*) AS n, sum(money) AS s FROM account WHERE id + 0 > 0) b;
	SELECT count(*), sum(v) FROM event WHERE id > 0; RESET enable_seqscan; RESET metricsdb.enable_custom_scan;";

my $reader = sub {
	my ($s) = @_;
	my @check = map { pick(@oracles, $index_oracle, $family_oracle) } 1 .. 2;
	# A snapshot from before a TRUNCATE would see what no longer is as empty, on heap, too.
	return $s->query('BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') . "; LOCK TABLE account, event, plain, child IN ACCESS SHARE MODE; $check[0] SELECT pg_sleep(random() * 0.1); $check[1] COMMIT");
};

# What they see of themselves stays as it was.
my $watcher = sub {
	my ($s) = @_;
	my $sum = "SELECT count(*), sum(id), sum(money), md5(string_agg(a::text, ',' ORDER BY a::text)) FROM account a";
	my $t = pick('account a', 'event a', 'plain a');
	$sum = "SELECT count(*), md5(string_agg(a::text, ',' ORDER BY a::text)) FROM $t" if chance(0.7);
	my $one = $s->query("BEGIN ISOLATION LEVEL REPEATABLE READ; $sum;") // return undef;
	usleep(int(rand(400_000)));
	my $two = $s->query("$sum;") // return undef;
	$s->query('COMMIT');
	# DDL that came in between changes what a row looks like.
	return $one =~ /ERROR/ ? $one : $two =~ /ERROR/ ? $two : "BEGIN\n$two" eq $one ? '' : "WRONG snapshot: $one / $two";
};

my $ddl = sub {
	my ($s, $turn) = @_;
	usleep(int(rand(200_000)));
	my $t = pick('account', 'event', 'plain');
	my $name = "c$turn";
	return $s->query("SET lock_timeout = '300ms'; " . pick(
		'CREATE INDEX i ON plain (' . pick('id', 'host, time', 'v') . ')', 'DROP INDEX IF EXISTS i',
		'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON plain (id)', 'REINDEX INDEX CONCURRENTLY event_id', 'REINDEX TABLE event', 'REINDEX TABLE CONCURRENTLY account',
		"ALTER TABLE $t ADD $name int DEFAULT 3; ALTER TABLE $t DROP $name", "VACUUM $t", 'VACUUM', "VACUUM FULL $t", "ANALYZE $t", "CLUSTER event USING event_id",
		'ALTER TABLE event ALTER v TYPE numeric; ALTER TABLE event ALTER v TYPE int8',
		'BEGIN; TRUNCATE plain; SELECT count(*) FROM plain; ROLLBACK', "BEGIN; TRUNCATE event; DELETE FROM audit WHERE tab = 'event'; COMMIT",
		"BEGIN; ALTER TABLE $t ADD $name text DEFAULT 'x'; UPDATE $t SET host = $name WHERE time < '2026-01-01 10:00'; ROLLBACK",
		'CREATE TABLE side USING metricsdb AS SELECT * FROM event; UPDATE side SET v = 1; DROP TABLE side',
		"BEGIN; LOCK TABLE $t IN SHARE MODE; $oracles[0] $oracles[1] $oracles[2] COMMIT"));
};

my $compactor = sub {
	my ($s) = @_;
	usleep(int(rand(150_000)));
	return $s->query('CALL metricsdb.compact(\'' . pick(qw(account event plain child)) . "')");
};

# What may happen to anybody in such company.
my $fair = join '|', 'deadlock detected', 'could not serialize', 'could not obtain lock', 'lock timeout', 'violates foreign key', 'duplicate key value',
  'current transaction is aborted', 'does not exist', 'already exists', 'tuple (?:to be|concurrently)', 'cached plan', 'affect row a second time', 'no longer exists', 'cursor "c" is not positioned',
  'SAVEPOINT can only', 'canceling statement due to';
# Core's own words for catalogs that change, and indexes that go.
my $core = 'tuple concurrently (?:updated|deleted)|could not open relation with OID|cannot reindex invalid index "pg_toast';

sub run
{
	my (%jobs) = @_;
	my $until = time() + $seconds;
	my @pids;

	unlink $file, "$file.turns";
	for my $name (sort keys %jobs)
	{
		my $pid = fork() // die;
		if ($pid == 0)
		{
			srand($seed + length($name) * 1000 + ord(substr($name, -1)));
			eval {
				my $s = session($node);
				my ($turns, $errors) = (0, 0);
				$s->query('\set VERBOSITY verbose');
				while (time() < $until)
				{
					my $answer = $jobs{$name}->($s, $turns++) // "lost: $s->{last}";
					my @bad = grep { /WRONG|lost:|PANIC/ || (/XX\d\d\d/ && !/$core/) || (/ERROR|FATAL/ && !/$fair|$core/) } split /\n/, $answer;
					$errors++ if $answer =~ /ERROR/;
					next unless @bad;
					append_to_file($file, "$name, turn $turns: " . join(' ', @bad) . "\n");
					last if $answer =~ /lost:/;
					last if -s $file > 4000;
				}
				continue { $s->query('ROLLBACK'); }
				append_to_file("$file.turns", "$name $turns ($errors errors)\n");
				$s->close;
				1;
			} or append_to_file($file, "$name: $@");
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	waitpid($_, 0) for @pids;
	note 'turns: ', join(', ', split /\n/, slurp_file("$file.turns"));
	return -e $file ? substr(slurp_file($file), 0, 6000) : '';
}

my $errors = run(
	(map { ("writer $_" => writer()) } 1 .. 5),
	'reader 1' => $reader,
	'watcher 1' => $watcher,
	'watcher 2' => $watcher,
	'compactor 1' => $compactor,
	'ddl 1' => $ddl);
is($errors, '', "sessions, for $seconds s");

# What prepared transactions are left were left by sessions that ended.
sql("ROLLBACK PREPARED '$_'") for split /\n/, sql('SELECT gid FROM pg_prepared_xacts');
sub all_right
{
	my ($what) = @_;
	my $wrong = join ' ', grep { /WRONG/ } map { split /\n/, sql($_) } @oracles, $index_oracle, $family_oracle;
	is($wrong, '', "$what: what must be there is");
	is(sql(q{SELECT c.relname, f::text FROM pg_class c JOIN pg_am a ON a.oid = relam, metricsdb.check(c.oid) f WHERE amname = 'metricsdb' AND relkind = 'r' AND severity <> 'info'}),
		'', "$what: metricsdb.check() finds nothing");
	catalogs_in_order($node, 'postgres', $what);
	return;
}
all_right('afterwards');
sql("CALL metricsdb.compact('$_')") for qw(account event plain child);
sql('VACUUM');
all_right('compacted');
$node->stop('immediate');
$node->start;
all_right('after a crash');
$node->stop;
grep_log($node, 'sessions');
is(join('', grep { /(?:ERROR|FATAL):  XX/ && !/$core/ } split /^/, slurp_file($node->logfile)), '', 'no internal errors');
done_testing();
