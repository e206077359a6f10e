# metricsdb.check() finds what was damaged, and nothing else; on_corruption = skip reads the rest.
#
# Each kind of damage is planted in a table of its own, bytes with the server stopped, catalogs by SQL.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('check', 'metricsdb.workers' => 'off', 'autovacuum' => 'off', 'metricsdb.direct_rows' => 100);
my $forge = "$ENV{METRICSDB_RUN}/bin/forge";
my $page = 8192;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Three parts, of a day each; in the first a column with NULLs and NaNs.
my $columns = 'time timestamptz NOT NULL, host text, a float8, b int8, c float4, d text, u uuid';
my $rows = q{SELECT timestamptz '2026-01-01 00:00:00+00' + d * interval '1 day' + i * interval '1 min', 'host' || i % 7,
	CASE WHEN i % 10 = 3 THEN NULL WHEN i % 10 = 4 THEN 'NaN' ELSE i * 0.5 END, i * 1000, i, md5(i::text), md5(i::text)::uuid
	FROM generate_series(0, 2) d, generate_series(1, 600) i};

# d and u would be taken for series columns.
sub create { return sql("CREATE $_[1] TABLE $_[0] ($columns) USING metricsdb; SELECT metricsdb.set_options('$_[0]', series => '{host}')") }

# findings(table): the kinds, sorted, each once.
sub findings { return sql("SELECT coalesce(string_agg(DISTINCT kind, ' ' ORDER BY kind), '') FROM metricsdb.check('$_[0]')") }

sub show { return sql("SELECT * FROM metricsdb.check('$_[0]')") }

sub part
{
	my ($table, $n) = @_;
	my @f = split /\|/, sql(qq{SELECT part_id, page_first, npages, nbytes FROM metricsdb.part p JOIN metricsdb.storage s USING (storage_id)
		WHERE s.relid = '$table'::regclass ORDER BY part_id OFFSET $n LIMIT 1});
	return { table => $table, part_id => $f[0], page_first => $f[1], npages => $f[2], nbytes => $f[3] };
}

sub of_table { return "storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = '$_[0]'::regclass)" }

# bytes(table, offset, sub): changes bytes of the file.
sub change_bytes
{
	my ($file, $offset, $len, $how) = @_;

	open my $f, '+<:raw', $file or die "$file: $!";
	seek $f, $offset, 0;
	my $bytes = q();
	read $f, $bytes, $len;
	$bytes = $how->($bytes);
	seek $f, $offset, 0;
	print $f $bytes;
	close $f or die $!;
	return;
}

sub flip
{
	my ($n) = @_;
	return sub { my ($bytes) = @_; substr($bytes, $n, 1) = chr(ord(substr($bytes, $n, 1)) ^ 4); return $bytes };
}

