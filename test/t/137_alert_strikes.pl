# A rule that ends its worker, again and again, is put aside, and others go on: be it that its functions catch each
# cancellation, or that the worker is killed in it.  Who enables or changes it has it evaluated again.  Others of the
# same kind that do come to an end are not put aside.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;

my $node = new_node('strikes', autovacuum => 'off');

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(wait_for($node, $query, 120), $what) || diag(sql('SELECT * FROM metricsdb.alert_tick'), "\n", sql('SELECT * FROM metricsdb.alert_status')) }
sub strikes_are { my ($rule, $n) = @_; return "SELECT strikes = $n FROM metricsdb.alert_tick t JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule'" }
sub health_is { my ($rule, $health) = @_; return "SELECT health = '$health' FROM metricsdb.alert_status WHERE rule = '$rule'" }
sub aside { my ($rule) = @_; return "SELECT health = 'error' AND last_error LIKE 'the rule was put aside: its evaluation has ended the alert worker 3 times in a row%enable_alert()%' FROM metricsdb.alert_status WHERE rule = '$rule'" }
sub goes_on
{
	my ($rule, $what) = @_;
	my $now = sql('SELECT now()');
	return comes("SELECT evaluated_at > '$now' FROM metricsdb.alert_status WHERE rule = '$rule' AND health = 'ok'", $what);
}
my $worker = q{FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'};

# A worker that ends soon after it was started is started again later and later: one that has stayed begins anew.
sub steady { comes("SELECT count(*) = 1 $worker AND backend_start < clock_timestamp() - interval '11 s'", 'a worker stays') }

sql(q{CREATE TABLE cond (host text, v float8); INSERT INTO cond VALUES ('a', 100)});
sql(q{SELECT metricsdb.create_alert('well' || i, query => 'SELECT host, v AS value FROM public.cond', every => '1 s') FROM generate_series(1, 20) i});
goes_on('well1', 'rules that are well');

# ---- one that catches each cancellation ----
sql(q{CREATE TABLE mood (stubborn bool); INSERT INTO mood VALUES (true);
	CREATE FUNCTION stubborn() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
		WHILE (SELECT stubborn FROM public.mood) LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN END; END LOOP; RETURN 1; END $$;
	SELECT metricsdb.create_alert('stubborn', query => 'SELECT public.stubborn() AS value', every => '1 s', timeout => '100 ms', error => 'error')});
comes(strikes_are('stubborn', 3), 'one that cannot be cancelled ends the worker three times');
comes(aside('stubborn'), 'then it is put aside, which is said');
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alerts WHERE rule = 'stubborn' AND state = 'error')}, 'and is what its policy says of errors');
my $pid = sql("SELECT pid $worker");
goes_on('well' . $_, 'others go on') for (1, 20);
my $now = sql('SELECT now()');
comes("SELECT evaluated_at > timestamptz '$now' + interval '3 s' FROM metricsdb.alert_status WHERE rule = 'well1'", 'for a while');
is(sql("SELECT pid $worker"), $pid, 'by one worker');
$node->restart;
goes_on('well1', 'after a restart');
comes(aside('stubborn'), 'it is put aside yet');
is(sql('SELECT count(*) ' . $worker), 1, 'and harms nobody');

# ---- another chance ----
sql(q{UPDATE mood SET stubborn = false; SELECT metricsdb.enable_alert('stubborn')});
comes(health_is('stubborn', 'ok'), 'enabled it is evaluated');
is(sql(strikes_are('stubborn', 0)), 't', 'with no strikes');
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alerts WHERE rule = 'stubborn' AND state = 'firing')}, 'and fires');
sql(q{UPDATE mood SET stubborn = true});
comes(aside('stubborn'), 'bad again');
sql(q{UPDATE mood SET stubborn = false; SELECT metricsdb.alter_alert('stubborn', timeout => '200 ms')});
comes(health_is('stubborn', 'ok'), 'changed it is evaluated, too');
sql(q{SELECT metricsdb.drop_alert('stubborn')});

# ---- one that somebody is about to change ----
steady();
sql(q{UPDATE mood SET stubborn = true;
	SELECT metricsdb.create_alert('held', query => 'SELECT public.stubborn() AS value', every => '1 s', timeout => '100 ms')});
comes(strikes_are('held', 1), 'it ends the worker');
my $changing = $node->background_psql('postgres');
$changing->query_safe(q{BEGIN; SELECT metricsdb.alter_alert('held', timeout => '200 ms')});
$pid = sql("SELECT coalesce(max(pid), 0) $worker");
comes("SELECT count(*) = 1 $worker AND pid <> $pid", 'and again, while somebody has it locked');
goes_on('well' . $_, 'who is not waited for: others go on') for (1, 20);
$changing->query_safe('ROLLBACK');
$changing->quit;
sql(q{UPDATE mood SET stubborn = false; SELECT metricsdb.drop_alert('held')});

# ---- one that comes to an end, too late ----
steady();
sql(q{CREATE FUNCTION late() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. 5 LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN END; END LOOP; RETURN 1; END $$;
	SELECT metricsdb.create_alert('late', query => 'SELECT public.late() AS value', every => '1 s', timeout => '100 ms')});
comes(aside('late'), 'one that lets itself be cancelled the fifth time only');
goes_on('well1', 'others go on');
sql(q{SELECT metricsdb.drop_alert('late')});

# ---- one in which the worker is killed, as by the system for want of memory ----
steady();
sql(q{SELECT metricsdb.create_alert('killed', query => 'SELECT 1 AS value FROM pg_sleep(20)', every => '30 s', timeout => '30 s')});
for my $i (1 .. 3)
{
	ok(wait_for($node, "SELECT count(*) = 1 $worker AND wait_event = 'PgSleep'", 120), "evaluated, number $i");
	my $victim = sql("SELECT pid $worker");
	kill 'KILL', $victim;
	comes("SELECT count(*) = 0 $worker AND pid = $victim", 'the worker is killed');
	comes(strikes_are('killed', $i), "strike $i");
}
comes(aside('killed'), 'it is put aside');
goes_on('well1', 'others go on');
sql(q{SELECT metricsdb.drop_alert('killed')});

# ---- one that is asked to leave is not ended by its rule ----
sql(q{SELECT metricsdb.create_alert('sleeps', query => 'SELECT 1 AS value FROM pg_sleep(2)', every => '3 s', timeout => '3 s')});
for my $i (1 .. 4)
{
	ok(wait_for($node, "SELECT count(*) = 1 $worker AND wait_event = 'PgSleep'", 120), "evaluated, number $i");
	sql("SELECT pg_terminate_backend(pid, 10000) $worker");
}
comes(health_is('sleeps', 'ok'), 'who is asked to leave leaves no strike');
is(sql(strikes_are('sleeps', 0)), 't', 'none at all');
is(() = (slurp_file($node->logfile) =~ /the alert worker ended while it evaluated rule "sleeps"/g), 0, 'in the log neither');
$node->stop;
done_testing();
