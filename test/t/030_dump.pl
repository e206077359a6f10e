# pg_dump and pg_restore: rows and options come back, the engine's own tables are not in the dump.
# DROP EXTENSION and back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('dump', 'metricsdb.direct_rows' => 100);
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

sub rows
{
	my ($from, $to) = @_;
	return "SELECT timestamptz '2026-01-01' + i % 100 * interval '1 h', 'h' || i % 20, CASE WHEN i % 3 = 0 THEN 'r' END, sqrt(i), md5(i::text) FROM generate_series($from, $to) i";
}

sql(q{
CREATE TABLE a (time timestamptz NOT NULL, host text, region text, value float8, note text) USING metricsdb;
CREATE TABLE b (time timestamptz, host text, region text, value float8, note text, at timestamptz)
	USING metricsdb WITH (metricsdb.time = 'at', metricsdb.series = 'region', autovacuum_enabled = off);
CREATE TABLE c (time timestamptz, host text, region text, value float8, note text) USING metricsdb;
CREATE TABLE p (time timestamptz NOT NULL, host text, value float8) PARTITION BY RANGE (time);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2026-01-03') TO ('2026-02-01') USING heap;
CREATE UNLOGGED TABLE u (time timestamptz, value float8) USING metricsdb;
CREATE TABLE "odd name ""x""" (time timestamptz, "a b" text, "C" jsonb DEFAULT '{}', g float8 GENERATED ALWAYS AS (1.5) STORED) USING metricsdb;
});
sql("INSERT INTO a " . rows(1, 3000) . "; INSERT INTO a " . rows(3001, 3005) . ';');
sql("INSERT INTO b SELECT x.*, now() + i * interval '1 s' FROM (" . rows(1, 2000) . ") x(time, host, region, value, note), generate_series(1, 2) i");
sql("SELECT metricsdb.set_options('c', series => '{region}')");
sql("INSERT INTO c " . rows(1, 1000));
sql("INSERT INTO p SELECT time, host, value FROM (" . rows(1, 3000) . ") x(time, host, region, value, note)");
sql("INSERT INTO u SELECT now(), i FROM generate_series(1, 200) i");
sql(q{INSERT INTO "odd name ""x""" SELECT now(), 'x' || i, jsonb_build_object('i', i) FROM generate_series(1, 150) i});
sql("CALL metricsdb.compact('a')");
sql('ALTER TABLE a ADD x int DEFAULT 5; ALTER TABLE a DROP region');
sql('INSERT INTO a ' . 'SELECT time, host, value, note, 6 FROM (' . rows(4000, 4010) . ') x(time, host, region, value, note)');
sql(q{CREATE MATERIALIZED VIEW mv USING metricsdb AS SELECT date_trunc('day', time) AS time, host, max(value) FROM a GROUP BY 1, 2});

# Options go first, the rows behind them: whatever the format and the part of the dump.
sql(q{
CREATE TABLE late (a int8, b int, c int, d float8) USING metricsdb;
SELECT metricsdb.set_options('late', "time" => 'a', series => '{c,b}');
INSERT INTO late SELECT i, i % 3, i % 5, i FROM generate_series(1, 700) i;
CREATE TABLE pm (time timestamptz NOT NULL, host text, value float8) PARTITION BY LIST (host);
CREATE TABLE pm_1 (value float8, host text, time timestamptz NOT NULL) USING metricsdb;
SELECT metricsdb.set_options('pm_1', series => '{}');
ALTER TABLE pm ATTACH PARTITION pm_1 FOR VALUES IN ('h1', 'h2');
CREATE TABLE pm_2 PARTITION OF pm FOR VALUES IN ('h3') PARTITION BY RANGE (time);
CREATE TABLE pm_2_1 PARTITION OF pm_2 FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE pm_2_2 PARTITION OF pm_2 DEFAULT USING heap;
CREATE TABLE pm_3 PARTITION OF pm DEFAULT USING metricsdb;
CREATE TABLE parent (time timestamptz, v int) USING heap;
CREATE TABLE child (host text) INHERITS (parent) USING metricsdb;
INSERT INTO child SELECT now(), i, 'h' FROM generate_series(1, 150) i;
CREATE ROLE dump_reader;
ALTER TABLE late ENABLE ROW LEVEL SECURITY;
CREATE POLICY c1 ON late TO dump_reader USING (c = 1);
GRANT SELECT (a, c), INSERT ON late TO dump_reader;
CREATE STATISTICS late_s ON b, c FROM late;
COMMENT ON COLUMN late.c IS 'the series';
ALTER TABLE late ALTER d SET STATISTICS 77, ADD CONSTRAINT pos CHECK (a > 0);
CREATE RULE r AS ON INSERT TO late WHERE NEW.a < 0 DO INSTEAD NOTHING;
});
sql("INSERT INTO pm SELECT time, host, value FROM (" . rows(1, 3000) . ") x(time, host, region, value, note)");
sql(q{CREATE MATERIALIZED VIEW mv_empty USING metricsdb AS SELECT * FROM late WITH NO DATA});