# name => [what check() finds, damage to the file, damage to the catalogs]
# A damage to the file gets its path and the table's first part.
my %after; # table => SQL to run once the server is up again
my @plants = (
	# the ten
	[ flipped_chunk => 'checksum', sub { my ($f, $p) = @_; change_bytes($f, $p->{page_first} * $page + 24, 100, flip(7)) } ],
	[ flipped_directory => 'checksum', sub { my ($f, $p) = @_; my $at = $p->{nbytes} - 60;
		change_bytes($f, ($p->{page_first} + int($at / 8152)) * $page + 24 + $at % 8152, 1, flip(0)) } ],
	[ wrong_min => 'minmax', forge('min', 3) ],
	[ wrong_max => 'minmax', forge('max', 4) ],
	[ wrong_max_float4 => 'minmax', forge('max', 5) ],
	[ wrong_time_min => 'minmax', forge('time-min') ],
	[ wrong_time_max => 'minmax', forge('time-max') ],
	[ wrong_nulls => 'count', forge('nulls', 3) ],
	[ wrong_nulls_text => 'count', forge('nulls', 6) ],
	[ wrong_nans => 'count', forge('extra', 3) ],
	[ wrong_rows => 'count', undef, "UPDATE metricsdb.part SET nrows = nrows - 1 WHERE %s AND part_id = 1" ],
	[ wrong_sum => 'sum', forge('sum', 3) ],
	[ wrong_sum_int => 'sum', forge('sum', 4) ],
	[ wrong_sum_high => 'sum', forge('extra', 4) ],
	[ wrong_first => 'first_last', forge('first', 3) ],
	[ wrong_last => 'first_last', forge('last', 4) ],
	[ row_overlap => 'row_overlap', undef, "UPDATE metricsdb.part SET row_first = row_first - 10 WHERE %s AND part_id = 3" ],
	[ orphan => 'orphan', sub { my ($f, $p) = @_; my $copy;
		change_bytes($f, $p->{page_first} * $page, $p->{npages} * $page, sub { return $copy = $_[0] });
		open my $h, '>>:raw', $f or die; print $h $copy; close $h } ],
	[ shared_extent => 'shared_extent', undef, qq{UPDATE metricsdb.part p SET (page_first, npages, nbytes, checksum, nblocks) =
		(SELECT page_first, npages, nbytes, checksum, nblocks FROM metricsdb.part q WHERE q.storage_id = p.storage_id AND part_id = 1)
		WHERE %s AND part_id = 2} ],
	[ wrong_part_in_page => 'page', sub { my ($f, $p) = @_; change_bytes($f, ($p->{page_first} + 2) * $page - 16, 8, sub { return pack 'q', 2 }) } ],
	[ older_part_in_page => 'page', sub { my ($f, $p) = @_; change_bytes($f, ($p->{page_first} + 2) * $page - 16, 8, sub { return pack 'q', 0 }) } ],
	[ wrong_number_in_page => 'page', sub { my ($f, $p) = @_; change_bytes($f, ($p->{page_first} + 2) * $page - 8, 4, sub { return pack 'L', 77 }) } ],
	[ empty_page => 'page', sub { my ($f, $p) = @_; change_bytes($f, $p->{page_first} * $page, $page, sub { return "\0" x $page }) } ],
	[ invalid_page => 'page', sub { my ($f, $p) = @_; change_bytes($f, $p->{page_first} * $page + 12, 4, sub { return "\xff" x 4 }) } ],
	[ no_end => 'page', sub { my ($f, $p) = @_; truncate $f, ($p->{page_first} + 1) * $page or die } ],
	[ unsorted => 'order', forge('order') ],
	[ shadow_out_of_range => 'shadow', undef, 'INSERT INTO metricsdb.shadow SELECT storage_id, 1000, 0 FROM metricsdb.storage WHERE %s' ],
	[ shadow_page_shared => 'shadow', undef, 'INSERT INTO metricsdb.shadow SELECT storage_id, 1, 0 FROM metricsdb.storage WHERE %s' ],
	[ shadow_misplaced => 'shadow', undef, 'UPDATE metricsdb.shadow SET run = run + 1 WHERE %s' ],
	# and more
	[ wrong_block_rows => 'count', forge('rows') ],
	[ wrong_day => 'partition', undef, 'UPDATE metricsdb.part SET day = day + 1 WHERE %s AND part_id = 1' ],
	[ wrong_time_range => 'minmax', undef, 'UPDATE metricsdb.part SET time_max = time_max - 1 WHERE %s AND part_id = 2' ],
	[ wrong_series_range => 'minmax', undef, 'UPDATE metricsdb.part SET series_min = series_min - 1 WHERE %s AND part_id = 2' ],
	[ wrong_series_count => 'count', undef, 'UPDATE metricsdb.part SET nseries = nseries + 1 WHERE %s AND part_id = 2' ],
	[ wrong_blocks => 'count', undef, 'UPDATE metricsdb.part SET nblocks = nblocks + 1 WHERE %s AND part_id = 2' ],
	[ wrong_checksum => 'checksum', undef, 'UPDATE metricsdb.part SET checksum = checksum + 1 WHERE %s AND part_id = 2' ],
	[ wrong_size => 'catalog', undef, 'UPDATE metricsdb.part SET npages = npages + 1 WHERE %s AND part_id = 2' ],
	[ negative_blocks => 'catalog', undef, 'UPDATE metricsdb.part SET nblocks = -5 WHERE %s AND part_id = 2' ],
	[ huge_part => 'catalog', undef, 'UPDATE metricsdb.part SET nrows = 9223372036854775807, page_first = 4294967294 WHERE %s AND part_id = 2' ],
	[ wrong_format => 'format', undef, 'UPDATE metricsdb.part SET format = 9 WHERE %s AND part_id = 2' ],
	[ wrong_incarnation => 'catalog', undef, 'UPDATE metricsdb.part SET incarnation = 9 WHERE %s AND part_id = 2' ],
	[ no_storage => 'catalog', undef, 'DELETE FROM metricsdb.storage WHERE %s' ],
	[ no_series => 'dictionary', undef, 'DELETE FROM metricsdb.series WHERE %s' ],
	[ bad_series => 'dictionary', undef, q{UPDATE metricsdb.series SET payload = '\x0100ffffffff' WHERE %s} ],
	[ two_keys => 'dictionary', undef, qq{INSERT INTO metricsdb.series SELECT storage_id, id_min, id_max, 1,
		set_byte(set_byte('\\x01000100000602076861636b', 0, 1), 2, 1) FROM metricsdb.series WHERE %s} ],
	[ no_postings => 'postings', undef, 'DELETE FROM metricsdb.posting WHERE %s' ],
	[ bad_postings => 'postings', undef, q{UPDATE metricsdb.posting SET payload = '\x0100ffffffff' WHERE %s} ],
	[ short_postings => 'postings', undef, q{UPDATE metricsdb.posting SET payload = substr(payload, 1, length(payload) - 3) WHERE %s} ],
	[ other_version => 'postings', undef, q{UPDATE metricsdb.posting SET payload = set_byte(payload, 0, 9) WHERE %s} ],
	[ wrong_entries => 'postings', undef, 'UPDATE metricsdb.posting SET nentries = nentries + 1 WHERE %s' ],
	[ wrong_terms => 'postings', undef, q{UPDATE metricsdb.posting SET last_term = '\x0002017a7a7a' WHERE %s} ],
	[ strange_postings => 'dictionary', undef, q{INSERT INTO metricsdb.posting SELECT storage_id, run + 1, '\x00010161', '\x00010161', 1, 1,
		'\x01000004000101610163'  FROM metricsdb.posting WHERE %s} ],
	[ no_delta_heap => 'delta', undef, 'UPDATE metricsdb.delta SET relid = 1 WHERE %s' ],
	[ foreign_heap => 'delta', undef, q{UPDATE metricsdb.delta SET relid = 'pg_class'::regclass WHERE %s} ],
	[ no_slot => 'delta', undef, q{DELETE FROM metricsdb.delta WHERE %s} ],
	[ dead_slot => 'delta', undef, 'UPDATE metricsdb.delta SET live = false WHERE %s' ],
	[ next_part => 'counter', sub { change_bytes($_[0], 24 + 24, 8, sub { return pack 'q', 2 }) } ],
	[ next_row => 'counter', sub { change_bytes($_[0], 24 + 32, 8, sub { return pack 'q', 700 }) } ],
	[ next_series => 'counter', sub { change_bytes($_[0], 24 + 40, 8, sub { return pack 'q', 2 }) } ],
	[ next_page => 'counter', sub { change_bytes($_[0], 24 + 20, 4, sub { return pack 'L', 3 }) } ],
	[ metapage_magic => 'metapage', sub { change_bytes($_[0], 24, 4, sub { return 'nope' }) } ],
	[ metapage_columns => 'metapage', sub { change_bytes($_[0], 24 + 50, 2, sub { return pack 's', -3 }) } ],
);

