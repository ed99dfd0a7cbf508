# inject.pl count NUMBERS LOG CMD…           counts the system calls of CMD and of all its
#                                            children but those that are listed
# inject.pl fail NUMBER ERRNO NTH LOG CMD…   the nth of one of them fails
#
# strace can do this, too, but counts per thread, and knows only the calls of its time:
# not getxattrat, for one. Here the kernel stops the calls in question (seccomp, user
# notification) until the program below answers for them. LOG has a line for a call
# that failed; of count, NUMBER TIMES. x86_64 only.
use strict;
use constant { SECCOMP => 317, PIDFD_OPEN => 434, PIDFD_GETFD => 438, PRCTL => 157, POLL => 7, EXECVE => 59, KILL => 62 };

my $mode = shift;
my ($numbers, $errno, $nth) = (shift, 0, 0);
($errno, $nth) = splice @ARGV, 0, 2 if $mode eq "fail";
my $log = shift;

sub op { pack "SCCL", @_ }
sub filter { # execve is always notified of: the first one starts the command
	my ($notify, $allow) = map { op(0x06, 0, 0, $_) } 0x7fc00000, 0x7fff0000;
	my ($others, $listed) = $mode eq "count" ? ($notify, $allow) : ($allow, $notify);
	my @listed = split /,/, $numbers;
	my $last = @listed;
	return join "", op(0x20, 0, 0, 0), op(0x15, $last + 4, 0, EXECVE), op(0x15, 0, 1, KILL), $allow,
		(map { op(0x15, $last - $_, 0, $listed[$_]) } 0 .. $#listed), $others, $listed, $notify;
}

# A child of a child that was left is ours, to be waited for.
syscall(PRCTL, 36, 1, 0, 0, 0) == 0 or die "subreaper: $!";
my $child = fork // die "fork: $!";
if (!$child) {
	my $self = $$;
	my $code = filter();
	my $program = pack "S x6 P", length($code) / 8, $code;
	syscall(PRCTL, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
	# 32: a call that is being answered is not interrupted, and so not counted twice (5.19).
	my $fd = syscall(SECCOMP, 1, 8 | 32, $program);
	$fd = syscall(SECCOMP, 1, 8, $program) if $fd < 0;
	die "seccomp: $!" if $fd < 0;
	kill STOP => $self; # until the parent has its copy, which execve would close
	exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!";
}
waitpid $child, 2; # WUNTRACED
my $pidfd = syscall(PIDFD_OPEN, $child, 0);
my ($fd) = grep { (readlink("/proc/$child/fd/$_") // "") =~ /seccomp/ } 3 .. 50;
die "the child ended early: $?" if !$fd;
my $listener = syscall(PIDFD_GETFD, $pidfd, $fd, 0);
die "pidfd_getfd: $!" if $listener < 0;
open my $notifications, "+<&=", $listener or die "listener: $!";

my ($started, $status, $seen, %count) = (0, 0, 0);
$SIG{CHLD} = sub { }; # ends poll
kill CONT => $child;
open my $out, ">", $log or die "$log: $!";
select((select($out), $| = 1)[0]); # it is read even if this is killed
while (1) {
	while ((my $pid = waitpid -1, 1) > 0) { $status = $? if $pid == $child }
	my $poll = pack "lss", $listener, 1, 0;
	next if syscall(POLL, $poll, 1, 20) <= 0;
	last if !((unpack "lss", $poll)[2] & 1); # nobody is left who could call
	my $call = "\0" x 80;
	ioctl($notifications, 0xC0502100, $call) or next; # killed meanwhile
	answer(unpack "QLLlLQQ6", $call);
}
while ((my $pid = waitpid -1, 0) > 0) { $status = $? if $pid == $child }
print $out "$_ $count{$_}\n" for sort keys %count;
close $out or die "$log: $!";
if ($status & 0x7f) { $SIG{$_} = "DEFAULT" for keys %SIG; kill $status & 0x7f => $$; sleep 1 }
exit $status >> 8;

sub answer {
	my ($id, $pid, undef, $number, undef, undef, @args) = @_;
	my $fails = 0;
	if (!$started) { # what perl itself calls
		$started = $number == EXECVE;
	} elsif ($mode eq "count") {
		$count{$number}++;
	} elsif ($number == $numbers && ++$seen == $nth) {
		$fails = $errno;
		print $out describe($pid, @args), "\n";
	}
	ioctl $notifications, 0xC0182101, my $reply = pack "QqlL", $id, 0, -$fails, $fails ? 0 : 1;
}

# describe names what arguments are: descriptors, and strings.
sub describe {
	my ($pid, @args) = @_;
	my @words = map { sprintf "%#x", $_ } @args;
	my $to = $args[0] < 1e6 ? readlink "/proc/$pid/fd/$args[0]" : undef;
	$words[0] = "$args[0]<$to>" if defined $to;
	open my $memory, "<:raw", "/proc/$pid/mem" or return "@words";
	for my $i (0 .. 3) {
		next if $args[$i] < 4096 || !sysseek $memory, $args[$i], 0;
		next if !sysread $memory, my $bytes, 200;
		$words[$i] = "\"$1\"" if $bytes =~ /^([ -~]{1,199})\0/;
	}
	return "@words";
}
