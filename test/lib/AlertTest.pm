# AlertTest: a real Alertmanager, receivers of webhooks, and certificates, for the tests of alerts.
#
#   my $am = AlertTest::alertmanager(folder [, webhook's URL [, web configuration as YAML]])   starts one on loopback; skips the
#     test if there is none.  With a webhook each alert is told of by itself, at once.  (Not started twice if it has the latter.)
#     $am->{url}   $am->alerts   what it holds that is not resolved, a list of hashes
#     $am->count(text)   how often the text is in that
#     $am->stop [signal]   $am->start   at the same port
#   my $r = AlertTest::receiver(folder [, cert, key, client's CA])   see receiver.py
#     $r->{url}   $r->mode(text [, path])   $r->requests   what it was told: a list of hashes, body decoded
#   AlertTest::certificates(folder)   ca.pem, and NAME.pem with NAME.key for server, client and stranger (by another CA)
#   AlertTest::wait_for(sub, what)   until it is true, a minute at most; a test
package AlertTest;

use strict;
use warnings;
use Cwd qw(abs_path);
use Encode;
use File::Basename;
use File::Path qw(make_path);
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

our $lib = dirname(abs_path(__FILE__));
my $json = JSON::PP->new->utf8;

sub wait_for
{
	my ($what, $name, $seconds) = @_;
	my $until = time() + ($seconds // 60);
	my $good;
	usleep(50_000) while !($good = $what->()) && time() < $until;
	ok($good, $name);
	return $good;
}

sub slurp
{
	my ($file) = @_;
	open my $f, '<', $file or return '';
	local $/;
	return scalar <$f>;
}

sub put
{
	my ($file, $text) = @_;
	open my $f, '>', "$file.new" or die "$file: $!";
	print $f $text;
	close $f;
	rename "$file.new", $file or die $!;
	return;
}

sub alertmanager
{
	my ($dir, $webhook, $web) = @_;
	my $bin = $ENV{ALERTMANAGER} || "$ENV{METRICSDB_RUN}/prometheus-alertmanager/usr/bin";
	plan skip_all => 'Alertmanager cannot be had here' if !-x "$bin/prometheus-alertmanager";
	make_path($dir);
	my $self = bless { bin => $bin, dir => $dir, port => PostgreSQL::Test::Cluster::get_free_port(), http => HTTP::Tiny->new(timeout => 20, keep_alive => 0) }, __PACKAGE__;
	my $receiver = $webhook ? "webhook_configs: [{url: '$webhook', send_resolved: true}]" : '';
	my $interval = $webhook ? "1s, group_by: ['...']" : '1h';
	put("$dir/am.yml", "route: {receiver: r, group_wait: 0s, group_interval: $interval}\nreceivers: [{name: r" . ($receiver ? ", $receiver" : '') . "}]\n");
	$self->{url} = ($web && $web =~ /^tls_server_config/m ? 'https' : 'http') . "://127.0.0.1:$self->{port}";
	put("$dir/web.yml", $self->{web} = $web) if $web;
	$self->start;
	return $self;
}

sub start
{
	my ($self) = @_;
	my $dir = $self->{dir};
	$self->{process} = IPC::Run::start(
		[   "$self->{bin}/prometheus-alertmanager", "--config.file=$dir/am.yml", "--storage.path=$dir/data",
			"--web.listen-address=127.0.0.1:$self->{port}", '--cluster.listen-address=', $self->{web} ? "--web.config.file=$dir/web.yml" : () ],
		'<', \undef, '>>', "$dir/log", '2>&1');
	for (1 .. 600)
	{
		# Who asks for credentials or certificates is not asked.
		return if $self->{web} && slurp("$dir/log") =~ /TLS is (en|dis)abled/;
		return if !$self->{web} && $self->{http}->get("$self->{url}/-/ready")->{success};
		$self->{process}->pump_nb;
		usleep(100_000);
	}
	die "Alertmanager does not start, see $dir/log";
}

sub pid { my ($self) = @_; return $self->{process}{KIDS}[0]{PID} }

sub stop
{
	my ($self, $signal) = @_;
	return if !$self->{process};
	kill $signal // 'TERM', $self->pid;
	eval { $self->{process}->finish };
	delete $self->{process};
	return;
}

sub alerts
{
	my ($self) = @_;
	my $r = $self->{http}->get("$self->{url}/api/v2/alerts");
	return $r->{success} ? @{ $json->decode($r->{content}) } : ();
}

# count(text): how often the text is in what it holds; quicker than to read it all.
sub count
{
	my ($self, $text) = @_;
	my $r = $self->{http}->get("$self->{url}/api/v2/alerts");
	my $n = () = $r->{content} =~ /\Q$text\E/g;
	return $r->{success} ? $n : 0;
}

sub receiver
{
	my ($dir, @tls) = @_;
	make_path($dir);
	unlink "$dir/port", "$dir/requests", "$dir/go", glob("$dir/mode*");
	my $self = bless { dir => $dir }, __PACKAGE__;
	$self->{process} = IPC::Run::start([ 'python3', "$lib/receiver.py", $dir, @tls ], '<', \undef, '>>', "$dir/log", '2>&1');
	for (1 .. 600)
	{
		last if -e "$dir/port";
		$self->{process}->pump_nb;
		usleep(50_000);
	}
	my $port = slurp("$dir/port") || die "receiver.py does not start, see $dir/log";
	$self->{url} = (@tls ? 'https' : 'http') . "://127.0.0.1:$port";
	return $self;
}

sub mode { my ($self, $mode, $path) = @_; put("$self->{dir}/mode" . ($path ? ".$path" : ''), $mode); return }
sub go { my ($self) = @_; put("$self->{dir}/go", ''); return }
sub forget { my ($self) = @_; unlink "$self->{dir}/requests", "$self->{dir}/go"; return }

sub requests
{
	my ($self, $path) = @_;
	# The last line may be half written.
	my @all = map { my $r = eval { $json->decode($_) }; $r ? $r : () } split /\n/, slurp("$self->{dir}/requests");
	for (@all)
	{
		$_->{text} = $_->{body};
		$_->{body} = eval { $json->decode(Encode::encode_utf8($_->{body})) };
	}
	return grep { !defined $path || $_->{path} eq $path } @all;
}

sub openssl
{
	my $out = '';
	IPC::Run::run([ 'openssl', @_ ], '<', \undef, '>', \$out, '2>', \$out) or die "openssl @_: $out";
	return;
}

sub certificates
{
	my ($dir) = @_;
	make_path($dir);
	my @key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes');
	for my $ca ('ca', 'other')
	{
		openssl('req', '-x509', @key, '-days', 30, '-subj', "/CN=$ca", '-keyout', "$dir/$ca.key", '-out', "$dir/$ca.pem");
	}
	for ([ 'server', 'ca' ], [ 'client', 'ca' ], [ 'stranger', 'other' ])
	{
		my ($name, $ca) = @$_;
		openssl('req', @key, '-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
		put("$dir/$name.ext", "subjectAltName=IP:127.0.0.1\n");
		openssl('x509', '-req', '-in', "$dir/$name.csr", '-CA', "$dir/$ca.pem", '-CAkey', "$dir/$ca.key", '-CAcreateserial', '-days', 30,
			'-extfile', "$dir/$name.ext", '-out', "$dir/$name.pem");
	}
	return $dir;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@);
	$self->{process}->kill_kill(grace => 1) if $self->{process};
	delete $self->{process};
	return;
}

1;