# A limit goes along, and does not stop the rows of its own table: restored, it is for Kafka only.
sql("SELECT metricsdb.set_cardinality_limit('late', NULL, 2, 'drop_tag', 'b'); SELECT metricsdb.set_cardinality_limit('c', NULL, 0)");

my @tables = ('late', 'pm', 'pm_1', 'pm_2', 'pm_2_1', 'pm_3', 'parent', 'child', 'a', 'b', 'c', 'p', 'p1', 'u', '"odd name ""x"""', 'mv');

sub sums { my ($db) = @_; return join "\n", map { "$_ " . sql("SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM $_ x", $db) } @tables }

sub layout
{
	my ($db) = @_;
	return sql(q{SELECT relname, relpersistence, relkind, coalesce((SELECT amname FROM pg_am WHERE oid = relam), '-'), reloptions,
		(SELECT string_agg(label, ',') FROM pg_seclabel l WHERE l.objoid = c.oid AND objsubid = 0) FROM pg_class c
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'm') ORDER BY relname}, $db)
	  . sql(q{SELECT relname, relacl, relrowsecurity, relhasrules FROM pg_class WHERE relname = 'late'}, $db)
	  . sql(q{SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy}, $db)
	  . "\n" . join "\n", map { "$_ " . sql("SELECT string_agg(d::text, ',') FROM metricsdb.describe('$_') d", $db) =~ s/\d{4,}/N/gr } ('b', 'c', 'late', 'pm_1');
}

my ($sums, $layout) = (sums('postgres'), layout('postgres'));

sub restored
{
	my ($db, $what) = @_;
	is(sums($db), $sums, "$what: rows");
	is(layout($db), $layout, "$what: layout and options");
	is(sql(q{SELECT relname, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1}, $db), "mv|t\nmv_empty|f", "$what: views are filled, or not");
	is(sql("INSERT INTO a (time, host) VALUES (now(), 'new'); SELECT count(*) FROM a WHERE host = 'new'", $db), '1', "$what: is written to");
	sql("CALL metricsdb.compact('a')", $db);
	is(sql("DELETE FROM pg_class WHERE false; SELECT count(*) FROM a WHERE host <> 'new'", $db), sql('SELECT count(*) FROM a'), "$what: and compacted");
	catalogs_in_order($node, $db, $what);
	return;
}

command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', "$dir/plain.sql" ], 'pg_dump, plain');
my $plain = slurp_file("$dir/plain.sql");
unlike($plain, qr/delta_\d+_\d+/, 'no delta heap in the dump');
unlike($plain, qr/COPY metricsdb\.(part|series|storage|delta) /, 'no catalog of the engine in the dump');
unlike($plain, qr/CREATE TABLE metricsdb\./, 'nor their definitions');
sql('CREATE DATABASE plain');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dir/plain.sql" ], 'plain dump runs');
restored('plain', 'plain');

