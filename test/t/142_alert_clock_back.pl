# A clock that was a quarter of an hour ahead, and is put right: rules go on, what fires does so, targets are told as before.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AlertTest;
use StorageTest ();

my $dir = "$ENV{METRICSDB_RUN}/alert-clock-$$";
my $am = AlertTest::alertmanager("$dir/am");
my $hook = AlertTest::receiver("$dir/hook");
my $clock = "$dir/clock";

sub set_clock
{
	my ($seconds) = @_;
	open my $f, -e $clock ? '+<' : '+>', $clock or die $!;
	syswrite $f, pack('q', $seconds * 1_000_000) or die $!;
	return;
}
set_clock(900);
my $shim = `'$AlertTest::lib/tool.sh' clock`;
chomp $shim;
$shim = "$ENV{METRICSDB_RUN}/bin/clock" if !-e $shim;
my $node;
{
	local $ENV{METRICSDB_CLOCK} = $clock;
	local $ENV{LD_PRELOAD} = join ' ', $ENV{LD_PRELOAD} || (), $shim;
	$node = StorageTest::new_node('clock', 'metricsdb.alert_resend_delay' => "'2s'", 'metricsdb.alert_wait' => "'200ms'", timezone => "'UTC'");
}
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(StorageTest::wait_for($node, $query), $what) || diag(sql('TABLE metricsdb.alert_status'), "\n", sql('TABLE metricsdb.alerts'), "\n", sql('TABLE metricsdb.alert_targets')) }
sub firing { my ($rule, $hosts) = @_; return "SELECT coalesce(string_agg(labels->>'host', '' ORDER BY labels->>'host'), '') = '$hosts' FROM metricsdb.alerts WHERE rule = '$rule' AND state = 'firing'" }

cmp_ok(sql('SELECT extract(epoch FROM now())'), '>', time() + 600, 'the clock is ahead');
sql(<<~SQL);
	SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am->{url}}');
	SELECT metricsdb.create_alert_target('hook', 'webhook', '{$hook->{url}/told}');
	SELECT metricsdb.create_alert_target('away', 'webhook', '{$hook->{url}/away}');
	SELECT metricsdb.create_metrics_table('m');
	CREATE TABLE cond (host text, v float8);
	SELECT metricsdb.create_alert('query', query => 'SELECT host, v AS value FROM public.cond', every => '1 s', op => '>', threshold => 90, targets => '{am,hook,away}');
	SELECT metricsdb.create_alert('threshold', source => 'm', metric => 'cpu', aggregate => 'last', "window" => '1 hour', by => '{host}', every => '1 s', op => '>', threshold => 90, targets => '{am,hook}');
	SELECT metricsdb.create_alert('over', expression => 'alert(''query'')', every => '1 s', targets => '{am}');
	INSERT INTO cond VALUES ('a', 100);
	INSERT INTO m VALUES ('cpu', '{"host": "a"}', now() - interval '20 min', 100);
	SQL
$hook->mode('503', 'away');
comes(firing($_, 'a'), "$_: one fires") for qw(query threshold over);
comes(q{SELECT count(*) = 3 FROM metricsdb.alert_sent s JOIN metricsdb.alert_target t USING (target_id) WHERE t.name = 'am' AND sent_at IS NOT NULL}, 'which is told');
comes(q{SELECT failures > 2 FROM metricsdb.alert_targets WHERE name = 'away'}, 'one target does not answer');

set_clock(0);
my $now = time();
comes(q{SELECT bool_and(evaluated_at <= clock_timestamp() AND evaluated_at > clock_timestamp() - interval '10 s' AND last_tick <= clock_timestamp() AND health = 'ok') FROM metricsdb.alert_status}, 'put right, rules are evaluated, at times that are');
comes(firing($_, 'a'), "$_: fires yet") for qw(query threshold over);
is(sql(q{SELECT count(*) FROM metricsdb.alert_history WHERE to_state = 'resolved'}), 0, 'and was not over');
comes(q{SELECT bool_and(sent_at <= clock_timestamp() AND sent_at > clock_timestamp() - interval '10 s') FROM metricsdb.alert_sent s JOIN metricsdb.alert_target t USING (target_id) WHERE t.name = 'am'}, 'the Alertmanager is told again and again');
$hook->mode('200', 'away');
comes(q{SELECT state = 'ok' FROM metricsdb.alert_targets WHERE name = 'away'}, 'who did not answer is told, now that he does');
sql(q{INSERT INTO cond VALUES ('b', 100); INSERT INTO m VALUES ('cpu', '{"host": "b"}', now(), 100)});
comes(firing($_, 'ab'), "$_: another") for qw(query threshold over);
AlertTest::wait_for(sub { 2 == grep { $_->{body}{alerts}[0]{labels}{host} eq 'b' } $hook->requests('/told') }, 'is told');
sql(q{SELECT metricsdb.create_alert_target('late', 'webhook', ARRAY[urls[1] || '2']) FROM metricsdb.alert_target WHERE name = 'hook'; SELECT metricsdb.alter_alert('query', targets => '{late}')});
sql(q{INSERT INTO cond VALUES ('c', 100)});
AlertTest::wait_for(sub { grep { $_->{body}{alerts}[0]{labels}{host} eq 'c' } $hook->requests('/told2') }, 'a target that is new is seen');
sql(q{DELETE FROM cond});
comes(firing($_, ''), "$_: over") for qw(query over);
is(sql(q{SELECT count(*) FROM metricsdb.alerts WHERE ends_at < starts_at}), 0, 'nothing ends before it began');

$node->stop('fast');
$am->stop;
system('rm', '-rf', $dir);
done_testing();
