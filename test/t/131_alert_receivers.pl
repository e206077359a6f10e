# Receivers that misbehave: that hang, in TLS or later, break off, answer without end, redirect, ask for a pause.  None keeps
# another from being told, each is told when it behaves, and each alert's states come in their order.
use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use AlertTest;
use StorageTest qw(new_node);

my $dir = "$ENV{METRICSDB_RUN}/alert-receivers-$$";
my $r = AlertTest::receiver("$dir/r");
# It takes connections, and never says a word: a TLS handshake with it has no end.
my $silent = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', Proto => 'tcp') or die $!;
my $node = new_node('receivers', 'metricsdb.alert_resend_delay' => "'1s'", 'metricsdb.alert_resolved_retention' => "'1h'");

sub sql { my ($q) = @_; return $node->safe_psql('postgres', $q) }
sub wait_for { return AlertTest::wait_for(@_) }
my $n = 0;

# put(target, host, state): as the evaluator does.
sub put
{
	my ($target, $host, $state) = @_;
	sql(qq{INSERT INTO metricsdb.alert_outbox AS o (target_id, rule_id, key, rule, owner, state, labels, annotations, value, starts_at, ends_at, valid_for, seq, queued_at)
		SELECT target_id, 1, decode(md5('$host'), 'hex'), 'r', 'postgres', '$state', jsonb_build_object('alertname', 'r', 'host', '$host'), '{}', @{[ ++$n ]}, clock_timestamp(),
			CASE WHEN '$state' = 'resolved' THEN clock_timestamp() END, '1 min', 1, now()
		FROM metricsdb.alert_target WHERE name = '$target'
		ON CONFLICT (target_id, rule_id, key) DO UPDATE SET state = excluded.state, ends_at = excluded.ends_at, seq = o.seq + 1, queued_at = now(), value = excluded.value,
			starts_at = CASE WHEN excluded.state = 'resolved' THEN o.starts_at ELSE excluded.starts_at END});
	return;
}
sub state_of { my ($name) = @_; return sql("SELECT state FROM metricsdb.alert_targets WHERE name = '$name'") }
sub error_of { my ($name) = @_; return sql("SELECT last_error FROM metricsdb.alert_targets WHERE name = '$name'") }

my %modes = (hang => 'hang', reset => 'reset', headers => 'headers', redirect => "307 Location:$r->{url}/caught", busy => '503 Retry-After:2', many => '429', sent => '404');
my $options = '{"timeout": "3s", "connect_timeout": "2s"}';
$r->mode($modes{$_}, $_) for keys %modes;
$r->mode('huge', 'huge');
sql("SELECT metricsdb.create_alert_target('$_', 'webhook', '{$r->{url}/$_}', '$options')") for sort keys %modes, 'huge', 'good';
sql("SELECT metricsdb.create_alert_target('tls', 'webhook', '{https://127.0.0.1:@{[ $silent->sockport ]}/}', '$options')");
sql("SELECT metricsdb.create_alert_target('nowhere', 'webhook', '{http://no-such-host.invalid/}', '$options')");
my @bad = (sort(keys %modes), 'tls', 'nowhere');
put($_, 'a', 'firing') for @bad, 'huge';

wait_for(sub { !grep { state_of($_) ne 'failing' } @bad }, 'what cannot be told is failing');
like(error_of('hang'), qr/time/i, 'one that hangs');
like(error_of('tls'), qr/time/i, 'one that hangs in TLS');
like(error_of('nowhere'), qr/resolve host/i, 'one that is not there');
like(error_of('redirect'), qr/HTTP 307: redirects are not followed/, 'one that is elsewhere');
is(scalar($r->requests('/caught')), 0, 'where nothing went');
like(error_of('busy'), qr/HTTP 503/, 'one that is busy');
wait_for(sub { state_of('huge') eq 'ok' && sql("SELECT queued FROM metricsdb.alert_targets WHERE name = 'huge'") eq '0' }, 'one that answers without end has been told');

