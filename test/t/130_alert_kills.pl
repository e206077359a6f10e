# The alert worker and the server are killed at each point of a tick, and at random: each change of a condition is told once,
# with the start that it had, and tables agree with each other whenever they are looked at.
#
#   METRICSDB_ALERT_KILLS=n	so many random kills
#   METRICSDB_SEED=n	to choose the same again
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StorageTest;
use StopTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $seed = $ENV{METRICSDB_SEED} || time() ^ $$;
note "METRICSDB_SEED=$seed";
srand($seed);
my $kills = $ENV{METRICSDB_ALERT_KILLS} // 6;
my $node = bare_node('alert_kills', 'metricsdb.workers' => 'on', autovacuum => 'on', autovacuum_naptime => '1s');

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub configure
{
	my (%settings) = @_;
	$node->append_conf('postgresql.conf', join('', map { "$_ = '$settings{$_}'\n" } keys %settings));
	$node->reload;
	return;
}

# Only the worker is told to stop.
$ENV{PGOPTIONS} = '-c metricsdb.stop_at=';
my $rules = 3;
my $hosts = 4;
sql(q{CREATE TABLE cond (host text PRIMARY KEY, v float8)});
sql("INSERT INTO cond SELECT 'h' || i, 0 FROM generate_series(1, $hosts) i");
sql(q{INSERT INTO metricsdb.alert_target (name, owner, kind, home) VALUES ('nowhere', 'postgres', 'notify', 'elsewhere')});
sql("SELECT metricsdb.create_alert('r' || i, query => 'SELECT host, v AS value FROM public.cond', op => '>', threshold => 90, every => '1 s', targets => '{nowhere}') FROM generate_series(1, $rules) i");

# Under one snapshot: what tables say of instances, told alerts and history is one story.
my $agree = q{
	WITH e AS (SELECT *, lag(to_state) OVER w AS before, lead(event_id) OVER w IS NULL AS last FROM metricsdb.alert_event WINDOW w AS (PARTITION BY rule_id, labels ORDER BY event_id)),
	i AS (SELECT i.*, e.to_state, e.at FROM metricsdb.alert_instance i LEFT JOIN e ON e.last AND e.rule_id = i.rule_id AND e.labels = i.labels)
	SELECT concat_ws(', ',
		(SELECT 'history: ' || string_agg(event_id::text, ' ') FROM e WHERE coalesce(before, 'inactive') <> from_state),
		(SELECT 'instances: ' || string_agg(labels::text || ' ' || state || ' ' || coalesce(to_state, '-'), ' ') FROM i WHERE state IS DISTINCT FROM to_state),
		(SELECT 'starts: ' || string_agg(labels::text, ' ') FROM i WHERE state = 'firing' AND starts_at <> at),
		(SELECT 'told: ' || string_agg(i.labels::text || ' ' || i.state || ' ' || coalesce(o.state, '-'), ' ') FROM i LEFT JOIN metricsdb.alert_outbox o USING (rule_id, key)
			WHERE i.state IS DISTINCT FROM o.state OR i.starts_at IS DISTINCT FROM o.starts_at))};
# settled(what, state): all rules have seen it.
my $changes = 0;
sub settled
{
	my ($what, $host, $state) = @_;
	ok(wait_for($node, "SELECT count(*) = $rules FROM metricsdb.alert_instance WHERE labels->>'host' = '$host' AND state = '$state'"), "$what: $state");
	is(sql($agree), '', "$what: tables agree");
	is(sql('SELECT count(*) FROM metricsdb.alert_event'), $rules * $changes, "$what: each change was told once");
	return;
}
my %hot;
# A host becomes hot, or is so no more.
sub turn
{
	my $host = 'h' . (1 + int(rand($hosts)));
	$hot{$host} = !$hot{$host};
	my $sql = "UPDATE cond SET v = " . ($hot{$host} ? 100 : 0) . " WHERE host = '$host'";
	# The server may be just crashing.
	ok(wait_for($node, "WITH u AS ($sql RETURNING true) SELECT bool_and(true) FROM u"), 'changed');
	$changes++;
	return ($host, $hot{$host} ? 'firing' : 'resolved');
}

for (1 .. $hosts) { settled('at first', turn()) }

# ---- at each point ----
my %errors = map { $_ => 1 } stop_points($node, 'e');
for my $point (stop_points($node, 'v'))
{
	for my $action ('kill', $errors{$point} ? 'error' : ())
	{
		my $what = "$point: $action";
		configure('metricsdb.stop_at' => "$point:$action:" . (1 + int(rand(2))));
		my @change = turn();
		ok(wait_for($node, 'SELECT true') && is_stopped_soon(), "$what: stopped");
		ok(wait_for($node, 'SELECT true'), "$what: the server is there");
		configure('metricsdb.stop_at' => '');
		ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'}), "$what: the worker is back");
		is(stopped($node), $point, "$what: it was there");
		settled($what, @change);
	}
}
sub is_stopped_soon
{
	my $until = time() + 60;
	usleep(50_000) while !is_stopped($node) && time() < $until;
	return is_stopped($node);
}

# ---- at random ----
for my $i (1 .. $kills)
{
	my $what = "random $i";
	my @change = turn();
	usleep(rand(2_500_000));
	my $how = rand();
	if ($how < 0.6)
	{
		my ($rc, $pid) = $node->psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'});
		kill 'KILL', $pid if defined $pid && $pid =~ /^\d+$/;
		$what .= ', worker';
	}
	elsif ($how < 0.8)
	{
		$node->stop('immediate');
		$node->start;
		$what .= ', immediate stop';
	}
	else
	{
		$node->restart;
		$what .= ', restart';
	}
	ok(wait_for($node, 'SELECT true'), "$what: the server is there");
	settled($what, @change);
}
note "$changes changes";
$node->stop;
done_testing();
