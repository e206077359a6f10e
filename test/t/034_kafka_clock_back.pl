# A clock that was a quarter of an hour ahead, and is put right, while a Kafka worker has a batch: it is stored, what comes
# is, and up to when partitions are complete is looked at again, instead of when the clock has come there a second time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kafka = KafkaTest->new('clock-back');
my $clock = "$ENV{METRICSDB_RUN}/clock-back-$$";

# All read it by mmap: the file stays the same.
sub set_clock
{
	my ($seconds) = @_;
	open my $f, -e $clock ? '+<' : '+>', $clock or die $!;
	syswrite $f, pack('q', $seconds * 1_000_000) or die $!;
	return;
}
set_clock(900);
my $node = PostgreSQL::Test::Cluster->new('clockback');
$node->init(extra => [ '-E', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'metricsdb'\nmax_worker_processes = 24\n");
{
	local $ENV{METRICSDB_CLOCK} = $clock;
	local $ENV{LD_PRELOAD} = join ' ', $ENV{LD_PRELOAD} || (), $kafka->tool('clock');
	$node->start;
}

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub wait_for
{
	my ($sql, $what) = @_;
	return ok($node->poll_query_until('postgres', $sql), $what) || diag(sql('SELECT * FROM metricsdb.watermarks; SELECT * FROM metricsdb.kafka_status'));
}
sub put { my ($value) = @_; $kafka->put('m', [ 0, undef, metric(name => 'cpu', tags => [ host => 'a' ], time => int((time() - 60) * 1000), value => $value) ]); return }
sub stored { my ($n) = @_; return wait_for("SELECT count(*) = $n FROM m", "$n are stored") }

cmp_ok(sql('SELECT extract(epoch FROM now())'), '>', time() + 600, 'the clock is ahead');
$kafka->topic('create', 'm', 2);
sql(<<~SQL);
	CREATE EXTENSION metricsdb;
	SELECT metricsdb.create_metrics_table('m');
	SELECT metricsdb.create_kafka_source('m', '$kafka->{address}', 'm', 'm', 'metric', options => '{"flush_interval": "10 s"}');
	SQL
put(1);
stored(1);
wait_for(q{SELECT lag < '3 s' FROM metricsdb.watermarks}, 'all that there is was read');
put(2);
wait_for(q{SELECT pending_messages > 0 FROM metricsdb.kafka_live()}, 'a batch has begun');

set_clock(0);
stored(2);
put(3);
stored(3);
wait_for(q{SELECT lag < '3 s' FROM metricsdb.watermarks}, 'all was read again');

# What is there and cannot be stored is waited for.
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK m IN SHARE MODE');
put(4);
wait_for(q{SELECT reason = 'partition 0 of Kafka source "m" lags' FROM metricsdb.watermarks}, 'a partition that lags is found');
$lock->query_safe('COMMIT');
$lock->quit;
stored(4);
sql(q{SELECT metricsdb.pause_kafka_source('m')});
wait_for('SELECT count(*) = 0 FROM metricsdb.workers WHERE source_id IS NOT NULL', 'the worker sees that it is to pause');

$node->stop('fast');
unlink $clock;
done_testing();
