# The alert worker: rules fire and resolve; what fires goes on firing, with its start, whatever is killed; a rule that is bad
# in any way hurts itself alone; what does not change is not written.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = new_node('alerts', autovacuum => 'off', wal_level => 'replica', max_wal_senders => 5);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# what is asked for comes about, within a minute
sub comes { my ($query, $what) = @_; return ok(wait_for($node, $query), $what) || diag(sql('SELECT * FROM metricsdb.alert_tick'), "\n", sql('SELECT * FROM metricsdb.alert_instance')) }
sub state_is { my ($rule, $host, $state) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule' AND i.labels->>'host' = '$host' AND state = '$state')" }
sub told_is { my ($rule, $host, $state) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE rule = '$rule' AND labels->>'host' = '$host' AND state = '$state')" }
sub health_is { my ($rule, $health) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_tick t JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule' AND health = '$health')" }
sub error_of { my ($rule) = @_; return sql("SELECT last_error FROM metricsdb.alert_tick t JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule'") }
sub starts { my ($rule) = @_; return sql("SELECT string_agg(i.labels->>'host' || ' ' || starts_at, ', ' ORDER BY i.labels->>'host') FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = '$rule' AND state = 'firing'") }
my $worker = q{FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'};
# goes_on(what): each rule that is well is evaluated after now.
sub goes_on
{
	my ($what, $rule) = @_;
	my $now = sql('SELECT now()');
	return comes("SELECT evaluated_at > '$now' FROM metricsdb.alert_live() WHERE rule_id = (SELECT rule_id FROM metricsdb.alert_rule WHERE name = '" . ($rule // 'hot') . "')", $what);
}

# ---- a rule ----
is(sql("SELECT count(*) $worker"), 0, 'no worker where there is no rule');
# A target that nobody sends to.
sql(q{INSERT INTO metricsdb.alert_target (name, owner, kind, home) VALUES ('nowhere', 'postgres', 'notify', 'elsewhere')});
sql(q{CREATE TABLE cond (host text, v float8)});
my $query = q{SELECT host, v AS value FROM public.cond};
sql(qq{SELECT metricsdb.create_alert('hot', query => '$query', every => '1 s', op => '>', threshold => 90, targets => '{nowhere}')});
sql(qq{SELECT metricsdb.create_alert('held', query => '$query', every => '1 s', hold => '3 s', op => '>', threshold => 90, targets => '{nowhere}')});
comes("SELECT count(*) = 1 $worker", 'the worker comes');
comes(health_is('hot', 'ok'), 'and evaluates');
sql(q{INSERT INTO cond VALUES ('a', 100), ('b', 10)});
comes(state_is('held', 'a', 'pending'), 'pending');
is(sql(told_is('held', 'a', 'firing')), 'f', 'which is not told');
comes(state_is('hot', 'a', 'firing'), 'firing');
comes(told_is('hot', 'a', 'firing'), 'which is');
comes(state_is('held', 'a', 'firing'), 'firing after its time');
is(sql(q{SELECT starts_at - active_since >= '3 s' FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = 'held'}), 't', 'not before');
is(sql(q{SELECT count(*) FROM metricsdb.alert_instance WHERE labels->>'host' = 'b'}), 0, 'what does not hold has no instance');
sql(q{UPDATE cond SET v = 95 WHERE host = 'b'});
comes(state_is('hot', 'b', 'firing'), 'another');
sql(q{UPDATE cond SET v = 5 WHERE host = 'b'});
comes(state_is('hot', 'b', 'resolved'), 'resolved');
comes(told_is('hot', 'b', 'resolved'), 'and told so');
is(sql(q{SELECT string_agg(from_state || '>' || to_state, ' ' ORDER BY event_id) FROM metricsdb.alert_event WHERE rule = 'hot' AND labels->>'host' = 'b'}), 'inactive>firing firing>resolved', 'history');
is(sql(q{SELECT bool_and(o.starts_at = i.starts_at) FROM metricsdb.alert_outbox o JOIN metricsdb.alert_instance i USING (rule_id, key)}), 't', 'targets are told the same start');

# ---- it survives ----
my @starts = (starts('hot'), starts('held'));
my $events = sql('SELECT count(*) FROM metricsdb.alert_event');
sub as_before
{
	my ($what) = @_;
	comes("SELECT count(*) = 1 $worker", "$what: the worker is back");
	goes_on("$what: it evaluates");
	is(starts('hot') . starts('held'), join('', @starts), "$what: what fired fires, since then");
	is(sql('SELECT count(*) FROM metricsdb.alert_event'), $events, "$what: and nothing was told in between");
	return;
}
sql("SELECT pg_terminate_backend(pid) $worker");
as_before('worker terminated');
my $pid = sql("SELECT pid $worker");
kill 'KILL', $pid;
ok(wait_for($node, "SELECT pid <> $pid $worker"), 'the server restarts it');
as_before('worker killed');
$node->restart;
as_before('restart');
$node->stop('immediate');
$node->start;
as_before('immediate stop');

# ---- what does not change is not written ----
sql(qq{SELECT metricsdb.create_alert('quiet' || i, query => '$query', every => '1 s', op => '>', threshold => 1000) FROM generate_series(1, 200) i});
comes(q{SELECT count(*) = 200 FROM metricsdb.alert_tick t JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name ~ 'quiet' AND health = 'ok'}, '200 quiet rules');
my $xid = sql('SELECT pg_snapshot_xmax(pg_current_snapshot())');
my $ticks = sql(q{SELECT sum(extract(epoch FROM last_tick)) FROM metricsdb.alert_live()});
sleep(4);
cmp_ok(sql(q{SELECT sum(extract(epoch FROM last_tick)) FROM metricsdb.alert_live()}) - $ticks, '>', 300, 'are evaluated');
cmp_ok(sql('SELECT pg_snapshot_xmax(pg_current_snapshot())') - $xid, '<=', 5, 'and cost no writes');
sql(q{SELECT metricsdb.drop_alert('quiet' || i) FROM generate_series(1, 200) i});
comes(q{SELECT count(*) = 2 FROM metricsdb.alert_live()}, 'dropped, they are not evaluated any more');

# ---- rules that are bad ----
sql(q{CREATE TABLE goes (host text, v float8); INSERT INTO goes VALUES ('a', 1)});
sql(q{SELECT metricsdb.create_alert('dropped', query => 'SELECT host, v AS value FROM public.goes', every => '1 s', targets => '{nowhere}')});
comes(state_is('dropped', 'a', 'firing'), 'a table');
sql('DROP TABLE goes');
comes(health_is('dropped', 'error'), 'that is dropped');
like(error_of('dropped'), qr/relation "public.goes" does not exist/, 'says so');
is(sql(state_is('dropped', 'a', 'firing')), 't', 'what fires goes on firing');
sql(q{CREATE TABLE goes (host text, v float8)});
comes(health_is('dropped', 'ok'), 'made again');
comes(state_is('dropped', 'a', 'resolved'), 'it is well');

sql(q{CREATE FUNCTION slow() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN 1; END $$});
sql(q{SELECT metricsdb.create_alert('slow', query => 'SELECT public.slow() AS value', every => '1 s', timeout => '300 ms')});
comes(health_is('slow', 'error'), 'one that takes too long');
like(error_of('slow'), qr/longer than its time-out of 300 ms/, 'says so');
goes_on('others go on');
sql(q{SELECT metricsdb.drop_alert('slow')});

sql(q{CREATE FUNCTION stubborn() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN END; END LOOP; END $$});
sql(q{SELECT metricsdb.create_alert('stubborn', query => 'SELECT public.stubborn() AS value', every => '1 s', timeout => '100 ms')});
$pid = sql("SELECT pid $worker");
comes("SELECT pid <> $pid $worker", 'one that cannot be cancelled ends the worker');
goes_on('which is started again');
sql(q{SELECT metricsdb.drop_alert('stubborn')});

sql(q{SELECT metricsdb.create_alert('twice', query => $$SELECT 'x' AS host, i AS value FROM generate_series(1, 2) i$$, every => '1 s')});
comes(health_is('twice', 'error'), 'two rows of the same labels');
like(error_of('twice'), qr/two rows have the same labels/, 'say so');
sql(q{SELECT metricsdb.create_alert('many', query => $$SELECT 'h' || i AS host, i AS value FROM generate_series(1, 100000) i$$, every => '1 s', max_rows => 5000)});
comes(health_is('many', 'error'), 'too many rows');
like(error_of('many'), qr/more than 5000 rows/, 'say so');
sql(q{SELECT metricsdb.create_alert('new', query => $$SELECT 'h' || i AS host, i AS value FROM generate_series(1, 100) i$$, every => '1 s', max_new_instances => 30)});
comes(q{SELECT count(*) = 60 FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = 'new'}, 'instances come a few at a time');
like(error_of('new'), qr/instances were not begun/, 'which is said');
comes(q{SELECT count(*) = 100 FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id) WHERE r.name = 'new'}, 'all in the end');
comes(health_is('new', 'ok'), 'and it is well');
goes_on('others go on');

# ---- whose rights ----
sql(q{CREATE ROLE alice; CREATE TABLE secrets (host text, who name, v float8); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON secrets USING (who = current_user);
	GRANT SELECT ON secrets TO alice; INSERT INTO secrets VALUES ('hers', 'alice', 1), ('mine', 'postgres', 1); GRANT EXECUTE ON FUNCTION metricsdb.create_alert TO alice});
sql(q{SET ROLE alice; SELECT metricsdb.create_alert('policies', query => 'SELECT host, v AS value FROM public.secrets', every => '1 s')});
comes(state_is('policies', 'hers', 'firing'), 'the policies of its owner hold');
is(sql(state_is('policies', 'mine', 'firing')), 'f', 'and nothing else is seen');
sql(q{CREATE FUNCTION writes() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.cond VALUES ('written', 1); RETURN 1; END $$});
sql(q{SELECT metricsdb.create_alert('writes', query => 'SELECT public.writes() AS value', every => '1 s')});
comes(health_is('writes', 'error'), 'who writes');
like(error_of('writes'), qr/read-only transaction/, 'is not let');
sql(q{CREATE FUNCTION locks() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(42); PERFORM set_config('work_mem', '1GB', false); RETURN 1; END $$});
sql(q{SELECT metricsdb.create_alert('locks', query => 'SELECT public.locks() AS value', every => '1 s')});
comes(health_is('locks', 'ok'), 'locks are taken');
goes_on('it goes on');
comes(q{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 42}, 'and given back');
sql(q{REVOKE SELECT ON secrets FROM alice});
comes(health_is('policies', 'error'), 'without rights');
like(error_of('policies'), qr/permission denied for table secrets/, 'it fails');
is(sql(state_is('policies', 'hers', 'firing')), 't', 'and keeps what fires');

# ---- nothing at all ----
sql(q{CREATE TABLE data (host text, v float8); INSERT INTO data VALUES ('a', 1)});
sql(q{SELECT metricsdb.create_alert('empty', query => 'SELECT host, v AS value FROM public.data', every => '1 s', op => '>', threshold => 10, nodata => 'alert', targets => '{nowhere}')});
comes(health_is('empty', 'ok'), 'a rule with data');
sql('DELETE FROM data');
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_instance WHERE state = 'nodata' AND labels = '{"alertname": "empty"}')}, 'without any is told as that');
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE state = 'firing' AND rule = 'empty')}, 'to targets, too');
sql(q{INSERT INTO data VALUES ('a', 1)});
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE state = 'resolved' AND rule = 'empty')}, 'until there is some');

