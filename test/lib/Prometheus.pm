# Prometheus.pm: a real Prometheus on loopback that has samples of ours, to compare with.
#
#   my $p = Prometheus->new(binaries, folder)
#   $p->start({ series => [[milliseconds, value], ...], ... }, metric)   samples of one metric, whose label series tells them apart
#   $p->ask(expression, milliseconds)   { series => value }; or labels as JSON where there is no label series
#   $p->query(expression, milliseconds) { labels and __name__ as JSON => value }, or why not, as text
#   $p->stop
#   $p->live(configuration as YAML, option, ...)   one that scrapes and evaluates rules instead; again: with what it has stored
#   $p->kill   $p->api(path)   what it answers, decoded: its data
#
# Values are numbers as text, NaN, +Inf and -Inf among them.
package Prometheus;

use strict;
use warnings;
use File::Path qw(make_path);
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Time::HiRes qw(usleep);

sub new
{
	my ($class, $bin, $dir) = @_;
	make_path($dir);
	return bless { bin => $bin, dir => $dir, http => HTTP::Tiny->new(timeout => 60), json => JSON::PP->new->canonical }, $class;
}

# A value in the text format.
sub text
{
	my ($v) = @_;
	return $v =~ /^(NaN|[+-]Inf)$/ ? $v : $v =~ /^-?inf/i ? ($v =~ /^-/ ? '-Inf' : '+Inf') : $v =~ /nan/i ? 'NaN' : sprintf('%.17g', $v);
}

sub start
{
	my ($self, $samples, $metric) = @_;
	my ($dir, $bin) = @$self{qw(dir bin)};
	$metric //= 'm';
	open my $f, '>', "$dir/samples" or die $!;
	# Blocks are made of all series at once: by time within each.
	for my $series (sort keys %$samples)
	{
		my %labels = ref $samples->{$series} eq 'HASH' ? %{ $samples->{$series}{labels} } : (series => $series);
		my $name = delete $labels{__name__} // $metric;
		my $points = ref $samples->{$series} eq 'HASH' ? $samples->{$series}{samples} : $samples->{$series};
		my $labels = join(',', map { "$_=\"$labels{$_}\"" } sort keys %labels);
		printf $f "%s{%s} %s %d.%03d\n", $name, $labels, text($_->[1]), $_->[0] / 1000, $_->[0] % 1000 for sort { $a->[0] <=> $b->[0] } @$points;
	}
	print $f "# EOF\n";
	close $f;
	my $out = '';
	IPC::Run::run([ "$bin/promtool", 'tsdb', 'create-blocks-from', 'openmetrics', '-q', "$dir/samples", "$dir/data" ], '>', \$out, '2>', \$out)
	  or die "promtool: $out";
	return $self->live("global:\n  scrape_interval: 1h\n", '--storage.tsdb.retention.time=100y', '--query.max-samples=50000000');
}

sub live
{
	my ($self, $config, @options) = @_;
	my ($dir, $bin) = @$self{qw(dir bin)};
	open my $c, '>', "$dir/prometheus.yml" or die $!;
	print $c $config;
	close $c;
	my $port = $self->{port} //= PostgreSQL::Test::Cluster::get_free_port();
	$self->{url} = "http://127.0.0.1:$port";
	$self->{process} = IPC::Run::start(
		[ "$bin/prometheus", "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$port", @options ],
		'<', \undef, '>>', "$dir/log", '2>&1');
	for (1 .. 600)
	{
		return if $self->{http}->get("$self->{url}/-/ready")->{success};
		$self->{process}->pump_nb;
		usleep(100_000);
	}
	die "Prometheus does not start, see $dir/log";
}

sub answer
{
	my ($self, $expression, $time) = @_;
	my $r = $self->{http}->post_form("$self->{url}/api/v1/query", { query => $expression, time => sprintf('%d.%03d', $time / 1000, $time % 1000) });
	return eval { $self->{json}->decode($r->{content}) } || { status => 'none', error => "$r->{status} $r->{content}" };
}

sub ask
{
	my ($self, $expression, $time) = @_;
	my $answer = $self->answer($expression, $time);
	die "$expression: $self->{url}: " . $self->{json}->encode($answer) if $answer->{status} ne 'success';
	my %of;
	for my $one (@{ $answer->{data}{result} })
	{
		my $labels = $one->{metric};
		delete $labels->{__name__};
		$of{ $labels->{series} // $self->{json}->encode($labels) } = $one->{value}[1];
	}
	return \%of;
}

sub query
{
	my ($self, $expression, $time) = @_;
	my $answer = $self->answer($expression, $time);
	return "$answer->{errorType}: $answer->{error}" if $answer->{status} ne 'success';
	return { '{}' => $answer->{data}{result}[1] } if $answer->{data}{resultType} eq 'scalar';
	return { map { $self->{json}->encode($_->{metric}) => $_->{value}[1] } @{ $answer->{data}{result} } };
}

sub api
{
	my ($self, $path) = @_;
	my $r = $self->{http}->get("$self->{url}/api/v1/$path");
	my $answer = eval { $self->{json}->decode($r->{content}) } or die "$path: $r->{status} $r->{content}";
	die "$path: $answer->{error}" if $answer->{status} ne 'success';
	return $answer->{data};
}

sub kill
{
	my ($self) = @_;
	$self->{process}->signal('KILL');
	eval { $self->{process}->finish };
	delete $self->{process};
	return;
}

sub stop
{
	my ($self) = @_;
	return if !$self->{process};
	$self->{process}->signal('TERM');
	$self->{process}->finish;
	delete $self->{process};
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	$self->{process}->kill_kill(grace => 5) if $self->{process};
	delete $self->{process};
}

1;
