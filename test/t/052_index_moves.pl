# Indexes while rows move: inserts, upserts, updates and deletes by several sessions, readers of old
# snapshots, compaction and VACUUM at once.  Keys stay unique, no change is lost, and every snapshot finds
# the same rows with each index and with none.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('index_moves', 'metricsdb.workers' => 'off', autovacuum => 'off', deadlock_timeout => '100ms');
my $seconds = $ENV{INDEX_MOVES_SECONDS} || 15;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(<<'SQL');
CREATE EXTENSION amcheck;
CREATE TABLE t (id int PRIMARY KEY, time timestamptz NOT NULL DEFAULT '2026-01-01', host text, v int NOT NULL,
	other int UNIQUE DEFERRABLE INITIALLY DEFERRED, n int NOT NULL DEFAULT 0, EXCLUDE USING hash (id WITH =)) USING metricsdb;
CREATE INDEX t_host ON t (host, time);
CREATE INDEX t_v ON t (v) WHERE v > 3;
CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE, n int) USING metricsdb;
CREATE INDEX ON child (t);
CREATE TABLE log (id int, d int, n int DEFAULT 0) USING heap;
INSERT INTO t SELECT i, '2026-01-01'::timestamptz + i % 3 * interval '1 day', 'h' || i % 7, 1, i FROM generate_series(1, 6000, 2) i;
INSERT INTO log SELECT id, v FROM t;

