# Alertmanagers that ask who it is: a real one that wants a client's certificate, one that wants a password, and what a
# bearer token looks like.  Who is not known is told nothing, and is told all when it is.  Of a cluster one is down; of one
# batch some alerts are refused, and the others taken.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AlertTest;
use StorageTest qw(new_node);

my $dir = "$ENV{METRICSDB_RUN}/alert-auth-$$";
my $certs = AlertTest::certificates("$dir/certs");
my $hook = AlertTest::receiver("$dir/hook");
my $mtls = AlertTest::alertmanager("$dir/mtls", "$hook->{url}/mtls", <<END);
tls_server_config:
  cert_file: $certs/server.pem
  key_file: $certs/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: $certs/ca.pem
END
# bcrypt, as cheap as it may be.
my $hash = crypt('Sesam', '$2b$04$abcdefghijklmnopqrstuu');
plan skip_all => 'crypt() has no bcrypt here' if ($hash // '') !~ /^\$2b\$04\$/;
my $basic = AlertTest::alertmanager("$dir/basic", "$hook->{url}/basic", "basic_auth_users: {metricsdb: '$hash'}\n");

my $node = new_node('auth', 'metricsdb.alert_resend_delay' => "'1s'", timezone => "'UTC'", log_statement => 'none');
my $json = JSON::PP->new->canonical;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub wait_for { return AlertTest::wait_for(@_) }
sub text { my ($name) = @_; return AlertTest::slurp("$certs/$name") }
sub state_of { my ($target) = @_; return sql("SELECT string_agg(state, ',' ORDER BY url) FROM metricsdb.alert_targets WHERE name = '$target'") }
sub error_of { my ($target) = @_; return sql("SELECT last_error FROM metricsdb.alert_targets WHERE name = '$target' AND state = 'failing'") }
# What an Alertmanager holds, as it tells its webhook: the last of each host.
sub held
{
	my ($path) = @_;
	my %last;
	$last{ $_->{labels}{host} // 'test' } = $_->{status} for map { @{ $_->{body}{alerts} } } $hook->requests("/$path");
	return \%last;
}
sub holds { my ($path, @hosts) = @_; my $held = held($path); return !grep { ($held->{$_} // '') ne 'firing' } @hosts }

sub target
{
	my ($name, $urls, $options, $secrets) = @_;
	my ($o, $s) = map { $json->encode($_) } $options, $secrets;
	sql("SELECT metricsdb.create_alert_target('$name', 'alertmanager', '{" . join(',', @$urls) . "}', \$j\$$o\$j\$, \$j\$$s\$j\$)");
	return;
}

# A rule of its own for each target: what its table has fires.
sub rule
{
	my ($target) = @_;
	sql("CREATE TABLE cond_$target (host text, v float8)");
	sql("SELECT metricsdb.create_alert('r_$target', query => 'SELECT host, v AS value FROM public.cond_$target', every => '1 s', targets => '{$target}')");
	return;
}
sub fire { my ($target, @hosts) = @_; sql("INSERT INTO cond_$target SELECT unnest('{" . join(',', @hosts) . "}'::text[]), 1"); return }

# ---- a certificate ----

my %known = (ca_pem => text('ca.pem'), cert_pem => text('client.pem'));
target('mtls', [ $mtls->{url} ], \%known, { key_pem => text('client.key') });
target('files', [ $mtls->{url} ], { map { $_ => "$certs/" . (/ca/ ? 'ca.pem' : /cert/ ? 'client.pem' : 'client.key') } qw(ca_file cert_file key_file) }, {});
target('nobody', [ $mtls->{url} ], { ca_pem => text('ca.pem') }, {});
target('stranger', [ $mtls->{url} ], { ca_pem => text('ca.pem'), cert_pem => text('stranger.pem') }, { key_pem => text('stranger.key') });
target('distrust', [ $mtls->{url} ], { %known, ca_pem => text('other.pem') }, { key_pem => text('client.key') });
target('plain', [ $mtls->{url} =~ s/https/http/r ], {}, {});
my @none = qw(nobody stranger distrust plain);
for ('mtls', 'files', @none)
{
	rule($_);
	fire($_, $_);
}
wait_for(sub { holds('mtls', 'mtls', 'files') }, 'a certificate that it knows: it is told, by texts and by files');
like(sql("SELECT ok, answer FROM metricsdb.test_alert_target('mtls')"), qr/^t\|HTTP 200$/, 'as a test says');
wait_for(sub { !grep { state_of($_) ne 'failing' } @none }, 'none, another, or one that we do not know: it is told nothing');
like(error_of('nobody'), qr/certificate|alert|SSL|TLS/i, 'without one');
# TLS 1.3 tells it when the connection is there, so that it may be just gone.
like(error_of('stranger'), qr/./, 'with one of another authority');
like(error_of('distrust'), qr/certificate/i, 'who is not the one that it should be is not told');
like(error_of('plain'), qr/HTTP 400/, 'nor without TLS');
is(join(' ', sort keys %{ held('mtls') }), 'files mtls test', 'nothing came in');
sql("SELECT metricsdb.alter_alert_target('$_', enabled => false)") for qw(plain distrust);

# It gets one.
sql("SELECT metricsdb.alter_alert_target('nobody', options => \$j\$" . $json->encode({ cert_pem => text('client.pem') }) . "\$j\$, secrets => \$j\$" . $json->encode({ key_pem => text('client.key') }) . "\$j\$)");
wait_for(sub { holds('mtls', 'nobody') }, 'with a certificate it is told');
wait_for(sub { state_of('nobody') eq 'ok' }, 'and well');
sql("DELETE FROM cond_mtls");
wait_for(sub { (held('mtls')->{mtls} // '') eq 'resolved' }, 'an end is told over mTLS');

# ---- a password ----

target('password', [ $basic->{url} ], { user => 'metricsdb' }, { password => 'Sesam' });
target('wrong', [ $basic->{url} ], { user => 'metricsdb' }, { password => 'Mohn' });
target('anonymous', [ $basic->{url} ], {}, {});
for (qw(password wrong anonymous))
{
	rule($_);
	fire($_, $_);
}
wait_for(sub { holds('basic', 'password') }, 'a password');
wait_for(sub { state_of('wrong') eq 'failing' && state_of('anonymous') eq 'failing' }, 'another, or none');
like(error_of($_), qr/^HTTP 401/, "$_: says so") for qw(wrong anonymous);
is(sql(q{SELECT count(*) FROM metricsdb.alert_targets WHERE name IN ('wrong', 'anonymous') AND refused > 0}), 0, 'which is not about what was said');
# Who changes a target that fails, and does not commit, is not waited for.
my $attempts = q{SELECT sum(attempts) FROM metricsdb.alert_sent JOIN metricsdb.alert_target USING (target_id) WHERE name = 'anonymous'};
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT metricsdb.alter_alert_target('anonymous', options => '{"timeout": "9s"}')});
my $before = sql($attempts);
wait_for(sub { sql($attempts) > $before }, 'it is tried again while somebody changes it');
fire('password', 'meanwhile');
wait_for(sub { holds('basic', 'meanwhile') }, 'and others are told');
$session->query_safe('ROLLBACK');
$session->quit;
sql(q{SELECT metricsdb.set_alert_secrets('wrong', '{"password": "Sesam"}')});
wait_for(sub { holds('basic', 'wrong') }, 'put right, it is told');

# A token, which only others ask for, in place of a password.
sql(q{SELECT metricsdb.alter_alert_target('wrong', options => '{"user": null}', secrets => '{"token": "Geheim"}')});
wait_for(sub { error_of('wrong') =~ /^HTTP 401/ }, 'with a token instead it is not known');

# ---- a token ----

target('token', [ "$hook->{url}/token" ], {}, { token => 'Geheim' });
rule('token');
fire('token', 'token');
wait_for(sub { $hook->requests('/token/api/v2/alerts') }, 'a token');
is(($hook->requests('/token/api/v2/alerts'))[0]{headers}{Authorization}, 'Bearer Geheim', 'is what it should be');

# ---- a cluster, of which one is down, and one has another certificate ----

target('cluster', [ 'https://127.0.0.1:1', $mtls->{url}, "$hook->{url}/member" ], \%known, { key_pem => text('client.key') });
rule('cluster');
fire('cluster', 'c1', 'c2');
wait_for(sub { holds('mtls', 'c1', 'c2') && $hook->requests('/member/api/v2/alerts') }, 'of a cluster those that answer are told');
wait_for(sub { (join ' ', sort split /,/, state_of('cluster')) eq 'failing ok ok' }, 'each by itself');
sql('DELETE FROM cond_cluster');
wait_for(sub { (held('mtls')->{c1} // '') eq 'resolved' }, 'also of the end');

# ---- one batch, of which some are refused ----

sql("INSERT INTO metricsdb.alert_outbox SELECT target_id, 9999, decode(md5(i::text), 'hex'), 'batch', 'postgres', 'firing', jsonb_build_object('alertname', 'batch', 'host', 'b' || i), '{}', i,
	CASE WHEN i % 50 = 7 THEN timestamptz '20000-01-01' ELSE now() END, NULL, CASE WHEN i % 50 = 7 THEN interval '30000 years' ELSE interval '5 min' END, 1, now()
	FROM metricsdb.alert_target, generate_series(1, 200) i WHERE name = 'password'");
my @good = map { "b$_" } grep { $_ % 50 != 7 } 1 .. 200;
wait_for(sub { holds('basic', @good) }, 'of 200 alerts 196 are told');
wait_for(sub { sql("SELECT refused || ' ' || queued FROM metricsdb.alert_targets WHERE name = 'password'") eq '4 0' }, 'four are refused, nothing waits');
is(sql(q{SELECT count(*) FILTER (WHERE sent_at IS NOT NULL), count(*) FILTER (WHERE refused), bool_and(refused OR last_error IS NULL) FROM metricsdb.alert_sent WHERE rule_id = 9999}), '196|4|t', 'each is known by itself');
is(state_of('password'), 'ok', 'the target is well');
my %alone = map { $_ => 1 } sort keys %{ held('basic') };
is(scalar(grep { /^b(7|57|107|157)$/ } keys %alone), 0, 'and has none of these');

unlike(AlertTest::slurp($node->logfile), qr/PRIVATE KEY|Sesam|Mohn|Geheim/, 'no secret in the log');
$node->stop('fast');
$_->stop for $mtls, $basic;
system('rm', '-rf', $dir);
done_testing();
