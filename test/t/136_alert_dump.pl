# A dump has rules, their states and what is still to be told, by names: in the copy ids, tables and owners are right, and
# what is created there does not collide.  Secrets are not in it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

# No worker: states stay as they are.
my $node = new_node('alert_dump', 'metricsdb.alert_interval' => -1, timezone => "'UTC'");
my $dir = PostgreSQL::Test::Utils::tempdir;

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

sql(q{
CREATE ROLE sre;
CREATE SCHEMA "My Metrics" AUTHORIZATION sre;
GRANT EXECUTE ON FUNCTION metricsdb.create_alert TO sre;
SELECT metricsdb.create_metrics_table('"My Metrics"."Data"');
SELECT metricsdb.create_metrics_table('dropped');
ALTER TABLE "My Metrics"."Data" OWNER TO sre;
INSERT INTO "My Metrics"."Data" VALUES ('cpu', '{"host": "a"}', now(), 95);
INSERT INTO metricsdb.alert_target (name, owner, kind, home) VALUES ('gone', 'sre', 'notify', 'here'), ('t', 'sre', 'notify', 'here');
DELETE FROM metricsdb.alert_target WHERE name = 'gone';
INSERT INTO metricsdb.alert_secret SELECT target_id, '{"password": "opensesame"}' FROM metricsdb.alert_target;
SET ROLE sre;
SET search_path = "My Metrics", metricsdb;
SELECT create_alert('first', query => 'SELECT 1 AS value');
SELECT create_alert('q', query => $$SELECT tags->>'host' AS host, value FROM "Data"$$, op => '>', threshold => 90, hold => '1 min', labels => '{"severity": "page"}',
	annotations => '{"summary": "{{ $value }} \"quoted\""}', targets => '{t}', absent => 'keep', absent_for => '1.5 s', timeout => '250 ms');
SELECT create_alert('t', source => '"Data"', metric => 'cpu', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 'Infinity', by => '{host}');
SELECT create_alert('d', source => '"Data"', metric => 'cpu', silent_for => '5 min');
SELECT create_alert('r', query => 'SELECT 1 AS value', record => 'x', into_table => '"Data"');
SELECT drop_alert('first');
RESET ROLE;
SELECT create_alert('lost', query => 'SELECT value FROM public.dropped');
INSERT INTO alert_instance SELECT rule_id, '\x01', '{"host": "a"}', '{}', 'firing', 95, now(), now(), NULL, NULL, now(), 3, now() FROM alert_rule WHERE name = 'q';
INSERT INTO alert_outbox SELECT targets[1], rule_id, '\x01', name, owner, 'firing', '{"host": "a"}', '{}', 95, now(), NULL, '4 min', 7, now() FROM alert_rule WHERE name = 'q';
INSERT INTO alert_sent SELECT targets[1], rule_id, '\x01', 'http://x', 7, now() FROM alert_rule WHERE name = 'q';
INSERT INTO alert_event (rule_id, rule, owner, labels, from_state, to_state, at, value, happened_at) SELECT rule_id, name, owner, '{"host": "a"}', 'pending', 'firing', now(), 95, now() FROM alert_rule WHERE name = 'q';
INSERT INTO alert_tick (rule_id, last_tick, health) SELECT rule_id, now(), 'ok' FROM alert_rule WHERE name = 'q';
});
sql('DROP TABLE dropped');

my @views = ('alert_rules', 'alerts', 'alert_history', 'alert_annotations', 'alert_status', 'alert_outbox', 'alert_sent', 'alert_target');

# OIDs of roles and tables are names in views' texts.
sub says
{
	my ($db) = @_;
	# Up to when tables are complete is a matter of the clock.
	return join "\n", map {
		my $row = $_ eq 'alert_status' ? "(to_jsonb(x) - 'watermark')::text" : 'x::text';
		"$_: " . sql("SELECT string_agg($row, E'\\n' ORDER BY $row) FROM metricsdb.$_ x", $db)
	} @views;
}

my $said = says('postgres');
like($said, qr/""My Metrics""\.""Data""/, 'rules say their table');
for my $format ('plain', 'custom')
{
	my $db = "copy_$format";
	command_ok(['pg_dump', '-Fc', '-f', "$dir/$format.dump", '-d', $node->connstr('postgres')], "dump for $format");
	sql("CREATE DATABASE $db");
	if ($format eq 'custom')
	{
		command_ok(['pg_restore', '--exit-on-error', '-d', $node->connstr($db), "$dir/$format.dump"], 'restore');
	}
	else
	{
		command_ok(['pg_restore', '-f', "$dir/dump.sql", "$dir/$format.dump"], 'dump as text');
		unlike(slurp_file("$dir/dump.sql"), qr/opensesame/, 'no secret is in it');
		command_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", '-d', $node->connstr($db)], 'restore of the text');
	}
	is(says($db), $said, "$format: the copy says the same");
	is(sql('SELECT count(*) FROM metricsdb.alert_secret', $db), '0', "$format: it has no secrets");

	# Ids go on.
	is(sql(q{SELECT metricsdb.create_alert('new', query => 'SELECT 1 AS value') > (SELECT max(rule_id) FROM metricsdb.alert_rule WHERE name <> 'new')}, $db), 't', "$format: a new rule has a new id");
	is(sql(q{INSERT INTO metricsdb.alert_target (name, owner, kind, home) VALUES ('new', 'sre', 'notify', '') RETURNING target_id > (SELECT max(target_id) FROM metricsdb.alert_target)}, $db) =~ s/\n.*//sr, 't', "$format: a new target, too");
	# The rules work there, on the tables that are there.
	is(sql(q{SET ROLE sre; SELECT metricsdb.alter_alert('q', every => '5 s'); SELECT metricsdb.alter_alert('t', threshold => 5); SELECT count(*) FROM metricsdb.backtest('q', now() - interval '20 s', now() + interval '6 s')}, $db) =~ s/^\s+//r, '1', "$format: rules can be changed and tried");
	is(sql(q{SELECT source::text FROM metricsdb.alert_rules WHERE rule = 't'}, $db), '"My Metrics"."Data"', "$format: they name the copy's table");
}

sql('DROP EXTENSION metricsdb CASCADE', 'copy_custom');
is(sql(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'alert%'}, 'copy_custom'), '0', 'they go with the extension');
$node->stop;
done_testing();
