# KafkaTest: a real broker, producers, and protobuf by hand, for the tests of Kafka ingestion.
#
# METRICSDB_RUN and KAFKA_JARS say where things run and where the broker's jars are (make check
# sets both); without jars a test is skipped.
package KafkaTest;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use File::Temp;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(metric batch field varint);

my $lib = dirname(abs_path(__FILE__));

# new(NAME): starts a broker with its data under the run folder; skips the whole test if it cannot.
sub new
{
	my ($class, $name) = @_;
	my $run = $ENV{METRICSDB_RUN} // File::Temp::tempdir(CLEANUP => 1);
	$ENV{METRICSDB_RUN} = $run;
	if (defined $ENV{KAFKA_JARS} && $ENV{KAFKA_JARS} eq '')
	{
		plan skip_all => 'no Kafka broker: its jars could not be fetched';
	}
	my $self = bless {dir => "$run/$name-broker-$$", run => $run, pid => $$}, $class;
	$self->{address} = $self->start;
	return $self;
}

sub script
{
	my ($self, @args) = @_;
	my $out = `@{[join ' ', map { "'$_'" } "$lib/kafka.sh", @args]}`;
	die "kafka.sh @args failed" if $?;
	chomp $out;
	return $out;
}

sub start { my ($self) = @_; return $self->script('start', $self->{dir}); }
sub kill9 { my ($self) = @_; return $self->script('kill', $self->{dir}); }
sub topic { my ($self, @args) = @_; return $self->script('topic', $self->{dir}, @args); }

# tool(NAME): the path of a C program of test/; built where it is not.
sub tool
{
	my ($self, $name) = @_;
	my $path = `'$lib/tool.sh' $name 2>/dev/null`;
	chomp $path;
	return $path if $? == 0 && -x $path;
	$path = "$self->{run}/$name-$$";
	if (!-x $path)
	{
		my ($source) = glob("$lib/../*/$name.c");
		system('cc', '-O2', '-w', '-o', $path, $source, '-lrdkafka', '-lm', '-lpthread') == 0
		  or die "cannot build $name";
	}
	return $path;
}

# line(partition, key, payload, milliseconds): a line for kput.
sub line
{
	my ($partition, $key, $payload, $ms) = @_;
	return sprintf "%d %s %s %s\n", $partition, (map { !defined $_ ? '-' : $_ eq '' ? '' : unpack('H*', $_) } $key, $payload), $ms // '';
}

# put(TOPIC, [partition, key, payload, milliseconds]...): undef = none, and now.
sub put
{
	my ($self, $topic, @messages) = @_;
	my $lines = join '', map { line(@$_) } @messages;
	IPC::Run::run([$self->tool('kput'), $self->{address}, $topic], '<', \$lines, '>', \my $out)
	  or die "kput failed";
	return;
}

sub DESTROY
{
	my ($self) = @_;
	return if $self->{pid} != $$;
	local $?;
	eval { $self->kill9 };
	system('rm', '-rf', $self->{dir});
	unlink glob("$self->{run}/*-$$");
	return;
}

# Protobuf

sub varint
{
	my ($v) = @_;
	return pack('w', 0) if $v == 0;
	my $out = '';
	if ($v < 0)
	{
		# Two's complement in ten bytes.
		my $bits = unpack('B64', pack('q>', $v));
		my @groups = reverse(('000000' . $bits) =~ /(.{7})/g);
		return join '', map { chr(oct("0b$groups[$_]") | ($_ < 9 ? 0x80 : 0)) } 0 .. 9;
	}
	while ($v >= 128)
	{
		$out .= chr(($v & 127) | 128);
		$v >>= 7;
	}
	return $out . chr($v);
}

sub field
{
	my ($number, $bytes) = @_;
	return varint($number << 3 | 2) . varint(length $bytes) . $bytes;
}

# metric(name => ..., tags => [key, value, ...], time => ..., value => ...): what is undef is left out.
sub metric
{
	my (%m) = @_;
	my $out = defined $m{name} ? field(1, $m{name}) : '';
	my @tags = @{$m{tags} // []};
	while (my ($key, $value) = splice(@tags, 0, 2))
	{
		$out .= field(2, field(1, $key) . field(2, $value));
	}
	$out .= "\x18" . varint($m{time}) if defined $m{time};
	$out .= "\x21" . pack('d<', $m{value}) if defined $m{value};
	return $out;
}

sub batch { return join '', map { field(1, $_) } @_; }

1;
