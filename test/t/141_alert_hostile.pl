# What is done to rules from outside: their owner is dropped, the clock is put back, a rule of the same name follows one that
# is gone, labels are put into texts without end, samples come late.  None is told falsely, none stops others.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StorageTest;
use Test::More;

my $dir = "$ENV{METRICSDB_RUN}/alert-hostile-$$";
mkdir $dir or die $!;
my $clock = "$dir/clock";
sub set_clock
{
	my ($hours) = @_;
	open my $f, -e $clock ? '+<' : '+>', $clock or die $!;
	syswrite $f, pack('q', $hours * 3600 * 1_000_000) or die $!;
	return;
}
set_clock(0);
chomp(my $library = `'$ENV{METRICSDB_TOP}/test/lib/tool.sh' clock 2>/dev/null`);
my $node;
{
	local $ENV{METRICSDB_CLOCK} = $clock;
	local $ENV{LD_PRELOAD} = join ' ', $library, $ENV{LD_PRELOAD} || ();
	$node = new_node('hostile', 'metricsdb.alert_wait' => "'0s'");
}

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(wait_for($node, $query), $what) || diag(sql('SELECT * FROM metricsdb.alert_status'), "\n", sql('SELECT * FROM metricsdb.alerts'), "\n", sql('SELECT * FROM metricsdb.alert_history')) }
sub state_is { my ($rule, $state) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alerts WHERE rule = '$rule' AND state = '$state')" }
sub health_is { my ($rule, $health) = @_; return "SELECT health = '$health' FROM metricsdb.alert_status WHERE rule = '$rule'" }
sub goes_on
{
	my ($rule, $what) = @_;
	my $now = sql('SELECT clock_timestamp()');
	# Not by a clock that was put back since.
	return comes("SELECT evaluated_at > '$now' AND evaluated_at < timestamptz '$now' + interval '1 h' FROM metricsdb.alert_live() WHERE rule_id = (SELECT rule_id FROM metricsdb.alert_rule WHERE name = '$rule')", $what);
}

# Targets that nobody sends to.
sql(q{INSERT INTO metricsdb.alert_target (name, owner, kind, home) VALUES ('one', 'postgres', 'notify', 'elsewhere'), ('other', 'postgres', 'notify', 'elsewhere')});
sql(q{CREATE TABLE cond (host text, v float8); INSERT INTO cond VALUES ('a', 100); GRANT SELECT ON cond TO PUBLIC; SELECT metricsdb.create_metrics_table('m')});
sql(q{SELECT metricsdb.create_alert('well', query => 'SELECT host, v AS value FROM public.cond', op => '>', threshold => 90, every => '1 s', targets => '{one}')});
comes(state_is('well', 'firing'), 'a rule that fires');

# ---- whose owner is dropped ----
sql(q{CREATE ROLE leaver; GRANT EXECUTE ON FUNCTION metricsdb.create_alert TO leaver; SET ROLE leaver;
	SELECT metricsdb.create_alert('orphan', query => 'SELECT host, v AS value FROM public.cond', every => '1 s')});
comes(state_is('orphan', 'firing'), 'a rule of somebody');
sql(q{REVOKE EXECUTE ON FUNCTION metricsdb.create_alert FROM leaver; DROP ROLE leaver});
comes(health_is('orphan', 'error'), 'who is dropped');
like(sql(q{SELECT last_error FROM metricsdb.alert_status WHERE rule = 'orphan'}), qr/the owner of rule "orphan" does not exist any more/, 'which is said');
is(sql(state_is('orphan', 'firing')), 't', 'what fires goes on to');
sql(q{SELECT metricsdb.alter_alert('orphan', new_owner => 'postgres')});
comes(health_is('orphan', 'ok'), 'until somebody takes it over');
sql(q{SELECT metricsdb.drop_alert('orphan')});

# ---- one of the same name ----
sql(q{SELECT metricsdb.create_alert('name', query => 'SELECT host, v AS value FROM public.cond', every => '1 s', targets => '{one}')});
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE rule = 'name' AND state = 'firing')}, 'one is told that it fires');
sql(q{SELECT metricsdb.drop_alert('name'); SELECT metricsdb.create_alert('name', query => 'SELECT host, v AS value FROM public.cond', every => '1 s', targets => '{other}')});
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alert_outbox o JOIN metricsdb.alert_target t USING (target_id) WHERE rule = 'name' AND state = 'firing' AND t.name = 'other')}, 'another rule of that name tells another');
is(sql(q{SELECT state FROM metricsdb.alert_outbox o JOIN metricsdb.alert_target t USING (target_id) WHERE rule = 'name' AND t.name = 'one'}), 'resolved', 'the one is still to be told that it is over');
sql(q{SELECT metricsdb.drop_alert('name')});

