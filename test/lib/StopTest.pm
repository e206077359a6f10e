# StopTest.pm: what the tests that stop processes at the points of src/stop.c share.
#
#   stop_node(name, option => value, ...)   a cluster of the library with the stop points, and its tables
#   stop_points(node, kind)                 the points that processes of a kind (s, w, k) pass
#   sections()                              names of the workloads
#   workload(section)                       SQL of one
#   run_at(node, section, stop)             runs it in a session that stops at NAME:ACTION:N
#   start_at(node, section, stop)           the same, not waiting for its end: finish {handle}
#   passed(node, section)                   the points that it passes
#   is_stopped(node)                        is a process at its point?
#   stopped(node)                           the point that was stopped at, if one was; ready for another
#   pairs_equal(node, what)                 each table equals its heap
#   usable(node, what)                      and is written to, compacted, and as large as it should be
#
# Each table has a heap of the same rows, table_h, written by the same transactions: what was
# committed to one and not to the other is an error.
package StopTest;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use StorageTest;

our @EXPORT = qw(stop_node bare_node prepare_node stop_points sections workload run_at start_at passed put put_wide change end_prepared forget_orphans is_stopped stopped contents pairs_equal usable empty_tables);

my $columns = '(time timestamptz, host text, v float8, note bytea)';	# text would be of the series
my $changes = 0;	# are UPDATE and DELETE there?
my $indexes = 0;	# and indexes?

sub testing_path
{
	my $path = $ENV{METRICSDB_TESTING};
	plan skip_all => 'METRICSDB_TESTING does not say where the library with stop points is' unless $path;
	return $path;
}

sub stop_node
{
	my ($name, %options) = @_;
	my $node = bare_node($name, %options);
	prepare_node($node);
	return $node;
}

# The same without its tables.
sub bare_node
{
	my ($name, %options) = @_;
	return new_node($name, new => { install_path => testing_path() }, 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100,
		autovacuum => 'off', allow_in_place_tablespaces => 'on', %options);
}

sub prepare_node
{
	my ($node) = @_;
	$node->safe_psql('postgres', qq{
		CREATE FUNCTION rows(n int, tag text) RETURNS TABLE ("time" timestamptz, host text, v float8, note bytea) LANGUAGE sql AS
		\$\$ SELECT timestamptz '2026-01-01' + i % 3 * interval '1 day' + i * interval '1 s', CASE WHEN i % 2 = 0 THEN tag ELSE 'h' END || i % 20,
			i * 0.25, decode(md5(tag || i) || md5(i || tag) || CASE WHEN i % 400 = 0 THEN repeat(md5(i || tag), 100) ELSE '' END, 'hex') FROM generate_series(1, n) i \$\$;
		CREATE FUNCTION state() RETURNS TABLE (tab text, own text, heap text) LANGUAGE plpgsql AS \$\$ BEGIN
			-- What retention takes, when it comes to that, is no difference.
			FOR tab IN SELECT DISTINCT regexp_replace(relname, '_h\$', '') FROM pg_class
				WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND (relpersistence = 'p' OR NOT pg_is_in_recovery()) ORDER BY 1 LOOP
				own := 'none'; heap := 'none';
				IF to_regclass(tab) IS NOT NULL THEN
					EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(hashtextextended(x::text, 0)), 0) || '' '' || count(v) FROM %s x WHERE time > ''1900-01-01''', tab) INTO own;
				END IF;
				IF to_regclass(tab || '_h') IS NOT NULL THEN
					EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(hashtextextended(x::text, 0)), 0) || '' '' || count(v) FROM %s x WHERE time > ''1900-01-01''', tab || '_h') INTO heap;
				END IF;
				RETURN NEXT;
			END LOOP; END \$\$;
		CREATE TABLESPACE other LOCATION '';
		CREATE TABLE m $columns USING metricsdb; CREATE TABLE m_h $columns;
		CREATE TABLE t $columns USING metricsdb; CREATE TABLE t_h $columns;
		CREATE UNLOGGED TABLE u $columns USING metricsdb; CREATE UNLOGGED TABLE u_h $columns;
		CREATE TABLE r $columns USING metricsdb; CREATE TABLE r_h $columns;
		SELECT metricsdb.set_retention('r', '100 years');
		CREATE TABLE c (time timestamptz, metric text, tags jsonb, v float8, note bytea) USING metricsdb; CREATE TABLE c_h (time timestamptz, metric text, tags jsonb, v float8, note bytea);
	});
	my ($rc) = $node->psql('postgres', "BEGIN; INSERT INTO m SELECT * FROM rows(1, 'a'); UPDATE m SET v = v + 1; DELETE FROM m; ROLLBACK");
	$changes = $rc == 0;
	note $changes ? 'with UPDATE and DELETE' : 'without UPDATE and DELETE, which are not there yet';
	($rc) = $node->psql('postgres', "CREATE TABLE i $columns USING metricsdb; CREATE INDEX ON i (v); CREATE TABLE i_h $columns");
	$indexes = $changes && $rc == 0;
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS i, i_h') unless $indexes;
	note $indexes ? 'with indexes' : 'without indexes, which are not there yet';
	return;
}

