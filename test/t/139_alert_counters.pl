# metricsdb.alert_counters: what evaluations cost.  Threshold and dead-man rules read no part of their table once they have
# begun, however often they are evaluated; what they take in are the samples that they watch; queries do read.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AlertTest;
use StorageTest;

my $r = AlertTest::receiver("$ENV{METRICSDB_RUN}/alert-counters-$$");
my $node = new_node('counters', 'metricsdb.alert_wait' => "'0s'", 'metricsdb.alert_resend_delay' => "'1h'");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; return ok(wait_for($node, $query, 120), $what) || diag(sql('SELECT * FROM metricsdb.alert_counters WHERE value <> 0')) }
sub count { my ($counter, $kind) = @_; return sql("SELECT sum(value) FROM metricsdb.alert_counters WHERE counter = '$counter'" . ($kind ? " AND kind = '$kind'" : '')) }
sub all_counts { return sql(q{SELECT string_agg(counter || ' ' || coalesce(kind, '-') || ' ' || value, ', ' ORDER BY counter, kind) FROM metricsdb.alert_counters WHERE value <> 0}) }

sql(q{SELECT metricsdb.create_metrics_table('m')});
sql(q{INSERT INTO m SELECT metric, jsonb_build_object('host', 'h' || h), now() - i * interval '1 s', h FROM generate_series(0, 600) i, generate_series(1, 50) h, unnest('{cpu,up,other}'::text[]) metric; CALL metricsdb.compact('m')});
cmp_ok(sql(q{SELECT count(*) FROM metricsdb.parts WHERE "table" = 'm'::regclass}), '>', 0, 'a table with parts');
sql(qq{SELECT metricsdb.create_alert_target('t', 'webhook', '{$r->{url}/in}')});
sql(q{SELECT metricsdb.create_alert('threshold' || i, source => 'm', metric => 'cpu', matchers => '{host="h' || i || '"}', aggregate => 'avg', "window" => '1 min', op => '>', threshold => 1000, every => '1 s') FROM generate_series(1, 50) i});
sql(q{SELECT metricsdb.create_alert('deadman', source => 'm', metric => 'up', silent_for => '1 h', every => '1 s')});
comes(q{SELECT count(*) = 51 FROM metricsdb.alert_status WHERE health = 'ok'}, 'rules are evaluated');
is(count('evaluations', 'history'), 51, 'each has had its history read once');
cmp_ok(count('parts_read', 'history'), '>=', 51, 'of the parts');
cmp_ok(count('rows_read', 'history'), '>', 0, 'that is, rows');

# ---- many ticks, with samples and merges ----
sub evaluated { my ($n) = @_; return comes("SELECT sum(value) >= $n FROM metricsdb.alert_counters WHERE counter = 'evaluations' AND kind IN ('threshold', 'deadman')", "$n evaluations") }
my $evaluations = count('evaluations', 'threshold') + count('evaluations', 'deadman');
my ($samples, $batches) = (count('samples'), count('batches'));
my $written = 0;
for my $round (1 .. 5)
{
	sql(q{INSERT INTO m SELECT metric, jsonb_build_object('host', 'h' || h), clock_timestamp(), h FROM generate_series(1, 50) h, unnest('{cpu,up,other}'::text[]) metric});
	$written += 100;
	sql(q{CALL metricsdb.compact('m')});
	evaluated($evaluations + $round * 102);
}
comes("SELECT value = $samples + $written FROM metricsdb.alert_counters WHERE counter = 'samples'", 'what they take in are the samples that are watched');
is(count('batches') - $batches, 5, 'as they were written');
is(count($_, 'threshold') + count($_, 'deadman'), 0, "$_ by threshold and dead-man rules: none") for qw(parts_read blocks_read rows_read bytes_read errors transitions);
is(count('evaluations', 'history'), 51, 'no history is read again');

# After a restart, too: what the windows had is kept beside; when series were last seen is read again.
$node->restart;
evaluated(102);
is(count($_, 'threshold') + count($_, 'deadman'), 0, "after a restart, $_: none") for qw(parts_read blocks_read rows_read bytes_read);
is(count('evaluations', 'history'), 1, "but for the dead-man rule's history");

# ---- a query does read ----
sql(q{SELECT metricsdb.create_alert('query', query => $$SELECT tags->>'host' AS host, sum(sqrt(value)) AS value FROM public.m WHERE metric_name = 'cpu' GROUP BY 1$$, op => '>', threshold => 1e9, every => '1 s')});
comes(q{SELECT bool_and(value > 0) FROM metricsdb.alert_counters WHERE counter IN ('parts_read', 'blocks_read', 'rows_read', 'bytes_read', 'evaluations') AND kind = 'query'}, 'a query reads parts');
is(count('parts_read', 'threshold'), 0, 'which are not those of others');
sql(q{SELECT metricsdb.drop_alert('query')});

# ---- transitions, what is told, errors ----
sql(q{INSERT INTO m VALUES ('cpu', '{"host": "h50"}', clock_timestamp(), 50)});
sql(q{SELECT metricsdb.alter_alert('threshold50', threshold => 40, targets => '{t}')});
comes(q{SELECT value = 1 FROM metricsdb.alert_counters WHERE counter = 'transitions' AND kind = 'threshold'}, 'one fires');
comes(q{SELECT value = 1 FROM metricsdb.alert_counters WHERE counter = 'sent'}, 'is told');
is(count('outbox') . count('queued'), '10', 'and in the outbox, of which nothing is queued');
$r->mode('500');
sql(q{SELECT metricsdb.alter_alert('threshold50', threshold => 1000)});
comes(q{SELECT value = 2 FROM metricsdb.alert_counters WHERE counter = 'transitions' AND kind = 'threshold'}, 'it is resolved');
comes(q{SELECT value > 0 FROM metricsdb.alert_counters WHERE counter = 'failed'}, 'which cannot be told');
is(count('queued') . count('sent'), '11', 'and is queued');
$r->mode('200');
comes(q{SELECT value = 0 FROM metricsdb.alert_counters WHERE counter = 'queued'}, 'until it can');
sql(q{SELECT metricsdb.create_alert('bad', query => 'SELECT value / 0 AS value FROM public.m', every => '1 s')});
comes(q{SELECT value > 0 FROM metricsdb.alert_counters WHERE counter = 'errors' AND kind = 'query'}, 'errors are counted');
is(count('errors', 'threshold'), 0, 'each for its kind');
$node->append_conf('postgresql.conf', "metricsdb.workers = off\n");
$node->reload;
comes(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'metricsdb alert worker'}, 'an outage');
sql(q{UPDATE metricsdb.alert_progress SET watermark = watermark - interval '1 hour'; UPDATE metricsdb.alert_tick SET last_tick = last_tick - interval '1 hour'});
$node->append_conf('postgresql.conf', "metricsdb.workers = on\n");
$node->reload;
comes(q{SELECT value > 3000 FROM metricsdb.alert_counters WHERE counter = 'missed' AND kind = 'query'}, 'missed ticks are counted');

# ---- who may see them, and whose they are ----
sql('CREATE ROLE nobody; CREATE DATABASE other');
cmp_ok(sql(q{SET ROLE nobody; SELECT count(*) FROM metricsdb.alert_counters}) =~ s/.*\n//sr, '>', 40, 'counts are no secret');
$node->safe_psql('other', 'CREATE EXTENSION metricsdb');
is($node->safe_psql('other', 'SELECT sum(value) FROM metricsdb.alert_counters'), 0, 'each database has its own');
$node->stop;
done_testing();