# ---- rules that record ----
sql(q{CREATE TABLE rec (time timestamptz NOT NULL, metric_name text, host text, tags jsonb, value float8) USING metricsdb});
sql(q{SELECT metricsdb.create_alert('rec', query => $$SELECT host, 'x' AS zone, v AS value FROM public.cond$$, record => 'cond:copy', into_table => 'rec', labels => '{"by": "rule"}', every => '1 s')});
comes(q{SELECT count(DISTINCT time) > 3 FROM rec}, 'what is observed is recorded');
is(sql(q{SELECT DISTINCT metric_name, host, tags FROM rec WHERE host = 'a'}), 'cond:copy|a|{"by": "rule", "zone": "x"}', 'labels in their columns');
for my $i (1 .. 5)
{
	$pid = sql("SELECT pid $worker");
	usleep(200_000 + rand(1_000_000));
	kill 'KILL', $pid;
	ok(wait_for($node, "SELECT pid <> $pid $worker"), "killed, number $i");
	goes_on('it goes on', 'rec');
}
is(sql(q{SELECT count(*) - count(DISTINCT (time, host)) FROM rec}), 0, 'nothing is recorded twice');
is(sql(q{SELECT extract(epoch FROM max(time) - min(time))::int + 1 - count(DISTINCT time) FROM rec}), 0, 'and no tick is left out');
sql(q{ALTER TABLE rec ADD CONSTRAINT no CHECK (value < 0) NOT VALID});
comes(health_is('rec', 'error'), 'what cannot be stored is an error');
like(error_of('rec'), qr/violates check constraint/, 'which is told');
sql(q{SELECT metricsdb.drop_alert('rec')});

