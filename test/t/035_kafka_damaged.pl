# What a broker has is damaged on its disk: it is told, nothing is passed over in silence, and other partitions go on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = KafkaTest->new('damaged');
my $node = PostgreSQL::Test::Cluster->new('kafka_damaged');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nmax_worker_processes = 24\n");
$node->start;

sub wait_for
{
	my ($sql, $expected, $what) = @_;
	ok($node->poll_query_until('postgres', $sql, $expected), $what)
	  or diag($node->safe_psql('postgres', 'SELECT * FROM metricsdb.kafka_status'));
	return;
}

my $now = int(time) * 1000;
$kafka->topic('create', 'damaged', 2);
# A batch of Kafka's for each.
$kafka->put('damaged', [ 0, undef, metric(name => $_, time => $now) ]) for 'before', 'damaged_one', 'behind';
$kafka->put('damaged', [ 1, undef, metric(name => 'beside', time => $now) ]);
my $file = "$kafka->{dir}/data/damaged-0/" . '0' x 20 . '.log';
my $at = index(slurp_file($file), 'damaged_one');
cmp_ok($at, '>', 0, 'the message is where it is looked for');
open(my $log, '+<', $file) or die "$file: $!";
seek($log, $at, 0);
print $log 'DAMAGED';
close($log) or die "$file: $!";

$node->safe_psql('postgres', q{CREATE EXTENSION metricsdb; SELECT metricsdb.create_metrics_table('m')});
$node->safe_psql('postgres', "SELECT metricsdb.create_kafka_source('damaged', '$kafka->{address}', 'damaged', 'm', 'metric')");
wait_for("SELECT last_error LIKE '%offset 1 cannot be read%' FROM metricsdb.kafka_status WHERE state = 'stalled' AND partition = 0", 't', 'a message that is damaged stalls its partition');
is($node->safe_psql('postgres', q{SELECT string_agg(metric_name, ',' ORDER BY metric_name) FROM m}), 'before,beside', 'it is not stored, and nothing behind it');
$kafka->put('damaged', [ 1, undef, metric(name => 'more', time => $now) ]);
wait_for('SELECT count(*) FROM m', 3, 'other partitions go on');
$node->safe_psql('postgres', "SELECT metricsdb.seek_kafka_source('damaged', 0, 2)");
wait_for("SELECT count(*) FROM m WHERE metric_name = 'behind'", 1, 'who says so goes on behind it');
is($node->safe_psql('postgres', 'SELECT bool_and(balanced), sum(stored) FROM metricsdb.kafka_status'), 't|4', 'the books balance');
$node->stop;
done_testing();