command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', "$dir/custom" ], 'pg_dump, custom format');
sql('CREATE DATABASE custom');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$dir/custom" ], 'pg_restore');
restored('custom', 'custom');

command_ok([ 'pg_dump', '-Fd', '-j', '2', '-d', $node->connstr('postgres'), '-f', "$dir/parallel" ], 'pg_dump, directory, two jobs');
sql('CREATE DATABASE parallel');
command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('parallel'), "$dir/parallel" ], 'pg_restore, two jobs');
restored('parallel', 'parallel');

command_ok([ 'pg_dump', '-Ft', '-d', $node->connstr('postgres'), '-f', "$dir/tar" ], 'pg_dump, tar');
sql('CREATE DATABASE tar');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('tar'), "$dir/tar" ], 'pg_restore, tar');
restored('tar', 'tar');

# What a dump consists of: options with the definitions, before any row.
for my $file (map { "$dir/$_" } 'custom', 'parallel', 'tar')
{
	my ($toc) = run_command([ 'pg_restore', '-l', $file ]);
	my @toc = grep { !/^;/ } split /\n/, $toc;
	my ($label) = grep { $toc[$_] =~ / SECURITY LABEL public TABLE late / } 0 .. $#toc;
	my ($data) = grep { $toc[$_] =~ / TABLE DATA public / } 0 .. $#toc;
	ok(defined $label && defined $data && $label < $data, "$file: options of a table come before the first row");
	is(scalar(grep { / metricsdb (?!kafka_|cardinality_(?:limit|share)\b|alert_|node(?:_view)?\b|distributed)/ && / TABLE/ } @toc), 0, "$file: no table of the engine");
}

# Sections one by one, from an archive and from pg_dump itself
for my $how ('archive', 'dump')
{
	sql("CREATE DATABASE sect_$how");
	for my $section ('pre-data', 'data', 'post-data')
	{
		if ($how eq 'archive')
		{
			command_ok([ 'pg_restore', '--exit-on-error', "--section=$section", '-d', $node->connstr("sect_$how"), "$dir/custom" ], "$how: $section");
		}
		else
		{
			command_ok([ 'pg_dump', "--section=$section", '-d', $node->connstr('postgres'), '-f', "$dir/$section.sql" ], "$how: $section");
			command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr("sect_$how"), '-f', "$dir/$section.sql" ], "$how: $section runs");
		}
		is(sql(q{SELECT string_agg("column"::text, ',') FROM metricsdb.describe('late') WHERE role = 'series'}, "sect_$how"), 'b,c', "$how: options are there after $section");
	}
	restored("sect_$how", "sections, $how");
}

# Schema first, all data later, from plain dumps
sql('CREATE DATABASE two');
for my $what ('schema', 'data')
{
	command_ok([ 'pg_dump', "--$what-only", '-d', $node->connstr('postgres'), '-f', "$dir/$what-only.sql" ], "pg_dump --$what-only");
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('two'), '-f', "$dir/$what-only.sql" ], "--$what-only runs");
}
# Views are filled in the section behind the data, which neither of these has.
sql('REFRESH MATERIALIZED VIEW mv', 'two');
restored('two', 'schema, then data');
is(sql(q{SELECT "table", "limit", sql_limit IS NULL, action, drop_tag FROM metricsdb.cardinality_status ORDER BY 1::text}, 'two'), "c|0|t|reject|\nlate|2|t|drop_tag|b", 'limits are there, and not for SQL');
sql("SELECT metricsdb.set_cardinality_limit('c', NULL, 0)", 'two');
like(($node->psql('two', "INSERT INTO c (time, host, region) VALUES (now(), 'new', 'new')"))[2], qr/has reached its limit of new series/, 'until they are set again');
unlike(slurp_file("$dir/data-only.sql"), qr/SECURITY LABEL|CREATE /, 'data only: rows');
unlike(slurp_file("$dir/schema-only.sql"), qr/^COPY /m, 'schema only: no rows');