sub stop_points
{
	my ($node, $kind) = @_;
	return grep { $indexes || !/^index/ } map { /(.*):.*$kind/ ? $1 : () } split ' ', $node->safe_psql('postgres', 'SHOW metricsdb.stop_points');
}

my $tag = 0;

# put(table, rows): the statements that add so many rows.
sub put
{
	my ($table, $n) = @_;
	$tag++;
	return "INSERT INTO ${table}_h SELECT * FROM rows($n, 't$$.$tag'); INSERT INTO $table SELECT * FROM rows($n, 't$$.$tag');\n";
}

# put_wide(table, rows): the same of rows that soon fill a delta heap.
sub put_wide
{
	my ($table, $n) = @_;
	my $text = "(SELECT decode(string_agg(md5(note::text || k), ''), 'hex') FROM generate_series(1, 112) k)";
	$tag++;
	return join '', map { "INSERT INTO $_ SELECT time, host, v, $text FROM rows($n, 't$$.$tag');\n" } "${table}_h", $table;
}

# put_alone(table, rows): one statement that adds them, so that it may be a transaction of its own.
sub put_alone
{
	my ($table, $n) = @_;
	$tag++;
	return "WITH a AS (INSERT INTO ${table}_h SELECT * FROM rows($n, 't$$.$tag') RETURNING *) INSERT INTO $table SELECT * FROM a;\n";
}

# change(table): an UPDATE and a DELETE of some rows, old and new ones.
sub change
{
	my ($table) = @_;
	return '' unless $changes;
	my $k = int(rand(20));
	return join '', map { "UPDATE $_ SET v = v + 1, note = 'u'::bytea || note WHERE v >= 10 AND v::int % 20 = $k; DELETE FROM $_ WHERE v < 100 AND v::int % 37 = $k;\n" }
	  $table, "${table}_h";
}

# put_old(rows): what is too old by far, and not in the heap.
sub put_old
{
	my ($n) = @_;
	$tag++;
	return "INSERT INTO r SELECT time - interval '300 years', host, v, note FROM rows($n, 't$$.$tag');\n";
}

# put_metrics(rows): the same as put, of a table that has metrics.
sub put_metrics
{
	my ($n) = @_;
	$tag++;
	return join '', map { "INSERT INTO $_ SELECT time, host, '{}', v, note FROM rows($n, 't$$.$tag');\n" } 'c_h', 'c';
}

# gone(table): the rows that were added last are deleted, and with them some series.
sub gone
{
	my ($table) = @_;
	return join '', 'BEGIN;', (map { "DELETE FROM $_ WHERE host LIKE 't$$.$tag%';\n" } $table, "${table}_h"), "COMMIT;\n";
}

sub sections { return ('write', 'compact', 'unlogged', 'ddl', 'expire', $changes ? 'change' : ()) }

