# The worker that keeps continuous aggregates up to date: whatever is killed when, each equals its definition on the table,
# united with what it has not taken, and, once it has taken all, by its states alone.
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

# Only the worker is told to stop, and only it explains: sessions have it from PGOPTIONS that they do not; and that what they ask the
# table, the table shall answer.
$ENV{PGOPTIONS} = '-c metricsdb.stop_at= -c metricsdb.rollup_routing=off -c auto_explain.log_min_duration=-1 -c client_min_messages=warning';
my $node = bare_node('worker', init => [ allows_streaming => 1 ], shared_preload_libraries => "'metricsdb, auto_explain'", 'metricsdb.workers' => 'on',
	'metricsdb.rollup_interval' => "'20ms'", 'metricsdb.rollup_max_failures' => 3, 'auto_explain.log_min_duration' => 0, timezone => "'UTC'");
my %errors = map { $_ => 1 } stop_points($node, 'e');

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

# ask(sql): its first value, or undef where the server is just crashing.
sub ask
{
	my ($rc, $out) = eval { $node->psql('postgres', $_[0], on_error_die => 0) };
	return defined $rc && $rc == 0 ? $out : undef;
}

sub configure
{
	my (%settings) = @_;
	sql("ALTER SYSTEM SET $_ = '$settings{$_}'") for keys %settings;
	sql('SELECT pg_reload_conf()');
	return;
}