-- Inserts where it can; 1 if it did.
CREATE FUNCTION try_insert(k int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t VALUES (k, '2026-01-01'::timestamptz + k % 3 * interval '1 day', 'h' || k % 7, 1, k);
	INSERT INTO log VALUES (k, 1);
	RETURN 1;
EXCEPTION WHEN unique_violation OR exclusion_violation THEN RETURN 0;
END $$;
-- As on heap, the exclusion constraint is not the arbiter: who inserts the key after it was looked for is an error.
CREATE FUNCTION try_upsert(k int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t VALUES (k, '2026-01-02', 'up', 1, k) ON CONFLICT (id) DO UPDATE SET v = t.v + 1;
	INSERT INTO log VALUES (k, 1);
	RETURN 1;
EXCEPTION WHEN exclusion_violation THEN RETURN 0;
END $$;
CREATE FUNCTION try_rename(k int, k2 int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	UPDATE t SET id = k2, other = k2 WHERE id = k AND NOT EXISTS (SELECT FROM child WHERE t = k);
	SET CONSTRAINTS ALL IMMEDIATE;
	RETURN 1;
EXCEPTION WHEN unique_violation OR exclusion_violation OR foreign_key_violation OR deadlock_detected THEN RETURN 0;
END $$;
CREATE FUNCTION try_child(k int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO child VALUES (k, 1);
	RETURN 1;
EXCEPTION WHEN foreign_key_violation OR deadlock_detected THEN RETURN 0;
END $$;
CREATE FUNCTION agree() RETURNS text LANGUAGE plpgsql SET enable_bitmapscan = off SET metricsdb.enable_custom_scan = off AS $$
DECLARE
	q text;
	a text;
	b text;
BEGIN
	FOREACH q IN ARRAY ARRAY['id > 0', 'n > 2', $q$host = 'h3' AND time < '2026-01-02'$q$, 'v > 3', 'other > 100', 'id BETWEEN 100 AND 200'] LOOP
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE 'SELECT count(*) || ''/'' || count(DISTINCT id) || ''/'' || sum(v) || ''/'' || sum(n) FROM t WHERE ' || q INTO a;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE 'SELECT count(*) || ''/'' || count(DISTINCT id) || ''/'' || sum(v) || ''/'' || sum(n) FROM t WHERE ' || q INTO b;
		IF a IS DISTINCT FROM b OR split_part(a, '/', 1) <> split_part(a, '/', 2) THEN
			RAISE EXCEPTION 'with an index %, without %: %', a, b, q;
		END IF;
	END LOOP;
	RETURN 'yes';
END $$;
SQL
sql(q{CALL metricsdb.compact('t')});

my %script = (
	insert => '\set k random(1, 6000)
SELECT try_insert(:k);',
	upsert => '\set k random(1, 6000)
SELECT try_upsert(:k);',
	update => '\set k random(1, 6000)
WITH u AS (UPDATE t SET v = v + 2 WHERE id = :k RETURNING id) INSERT INTO log SELECT id, 2 FROM u;',
	# No index has n: once a row is in the delta these are HOT.  Some rows are changed again and again.
	hot => '\set k random_exponential(1, 6000, 20)
WITH u AS (UPDATE t SET n = n + 1 WHERE id = :k RETURNING id) INSERT INTO log SELECT id, 0, 1 FROM u;',
	hot_many => '\set k random(1, 6000)
BEGIN;
WITH u AS (UPDATE t SET n = n + 5 WHERE id BETWEEN :k AND :k + 20 RETURNING id) INSERT INTO log SELECT id, 0, 5 FROM u;
SAVEPOINT a;
WITH u AS (UPDATE t SET n = n + 1 WHERE id BETWEEN :k AND :k + 20 RETURNING id) INSERT INTO log SELECT id, 0, 1 FROM u;
ROLLBACK TO a;
WITH u AS (UPDATE t SET n = n - 4 WHERE id BETWEEN :k AND :k + 20 RETURNING id) INSERT INTO log SELECT id, 0, -4 FROM u;
COMMIT;',
	delete => '\set k random(1, 6000)
WITH d AS (DELETE FROM t WHERE id = :k RETURNING id, v, n) INSERT INTO log SELECT id, -v, -n FROM d;',
	# An index on it, now and then: what is HOT updated then is another matter.
	build => 'CREATE INDEX CONCURRENTLY t_n ON t (n);
UPDATE t SET n = n WHERE id % 50 = 0;
DROP INDEX CONCURRENTLY t_n;
SELECT pg_sleep(0.3);',
	rename => '\set k random(1, 6000)
\set k2 random(1, 6000)
SELECT try_rename(:k, :k2);',
	child => '\set k random(1, 6000)
SELECT try_child(:k);',
	agree => q{BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT agree();
SELECT pg_sleep(0.1);
SELECT agree();
COMMIT;},
	compact => q{CALL metricsdb.compact('t');
CALL metricsdb.compact('child');},
	vacuum => 'VACUUM (INDEX_CLEANUP on) t;
VACUUM child;
SELECT pg_sleep(0.2);');
my @args;
my $dir = PostgreSQL::Test::Utils::tempdir;

for my $name (sort keys %script)
{
	append_to_file("$dir/$name", "$script{$name}\n");
}
# Compaction and VACUUM in sessions of their own: they are slow, and chosen at random would be rare.
my @runs;

for my $set ([4, qw(insert upsert update delete rename child hot hot_many)], [2, 'agree'], [1, 'compact'], [1, 'vacuum'], [1, 'build'])
{
	my ($clients, @names) = @$set;
	my ($out, $err) = ('', '');
	my @cmd = ('pgbench', '-n', '--max-tries', 100, '-T', $seconds, '-c', $clients, '-j', 1, '-h', $node->host, '-p', $node->port, (map { ('-f', "$dir/$_") } @names), 'postgres');

	push @runs, {name => "@names", out => \$out, err => \$err, h => IPC::Run::start(\@cmd, '>', \$out, '2>', \$err)};
}
for my $r (@runs)
{
	ok($r->{h}->finish, "$r->{name}: no client fails") or diag(${$r->{err}});
	like(${$r->{out}}, qr/transactions actually processed: [1-9]/, "$r->{name}: something was done") or diag(${$r->{out}});
}
is(sql('SELECT count(*) - count(DISTINCT id) FROM t'), '0', 'keys are unique');
is(sql('SELECT count(*) - count(DISTINCT other) FROM t WHERE other IS NOT NULL'), '0', 'so are those that are checked later');
is(sql('SELECT (SELECT sum(v) FROM t) - (SELECT sum(d) FROM log)'), '0', 'no change was lost');
is(sql('SELECT (SELECT sum(n) FROM t) - (SELECT sum(n) FROM log)'), '0', 'no HOT one either');
cmp_ok(sql(q{SELECT pg_stat_get_tuples_hot_updated('t'::regclass)}), '>', 100, 'there were some');
is(sql('SELECT count(*) FROM child WHERE NOT EXISTS (SELECT FROM t WHERE id = child.t)'), '0', 'nobody lost a parent');
is(sql('SELECT agree()'), 'yes', 'indexes agree');
for my $when ('at the end', 'after compaction', 'after VACUUM')
{
	sql(q{CALL metricsdb.compact('t')}) if $when eq 'after compaction';
	sql('VACUUM (INDEX_CLEANUP on) t') if $when eq 'after VACUUM';
	is(sql('SELECT agree()'), 'yes', "indexes agree: $when");
	is(sql(q{SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_index ON indexrelid = c.oid WHERE indrelid IN ('t'::regclass, 'child'::regclass) AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')}),
		"\n\n\n\n", "indexes have all rows: $when");
	is(sql(q{SELECT * FROM metricsdb.check('t')}), '', "the table is sound: $when");
}
is(sql(q{SELECT reltuples = (SELECT count(*) FROM t) FROM pg_class WHERE relname = 't_pkey'}), 't', 'VACUUM has removed all entries that nobody needs');

done_testing();