# ---- texts without end ----
is(sql(q{SELECT length(metricsdb.expand_template(repeat('{{ $labels.x }}', 1000), jsonb_build_object('x', repeat('ü', 1000000))))}), 131072, 'a text has its bounds');
sql(q{SELECT metricsdb.create_alert('bomb', query => $$SELECT repeat('x', 10000000) AS x, 1 AS value$$, every => '1 s', targets => '{one}', annotations => jsonb_build_object('s', repeat('{{ $labels.x }}', 1000)))});
comes(state_is('bomb', 'firing'), 'one that would expand to 10 GB');
is(sql(q{SELECT length(annotations->>'s') FROM metricsdb.alert_outbox WHERE rule = 'bomb'}), 262144, 'is cut');
goes_on('well', 'others go on');
like(($node->psql('postgres', q{SELECT metricsdb.create_alert('huge', query => 'SELECT 1 AS value', annotations => jsonb_build_object('s', repeat('x', 100000)))}))[2], qr/template of annotation "s" is longer than 64 kB/, 'so have templates');
sql(q{SELECT metricsdb.drop_alert('bomb')});

# ---- what cannot be written ----
sql(q{ALTER TABLE metricsdb.alert_event ADD CONSTRAINT no_room CHECK (rule <> 'unwritten') NOT VALID});
sql(q{SELECT metricsdb.create_alert('unwritten', query => 'SELECT host, v AS value FROM public.cond', every => '1 s')});
comes(health_is('unwritten', 'error'), 'one that cannot be written');
like(sql(q{SELECT last_error FROM metricsdb.alert_status WHERE rule = 'unwritten'}), qr/the evaluation could not be completed: .*violates check constraint/, 'says so');
goes_on('well', 'others go on');
sql(q{ALTER TABLE metricsdb.alert_event DROP CONSTRAINT no_room});
comes(health_is('unwritten', 'ok'), 'until it can be');
is(sql(state_is('unwritten', 'firing')), 't', 'and it fires');
sql(q{SELECT metricsdb.drop_alert('unwritten')});

# ---- samples that come late ----
sql(q{SELECT metricsdb.create_alert('late', source => 'm', metric => 'cpu', aggregate => 'max', "window" => '10 s', op => '>', threshold => 90, every => '1 s')});
sql(q{SELECT metricsdb.create_alert('low', source => 'm', metric => 'cpu', aggregate => 'max', "window" => '1 h', op => '<', threshold => 10, every => '1 s')});
comes("SELECT count(*) = 2 FROM metricsdb.alert_status WHERE rule IN ('late', 'low') AND health = 'ok'", 'thresholds');
sql(q{INSERT INTO m VALUES ('cpu', '{"host": "a"}', clock_timestamp(), 5)});
comes(state_is('low', 'firing'), 'one fires');
sql(q{INSERT INTO m VALUES ('cpu', '{"host": "b"}', clock_timestamp() - interval '5 min', 100), ('cpu', '{"host": "a"}', clock_timestamp() - interval '2 h', 100)});
goes_on('late', 'the time goes on') for 1 .. 3;
is(sql(q{SELECT count(*) FROM metricsdb.alert_history WHERE rule = 'late'}), 0, 'what is older than the window fires nothing');
is(sql(q{SELECT string_agg(to_state, ' ' ORDER BY event_id) FROM metricsdb.alert_history WHERE rule = 'low'}), 'firing', 'and resolves nothing');
sql(q{SELECT metricsdb.drop_alert('low')});

# ---- a clock that is put back ----
my $start = sql(q{SELECT starts_at FROM metricsdb.alerts WHERE rule = 'well'});
my $told = sql(q{SELECT count(*) FROM metricsdb.alert_history WHERE rule = 'well'});
set_clock(-2);
goes_on('well', 'two hours back, the clock\'s rules go on');
goes_on('late', 'and those of a table');
is(sql(q{SELECT count(*) FROM metricsdb.alert_history WHERE rule = 'well'}), $told, 'nothing is told');
is(sql(q{SELECT state || ' ' || (starts_at <= clock_timestamp()) FROM metricsdb.alerts WHERE rule = 'well'}), 'firing true', 'what fires goes on to');
sql(q{DELETE FROM cond});
comes(state_is('well', 'resolved'), 'and is resolved when it is over');
is(sql(q{SELECT bool_and(ends_at >= starts_at) FROM metricsdb.alert_outbox WHERE rule = 'well'}), 't', 'after its start');
sql(q{INSERT INTO cond VALUES ('b', 100)});
comes(q{SELECT EXISTS (SELECT FROM metricsdb.alerts WHERE rule = 'well' AND state = 'firing' AND labels->>'host' = 'b')}, 'others fire');
is(sql(q{SELECT count(*) FROM metricsdb.watermarks WHERE watermark > clock_timestamp()}), 0, 'no watermark is in the future');
$node->stop;
system('rm', '-rf', $dir);
done_testing();