# Without access methods all of it is heap, with the same rows; options lie ready for the way back.
# (--no-table-access-method is of pg_dump 16; default_table_access_method is not written for tables
# whose access method is the default one, which is what psql and sed can do about it on 15.)
{
	my $text = slurp_file("$dir/plain.sql") =~ s/^SET default_table_access_method = metricsdb;$/SET default_table_access_method = heap;/gmr;
	append_to_file("$dir/heap.sql", $text);
	sql('CREATE DATABASE heaps');
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('heaps'), '-f', "$dir/heap.sql" ], 'a dump without our access method runs');
	is(sums('heaps'), $sums, 'as heap tables: rows');
	is(sql(q{SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE amname = 'metricsdb'}, 'heaps'), '0', 'as heap tables: none is ours');
	sql('ALTER TABLE late SET ACCESS METHOD metricsdb; ALTER TABLE pm_1 SET ACCESS METHOD metricsdb', 'heaps');
	is(sql(q{SELECT string_agg("column"::text, ',') FROM metricsdb.describe('late') WHERE role = 'series'}, 'heaps'), 'b,c', 'and back, with the options');
	is(sums('heaps'), $sums, 'and back: rows');
	if (run_command([ 'pg_dump', '--help' ]) =~ /--no-table-access-method/)
	{
		command_ok([ 'pg_dump', '--no-table-access-method', '-d', $node->connstr('postgres'), '-f', "$dir/noam.sql" ], 'pg_dump --no-table-access-method');
		unlike(slurp_file("$dir/noam.sql"), qr/default_table_access_method = metricsdb/, 'names no access method');
	}
}

# Some tables, into a database that has the extension
command_ok([ 'pg_dump', '-Fc', '-t', 'late', '-t', 'pm*', '-d', $node->connstr('postgres'), '-f', "$dir/some" ], 'pg_dump of some tables');
sql('CREATE DATABASE some_tables');
sql('CREATE EXTENSION metricsdb', 'some_tables');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('some_tables'), "$dir/some" ], 'pg_restore of some tables');
is(sql("SELECT count(*), sum(a) FROM late", 'some_tables'), sql("SELECT count(*), sum(a) FROM late"), 'some tables: rows');
is(sql(q{SELECT string_agg("column"::text, ',') FROM metricsdb.describe('late') WHERE role = 'series'}, 'some_tables'), 'b,c', 'some tables: options');
command_ok([ 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', $node->connstr('some_tables'), "$dir/some" ], 'pg_restore --clean');
is(sql("SELECT count(*), sum(a) FROM late", 'some_tables'), sql("SELECT count(*), sum(a) FROM late"), 'cleaned and restored: rows');
catalogs_in_order($node, 'some_tables', 'cleaned and restored');
{
	# pg_dump sees what there was when it began, whatever is merged since.
	my $s = session($node);
	$s->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $id = $s->query('SELECT pg_export_snapshot()');
	my $before = sums('postgres');
	sql('INSERT INTO a (time, host) SELECT now(), $$later$$ FROM generate_series(1, 500)');
	sql("CALL metricsdb.compact('$_')") for 'a', 'late', 'c';
	command_ok([ 'pg_dump', '-Fd', '-j', '2', "--snapshot=$id", '-d', $node->connstr('postgres'), '-f', "$dir/snapshot" ], 'pg_dump of a snapshot, merged since');
	$s->close;
	sql('CREATE DATABASE snap');
	command_ok([ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('snap'), "$dir/snapshot" ], 'pg_restore of it');
	is(sums('snap'), $before, 'the snapshot: rows');
}
sql('REFRESH MATERIALIZED VIEW mv');
($sums, $layout) = (sums('postgres'), layout('postgres'));
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', "$dir/custom" ], 'pg_dump, custom format');
command_ok([ 'pg_dumpall', '-d', $node->connstr('postgres'), '--no-sync', '-f', "$dir/all.sql" ], 'pg_dumpall');

# In one transaction TRUNCATE-less COPY FREEZE paths and wal-skipping come in.
sql('CREATE DATABASE single');
command_ok([ 'pg_restore', '--exit-on-error', '-1', '-d', $node->connstr('single'), "$dir/custom" ], 'pg_restore in one transaction');
restored('single', 'single');

command_ok([ 'pg_dump', '--schema-only', '-d', $node->connstr('postgres'), '-f', "$dir/schema.sql" ], 'pg_dump --schema-only');
sql('CREATE DATABASE schema');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('schema'), '-f', "$dir/schema.sql" ], 'schema runs');
is(sql('SELECT count(*) FROM a', 'schema'), '0', 'schema only: no rows');
is(layout('schema'), $layout, 'schema only: layout and options');
command_ok([ 'pg_restore', '--exit-on-error', '--data-only', '-t', 'a', '-d', $node->connstr('schema'), "$dir/custom" ], 'data of one table');
is(sql('SELECT count(*) FROM a', 'schema'), sql('SELECT count(*) FROM a'), 'schema only, then data');

