# What is old goes: a resolved alert leaves the outbox when each URL of its target has heard so, not before, whoever looks;
# where nobody sends, after a day; history after metricsdb.alert_history_retention, also where there is no rule.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AlertTest;
use StorageTest qw(new_node);

my $r = AlertTest::receiver("$ENV{METRICSDB_RUN}/alert-upkeep-$$");
my $node = new_node('upkeep', 'metricsdb.alert_resolved_retention' => 0, 'metricsdb.alert_resend_delay' => "'1h'");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(StorageTest::wait_for($node, $query), $what) || diag(sql('SELECT * FROM metricsdb.alert_outbox'), "\n", sql('SELECT * FROM metricsdb.alert_sent')) }
my $worker = q{FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'};
my $sender = q{FROM pg_stat_activity WHERE backend_type = 'metricsdb alert sender'};
my $seq = 0;
sub put
{
	my ($target, $host, $state) = @_;
	$seq++;
	sql(qq{INSERT INTO metricsdb.alert_outbox AS o (target_id, rule_id, key, rule, owner, state, labels, annotations, value, starts_at, ends_at, valid_for, seq, queued_at)
		SELECT target_id, 1, decode(md5('$host'), 'hex'), 'r', 'postgres', '$state', jsonb_build_object('alertname', 'r', 'host', '$host'), '{}', 1, '2024-01-01',
			CASE WHEN '$state' = 'resolved' THEN timestamptz '2024-01-01 00:05' END, '1 h', $seq, now()
		FROM metricsdb.alert_target WHERE name = '$target'
		ON CONFLICT (target_id, rule_id, key) DO UPDATE SET state = excluded.state, ends_at = excluded.ends_at, seq = excluded.seq, queued_at = excluded.queued_at});
	return;
}
sub is_there { my ($host) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE labels->>'host' = '$host')" }
sub is_gone { my ($host) = @_; return "SELECT NOT EXISTS (SELECT FROM metricsdb.alert_outbox WHERE labels->>'host' = '$host')" }
sub has_heard { my ($path, $host, $state) = @_; return "SELECT EXISTS (SELECT FROM metricsdb.alert_sent s JOIN metricsdb.alert_outbox o USING (target_id, rule_id, key) WHERE labels->>'host' = '$host' AND s.state = '$state' AND url LIKE '%/$path')" }
# Both who may delete rows of the outbox have looked after now.
sub all_have_looked
{
	my $host = 'other' . ++$seq;
	put('other', $host, 'resolved');
	comes(is_gone($host), 'the sender has looked');
	my $now = sql(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'; SELECT clock_timestamp()}) =~ s/.*\n//sr;
	comes("SELECT count(*) = 1 $worker AND backend_start > '$now'", 'the alert worker is a new one');
	$now = sql('SELECT clock_timestamp()');
	# It does its housekeeping at the end of each round.
	comes("SELECT max(evaluated_at) > timestamptz '$now' + interval '2 s' FROM metricsdb.alert_live()", 'which has looked, too');
	return;
}

sql(q{SELECT metricsdb.create_alert('quiet', query => 'SELECT 1 AS value WHERE false', every => '1 s')});
sql("SELECT metricsdb.create_alert_target('two', 'alertmanager', '{$r->{url}/a,$r->{url}/b}')");
sql("SELECT metricsdb.create_alert_target('other', 'webhook', '{$r->{url}/other}')");
put('two', 'x', 'firing');
comes(has_heard($_, 'x', 'firing'), "$_ has heard that it fires") for 'a', 'b';
$r->mode('503', 'bapiv2alerts');
put('two', 'x', 'resolved');
comes(has_heard('a', 'x', 'resolved'), 'one has heard that it does not');
comes("SELECT attempts > 0 FROM metricsdb.alert_sent WHERE url LIKE '%/b'", 'the other has been tried');
all_have_looked();
is(sql(is_there('x')), 't', 'it stays for the other');
$r->mode('200', 'bapiv2alerts');
comes(is_gone('x'), 'until that has heard, too');
is(scalar(grep { ($_->{body}[0]{endsAt} // '') eq '2024-01-01T00:05:00+00:00' } $r->requests('/b/api/v2/alerts')), 2, 'which it has: once it refused') || diag(map { $_->{text} . "\n" } $r->requests('/b/api/v2/alerts'));
# One that was never told that it fired is told that it was.
$r->mode('503', 'bapiv2alerts');
put('two', 'y', 'firing');
comes(has_heard('a', 'y', 'firing'), 'one has heard');
put('two', 'y', 'resolved');
comes(has_heard('a', 'y', 'resolved'), 'of both');
all_have_looked();
is(sql(is_there('y')), 't', 'the other is to hear of the end');
$r->mode('200', 'bapiv2alerts');
comes(is_gone('y'), 'and does');
comes('SELECT count(*) = 0 FROM metricsdb.alert_sent', 'nothing is left of what was told');

# ---- where nobody sends ----
sql(q{SELECT metricsdb.alter_alert_target('two', enabled => false), metricsdb.alter_alert_target('other', enabled => false)});
comes("SELECT count(*) = 0 $sender", 'no sender');
put('two', $_, 'resolved') for 'old', 'young';
put('two', 'fires', 'firing');
sql(q{UPDATE metricsdb.alert_outbox SET queued_at = now() - interval '25 h' WHERE labels->>'host' IN ('old', 'fires')});
sql("SELECT pg_terminate_backend(pid, 10000) $worker");
comes(is_gone('old'), 'what could not be told for a day goes');
is(sql(is_there('young')), 't', 'what may be told yet stays');
is(sql(is_there('fires')), 't', 'and what fires');
sql('DELETE FROM metricsdb.alert_outbox');

# ---- history ----
sql(q{SELECT metricsdb.drop_alert('quiet')});
comes("SELECT count(*) = 0 $worker", 'no worker without rules');
sql(q{INSERT INTO metricsdb.alert_event (rule_id, rule, owner, labels, from_state, to_state, at, happened_at)
	SELECT 1, 'r', 'postgres', '{}', 'inactive', 'firing', now(), now() - i * interval '1 day' FROM generate_series(1, 60) i, generate_series(1, 500)});
comes('SELECT count(*) = 29 * 500 FROM metricsdb.alert_history', 'history is kept for thirty days');
comes("SELECT count(*) = 0 $worker", 'then the worker leaves');
$node->append_conf('postgresql.conf', "metricsdb.alert_history_retention = 5d\n");
$node->reload;
comes('SELECT count(*) = 4 * 500 FROM metricsdb.alert_history', 'or for as long as is said');
$node->stop;
done_testing();
