# The maintainer is killed at each point of src/stop.c that it passes, or gets an error there, while
# a session writes.  Afterwards the table holds what its heap does, and compaction goes on.
#
#   METRICSDB_STOPS=all	each point, killed and with an error; else one of both
#   METRICSDB_SEED=n	to choose the same again
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use StorageTest;
use StopTest;

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);

my $node = stop_node('worker', 'metricsdb.workers' => 'on', 'metricsdb.direct_rows' => 1000, 'metricsdb.retention_interval' => 1);
my %errors = map { $_ => 1 } stop_points($node, 'e');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# ask(sql): its first value, or undef where the server is just crashing.
sub ask
{
	# psql may be gone before it has read what it was to do.
	my ($rc, $out) = eval { $node->psql('postgres', $_[0], on_error_die => 0) };
	return defined $rc && $rc == 0 ? $out : undef;
}

# Only the maintainer is told: sessions have it from PGOPTIONS that there is nothing to stop at.
$ENV{PGOPTIONS} = '-c metricsdb.stop_at=';
sub tell_maintainer
{
	my ($stop) = @_;
	sql("ALTER SYSTEM SET metricsdb.stop_at = '$stop'");
	sql('SELECT pg_reload_conf()');
	return;
}

# Rows for a delta that is full, and for ten parts that are to be merged and leave many pages.
my $wide = q{SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i %% 10, i, (SELECT decode(string_agg(md5(i::text || k || '%s'), ''), 'hex') FROM generate_series(1, 40) k)
	FROM generate_series(1, %d) i};
sub write_some
{
	my ($n) = @_;
	my $rows = sprintf($wide, rand(), $n);
	return ask("WITH a AS (INSERT INTO m_h $rows RETURNING *) INSERT INTO m SELECT * FROM a");
}

# What is too old, in parts and in the delta; and parts to be sorted by class, back and forth.
my $classed = 0;
sub retain
{
	my ($point) = @_;
	return ask("INSERT INTO r SELECT timestamptz '1700-01-01' + i * interval '1 s', 'h', i FROM generate_series(1, " . ($point =~ /row/ ? 5 : 2000) . ') i') if $point =~ /^expire/;
	ask(q{WITH a AS (INSERT INTO c_h SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i % 10, '{}', i FROM generate_series(1, 2000) i RETURNING *) INSERT INTO c SELECT * FROM a});
	return ask(q{SELECT metricsdb.set_retention('c', } . (($classed ^= 1) ? q{'100 years', 'no such'} : q{NULL}) . ')');
}

my $stops = 0;
for my $point (stop_points($node, 'w'))
{
	my @actions = ('kill', $errors{$point} ? 'error' : ());
	@actions = $actions[ int(rand(@actions)) ] if ($ENV{METRICSDB_STOPS} // '') ne 'all';
	for my $action (@actions)
	{
		my $what = "$point in the maintainer: $action";
		my $until = time() + 300;
		my ($log_end, $rounds) = (-s $node->logfile, 0);

		sql('TRUNCATE m, m_h, r, r_h, c, c_h');
		tell_maintainer("$point:$action");
		while (!is_stopped($node) && time() < $until)
		{
			write_some(990);
			write_some(1000) for 1 .. 11;
			# So many new versions of rows that the row heap is emptied into parts.
			ask(join ';', 'BEGIN', (map { "UPDATE $_ SET v = v + 1 WHERE v <= 500" } 'm', 'm_h'), 'COMMIT') if $point =~ /^rows/;
			retain($point) if $point =~ /^(expire|reclass)/;
			# The end of the file is cut, and parts are moved there, while nobody uses the table, and if a good part of
			# it is free: of one that has grown with each round that is less and less.
			my $space = $point =~ /^(cut|move|prune)/;
			for (1 .. ($space ? 30 : 15)) { last if is_stopped($node); usleep(100_000); }
			ask('TRUNCATE m, m_h') if $space && ++$rounds % 6 == 0 && !is_stopped($node);
		}
		# No more, whatever starts now; the file keeps it from stopping again until then.
		ok(is_stopped($node), "$what: stopped");
		# The file is there a moment before the server knows of the crash.
		while ($action eq 'kill' && time() < $until + 60 && slurp_file($node->logfile, $log_end) !~ /terminated by signal 9/) { usleep(50_000); }
		ok(wait_for($node, 'SELECT true'), "$what: the server is back");
		tell_maintainer('');
		wait_for($node, 'SELECT true');
		# One that is at work has not read it; and what failed would not be tried again for a while.
		$node->restart;
		is(stopped($node), $point, "$what: it was there");
		pairs_equal($node, $what);
		write_some(990);
		ok(wait_for($node, q{SELECT pg_relation_size('m') > 8192 AND bool_and(pg_relation_size(d.relid) = 0 OR d.live)
			AND (SELECT count(*) < 40 FROM metricsdb.part p WHERE p.storage_id = min(s.storage_id))
			FROM metricsdb.storage s JOIN metricsdb.delta d USING (storage_id) WHERE s.relid = 'm'::regclass}), "$what: compaction goes on");
		pairs_equal($node, "$what, compacted");
		catalogs_in_order($node, 'postgres', $what);
		$stops++;
	}
}
note "$stops stops";
$node->stop;
grep_log($node, 'all stops');
done_testing();