# ---- rules over others ----
sql(q{CREATE TABLE maintenance (host text, v float8)});
sql(q{SELECT metricsdb.create_alert('maintenance', query => 'SELECT host, v AS value FROM public.maintenance', every => '1 s', labels => '{"kind": "m"}')});
sql(q{SELECT metricsdb.create_alert('page', expression => $$alert('hot') AND NOT on (host) alert('maintenance')$$, every => '1 s', labels => '{"severity": "page"}', targets => '{nowhere}')});
comes(told_is('page', 'a', 'firing'), 'a rule over others');
is(sql(q{SELECT labels FROM metricsdb.alert_outbox WHERE rule = 'page'}), '{"host": "a", "severity": "page", "alertname": "page"}', 'has their labels and its own');
sql(q{INSERT INTO maintenance VALUES ('a', 1)});
comes(told_is('page', 'a', 'resolved'), 'NOT');
sql(q{DELETE FROM maintenance});
comes(told_is('page', 'a', 'firing'), 'and again');
sql(q{SELECT metricsdb.create_alert('silence', expression => $$NOT alert('maintenance', '{host=~"a|b"}')$$, every => '1 s')});
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_instance WHERE state = 'firing' AND labels = '{"alertname": "silence"}')}, 'NOT alone');
sql(q{SELECT metricsdb.create_alert('either', expression => $$alert('hot') OR (alert('maintenance') AND alert('hot'))$$, every => '1 s')});
comes(state_is('either', 'a', 'firing'), 'OR');
sql(q{CREATE ROLE ops; GRANT ops TO alice; GRANT EXECUTE ON FUNCTION metricsdb.create_alert TO ops});
sql(q{SET ROLE ops; SELECT metricsdb.create_alert('theirs', query => 'SELECT 1 AS value', every => '1 s')});
sql(q{SET ROLE alice; SELECT metricsdb.create_alert('curious', expression => $$alert('theirs')$$, every => '1 s')});
comes(health_is('curious', 'ok'), 'about rules of those whose rights one has');
sql(q{REVOKE ops FROM alice});
comes(health_is('curious', 'error'), 'about rules of others');
like(error_of('curious'), qr/permission denied for alert rule "theirs"/, 'nothing is said');