# With all of these on hand
my $began = time();
put('good', "g$_", 'firing') for 1 .. 10;
wait_for(sub { $r->requests('/good') >= 10 }, 'one that behaves is told meanwhile');
is(sql("SELECT count(DISTINCT pid) FROM metricsdb.workers WHERE worker = 'metricsdb alert sender'"), '1', 'by the one sender');
my $errors = sql("SELECT count(*) FROM metricsdb.alert_targets WHERE failures > 0");
cmp_ok($errors, '>=', scalar @bad, 'which waits for none of the others');

# One that is asked for a pause is left alone for so long.
my @busy = map { $_->{at} } $r->requests('/busy');
my @short = grep { $busy[$_] - $busy[ $_ - 1 ] < 2 } 1 .. $#busy;
is(scalar @short, 0, 'Retry-After is heeded');

# What changes meanwhile: one state is told, the last.
put($_, 'a', 'resolved') for qw(reset busy many);
put($_, 'b', 'firing') for qw(reset busy many);
my %before = map { $_ => scalar($r->requests("/$_")) } qw(reset busy many);
$r->mode('200', $_) for keys %modes;
wait_for(sub { !grep { state_of($_) ne 'ok' } keys %modes }, 'when they behave they are told');
for my $name (qw(reset busy many))
{
	wait_for(sub { sql("SELECT queued FROM metricsdb.alert_targets WHERE name = '$name'") eq '0' }, "$name: of all there is");
	my @told = map { "$_->{body}{alerts}[0]{labels}{host} $_->{body}{status}" } $r->requests("/$name");
	# Those that were answered with an error came in, too.
	my %last = map { my ($host, $state) = split / /; ($host => $state) } @told;
	is("$last{a} $last{b}", 'resolved firing', "$name: as it is now");
}

# Changes in quick succession, several requests at a time, killed again and again: each alert's states in their order.
$r->forget;
for my $round (1 .. 12)
{
	put('good', "o$_", $round % 2 ? 'firing' : 'resolved') for 1 .. 5;
	if ($round % 4 == 0)
	{
		my $pid = sql("SELECT pid FROM metricsdb.workers WHERE worker = 'metricsdb alert sender'");
		kill 'KILL', $pid if $pid;
		StorageTest::wait_for($node, "SELECT EXISTS (SELECT FROM metricsdb.workers WHERE worker = 'metricsdb alert sender' AND pid <> @{[ $pid || 0 ]})");
	}
}
wait_for(sub { sql("SELECT queued FROM metricsdb.alert_targets WHERE name = 'good'") eq '0' }, 'all changes are told');
my (%at, $wrong);
for my $q ($r->requests('/good'))
{
	my $alert = $q->{body}{alerts}[0];
	$wrong .= "$alert->{labels}{host}: $alert->{value} after $at{ $alert->{labels}{host} }\n" if ($at{ $alert->{labels}{host} } // 0) > $alert->{value};
	$at{ $alert->{labels}{host} } = $alert->{value};
}
is($wrong, undef, 'none after a later one');
is(join(' ', map { $at{"o$_"} } 1 .. 5), sql("SELECT string_agg(value::text, ' ' ORDER BY labels->>'host') FROM metricsdb.alert_outbox WHERE labels->>'host' LIKE 'o%'"), 'and the last for each');

# A backend and a sender that are told to end do so, whatever hangs.
$r->mode('hang', 'hang');
put('hang', 'c', 'firing');
my (undef, undef, $err) = $node->psql('postgres', "SET statement_timeout = '500ms'; SELECT * FROM metricsdb.test_alert_target('hang')");
like($err, qr/statement timeout/, 'a test that hangs can be ended');
ok($node->stop('fast') || 1, 'and the server');

$r = undef;
system('rm', '-rf', $dir);
done_testing();
