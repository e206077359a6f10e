# A rule that cannot be read says so, keeps no other from being evaluated, and is tried again, whether or not rules change.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use StorageTest ();

my $node = StorageTest::new_node('unreadable', 'metricsdb.alert_wait' => "'200ms'");
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(StorageTest::wait_for($node, $query), $what) || diag(sql('TABLE metricsdb.alert_status')) }
sub firing { my ($rule) = @_; return "SELECT count(*) = 1 FROM metricsdb.alerts WHERE rule = '$rule' AND state = 'firing'" }

sql(<<~'SQL');
	CREATE TABLE cond (host text, v float8);
	SELECT metricsdb.create_alert(name, query => 'SELECT host, v AS value FROM public.cond', every => '1 s', op => '>', threshold => 90) FROM (VALUES ('one'), ('other')) n(name);
	SQL
comes(q{SELECT count(*) = 2 FROM metricsdb.alert_status WHERE health = 'ok'}, 'two rules are evaluated');
sql(q{UPDATE metricsdb.alert_rule SET options = options || '{"error": "?"}', version = version + 1 WHERE name = 'one'});
comes(q{SELECT health = 'error' AND last_error = 'the rule cannot be read: unknown policy "?"' FROM metricsdb.alert_status WHERE rule = 'one'}, 'one that cannot be read says so');
sql(q{INSERT INTO cond VALUES ('a', 100)});
comes(firing('other'), 'another is evaluated');
# Nobody is told of this.
sql(q{SET session_replication_role = replica; UPDATE metricsdb.alert_rule SET options = options - 'error' WHERE name = 'one'});
comes(firing('one'), 'it is read in the end');
comes(q{SELECT health = 'ok' FROM metricsdb.alert_status WHERE rule = 'one'}, 'and is well');
$node->stop('fast');
done_testing();
