# Fail-over to a standby while alerts fire: the new primary tells what the old one has not, once, and goes on with what fires,
# since it did; what the old one has told without taking it down is told again under the same number.  The old primary, back
# as a standby or with metricsdb.workers = off, tells nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use AlertTest;
use StorageTest qw(new_node);

my $dir = "$ENV{METRICSDB_RUN}/alert-failover-$$";
my $am = AlertTest::alertmanager("$dir/am");
my $hook = AlertTest::receiver("$dir/hook");
my $node = new_node('first', autovacuum => 'off', wal_level => 'replica', max_wal_senders => 5, wal_log_hints => 'on', wal_keep_size => "'256MB'",
	'metricsdb.alert_resend_delay' => "'1s'", 'metricsdb.alert_wait' => "'200ms'", timezone => "'UTC'");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub wait_for { return AlertTest::wait_for(@_) }
sub comes { my ($query, $what) = @_; return ok(StorageTest::wait_for($node, $query), $what) || diag(sql('TABLE metricsdb.alert_status'), "\n", sql('TABLE metricsdb.alerts')) }
sub firing { my ($rule, $hosts) = @_; return "SELECT coalesce(string_agg(labels->>'host', '' ORDER BY labels->>'host'), '') = '$hosts' FROM metricsdb.alerts WHERE rule = '$rule' AND state = 'firing'" }
sub starts { return sql(q{SELECT string_agg(rule || ' ' || (labels->>'host') || ' ' || starts_at, ', ' ORDER BY rule, labels->>'host') FROM metricsdb.alerts WHERE state = 'firing'}) }
sub evaluated { my ($what) = @_; my $now = sql('SELECT clock_timestamp()'); return comes("SELECT bool_and(last_tick > '$now') FROM metricsdb.alert_live()", $what) }
# What the webhook was told of a host: what became of it, and the numbers of deliveries.
sub told { my ($rule, $host) = @_; return grep { my $a = $_->{body}{alerts}[0]{labels}; $a->{alertname} eq $rule && $a->{host} eq $host } $hook->requests }
sub was { return join ' ', map { $_->{body}{status} } told(@_) }
sub held { my ($rule, $host) = @_; my ($a) = grep { $_->{labels}{alertname} eq $rule && $_->{labels}{host} eq $host } $am->alerts; return $a ? $a->{startsAt} : '' }

sql(<<~SQL);
	SELECT metricsdb.create_alert_target('hook', 'webhook', '{$hook->{url}/told}', '{"timeout": "100 s"}');
	SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am->{url}}');
	SELECT metricsdb.create_metrics_table('m');
	CREATE TABLE cond (host text, v float8);
	SELECT metricsdb.create_alert('query', query => 'SELECT host, v AS value FROM public.cond', every => '1 s', op => '>', threshold => 90, targets => '{hook,am}');
	SELECT metricsdb.create_alert('threshold', source => 'm', metric => 'cpu', aggregate => 'last', "window" => '1 hour', by => '{host}', every => '1 s', op => '>', threshold => 90, targets => '{hook,am}');
	INSERT INTO cond SELECT chr(i), 100 FROM generate_series(ascii('a'), ascii('c')) i;
	INSERT INTO m SELECT 'cpu', jsonb_build_object('host', chr(i)), now(), 100 FROM generate_series(ascii('a'), ascii('c')) i;
	SQL
my @rules = qw(query threshold);
comes(firing($_, 'abc'), "$_: three fire") for @rules;
wait_for(sub { 6 == map { my $rule = $_; grep { was($rule, $_) eq 'firing' && held($rule, $_) } qw(a b c) } @rules }, 'which is told');
comes(q{SELECT count(*) = 12 AND bool_and(sent_at IS NOT NULL) FROM metricsdb.alert_sent}, 'and taken down');
my $starts = starts();
my %held = map { ($_ => held($_, 'a')) } @rules;

$node->backup('base');
my $second = PostgreSQL::Test::Cluster->new('second', install_path => $node->{_install_path});
$second->init_from_backup($node, 'base', has_streaming => 1);
$second->start;
is($second->safe_psql('postgres', q{SELECT count(*) FROM metricsdb.workers WHERE worker ~ 'alert'}), 0, 'a standby evaluates and tells nothing');

# ---- what cannot be told: the receiver has the first of it, and does not answer; the Alertmanager is away ----

$am->stop('KILL');
$hook->mode('hold');
sql(q{INSERT INTO cond VALUES ('d', 100); INSERT INTO m VALUES ('cpu', '{"host": "d"}', now(), 100)});
comes(firing($_, 'abcd'), "$_: one more fires") for @rules;
sql(q{DELETE FROM cond WHERE host = 'b'; INSERT INTO m VALUES ('cpu', '{"host": "b"}', now(), 10)});
comes(firing($_, 'acd'), "$_: one is over") for @rules;
wait_for(sub { 4 == map { was($_, 'd'), was($_, 'b') =~ /resolved/ ? 1 : () } @rules }, 'the receiver has heard of all of it');
is(sql(q{SELECT count(*) FROM metricsdb.alert_outbox o JOIN metricsdb.alert_target t USING (target_id) LEFT JOIN metricsdb.alert_sent s ON s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key
	WHERE t.name = 'hook' AND s.state IS DISTINCT FROM o.state}), 4, 'of which nothing is taken down');