sub workload
{
	my ($section) = @_;

	return join '', 'BEGIN;', put('m', 3), "COMMIT;\n", put_alone('m', 1), 'BEGIN;', put('m', 1500), "COMMIT;\n",
	  'BEGIN; SAVEPOINT a;', put('m', 600), 'ROLLBACK TO a;', put('m', 300), "RELEASE a; SAVEPOINT b;", put('m', 5), "COMMIT;\n",
	  'BEGIN;', put('m', 400), put('m', 4), "PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p';\n",
	  'BEGIN;', put('m', 200), "PREPARE TRANSACTION 'q'; ROLLBACK PREPARED 'q';\n", 'BEGIN;', put('m', 700), "ROLLBACK;\n",
	  # Pages of rows that were rolled back are taken again.
	  "VACUUM metricsdb.part; BEGIN;", put('m', 600), "COMMIT;\n"
	  if $section eq 'write';
	# Also a table whose delta has just left the row heap for the ring, and goes around there.
	return join '', (map { ('BEGIN;', put('m', 900), put('m', 90), "COMMIT; CALL metricsdb.compact('m');\n") } 1 .. 4),
	  "BEGIN; TRUNCATE t, t_h;", put('t', 60), "COMMIT; CALL metricsdb.compact('t');\nBEGIN;", (map { put_wide('t', 90) } 1 .. 4), "COMMIT;\n",
	  map { ("CALL metricsdb.compact('t'); BEGIN;", put('t', 20), "COMMIT;\n") } 1 .. 5
	  if $section eq 'compact';
	return join '', 'BEGIN;', put('u', 3), 'COMMIT; BEGIN;', put('u', 500), "COMMIT; CALL metricsdb.compact('u');\n", put_alone('u', 5)
	  if $section eq 'unlogged';
	return join '', "DROP TABLE IF EXISTS x, x_h;\nBEGIN; CREATE TABLE x $columns USING metricsdb; CREATE TABLE x_h $columns;", put('x', 5), put('x', 300),
	  "TRUNCATE x, x_h;", put('x', 500), put('x', 7), "COMMIT;\nBEGIN; TRUNCATE t, t_h;", put('t', 400), put('t', 9), "COMMIT;\n",
	  'BEGIN; TRUNCATE t, t_h;', put('t', 200), "ROLLBACK;\n", "ALTER TABLE x SET TABLESPACE other; VACUUM FULL t;\n",
	  "BEGIN; ALTER TABLE x ALTER v TYPE numeric; ALTER TABLE x_h ALTER v TYPE numeric; COMMIT;\nALTER TABLE x SET TABLESPACE pg_default;\n",
	  "BEGIN; ALTER TABLE t ALTER v TYPE numeric; ROLLBACK;\n",
	  "DROP TABLE x, x_h;\n" if $section eq 'ddl';
	# Old rows in parts and in the delta go; parts are sorted by class, and again when there is none.
	return join '', 'BEGIN;', put('r', 300), put_old(900), put_old(5), "COMMIT; CALL metricsdb.apply_retention('r'); VACUUM r;\n",
	  'BEGIN;', put_metrics(900), "COMMIT; SELECT metricsdb.set_retention('c', '100 years', 'h1*'); CALL metricsdb.compact('c');\n",
	  'BEGIN;', put_metrics(900), "DELETE FROM c WHERE v < 5; DELETE FROM c_h WHERE v < 5; COMMIT; SELECT metricsdb.set_retention('c', NULL); SELECT metricsdb.set_retention('c', '200 years');\n",
	  "CALL metricsdb.compact('c');\n"
	  if $section eq 'expire';
	return join '', 'BEGIN;', put('m', 900), "COMMIT; CALL metricsdb.compact('m'); BEGIN;", put('m', 50), change('m'), 'COMMIT; BEGIN;', change('m'),
	  'ROLLBACK; BEGIN; SAVEPOINT a;', change('m'), 'ROLLBACK TO a;', change('m'), "COMMIT; CALL metricsdb.compact('m');\n",
	  'BEGIN;', change('m'), "PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p';\n", 'BEGIN;', change('m'), "COMMIT; VACUUM m; CALL metricsdb.compact('m');\n",
	  'BEGIN;', put('m', 900), change('m'), "ROLLBACK; VACUUM metricsdb.part; VACUUM m;\n",
	  'BEGIN;', put('m', 300), "COMMIT;\n", gone('m'), "CALL metricsdb.compact('m'); VACUUM metricsdb.part; CALL metricsdb.collect_series('m', NULL);\n",
	  $indexes ? ('BEGIN;', put('i', 300), put('i', 3), 'COMMIT; BEGIN;', change('i'), "COMMIT; CALL metricsdb.compact('i'); BEGIN;", change('i'), "COMMIT; VACUUM i;\n") : ()
	  if $section eq 'change';
	die $section;
}

# One statement at a time, whatever becomes of the one before; returns psql's messages.
sub run_at
{
	my ($node, $section, $stop) = @_;
	my $run = start_at($node, $section, $stop);
	$run->{handle}->finish;
	return $run->{err};
}

# The same, without waiting for its end.
sub start_at
{
	my ($node, $section, $stop) = @_;
	my $run = { out => '', err => '', sql => workload($section) . "\\q\n" };

	local $ENV{PGOPTIONS} = "-c metricsdb.stop_at=$stop -c client_min_messages=warning";
	local $ENV{PGAPPNAME} = 'stopping';
	$run->{handle} = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$run->{sql}, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

sub passed
{
	my ($node, $section) = @_;
	my $file = $node->data_dir . '/metricsdb_trace';

	unlink $file;
	my $err = run_at($node, $section, '*:trace');
	is($err, '', "$section: runs");
	return -e $file ? split(/\n/, slurp_file($file)) : ();
}

sub is_stopped { return -e $_[0]->data_dir . '/metricsdb_stop' }

sub stopped
{
	my ($node) = @_;
	my $file = $node->data_dir . '/metricsdb_stop';

	return undef unless is_stopped($node);
	my $name = slurp_file($file);
	unlink $file;
	return $name;
}

# What the tables hold: a line "table|rows sum|the same of its heap" each.
sub contents
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SELECT * FROM state()');
}

