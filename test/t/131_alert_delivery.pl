# Alerts are told to a real Alertmanager, to a webhook over mTLS, and to who listens: as they begin, again, and as they end;
# after an outage, a restart and a crash.  What a target may not have cannot stop others; a copy of the database sends nothing.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_hex);
use File::Path qw(make_path);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use AlertTest;
use StorageTest qw(new_node session);

my $dir = "$ENV{METRICSDB_RUN}/alert-delivery-$$";
my $am = AlertTest::alertmanager("$dir/am");
my $certs = AlertTest::certificates("$dir/certs");
my $hook = AlertTest::receiver("$dir/hook", "$certs/server.pem", "$certs/server.key", "$certs/ca.pem");
my $node = new_node('delivery', 
	'metricsdb.alert_resend_delay' => "'1s'", 'metricsdb.alert_resolved_retention' => "'3s'", timezone => "'UTC'",
	# The statements themselves have secrets.
	log_statement => 'none');

sub sql { my ($q, $db) = @_; return $node->safe_psql($db // 'postgres', $q) }
sub wait_for { return AlertTest::wait_for(@_) }
sub text { my ($file) = @_; return AlertTest::slurp("$certs/$file") }

# put(target, state, [labels as JSON, ...], what): rows of the outbox, as the evaluator writes them.
sub put
{
	my ($target, $state, $labels, %with) = @_;
	my $ends = $state eq 'resolved' ? 'now()' : 'NULL';
	my $starts = $with{starts_at} // 'now()';
	my $valid = $with{valid_for} // '1 min';
	for my $l (@$labels)
	{
		sql(qq{INSERT INTO metricsdb.alert_outbox AS o (target_id, rule_id, key, rule, owner, state, labels, annotations, value, starts_at, ends_at, valid_for, seq, queued_at)
			SELECT target_id, 1, decode(md5('$l'), 'hex'), 'r', 'postgres', '$state', '$l', '{"summary": "s"}', 1.5, $starts, $ends, '$valid', 1, now()
			FROM metricsdb.alert_target WHERE name = '$target'
			ON CONFLICT (target_id, rule_id, key) DO UPDATE SET state = excluded.state, ends_at = excluded.ends_at, seq = o.seq + 1, queued_at = now(),
				starts_at = CASE WHEN o.state = excluded.state OR excluded.state = 'resolved' THEN o.starts_at ELSE excluded.starts_at END});
	}
	return;
}
sub label { my ($name, %more) = @_; return JSON::PP->new->canonical->encode({ alertname => 'r', host => $name, %more }) }
sub held { return { map { ($_->{labels}{host} // '?') => $_ } $am->alerts } }

# ---- a real Alertmanager ----

sql("SELECT metricsdb.create_alert_target('am', 'alertmanager', '{$am->{url}/}')");
like(sql("SELECT ok, answer FROM metricsdb.test_alert_target('am')"), qr/^t\|HTTP 200$/, 'a test of the target');
put('am', 'firing', [ label('a'), label('b') ]);
wait_for(sub { my $h = held(); $h->{a} && $h->{b} }, 'what fires is told');
my $first = held()->{a};
is(sql(qq{SELECT date_trunc('milliseconds', starts_at) = '$first->{startsAt}' FROM metricsdb.alert_outbox WHERE labels->>'host' = 'a'}), 't', 'with its start');
is($first->{annotations}{summary}, 's', 'and its annotations');
wait_for(sub { held()->{a}{endsAt} gt $first->{endsAt} }, 'and again, so that it does not end');
is(held()->{a}{startsAt}, $first->{startsAt}, 'with the same start');
put('am', 'resolved', [ label('b') ]);
wait_for(sub { my $h = held(); $h->{a} && !$h->{b} }, 'what has ended is told, too');
wait_for(sub { sql("SELECT count(*) FROM metricsdb.alert_outbox WHERE labels->>'host' = 'b'") eq '0' }, 'and leaves the outbox after a while');
wait_for(sub { sql("SELECT count(*) FROM metricsdb.alert_outbox o FULL JOIN metricsdb.alert_sent s USING (target_id, rule_id, key) WHERE o.seq IS NULL OR s.seq IS NULL") eq '0' },
	'with what was noted about it');

# Names that Alertmanager does not take, empty values, and one alert that it refuses
put('am', 'firing', [ label('c', 'a.b' => 1), label('c', 'a-b' => 1), label('d', '9lives' => 'x', 'empty' => '', "gr\x{f6}sse" => 'y') ]);
put('am', 'firing', [ label('bad') ], starts_at => "'20000-01-01'", valid_for => '30000 years');
put('am', 'firing', [ map { label("many$_") } 1 .. 20 ]);
wait_for(sub { my @c = grep { ($_->{labels}{host} // '') eq 'c' } $am->alerts; @c == 2 }, 'two label sets whose names become alike stay two');
wait_for(sub { my $h = held(); 20 == grep { $h->{"many$_"} } 1 .. 20 }, 'what is refused keeps nothing else from being told');
my $d = held()->{d}{labels};
is(join(' ', sort keys %$d), '_9lives alertname gr_sse host metricsdb_id', 'names are made such as it takes');
wait_for(sub { sql("SELECT refused FROM metricsdb.alert_targets WHERE name = 'am'") eq '1' }, 'the refused one is counted');
like(sql("SELECT last_error FROM metricsdb.alert_sent WHERE refused"), qr/HTTP 400/, 'with the reason');
sql("DELETE FROM metricsdb.alert_outbox WHERE labels->>'host' = 'bad'");

# An outage, in which things change
my $began = held()->{a}{startsAt};
$am->stop('KILL');
wait_for(sub { sql("SELECT state FROM metricsdb.alert_targets WHERE name = 'am'") eq 'failing' }, 'a target that does not answer is failing');
put('am', 'resolved', [ map { label("many$_") } 1 .. 10 ]);
put('am', 'firing', [ map { label("later$_") } 1 .. 5 ]);
sql("INSERT INTO metricsdb.alert_outbox SELECT target_id, 2, decode(md5(i::text), 'hex'), 'flood', 'postgres', 'firing', jsonb_build_object('alertname', 'flood', 'i', i), '{}', i, now(), NULL, '5 min', 1, now()
	FROM metricsdb.alert_target, generate_series(1, 10000) i WHERE name = 'am'");
is(sql("SELECT queued >= 10005, oldest_queued_at IS NOT NULL, last_error ~ 'connect' FROM metricsdb.alert_targets WHERE name = 'am'"), 't|t|t', 'what waits is shown, and why');
# It has lost all it knew, and hears it again.
system('rm', '-rf', "$dir/am/data");
$am->start;
wait_for(sub { $am->count('"flood"') == 10_000 }, 'after it all of it is told, 10,000 alerts', 120);
sql("UPDATE metricsdb.alert_outbox SET state = 'resolved', ends_at = now(), seq = seq + 1, queued_at = now() WHERE rule_id = 2");
wait_for(sub { $am->count('"flood"') == 0 }, 'and its end', 120);
wait_for(sub { my $h = held(); 5 == grep { $h->{"later$_"} } 1 .. 5 }, 'and what else began');
wait_for(sub { my $h = held(); $h->{a} && !grep { $h->{"many$_"} } 1 .. 10 }, 'and what ended');
is(held()->{a}{startsAt}, $began, 'what has fired all the time began when it did');
wait_for(sub { sql("SELECT state, queued FROM metricsdb.alert_targets WHERE name = 'am'") eq 'ok|0' }, 'nothing is left to be told');
sql("DELETE FROM metricsdb.alert_outbox WHERE rule_id = 2");

# A cluster: one is down, the other is told at once
sql("SELECT metricsdb.alter_alert_target('am', urls => ARRAY['http://127.0.0.1:1', '$am->{url}'])");
put('am', 'firing', [ label('two') ]);
wait_for(sub { held()->{two} }, 'of two the one that answers is told');
is(sql("SELECT string_agg(state, ',' ORDER BY url) FROM metricsdb.alert_targets WHERE name = 'am'"), 'failing,ok', 'each by itself');
sql("SELECT metricsdb.alter_alert_target('am', urls => ARRAY['$am->{url}'])");

# ---- a webhook, over mTLS, signed ----

my $pem = sub { my $t = text($_[0]); return $t };
my $secrets = JSON::PP->new->encode({ key_pem => $pem->('client.key'), hmac_key => 'hmac-Geheim', password => 'pass-Geheim', headers => { 'X-Api-Key' => 'header-Geheim' } });
my $options = JSON::PP->new->encode({ ca_pem => $pem->('ca.pem'), cert_pem => $pem->('client.pem'), user => 'u' });
sql("SELECT metricsdb.create_alert_target('hook', 'webhook', '{$hook->{url}/in}', '$options', '$secrets')");
put('hook', 'firing', [ label('a') ]);
wait_for(sub { $hook->requests('/in') }, 'a webhook is told');
my ($r) = $hook->requests('/in');
is($r->{headers}{'X-Metricsdb-Signature'}, 'v1=' . hmac_sha256_hex("$r->{headers}{'X-Metricsdb-Timestamp'}.$r->{text}", 'hmac-Geheim'), 'with a signature');
is($r->{headers}{Authorization} . $r->{headers}{'X-Api-Key'}, 'Basic dTpwYXNzLUdlaGVpbQ==header-Geheim', 'and credentials');
is("$r->{body}{version} $r->{body}{status} $r->{body}{alerts}[0]{labels}{host} $r->{body}{alerts}[0]{value} $r->{body}{receiver}", '4 firing a 1.5 hook', 'in the words of Alertmanager');
# A new value, and time for it to be told again
sql("UPDATE metricsdb.alert_outbox SET value = 2, seq = seq + 1 WHERE labels->>'host' = 'a'");
put('hook', 'firing', [ label('b') ]);
wait_for(sub { $hook->requests('/in') >= 2 }, 'another');
put('hook', 'resolved', [ label('a') ]);
wait_for(sub { $hook->requests('/in') >= 3 }, 'its end');
is(join(' ', map { "$_->{body}{alerts}[0]{labels}{host}:$_->{body}{status}" } $hook->requests('/in')), 'a:firing b:firing a:resolved', 'each beginning and end once');
like(($hook->requests('/in'))[2]{body}{alerts}[0]{endsAt}, qr/^20\d\d-/, 'with the end');

# Who is not known is sent away
my $stranger = JSON::PP->new->encode({ key_pem => $pem->('stranger.key') });
my $their_options = JSON::PP->new->encode({ ca_pem => $pem->('ca.pem'), cert_pem => $pem->('stranger.pem') });
sql("SELECT metricsdb.create_alert_target('stranger', 'webhook', '{$hook->{url}/stranger}', '$their_options', '$stranger')");
my $distrust = JSON::PP->new->encode({ ca_pem => $pem->('other.pem'), cert_pem => $pem->('client.pem') });
my $key = JSON::PP->new->encode({ key_pem => $pem->('client.key') });
sql("SELECT metricsdb.create_alert_target('distrust', 'webhook', '{$hook->{url}/distrust}', '$distrust', '$key')");
put($_, 'firing', [ label('a') ]) for qw(stranger distrust);
wait_for(sub { sql("SELECT count(*) FROM metricsdb.alert_targets WHERE state = 'failing' AND name IN ('stranger', 'distrust')") eq '2' }, 'no certificate that counts, no alert: on both sides');
is(scalar(grep { $_->{path} ne '/in' } $hook->requests), 0, 'nothing came in');
like(sql("SELECT answer FROM metricsdb.test_alert_target('distrust')"), qr/certificate/, 'the test tells why');
sql("SELECT metricsdb.alter_alert_target('$_', enabled => false)") for qw(stranger distrust);

# A receiver that repeats what it was told, credentials and all
$hook->mode('500');
like(sql("SELECT answer FROM metricsdb.test_alert_target('hook')"), qr/HTTP 500.*\*\*\*/, 'secrets are taken out of what is answered');
put('hook', 'firing', [ label('c') ]);
wait_for(sub { sql("SELECT state FROM metricsdb.alert_targets WHERE name = 'hook'") eq 'failing' }, 'one that answers 500 is failing');
$hook->mode('200');
wait_for(sub { grep { $_->{body}{alerts}[0]{labels}{host} eq 'c' } $hook->requests('/in') }, 'and is told when it does not');

# ---- a URL that is itself a secret ----

sql(qq{SELECT metricsdb.create_alert_target('slack', 'webhook', secrets => '{"url": "http://127.0.0.1:1/T00/url-Geheim"}')});
put('slack', 'firing', [ label('a') ]);
wait_for(sub { sql("SELECT url FROM metricsdb.alert_targets WHERE name = 'slack' AND state = 'failing'") eq 'http://127.0.0.1:1/***' }, 'a secret URL is shown without its path');

# ---- NOTIFY ----

my $s = session($node);
$s->query('LISTEN alerts_here');
sql("SELECT metricsdb.create_alert_target('listen', 'notify', '{alerts_here}')");
put('listen', 'firing', [ label('n', note => 'x' x 9000), label('m') ]);
wait_for(sub { sql("SELECT count(*) FROM metricsdb.alert_sent s JOIN metricsdb.alert_target t USING (target_id) WHERE name = 'listen' AND sent_at IS NOT NULL") eq '2' }, 'NOTIFY is sent');
my $heard = $s->query('SELECT 1');
my @heard = $heard =~ /"alerts_here" with payload "(\{.*\})" received/g;
is(join(' ', sort map { my $n = JSON::PP->new->decode($_); "$n->{rule} $n->{status} $n->{labels}{host} " . ($n->{truncated} ? 'cut' : 'whole') } grep { !/"truncated":true/ } @heard),
	'r firing m whole', 'who listens hears it');
is(scalar(grep { length $_ < 8000 && /"truncated":true/ } @heard), 1, 'what is too long is cut, and is JSON yet');
$s->close;

# ---- a restart and a crash: nothing begins anew, nothing is lost ----

$node->stop('fast');
$node->start;
wait_for(sub { my $e = held()->{a}{endsAt}; usleep(1_200_000); held()->{a}{endsAt} gt $e }, 'after a restart what fires is told again');
is(held()->{a}{startsAt}, $began, 'as the same');

# Killed between an answer and its being noted: told again.  The receiver has the alert and holds its answer back, the sender
# is stopped, the answer comes, the sender is killed.
$hook->forget;
$hook->mode('hold');
put('hook', 'firing', [ label('k') ]);
my $of_k = sub { return grep { $_->{body}{alerts}[0]{labels}{host} eq 'k' } $hook->requests('/in') };
wait_for($of_k, 'a request is on its way');
my $sender = sql("SELECT pid FROM metricsdb.workers WHERE worker = 'metricsdb alert sender'");
kill 'STOP', $sender;
$hook->go;
usleep(300_000);
kill 'KILL', $sender;
$hook->mode('200');
wait_for(sub { $of_k->() >= 2 }, 'what was not noted is told again');
wait_for(sub { eval { sql("SELECT count(*) FROM metricsdb.alert_sent s JOIN metricsdb.alert_outbox o USING (target_id, rule_id, key) WHERE o.labels->>'host' = 'k' AND s.sent_at IS NOT NULL") eq '1' } }, 'and noted');
my @k = $of_k->();
is($k[0]{headers}{'X-Metricsdb-Delivery'}, $k[1]{headers}{'X-Metricsdb-Delivery'}, 'the receiver can tell that it is the same');
is($k[0]{text}, $k[1]{text}, 'to the letter');

# ---- secrets ----

my $log = AlertTest::slurp($node->logfile);
unlike($log, qr/-Geheim/, 'no secret in the log');
unlike($log, qr/PRIVATE KEY/, 'no key either');
is(sql("SELECT count(*) FROM metricsdb.alert_targets t WHERE t::text ~ '-Geheim|PRIVATE KEY'"), '0', 'none in the view');
is(sql("SELECT count(*) FROM metricsdb.alert_sent t WHERE t::text ~ '-Geheim|PRIVATE KEY'"), '0', 'nor in what was sent');
my ($dump) = run_command([ 'pg_dump', '-h', $node->host, '-p', $node->port, 'postgres' ]);
like($dump, qr/alerts_here/, 'a dump has the targets');
unlike($dump, qr/-Geheim|PRIVATE KEY/, 'and none of the secrets');
is(sql("SELECT metricsdb.alert_secrets('hook')->>'hmac_key'"), 'hmac-Geheim', 'who owns a target may have them');

# ---- a restored copy ----

$hook->forget;
sql('CREATE DATABASE copy');
IPC::Run::run([ 'psql', '-h', $node->host, '-p', $node->port, '-qX', 'copy' ], '<', \$dump, '>', \my $out, '2>', \my $err);
is(sql("SELECT count(*) > 4, bool_and(state IN ('restored copy', 'disabled')) FROM metricsdb.alert_targets", 'copy'), 't|t', 'the copy has the targets, and is told from the original');
# The one is told, the other is not.
sql("UPDATE metricsdb.alert_outbox SET starts_at = starts_at + interval '1 s', seq = seq + 1", 'copy');
put('hook', 'firing', [ label('original') ]);
wait_for(sub { $hook->requests('/in') }, 'the original is told');
usleep(2_500_000);
is(sql("SELECT count(*) FROM metricsdb.workers WHERE database = 'copy' AND worker = 'metricsdb alert sender'"), '0', 'the copy has no sender');
# (What was not noted before is told again by the original.)
is(join(' ', grep { $_ ne 'c' } map { $_->{body}{alerts}[0]{labels}{host} } $hook->requests('/in')), 'original', 'and sends nothing');
my (undef, undef, $refused) = $node->psql('copy', "SELECT * FROM metricsdb.test_alert_target('hook')");
like($refused, qr/of which this is a copy/, 'not even a test');
sql("SELECT metricsdb.set_alert_secrets('hook', '$secrets')", 'copy');
cmp_ok(sql("SELECT metricsdb.resume_alert_targets()", 'copy'), '>', 4, 'it is told who it is');
wait_for(sub { $hook->requests('/in') > 1 }, 'and sends');

$node->stop('fast');
$am->stop;
system('rm', '-rf', $dir);
done_testing();