$starts = starts();
my $events = sql('SELECT count(*) FROM metricsdb.alert_event');
$node->wait_for_catchup($second, 'replay', $node->lsn('insert'));
$node->stop('immediate');

# ---- the new primary ----

$hook->mode('200');
$am->start;
my $first = $node;
$node = $second;
$node->promote;
evaluated('promoted, the standby evaluates');
is(starts(), $starts, 'what fired fires, since it did');
is(sql('SELECT count(*) FROM metricsdb.alert_event'), $events, 'without a word in between');
comes(q{SELECT bool_and(queued = 0 AND state = 'ok') FROM metricsdb.alert_targets}, 'it tells what was not told');
for my $rule (@rules)
{
	my %n = map { $_ => [ map { $_->{headers}{'X-Metricsdb-Delivery'} } told($rule, $_) ] } qw(a b c d);
	is(was($rule, 'a') . was($rule, 'c'), 'firingfiring', "$rule: what had been told is not told again");
	is(was($rule, 'd'), 'firing firing', "$rule: what was told and not taken down, is");
	is($n{d}[0], $n{d}[1], '... under the same number');
	is(was($rule, 'b'), 'firing resolved resolved', "$rule: so is what was over");
	is($n{b}[1], $n{b}[2], '... under the same number');
	ok(held($rule, 'a') && held($rule, 'c') && held($rule, 'd') && !held($rule, 'b'), "$rule: the Alertmanager holds what fires");
	is(held($rule, 'a'), $held{$rule}, '... since it did');
}
sql(q{INSERT INTO cond VALUES ('e', 100); INSERT INTO m VALUES ('cpu', '{"host": "e"}', now(), 100)});
comes(firing($_, 'acde'), "$_: another begins here") for @rules;
wait_for(sub { was('query', 'e') eq 'firing' && was('threshold', 'e') eq 'firing' }, 'and is told');

# ---- the old one comes back, alone, with metricsdb.workers = off: it believes that it is who it was ----

$first->append_conf('postgresql.conf', "metricsdb.workers = off\n");
$first->start;
my $n = () = $hook->requests;
usleep(2_500_000);
is($first->safe_psql('postgres', q{SELECT count(*) FROM metricsdb.workers WHERE worker ~ 'alert'}), 0, 'the old primary, without workers, tells nothing');
is(scalar(my @all = $hook->requests), $n, '... to anybody');

# ---- and as a standby of the new one ----

$first->stop('fast');
$node->safe_psql('postgres', 'CHECKPOINT');
command_ok([ 'pg_rewind', '-D', $first->data_dir, '--source-server', $node->connstr('postgres'), '--config-file', $first->data_dir . '/postgresql.conf' ], 'it is rewound');
$first->append_conf('postgresql.conf', "metricsdb.workers = on\nport = " . $first->port . "\nunix_socket_directories = '" . $first->host . "'\n");
$first->enable_streaming($node);
$first->start;
sql(q{INSERT INTO cond VALUES ('f', 100); INSERT INTO m VALUES ('cpu', '{"host": "f"}', now(), 100)});
comes(firing($_, 'acdef'), "$_: another") for @rules;
wait_for(sub { was('query', 'f') eq 'firing' && was('threshold', 'f') eq 'firing' }, 'is told by the new primary');
$node->wait_for_catchup($first, 'replay', $node->lsn('insert'));
is($first->safe_psql('postgres', q{SELECT string_agg(rule, ' ' ORDER BY rule) FROM metricsdb.alerts WHERE labels->>'host' = 'f' AND state = 'firing'}), 'query threshold', 'the old one, a standby now, has it');
is($first->safe_psql('postgres', q{SELECT count(*) FROM metricsdb.workers WHERE worker ~ 'alert'}), 0, '... and tells nothing');

# ---- back again: promotion needs nothing else ----

$node->stop('fast');
$node = $first;
$node->promote;
evaluated('promoted in its turn it evaluates');
sql(q{DELETE FROM cond; INSERT INTO m SELECT 'cpu', jsonb_build_object('host', chr(i)), now(), 10 FROM generate_series(ascii('a'), ascii('f')) i});
comes(firing($_, ''), "$_: all is well") for @rules;
wait_for(sub { 0 == $am->alerts }, 'the Alertmanager hears it');
for my $rule (@rules)
{
	wait_for(sub { 5 == grep { was($rule, $_) =~ /resolved$/ } qw(a c d e f) }, "$rule: the webhook, too");
	is(join(' ', map { was($rule, $_) } qw(a c e f)), 'firing resolved firing resolved firing resolved firing resolved', '... each beginning and end once');
}

$node->stop('fast');
$am->stop;
system('rm', '-rf', $dir);
done_testing();
