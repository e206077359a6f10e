# A rule whose turn comes seldom, as evaluations take long: what holds whenever it is looked at has held in between.  What holds
# before and after the server did not look has not.  By a clock that is put forward.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AlertTest;
use StorageTest ();

my $clock = "$ENV{METRICSDB_RUN}/alert-pace-$$";
my $ahead = 0;

sub put_forward
{
	$ahead += $_[0];
	open my $f, -e $clock ? '+<' : '+>', $clock or die $!;
	syswrite $f, pack('q', $ahead * 1_000_000) or die $!;
	return;
}
put_forward(0);
my $shim = `'$AlertTest::lib/tool.sh' clock`;
chomp $shim;
$shim = "$ENV{METRICSDB_RUN}/bin/clock" if !-e $shim;
my $node;
{
	local $ENV{METRICSDB_CLOCK} = $clock;
	local $ENV{LD_PRELOAD} = join ' ', $ENV{LD_PRELOAD} || (), $shim;
	$node = StorageTest::new_node('pace', 'metricsdb.alert_wait' => "'200ms'", timezone => "'UTC'");
}
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub state_of { return sql("SELECT string_agg(state, ',') FROM metricsdb.alerts WHERE rule = 'held'") }

# leave_out(SECONDS): none of the ticks in between is taken.
sub leave_out
{
	my ($seconds) = @_;
	put_forward($seconds);
	return StorageTest::wait_for($node, q{SELECT last_tick > clock_timestamp() - interval '15 s' FROM metricsdb.alert_status}) || fail('it is evaluated');
}

sql(<<~SQL);
	CREATE TABLE cond (host text, v float8);
	INSERT INTO cond VALUES ('a', 100);
	SELECT metricsdb.create_alert('held', query => 'SELECT host, v AS value FROM public.cond', every => '10 s', hold => '5 min', op => '>', threshold => 90);
	SQL
ok(StorageTest::wait_for($node, q{SELECT count(*) = 1 FROM metricsdb.alerts WHERE state = 'pending'}), 'it holds');
leave_out(3600);
is(state_of(), 'pending', 'an hour later it has not held for an hour');
my $n = 0;
while (state_of() eq 'pending' && $n < 12)
{
	leave_out(90);
	$n++;
}
is(state_of(), 'firing', 'looked at every minute and a half it comes to have held for five');
cmp_ok($n, '>', 2, '... not at once');
$node->stop('fast');
unlink $clock;
done_testing();