sub pairs_equal
{
	my ($node, $what) = @_;
	my $bad = $node->safe_psql('postgres', 'SELECT * FROM state() WHERE own IS DISTINCT FROM heap');
	is($bad, '', "$what: tables equal their heaps");
	return;
}

# The transactions that a crash left prepared end, one way or the other.
sub end_prepared
{
	my ($node) = @_;
	for my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'))
	{
		$node->safe_psql('postgres', (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	}
	return;
}

# What a rewrite has left that did not come to its end, the maintainer takes away.
sub forget_orphans
{
	my ($node) = @_;
	my $none = 'SELECT NOT EXISTS (SELECT storage_id FROM metricsdb.part UNION SELECT storage_id FROM metricsdb.series UNION SELECT storage_id FROM metricsdb.posting EXCEPT SELECT storage_id FROM metricsdb.storage)';

	return if $node->safe_psql('postgres', $none) eq 't';
	$node->safe_psql('postgres', $_) for 'ALTER SYSTEM SET metricsdb.workers = on', 'SELECT pg_reload_conf()';
	ok(wait_for($node, $none), 'orphans are forgotten');
	$node->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET metricsdb.workers', 'SELECT pg_reload_conf()';
	wait_for($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ 'maintainer')});
	return;
}

sub usable
{
	my ($node, $what) = @_;

	end_prepared($node);
	forget_orphans($node);
	pairs_equal($node, $what);
	$node->safe_psql('postgres', join('', 'BEGIN;', put('m', 4), put('m', 200), put('t', 4), put('u', 3), put('u', 400), change('m'), 'COMMIT;')
		  . "CALL metricsdb.compact('m'); CALL metricsdb.compact('t'); CALL metricsdb.compact('u'); CALL metricsdb.compact('c'); CALL metricsdb.apply_retention(); VACUUM m; VACUUM t; VACUUM r");
	pairs_equal($node, "$what, then written to and compacted");
	is($node->safe_psql('postgres', q{SELECT sum(due_parts), sum(unsorted_parts), (SELECT count(*) FROM r WHERE time < '1900-01-01') FROM metricsdb.retention_policies}),
		'0|0|0', "$what: nothing old is left, nothing unsorted");
	catalogs_in_order($node, 'postgres', $what);
	# Dead rows of the catalog cover their pages until no snapshot needs them, ours included.  The last
	# part may be larger than the gaps before it.  In the row heap a page stands for 224 rows of
	# parts, and free pages between them stay.
	my $space;
	for (1 .. 6)
	{
		$space = $node->safe_psql('postgres', q{
		SELECT pg_relation_size('m') / 8192 || ' pages for ' || coalesce(sum(npages), 0) || ' pages of parts: ' || string_agg(page_first || '+' || npages, ' ' ORDER BY page_first)
		FROM metricsdb.storage s JOIN metricsdb.part p USING (storage_id) WHERE s.relid = 'm'::regclass
		HAVING pg_relation_size('m') / 8192 > 1 + 1.3 * sum(npages) + max(npages)
		UNION ALL SELECT 'delta ' || d.slot || ' of ' || pg_relation_size(d.relid) / 8192 || ' pages, parts of ' || p.nrows || ' rows'
		FROM metricsdb.storage s JOIN metricsdb.delta d USING (storage_id),
			LATERAL (SELECT coalesce(sum(nrows), 0) AS nrows FROM metricsdb.part p WHERE p.storage_id = s.storage_id) p
		WHERE s.relid = 'm'::regclass AND pg_relation_size(d.relid) / 8192 > 5 + CASE WHEN d.slot = 3 THEN 400 + p.nrows / 112 ELSE 0 END});
		last if $space eq '';
		$node->safe_psql('postgres', "CALL metricsdb.compact('m'); VACUUM m;");
	}
	is($space, '', "$what: no space is lost");
	return;
}

sub empty_tables
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS x, x_h; TRUNCATE m, m_h, t, t_h, u, u_h, r, r_h, c, c_h' . ($indexes ? ', i, i_h' : ''));
	return;
}

1;