command_ok([ 'pg_dump', '--inserts', '-t', 'c', '-d', $node->connstr('postgres'), '-f', "$dir/inserts.sql" ], 'pg_dump --inserts');

# CREATE DATABASE ... TEMPLATE copies files.
sql('CREATE DATABASE copy TEMPLATE plain');
is(sql('SELECT count(*) FROM a', 'copy'), sql('SELECT count(*) FROM a', 'plain'), 'a copied database');
sql('INSERT INTO a (time, host, value) ' . "SELECT now(), 'z' || i, i FROM generate_series(1, 500) i", 'copy');
is(sql("SELECT count(*) FROM a WHERE host ~ '^z'", 'copy'), '500', 'and written to');

# ---- the extension goes and comes back ----

{
	my ($rc, $out, $err) = $node->psql('plain', 'DROP EXTENSION metricsdb');
	like($err, qr/cannot drop extension metricsdb because other objects depend on it/, 'DROP EXTENSION is refused while there are tables');
	sql('BEGIN; DROP EXTENSION metricsdb CASCADE; ROLLBACK', 'plain');
	is(sql('SELECT count(*) FROM a', 'plain'), sql('SELECT count(*) FROM a', 'copy') - 500, 'DROP EXTENSION CASCADE, rolled back');
	sql('DROP EXTENSION metricsdb CASCADE', 'plain');
	is(sql(q{SELECT count(*) FROM pg_class WHERE relname ~ '^delta_' OR relname IN ('a', 'b', 'c', 'p1', 'u', 'mv')}, 'plain'), '0', 'all is gone');
	is(sql('SELECT count(*) FROM p', 'plain'), sql('SELECT count(*) FROM p2'), 'but partitions of other kinds');
	sql('CREATE EXTENSION metricsdb', 'plain');
	sql('CREATE TABLE a (time timestamptz, host text, region text, value float8, note text) USING metricsdb', 'plain');
	sql('INSERT INTO a ' . rows(1, 500) . '; INSERT INTO a ' . rows(501, 505), 'plain');
	is(sql("SELECT count(*), count(DISTINCT host) FROM a", 'plain'), '505|20', 'CREATE EXTENSION again');
	# In a session that knew the old one, whose storage ids come again.
	my $s = session($node, 'plain');
	$s->query('INSERT INTO a ' . rows(1, 300));
	$s->query('DROP EXTENSION metricsdb CASCADE; CREATE EXTENSION metricsdb; CREATE TABLE a (time timestamptz, host text, region text, value float8, note text) USING metricsdb');
	$s->query("INSERT INTO a SELECT time, 'q' || host, region, value, note FROM (" . rows(1, 300) . ") x(time, host, region, value, note); INSERT INTO a " . rows(1, 3));
	is($s->query("SELECT count(*), count(DISTINCT host), min(host) FROM a"), '303|23|h1', 'in one session: rows and series');
	is(sql("SELECT count(*), count(DISTINCT host), min(host) FROM a", 'plain'), '303|23|h1', 'and for others');
	$s->close;
	catalogs_in_order($node, 'plain', 'the extension again');
}
$node->stop;
grep_log($node, 'dumps');
done_testing();