# A table and its aggregates of three levels; whole numbers, whose sums are exact.
my @levels = ([ '10s', '10 s' ], [ '1min', '1 min' ], [ '1h', '1 h' ]);
my $prepare = q{
	CREATE TABLE %1$s (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
	-- A view, and its states alone, against its definition: how many rows differ.
	CREATE FUNCTION differs_%1$s(suffix text, width text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE united int; alone int;
	BEGIN
		EXECUTE format('CREATE TEMP VIEW d AS SELECT metricsdb.time_bucket(%%L, time) AS bucket, host, count(*) AS n, sum(v) AS sum, min(v) AS min, max(v) AS max FROM %1$s GROUP BY 1, 2', width);
		EXECUTE format('CREATE TEMP VIEW s AS SELECT bucket, host, sum(count)::int8 AS n, sum(sum_v) AS sum, min(min_v) AS min, max(max_v) AS max FROM %1$s_%%s_states GROUP BY 1, 2', suffix);
		-- Under one snapshot
		EXECUTE format('SELECT (SELECT count(*) FROM ((TABLE d EXCEPT ALL TABLE %%1$s) UNION ALL (TABLE %%1$s EXCEPT ALL TABLE d)) x),
			(SELECT count(*) FROM ((TABLE d EXCEPT ALL TABLE s) UNION ALL (TABLE s EXCEPT ALL TABLE d)) x)', '%1$s_' || suffix) INTO united, alone;
		DROP VIEW d, s;
		RETURN united || ' ' || alone;
	END $$;
};
my $create = q{CREATE MATERIALIZED VIEW %s_%s WITH (metricsdb.continuous, metricsdb.lateness = '0') AS
	SELECT metricsdb.time_bucket('%s', time) AS bucket, host, count(*) AS n, sum(v) AS sum, min(v) AS min, max(v) AS max FROM %s GROUP BY 1, 2 %s};

sub make
{
	my ($table, $db, $how) = @_;
	sql(sprintf($create, $table, @$_, $table, $how // ''), $db) for @levels;
	return;
}

# united(table, what): the views equal their definitions, whatever was taken by now.
sub united
{
	my ($table, $what, $db) = @_;
	my @bad;
	for (@levels)
	{
		my ($united) = split / /, sql("SELECT differs_$table('$_->[0]', '$_->[1]')", $db);
		push @bad, "$_->[0]: $united" if $united ne '0';
	}
	is("@bad", '', "$what: views equal their definitions");
	return;
}

# settled(table, what): the worker takes all there is, once rows of deltas have become parts, and the states are right alone.
sub settled
{
	my ($table, $what, $db) = @_;
	my $until = time() + 90;
	my @bad;

	# The coarser ones' rows come by and by.
	do
	{
		sql("CALL metricsdb.compact('$_')", $db) for $table, map { "${table}_$_->[0]_states" } @levels[ 0 .. $#levels - 1 ];
		usleep(100_000);
		@bad = map { my $d = sql("SELECT differs_$table('$_->[0]', '$_->[1]')", $db); $d eq '0 0' ? () : "$_->[0]: $d" } @levels;
	} while (@bad && time() < $until);
	is("@bad", '', "$what: states alone do, too");
	return;
}

my $batch = 0;
# More rows, of times that no others have: seconds from a time on.
sub rows
{
	my ($from, $n, $hosts) = @_;
	$batch++;
	$hosts //= 5;
	return "SELECT timestamptz '$from' + i * interval '1 s' + interval '$batch us', 'h' || h, (i * h + $batch) % 100 FROM generate_series(0, $n - 1) i, generate_series(1, $hosts) h";
}
sub random_time { return sprintf('2026-01-%02d %02d:%02d:%02d', 1 + int(rand(3)), int(rand(24)), int(rand(60)), int(rand(60))) }

sub worker_is_there { my ($db) = @_; return "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'metricsdb roll-up worker' AND datname = '" . ($db // 'postgres') . "')" }

# ---- what was there, and what comes ----
sql(sprintf($prepare, 'raw'));
ok(!(sql(worker_is_there()) eq 't'), 'no worker where there is no aggregate');
sql("INSERT INTO raw " . rows('2026-01-01', 3600));
configure('metricsdb.rollup_batch_rows' => 2000);
make('raw');
ok(wait_for($node, worker_is_there()), 'the worker comes');
united('raw', 'filling back');
settled('raw', 'filled back');
is(sql(q{SELECT count(*) FROM metricsdb.aggregate_progress}), 0, 'no progress any more');
is(sql(q{SELECT count(*) = count(DISTINCT (bucket, host)) FROM raw_10s_states}), 't', 'by whole buckets');
configure('metricsdb.rollup_batch_rows' => 2000000);
sql('INSERT INTO raw ' . rows('2026-01-01 01:00', 600)) for 1 .. 3;
sql('INSERT INTO raw ' . rows('2025-12-01', 60));
sql('INSERT INTO raw ' . rows(random_time(), 3));
united('raw', 'new rows');
settled('raw', 'new rows');
my $log = slurp_file($node->logfile);
like($log, qr/INSERT INTO public\.raw_10s_states.*?MetricsAgg.*?Relation Name: raw/s, 'from columns');
like($log, qr/INSERT INTO public\.raw_1h_states.*?MetricsAgg.*?Relation Name: raw_1min_states/s, 'and of finer ones');
configure('auto_explain.log_min_duration' => -1);

# ---- rows of now: closed buckets alone ----
sql(q{INSERT INTO raw SELECT date_bin('1 min', now(), '2000-01-01') - i * interval '1 s', 'now', i FROM generate_series(-200, 400) i});
ok(wait_for($node, q{SELECT count(*) > 0 FROM raw_10s_states WHERE host = 'now'}), 'closed buckets are taken');
cmp_ok(sql(q{SELECT coalesce(max(bucket), '-infinity') <= now() FROM raw_10s_states WHERE host = 'now'}), 'eq', 't', 'those to come are not');
united('raw', 'open buckets');
sql(q{DELETE FROM raw WHERE host = 'now'});
settled('raw', 'without them');

# ---- killed at each point ----
my $stops = 0;
sub provoke
{
	my ($point) = @_;
	# What cannot be made again, as the table has lost rows there
	if ($point eq 'rollup.flagged')
	{
		ask(q{INSERT INTO metricsdb.dirty SELECT aggregate, floor, floor + 1, false FROM (SELECT aggregate, (extract(epoch FROM timestamptz '2020-01-01') * 1000000)::int8 - 946684800000000 AS floor
			FROM metricsdb.continuous_aggregate WHERE view = 'raw_10s'::regclass) a});
		ask(q{UPDATE metricsdb.continuous_aggregate SET floor = (extract(epoch FROM timestamptz '2020-01-02') * 1000000)::int8 - 946684800000000 WHERE view = 'raw_10s'::regclass});
	}
	elsif ($point eq 'rollup.failure')
	{
		# The states are in the way
		ask('ALTER TABLE raw_10s_states ADD CONSTRAINT no CHECK (count < 0) NOT VALID');
	}
	else
	{
		ask('DELETE FROM raw WHERE v = ' . int(rand(100)));
	}
	ask('INSERT INTO raw ' . rows(random_time(), 300));
	return;
}
for my $point (stop_points($node, 'a'))
{
	my @actions = ('kill', $errors{$point} ? 'error' : ());
	@actions = $actions[ int(rand(@actions)) ] if ($ENV{METRICSDB_STOPS} // '') ne 'all';
	for my $action (@actions)
	{
		my $what = "$point: $action";
		my $until = time() + 120;
		my $log_end = -s $node->logfile;

		configure('metricsdb.stop_at' => "$point:$action:" . (1 + int(rand(2))));
		while (!is_stopped($node) && time() < $until)
		{
			provoke($point);
			for (1 .. 10) { last if is_stopped($node); usleep(50_000); }
		}
		ok(is_stopped($node), "$what: stopped");
		while ($action eq 'kill' && time() < $until + 60 && slurp_file($node->logfile, $log_end) !~ /terminated by signal 9/) { usleep(50_000); }
		ok(wait_for($node, 'SELECT true'), "$what: the server is back");
		configure('metricsdb.stop_at' => '');
		sql('ALTER TABLE raw_10s_states DROP CONSTRAINT IF EXISTS no');
		# One that is at work has not read it; and what has failed is not tried again for a while.
		$node->restart;
		is(stopped($node), $point, "$what: it was there");
		sql("SELECT metricsdb.attach_aggregate('raw_10s')");
		united('raw', $what);
		settled('raw', $what);
		$stops++;
	}
}

# back_again(point, what, sql...): the server after a crash at a point; nobody stops any more.
sub back_again
{
	my ($point, $what, $log_end) = @_;
	my $until = time() + 60;

	while (slurp_file($node->logfile, $log_end) !~ /terminated by signal 9/ && time() < $until) { usleep(50_000); }
	ok(wait_for($node, 'SELECT true'), "$what: the server is back");
	configure('metricsdb.stop_at' => '');
	$node->restart;
	is(stopped($node), $point, "$what: it was there");
	$stops++;
	return;
}

# ---- killed while filling back ----
push @levels, [ '5min', '5 min' ];
configure('metricsdb.rollup_batch_rows' => 2000);
for my $point (grep { /^rollup\.(pending|states|taken|committed)$/ } stop_points($node, 'a'))
{
	my $log_end = -s $node->logfile;

	configure('metricsdb.stop_at' => "$point:kill:3");
	ask(sprintf($create =~ s/continuous,/continuous, metricsdb.stack = false,/r, 'raw', @{ $levels[-1] }, 'raw', ''));
	my $until = time() + 60;
	usleep(20_000) while !is_stopped($node) && time() < $until;
	ok(is_stopped($node), "$point, filling back: stopped");
	back_again($point, "$point, filling back", $log_end);
	united('raw', "$point, filling back");
	settled('raw', "$point, filling back");
	sql('DROP MATERIALIZED VIEW raw_5min');
}
pop @levels;
configure('metricsdb.rollup_batch_rows' => 2000000);

# ---- sessions that are killed in refresh() ----
configure('metricsdb.rollup_interval' => -1);
for my $point (grep { /^rollup\.(locked|pending|states|taken|dirty|cleared|again|clean)$/ } stop_points($node, 'a'))
{
	my $log_end = -s $node->logfile;

	sql('DELETE FROM raw WHERE v = ' . int(rand(100)));
	sql('INSERT INTO raw ' . rows(random_time(), 300));
	{
		local $ENV{PGOPTIONS} = "$ENV{PGOPTIONS} -c metricsdb.stop_at=$point:kill";
		eval { $node->psql('postgres', q{CALL metricsdb.refresh('raw_1h')}, on_error_die => 0) };
	}
	ok(is_stopped($node), "$point, refresh(): stopped");
	back_again($point, "$point, refresh()", $log_end);
	united('raw', "$point, refresh()");
	sql(q{CALL metricsdb.refresh('raw_1h')});
	settled('raw', "$point, refresh()");
}
configure('metricsdb.rollup_interval' => '20ms');
note "$stops stops";
is(sql(q{SELECT count(*) FROM metricsdb.aggregate_inexact WHERE view = 'raw_10s'::regclass}), 1, 'one bucket cannot be made again');
is(sql(q{SELECT string_agg(message, E'\n') FROM metricsdb.check('raw')}), '', 'check() finds nothing');

# ---- merges, retention, and all kinds of changes beside it ----
sql(q{SELECT metricsdb.set_retention('raw', '100 years')});
my $end = time() + 10;
while (time() < $end)
{
	sql('INSERT INTO raw ' . rows(random_time(), 40 + int(rand(200))));
	sql('DELETE FROM raw WHERE v = ' . int(rand(100)) . " AND host = 'h" . (1 + int(rand(5))) . "'") if rand() < 0.3;
	sql('UPDATE raw SET v = v + 1 WHERE v = ' . int(rand(100)) . " AND host = 'h" . (1 + int(rand(5))) . "'") if rand() < 0.2;
	sql('INSERT INTO raw ' . rows(random_time(), 2)) if rand() < 0.3;
	sql("CALL metricsdb.compact('raw')") if rand() < 0.1;
	sql("CALL metricsdb.compact('raw_10s_states')") if rand() < 0.1;
	sql("CALL metricsdb.refresh('raw_1h', '" . random_time() . "')") if rand() < 0.1;
	sql("CALL metricsdb.apply_retention('raw')") if rand() < 0.1;
	united('raw', 'beside changes') if rand() < 0.1;
}
settled('raw', 'after changes');

# ---- several databases; one goes ----
$node->safe_psql('postgres', 'CREATE DATABASE other');
sql('CREATE EXTENSION metricsdb', 'other');
sql(sprintf($prepare, 'raw'), 'other');
sql('INSERT INTO raw ' . rows('2026-01-01', 600), 'other');
make('raw', 'other');
sql('INSERT INTO raw ' . rows('2026-01-01', 600), 'other');
settled('raw', 'another database', 'other');
ok(wait_for($node, q{SELECT count(DISTINCT datname) = 2 FROM pg_stat_activity WHERE backend_type = 'metricsdb roll-up worker'}), 'each has its worker');
is(sql(q{SELECT count(*) FROM metricsdb.workers WHERE worker = 'metricsdb roll-up worker'}), 2, 'and metricsdb.workers shows them');
sql('DROP DATABASE other');
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'metricsdb roll-up worker'}), 'and that of one that is dropped leaves');

# ---- no workers ----
configure('metricsdb.workers' => 'off');
ok(wait_for($node, 'SELECT NOT (' . worker_is_there() . ')'), 'without workers');
sql('INSERT INTO raw ' . rows('2026-01-05', 600));
united('raw', 'without workers');
sql(q{CALL metricsdb.refresh('raw_1h')});
is(sql(q{SELECT sum(pending_parts) FROM metricsdb.aggregate_status}), 0, 'refresh() does without');
configure('metricsdb.workers' => 'on', 'metricsdb.rollup_interval' => -1);
sql('INSERT INTO raw ' . rows('2026-01-05', 600));
sleep(2);
is(sql(worker_is_there()), 'f', 'nor with an interval of -1');
configure('metricsdb.rollup_interval' => '20ms');
settled('raw', 'with workers again');

# ---- one that fails ----
sql(q{CREATE ROLE alice; GRANT CREATE ON SCHEMA public TO alice; SET ROLE alice; CREATE TABLE bad (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
	CREATE MATERIALIZED VIEW bad_1min WITH (metricsdb.continuous, metricsdb.lateness = '0') AS SELECT metricsdb.time_bucket('1 min', time) AS bucket, host, count(*) AS n FROM bad GROUP BY 1, 2;
	REVOKE SELECT ON bad FROM alice});
sql('INSERT INTO bad ' . rows('2026-01-01', 600));
ok(wait_for($node, q{SELECT failures > 0 AND last_error ~ 'permission denied' FROM metricsdb.aggregate_status WHERE view = 'bad_1min'::regclass}), 'failures are remembered');
sql('INSERT INTO raw ' . rows('2026-01-06', 600));
settled('raw', 'others go on');
ok(wait_for($node, q{SELECT NOT attached AND failures = 3 FROM metricsdb.aggregate_status WHERE view = 'bad_1min'::regclass}), 'it is detached in the end');
like(slurp_file($node->logfile), qr/continuous aggregate "bad_1min" is detached after 3 failures/, 'and the log says so');
sql('INSERT INTO bad ' . rows('2026-01-01 00:10', 600)) for 1 .. 20;
sql("CALL metricsdb.compact('bad')");
is(sql(q{SELECT count(*) FROM metricsdb.parts WHERE "table" = 'bad'::regclass}), 1, 'merges go on');
my $both = q{SELECT (SELECT string_agg(b::text, ' ' ORDER BY b) FROM bad_1min b) IS NOT DISTINCT FROM (SELECT string_agg(b::text, ' ' ORDER BY b) FROM (SELECT metricsdb.time_bucket('1 min', time) AS bucket, host, count(*) AS n FROM bad GROUP BY 1, 2) b)};
sql('GRANT SELECT ON bad TO alice');
is(sql($both), 't', 'nothing is lost');
sql(q{SELECT metricsdb.attach_aggregate('bad_1min')});
ok(wait_for($node, q{SELECT attached AND failures = 0 AND pending_parts = 0 AND dirty_buckets = 0 FROM metricsdb.aggregate_status WHERE view = 'bad_1min'::regclass}), 'attached again it takes all');
is(sql($both), 't', 'once');
is(sql(q{SELECT sum(count) = (SELECT count(*) FROM bad) FROM bad_1min_states}), 't', 'all of it');
sql('DROP TABLE bad CASCADE');

# ---- without data: what was there waits ----
sql(sprintf($prepare, 'late'));
sql('INSERT INTO late ' . rows('2026-01-01', 600));
make('late', undef, 'WITH NO DATA');
sql('INSERT INTO late ' . rows('2026-01-02', 600));
ok(wait_for($node, q{SELECT count(*) > 0 FROM late_10s_states}), 'new rows are taken');
sql("CALL metricsdb.compact('late')");
sleep(1);
is(sql(q{SELECT count(*) FROM late_10s_states WHERE bucket < '2026-01-02'}), 0, 'old ones wait');
is(sql(q{SELECT phase FROM metricsdb.aggregate_progress WHERE view = 'late_10s'::regclass}), 'waiting for refresh', 'which is shown');
united('late', 'old rows wait');
sql(q{CALL metricsdb.refresh('late_1h')});
settled('late', 'until refresh()');
sql('DROP TABLE late CASCADE');

# ---- a standby, promoted ----
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby', install_path => $node->{_install_path});
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql('INSERT INTO raw ' . rows(random_time(), 600));
sql('DELETE FROM raw WHERE v = 7');
usleep(300_000);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', q{SELECT (SELECT sum(n) FROM raw_1h) = (SELECT count(*) FROM raw)}), 't', 'a standby reads both');
is($standby->safe_psql('postgres', worker_is_there()), 'f', 'and has no worker');
my ($rc, undef, $err) = $standby->psql('postgres', q{CALL metricsdb.refresh('raw_1h')});
like($err, qr/read-only|recovery/, 'nor refreshes');
$node->stop('immediate');
$standby->promote;
my $old = $node;
$node = $standby;
united('raw', 'promoted');
sql('INSERT INTO raw ' . rows('2026-01-07', 600));
sql('DELETE FROM raw WHERE v = 8');
ok(wait_for($node, worker_is_there()), 'promoted it has a worker');
settled('raw', 'promoted');
$node->stop;
grep_log($_, 'all stops') for $old, $node;
done_testing();