# forge(what, attno): see test/lib/forge.c; the catalog's row follows.
sub forge
{
	my ($what, $attno) = @_;
	return sub {
		my ($file, $p) = @_;
		my ($out, $err);
		IPC::Run::run([ $forge, $file, $p->{page_first}, $p->{nbytes}, $what, $attno // 0 ], '>', \$out, '2>', \$err)
		  or die "forge $what: $err";
		my ($nbytes, $crc) = split ' ', $out;
		$after{ $p->{table} } = "UPDATE metricsdb.part SET nbytes = $nbytes, checksum = $crc WHERE "
		  . of_table($p->{table}) . " AND part_id = $p->{part_id}";
	};
}

# ---- tables in good order ----

create('good', '');
is(findings('good'), '', 'an empty table has no findings');
sql("INSERT INTO good $rows");
sql("INSERT INTO good $rows LIMIT 20");
is(show('good'), '', 'parts and a delta');
sql("BEGIN; INSERT INTO good $rows; ROLLBACK");
is(show('good'), '', 'after an abort');
is(sql("BEGIN; INSERT INTO good $rows; SELECT count(*) FROM metricsdb.check('good'); ROLLBACK"), '0', 'in a transaction that has written');
sql("DELETE FROM good WHERE b % 3000 = 0; UPDATE good SET a = 7 WHERE b % 5000 = 0; BEGIN; DELETE FROM good; ROLLBACK");
is(show('good'), '', 'after DELETE and UPDATE');
sql('VACUUM good');
is(show('good'), '', 'and VACUUM');
sql("DELETE FROM good");
sql('VACUUM good');
is(show('good'), '', 'after all rows were deleted');
sql("INSERT INTO good $rows") for 1 .. 3;
sql("CALL metricsdb.compact('good')") for 1 .. 3;
is(show('good'), '', 'after merges');
sql('VACUUM good');
is(show('good'), '', 'after VACUUM');
sql('ALTER TABLE good DROP c, ADD e numeric DEFAULT 3, ALTER b TYPE int4');
sql('VACUUM FULL good');
sql("INSERT INTO good SELECT time, host, a, b, d, u FROM good");
is(show('good'), '', 'after ALTER TABLE and VACUUM FULL');
sql('ALTER TABLE good DROP time');
is(show('good'), '', 'after the time column was dropped');
sql("CREATE TABLE dates (d date, s text, i int2, j int4, k bool, n numeric, cs \"char\", f float4, x float8) USING metricsdb");
sql("INSERT INTO dates SELECT date '2026-01-01' + i % 400, 's' || i % 3, i, -i, i % 2 = 0, i * 1.5, 'x', 1e30, i FROM generate_series(1, 5000) i");
sql("INSERT INTO dates SELECT CASE WHEN i % 2 = 0 THEN date 'infinity' WHEN i % 3 = 0 THEN '-infinity' END, 's', -1, i, NULL, 'NaN', NULL, '-infinity', 'infinity' FROM generate_series(1, 5000) i");
sql("CREATE TABLE numbers (a int8, b int8) USING metricsdb; INSERT INTO numbers SELECT i, 9223372036854775807 FROM generate_series(1, 50000) i");
create('unlogged', 'UNLOGGED');
sql("INSERT INTO unlogged $rows");
is(show($_), '', "$_: no findings") for qw(dates numbers unlogged);
sql("CALL metricsdb.compact('$_')") for qw(dates numbers unlogged);
is(show($_), '', "$_: no findings after merges") for qw(dates numbers unlogged);
is(sql("CREATE TEMP TABLE t ($columns) USING metricsdb; INSERT INTO t $rows; SELECT count(*) FROM metricsdb.check('t')"), '0', 'a temporary table');

# ---- who may ----

sql('CREATE ROLE reader; GRANT SELECT ON good TO reader; CREATE TABLE heap (i int); CREATE TABLE parted (time timestamptz) PARTITION BY RANGE (time)');
sub fails { my ($q, $want, $what) = @_; my ($rc, $out, $err) = $node->psql('postgres', $q); like($err, $want, $what); return }
fails("SET ROLE reader; SELECT * FROM metricsdb.check('good')", qr/must be owner of table good/, 'not for readers');
fails("SELECT * FROM metricsdb.check('heap')", qr/is not a metricsdb table/, 'not for heaps');
fails("SELECT * FROM metricsdb.check('parted')", qr/pg_partition_tree/, 'a partitioned table: a hint');
fails("SELECT * FROM metricsdb.check(NULL)", qr/must not be NULL/, 'NULL is not in good order');
fails("SET ROLE reader; SET metricsdb.on_corruption = skip", qr/permission denied/, 'skip is not for everybody');
sql('ALTER TABLE good OWNER TO reader');
is(sql("SET ROLE reader; SELECT count(*) FROM metricsdb.check('good')"), '0', 'an owner may');

# ---- damage ----

for my $plant (@plants)
{
	create($plant->[0], '');
	sql("INSERT INTO $plant->[0] $rows");
	# Rows with a shadow: deleted, updated, locked.
	sql("DELETE FROM $plant->[0] WHERE b = 1000 AND time < '2026-01-02'; UPDATE $plant->[0] SET a = -1 WHERE b = 2000 AND time < '2026-01-02';
		SELECT count(*) FROM (SELECT 1 FROM $plant->[0] WHERE b = 3000 AND time < '2026-01-02' FOR UPDATE) x")
	  if $plant->[0] =~ /^shadow_/;
	$plant->[4] = part($plant->[0], 0);
	$plant->[5] = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('$plant->[0]')");
}
is(sql("SELECT string_agg(c::text, ' ') FROM pg_class r JOIN pg_am a ON a.oid = r.relam CROSS JOIN LATERAL metricsdb.check(r.oid) c WHERE amname = 'metricsdb'"),
	'', 'all tables are in good order');
$node->stop('fast');
$_->[2]->($_->[5], $_->[4]) for grep { $_->[2] } @plants;
$node->start;
for my $plant (@plants)
{
	my ($table, $kind, $file, $catalog) = @$plant;

	sql(sprintf $catalog, of_table($table)) if defined $catalog;
	sql($after{$table}) if $after{$table};
	is(findings($table), $kind, "$table: found, and nothing else") or diag show($table);
}
is(findings($_), '', "$_: still no findings") for qw(good dates numbers unlogged);
is(sql("SELECT severity, kind, part, block, \"column\" FROM metricsdb.check('wrong_sum')"), 'error|sum|1|0|a', 'part, block and column are named');
is(sql("SELECT count(*), count(page), min(part), max(part) FROM metricsdb.check('invalid_page')"), '1|1|1|1', 'a bad page is one finding');
is(sql("SELECT count(*) FROM metricsdb.check('wrong_sum', decode => false)"), '0', 'without decoding sums are not checked');
is(sql("SELECT kind FROM metricsdb.check('flipped_directory', decode => false)"), 'checksum', 'but directories are');

# ---- on_corruption ----

# Damage that makes rows unreadable: all of a part, here.
for my $table (qw(flipped_chunk flipped_directory wrong_part_in_page older_part_in_page empty_page invalid_page no_storage unsorted
	wrong_blocks wrong_size negative_blocks huge_part wrong_nulls))
{
	my $readable = $table =~ /^(no_storage|unsorted)$/;
	my $rest = $readable ? 1800 : 1200;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM $table");

	if ($readable) { is($rc, 0, "$table: rows can be read") }
	else { like($err, qr/ERROR:.*(part \d+ of table "$table" is damaged|invalid page)/, "$table: an error that names part and table") }
	for my $query ("SELECT count(*) FROM $table", "SELECT count(*) FROM $table WHERE time >= '2026-01-01' AND host LIKE 'host%'",
		"SELECT count(*) FROM (SELECT * FROM $table OFFSET 0) x", "SELECT count(d) FROM $table")
	{
		for my $parallel (0, 1)
		{
			my $set = 'SET metricsdb.on_corruption = skip;';

			$set .= 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;' if $parallel;
			($rc, $out, $err) = $node->psql('postgres', "$set $query");
			is($out, $rest, "$table: skipped by $query" . ($parallel ? ', parallel' : ''));
			my @warnings = $err =~ /WARNING:  skipping damaged rows/g;
			is(scalar @warnings, $readable ? 0 : 1, 'one warning') or diag $err;
		}
	}
}
{
	my ($rc, $out, $err) = $node->psql('postgres', 'SET metricsdb.on_corruption = skip; COPY flipped_chunk TO STDOUT');
	is(scalar(() = $out =~ /\n/g), 1199, 'COPY');
	like($err, qr/skipping damaged rows in part 1 of table "flipped_chunk"/, 'COPY warns');
	($rc, $out, $err) = $node->psql('postgres', 'SET metricsdb.on_corruption = skip; SELECT count(*) FROM flipped_chunk x JOIN flipped_chunk y USING (time, host)');
	is(scalar(() = $err =~ /WARNING/g), 1, 'a self-join warns once');
	($rc, $out, $err) = $node->psql('postgres', 'SET metricsdb.on_corruption = skip; SELECT count(*) FROM no_series');
	is("$out", '0', 'rows without their series are skipped');
	is(scalar(() = $err =~ /WARNING/g), 3, 'in three parts');
	for my $command ('VACUUM FULL flipped_chunk', 'ALTER TABLE flipped_chunk ALTER b TYPE numeric', 'ALTER TABLE flipped_chunk SET ACCESS METHOD heap',
		'ALTER TABLE flipped_chunk ADD CHECK (a > -1)', 'ALTER TABLE flipped_chunk ALTER a SET NOT NULL')
	{
		($rc, $out, $err) = $node->psql('postgres', "SET metricsdb.on_corruption = skip; $command");
		like($err, qr/ERROR:.*is damaged/, "$command skips nothing");
	}
	{
		local $ENV{PGOPTIONS} = '-c metricsdb.on_corruption=skip';
		($out, $err) = run_command([ 'pg_dump', '-v', '-t', 'flipped_chunk', '-d', $node->connstr('postgres') ]);
		is(scalar(() = $out =~ /^2026-.*\thost\d/mg), 1200, 'pg_dump');
		like($err, qr/WARNING:  skipping damaged rows/, 'pg_dump warns');
	}
	is(sql("SET metricsdb.on_corruption = skip; CREATE TABLE saved AS SELECT * FROM flipped_chunk; SELECT count(*) FROM saved"), '1200', 'what is left is saved');
}

# ---- merges skip nothing, and go on ----

create('merged', '');
sql("INSERT INTO merged $rows") for 1 .. 4;
my ($bad, $file) = (part('merged', 1), $node->data_dir . '/' . sql("SELECT pg_relation_filepath('merged')"));
$node->stop('fast');
change_bytes($file, $bad->{page_first} * $page + 24, 100, flip(20));
$node->start;
is(findings('merged'), 'checksum', 'one part of twelve is damaged');
my $live = q{SELECT count(*), sum(nrows), bool_or(part_id = %d) FROM metricsdb.part WHERE } . of_table('merged');
for my $round (1, 2)
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET metricsdb.on_corruption = skip; CALL metricsdb.compact('merged')");
	is($rc, 0, "compact() goes on, round $round");
	is(scalar(() = $err =~ /WARNING:  part $bad->{part_id} of table "merged" is damaged and is not merged/g), 1, 'and reports the part');
	is(sql(sprintf $live, $bad->{part_id}), '4|7200|t', 'the damaged part is as it was, the others are merged');
}
is(findings('merged'), 'checksum', 'nothing else is damaged');
$node->append_conf('postgresql.conf', "metricsdb.workers = on\n");
sql("INSERT INTO merged $rows") for 1 .. 20;
$node->restart;
ok(wait_for($node, sprintf("SELECT count(*) < 30 FROM (SELECT 1 FROM metricsdb.part WHERE %s) x", of_table('merged'))), 'the background merges the others');
is(sql("SELECT sum(nrows), bool_or(part_id = $bad->{part_id}) FROM metricsdb.part WHERE " . of_table('merged')), '43200|t', 'and loses nothing');
$node->stop('fast');
done_testing();
