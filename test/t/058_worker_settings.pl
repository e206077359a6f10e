# Time-outs, roles and other settings of a database are not meant for the workers in it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

my $node = new_node('settings', 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 1);
# Those that this version has.
my @timeouts = split /\n/, $node->safe_psql('postgres', q{
	SELECT name FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')});
$node->safe_psql('postgres', q{
	CREATE TABLE m (t timestamptz, name text, v float8) USING metricsdb;
	CREATE ROLE app;
	ALTER DATABASE postgres SET search_path = nowhere;
	ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'});
# So many parts that a worker merges them, which takes longer than that.
$node->safe_psql('postgres', join(';', map { "INSERT INTO public.m SELECT timestamptz '2026-01-01' + i * interval '1 s', 'a' || i % 100, random() FROM generate_series(1, 20000) i" } 1 .. 20));
$node->safe_psql('template1', join(';', "ALTER DATABASE postgres SET role = 'app'", "ALTER DATABASE postgres SET session_authorization = 'app'",
	map { "ALTER DATABASE postgres SET $_ = '1ms'" } @timeouts));
$node->append_conf('postgresql.conf', "metricsdb.workers = on\n");
$node->reload;
my $patient = $node->connstr('postgres') . " options='" . join(' ', '-c session_authorization=' . $node->safe_psql('template1', 'SELECT current_user'), '-c role=none', map { "-c $_=0" } @timeouts) . "'";
my $merged = 0;
for (1 .. 300)
{
	my ($rc, $out) = $node->psql('postgres', 'SELECT count(*) < 20 FROM metricsdb.part', connstr => $patient);
	last if $merged = $out eq 't';
	select(undef, undef, undef, 0.2);
}
ok($merged, 'the background merges');
my $log = slurp_file($node->logfile);
unlike($log, qr/due to .*timeout/, 'nothing has timed out');
unlike($log, qr/metricsdb \w+.*permission denied|permission denied for table/, 'nor was a worker anybody else');
$node->stop;
done_testing();