# ---- an outage ----
my $missed = sql(q{SELECT missed FROM metricsdb.alert_live() JOIN metricsdb.alert_rule USING (rule_id) WHERE name = 'hot'});
@starts = (starts('hot'), starts('held'));
$node->append_conf('postgresql.conf', "metricsdb.workers = off\n");
$node->reload;
comes("SELECT count(*) = 0 $worker", 'no worker');
sql(q{UPDATE metricsdb.alert_progress SET watermark = watermark - interval '1 hour'; UPDATE metricsdb.alert_tick SET last_tick = last_tick - interval '1 hour'});
$node->append_conf('postgresql.conf', "metricsdb.workers = on\n");
$node->reload;
goes_on('after an hour');
cmp_ok(sql(q{SELECT missed FROM metricsdb.alert_live() JOIN metricsdb.alert_rule USING (rule_id) WHERE name = 'hot'}) - $missed, '>', 3000, 'it is counted what was missed');
is(starts('hot') . starts('held'), join('', @starts), 'what fired fires, since then');

# ---- a standby ----
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby', install_path => $node->{_install_path});
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql(q{INSERT INTO cond VALUES ('c', 99)});
comes(told_is('held', 'c', 'firing'), 'one more fires');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
@starts = (starts('hot'), starts('held'));
is($standby->safe_psql('postgres', "SELECT count(*) $worker"), 0, 'a standby has no worker');
$node->stop('immediate');
$standby->promote;
my $old = $node;
$node = $standby;
$events = sql(q{SELECT count(*) FROM metricsdb.alert_event WHERE rule IN ('hot', 'held')});
goes_on('promoted it has');
is(starts('hot') . starts('held'), join('', @starts), 'what fired fires, since then');
is(sql(q{SELECT count(*) FROM metricsdb.alert_event WHERE rule IN ('hot', 'held')}), $events, 'and nothing was told in between');
sql(q{DELETE FROM cond WHERE host = 'c'});
comes(told_is('held', 'c', 'resolved'), 'it resolves here');

# ---- all rules go ----
sql(q{SELECT metricsdb.drop_alert(name) FROM metricsdb.alert_rule});
comes(q{SELECT count(*) = 0 FROM metricsdb.alert_outbox WHERE state = 'firing'}, 'dropped, all are told as resolved');
is(sql('SELECT count(*) FROM metricsdb.alert_instance'), 0, 'and forgotten');
sql('DELETE FROM metricsdb.alert_outbox');
comes("SELECT count(*) = 0 $worker", 'without rules there is no worker');
sql('DROP EXTENSION metricsdb CASCADE');
$node->stop;
done_testing();
