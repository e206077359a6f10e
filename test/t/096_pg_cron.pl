# pg_cron calls metricsdb.apply_retention(), as the table's owner: by a connection of its own, and in a background worker.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest;

plan skip_all => 'pg_cron is not installed' unless -e (`pg_config --pkglibdir` =~ s/\n//r) . '/pg_cron.so';

for my $workers ('off', 'on')
{
	my $node = new_node("cron_$workers", shared_preload_libraries => "'metricsdb, pg_cron'", 'metricsdb.workers' => 'off', 'metricsdb.direct_rows' => 100,
		'cron.database_name' => "'postgres'", 'cron.use_background_workers' => $workers, 'cron.log_run' => 'on');
	my $sql = sub { return $node->safe_psql('postgres', @_) };

	# Its connection is to come where the server listens.
	$sql->($_) for "ALTER SYSTEM SET cron.host = '" . $node->host . "'";
	$node->restart;
	$sql->(q{
		CREATE EXTENSION pg_cron;
		CREATE ROLE keeper LOGIN;
		GRANT USAGE ON SCHEMA cron TO keeper;
		GRANT CREATE ON SCHEMA public TO keeper;
		CREATE TABLE others (time timestamptz, v int) USING metricsdb;
		SELECT metricsdb.set_retention('others', '30 days');
		SET ROLE keeper;
		CREATE TABLE t (time timestamptz, v int) USING metricsdb;
		SELECT metricsdb.set_retention('t', '30 days');
	});
	for my $table ('t', 'others')
	{
		$sql->("INSERT INTO $table SELECT now() - d * interval '1 day', d FROM generate_series(0, 59) d, generate_series(1, 100); INSERT INTO $table VALUES (now() - interval '40 days', 40)");
	}
	$sql->("SET ROLE keeper; SELECT cron.schedule('* * * * *', 'CALL metricsdb.apply_retention()')");
	ok(wait_for($node, "SELECT max(v) <= 30 FROM t", 150), "background workers $workers: old rows are gone");
	ok(wait_for($node, "SELECT bool_and(status = 'succeeded') FROM cron.job_run_details WHERE end_time IS NOT NULL"), 'the job has succeeded');
	is($sql->('SELECT max(v) FROM others'), 59, 'those of a table that the owner of the job does not own stay');
	$node->stop;
	grep_log($node, 'pg_cron');
}
done_testing();
