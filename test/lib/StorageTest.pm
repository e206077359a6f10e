# StorageTest.pm: what the tests of the storage engine share.
#
#   new_node(name, option => value, ...)  a cluster with the extension, running
#   session(node)                         a psql that stays (see package StorageTest::Session)
#   catalogs_in_order(node, db, what)     no part, delta or series without its table, and so on
#   size_bounded(node, db, table, what)   a compacted file is not much larger than its parts
package StorageTest;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(new_node session catalogs_in_order size_bounded restart_after_crash wait_for_crash wait_for wait_for_merge grep_log);

sub new_node
{
	my ($name, %options) = @_;
	my $init = delete $options{init} // [];
	my $node = PostgreSQL::Test::Cluster->new($name, %{ delete $options{new} // {} });
	my %conf = (
		shared_preload_libraries => "'metricsdb'",
		max_connections => 40,
		max_worker_processes => 12,
		max_prepared_transactions => 10,
		shared_buffers => "'64MB'",
		log_min_messages => 'log',
		restart_after_crash => 'on',
		# Crashes between checkpoints of all ages.
		checkpoint_timeout => "'30s'",
		max_wal_size => "'128MB'",
		# Queries on tables read the tables, so that continuous aggregates are compared with them.
		'metricsdb.rollup_routing' => 'off',
		%options);

	$node->init(@$init);
	$node->append_conf('postgresql.conf', join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION metricsdb');
	return $node;
}

sub session
{
	my ($node, $db) = @_;
	return StorageTest::Session->new($node, $db // 'postgres');
}

# wait_for(node, query): until it returns t, a minute at most.
sub wait_for
{
	my ($node, $query, $seconds) = @_;
	my $until = time() + ($seconds // 60);

	while (time() < $until)
	{
		# psql may be gone before it has read the query.
		my ($rc, $out) = eval { $node->psql('postgres', $query) };
		return 1 if defined $rc && $rc == 0 && $out eq 't';
		usleep(100_000);
	}
	return 0;
}

# wait_for_merge(node, table): until the background has had the table's lock for 50 ms: it does not just look.
sub wait_for_merge
{
	my ($node, $table) = @_;
	my ($rc, $out) = $node->psql('postgres', qq{
		DO \$\$ DECLARE seen int := 0; BEGIN
			FOR i IN 1 .. 12000 LOOP
				PERFORM FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'metricsdb maintainer'
					AND l.relation = '$table'::regclass AND l.mode = 'ShareUpdateExclusiveLock';
				seen := CASE WHEN FOUND THEN seen + 1 ELSE 0 END;
				IF seen = 10 THEN RETURN; END IF;
				PERFORM pg_sleep(0.005), pg_stat_clear_snapshot();
			END LOOP;
			RAISE 'no merge';
		END \$\$});
	return $rc == 0;
}

# restart_after_crash(node): starts a server whose postmaster was killed, once its children are gone.
sub restart_after_crash
{
	my ($node) = @_;

	for my $i (1 .. 120)
	{
		return 1 if $node->start(fail_ok => 1);
		# It takes the dead server's for its own.
		$node->{_pid} = undef;
		usleep(300_000);
	}
	BAIL_OUT("the server does not come back; see " . $node->logfile);
}

# wait_for_crash(file, pids): until these processes, which live until the server crashes, are gone.  Who was killed may have
# been gone before: so file is made after some seconds, at which they end by themselves.
sub wait_for_crash
{
	my ($file, @pids) = @_;
	my $until = time() + 20;

	while (@pids)
	{
		@pids = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @pids;
		append_to_file($file, 'over') if @pids && time() > $until && !-e $file;
		usleep(20_000);
	}
	unlink $file;
	return;
}

# What must hold of the catalogs whenever nothing runs.
sub catalogs_in_order
{
	my ($node, $db, $what) = @_;
	my %checks = (
		'a storage for each table, a table for each storage' => q{
			SELECT (SELECT count(*) FROM metricsdb.storage) - (SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
				WHERE a.amname = 'metricsdb')},
		'no part without its storage' => q{
			SELECT count(*) FROM metricsdb.part p WHERE NOT EXISTS (SELECT FROM metricsdb.storage s WHERE s.storage_id = p.storage_id)},
		'no series without its storage' => q{
			SELECT count(*) FROM metricsdb.series p WHERE NOT EXISTS (SELECT FROM metricsdb.storage s WHERE s.storage_id = p.storage_id)},
		'no delta without its storage' => q{
			SELECT count(*) FROM metricsdb.delta p WHERE NOT EXISTS (SELECT FROM metricsdb.storage s WHERE s.storage_id = p.storage_id)},
		'a heap for each delta' => q{
			SELECT count(*) FROM metricsdb.delta d WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.relid)},
		'a delta for each heap' => q{
			SELECT count(*) FROM pg_class c WHERE relname ~ '^delta_[0-9]+_[0-9]+$'
				AND NOT EXISTS (SELECT FROM metricsdb.delta d WHERE c.oid = d.relid)},
		'rings are short' => q{
			SELECT count(*) FROM (SELECT 1 FROM metricsdb.delta GROUP BY storage_id HAVING count(*) > 4 OR NOT bool_or(live)) x},
		'no two parts share a page' => q{
			SELECT count(*) FROM (SELECT page_first, lag(page_first + npages) OVER (PARTITION BY storage_id, incarnation ORDER BY page_first) AS prev
				FROM metricsdb.part) x WHERE page_first < prev},
		'no two parts share a row number' => q{
			SELECT count(*) FROM (SELECT row_first, lag(row_first + nrows) OVER (PARTITION BY storage_id, incarnation ORDER BY row_first) AS prev
				FROM metricsdb.part) x WHERE row_first < prev});
	my $bad = '';

	for my $name (sort keys %checks)
	{
		my $n = $node->safe_psql($db, $checks{$name});
		$bad .= "$name: $n wrong\n" if $n ne '0';
	}
	is($bad, '', "$what: catalogs in order");
	return;
}

sub size_bounded
{
	my ($node, $db, $table, $what) = @_;

	# Dead rows of the catalog cover their pages until no snapshot needs them, ours included.
	$node->safe_psql($db, "CALL metricsdb.compact('$table')") for 1 .. 3;
	my $r = $node->safe_psql($db, qq{
		SELECT pg_relation_size('$table') / 8192 || ' pages for ' || coalesce(sum(npages), 0) || ' pages of parts',
			pg_relation_size('$table') / 8192 <= 16 + 1.5 * coalesce(sum(npages), 0)
		FROM metricsdb.storage s JOIN metricsdb.part p USING (storage_id)
		WHERE s.relid = '$table'::regclass});
	my ($text, $ok) = split /\|/, $r;
	is($ok, 't', "$what: $table has $text");
	return;
}

# grep_log(node): lines of the server's log that must never be there.
sub grep_log
{
	my ($node, $what, $allow) = @_;
	my $bad = join '', grep { /PANIC|TRAP:|signal 11|signal 6|signal 7|is damaged|not in the dictionary|could not read block|invalid page|index row/ }
	  split /^/, slurp_file($node->logfile);
	$bad = join '', grep { !/$allow/ } split /^/, $bad if defined $allow;
	is(substr($bad, 0, 4000), '', "$what: nothing bad in the server's log");
	return;
}

package StorageTest::Session;

use strict;
use warnings;
use IO::Handle;
use IPC::Open2;
use POSIX ();

my $serial = 0;

sub new
{
	my ($class, $node, $db) = @_;
	my $self = bless { node => $node, db => $db, pid => 0 }, $class;

	$self->connect;
	return $self;
}

sub connect
{
	my ($self) = @_;
	my $bin = $self->{node}->config_data('--bindir');

	$self->close if $self->{pid};
	local $ENV{PGCONNECT_TIMEOUT} = 60;
	local $ENV{PGAPPNAME} = 'session';
	# One stream for both, so that an error stands where it happened.
	$self->{pid} = open2($self->{out}, $self->{in}, 'sh', '-c', 'exec "$0" -XAt -d "$1" 2>&1', "$bin/psql",
		$self->{node}->connstr($self->{db}));
	$self->{in}->autoflush(1);
	return;
}

# send(sql): starts it; result(): waits, returns the output without the last newline; undef if the
# connection is gone.
sub send
{
	my ($self, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';

	$self->{mark} = sprintf('=== %d.%d ===', $$, ++$serial);
	print { $self->{in} } $sql, "\n;\n\\echo $self->{mark}\n";
	return;
}

sub result
{
	my ($self) = @_;
	my $text = '';

	while (1)
	{
		my $line = readline($self->{out});
		if (!defined $line)
		{
			$self->{last} = $text;
			return undef;
		}
		last if index($line, $self->{mark}) >= 0;
		$text .= $line;
	}
	$self->{last} = $text;
	return undef if $text =~ /connection to server was lost|server closed the connection|terminating connection/;
	chomp $text;
	return $text;
}

sub query
{
	my ($self, $sql) = @_;

	$self->send($sql);
	return $self->result;
}

# done(seconds): has the answer to send() come?
sub done
{
	my ($self, $seconds) = @_;
	my $bits = '';

	vec($bits, fileno($self->{out}), 1) = 1;
	return select($bits, undef, undef, $seconds // 0) > 0;
}

sub close
{
	my ($self) = @_;

	return unless $self->{pid};
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
	$self->{pid} = 0;
	return;
}

1;
