package torture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// callNumbers has the numbers of x86_64. A call that is not here goes by its number.
var callNumbers = numbersOf(`
	read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13
	rt_sigprocmask 14 rt_sigreturn 15 ioctl 16 pread64 17 pwrite64 18 access 21 pipe 22 sched_yield 24 mincore 27 madvise 28
	dup 32 dup2 33 nanosleep 35 setitimer 38 getpid 39 sendfile 40 socket 41 connect 42 clone 56 fork 57 vfork 58 execve 59
	exit 60 wait4 61 kill 62 uname 63 fcntl 72 flock 73 fsync 74 fdatasync 75 truncate 76 ftruncate 77 chdir 80 fchdir 81
	rename 82 mkdir 83 rmdir 84 link 86 unlink 87 symlink 88 readlink 89 chmod 90 fchmod 91 fchown 93 umask 95 getrlimit 97
	sysinfo 99 getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 setgroups 116 setresuid 117 setresgid 119 capget 125
	capset 126 sigaltstack 131 personality 135 statfs 137 fstatfs 138 pivot_root 155 prctl 157 arch_prctl 158 setrlimit 160
	mount 165 umount2 166 quotactl 179 gettid 186 setxattr 188 lsetxattr 189 fsetxattr 190 getxattr 191 lgetxattr 192
	fgetxattr 193 listxattr 194 llistxattr 195 flistxattr 196 removexattr 197 lremovexattr 198 fremovexattr 199 futex 202
	sched_getaffinity 204 getdents64 217 set_tid_address 218 restart_syscall 219 fadvise64 221 timer_create 222
	timer_settime 223 timer_delete 226 clock_gettime 228 clock_nanosleep 230 exit_group 231 epoll_ctl 233 tgkill 234 waitid 247
	openat 257 mkdirat 258 mknodat 259 fchownat 260 newfstatat 262 unlinkat 263 renameat 264 linkat 265 symlinkat 266
	readlinkat 267 fchmodat 268 faccessat 269 unshare 272 set_robust_list 273 splice 275 utimensat 280 epoll_pwait 281
	fallocate 285 eventfd2 290 epoll_create1 291 dup3 292 pipe2 293 prlimit64 302 name_to_handle_at 303 open_by_handle_at 304
	setns 308 renameat2 316 getrandom 318 memfd_create 319 copy_file_range 326 statx 332 rseq 334 pidfd_send_signal 424
	open_tree 428 move_mount 429 fsopen 430 fsconfig 431 fsmount 432 fspick 433 pidfd_open 434 clone3 435 openat2 437
	pidfd_getfd 438 faccessat2 439 mount_setattr 442 quotactl_fd 443 fchmodat2 452 statmount 457 listmount 458 setxattrat 463
	getxattrat 464 listxattrat 465 removexattrat 466`)

func numbersOf(table string) map[string]int {
	numbers, words := map[string]int{}, strings.Fields(table)
	for i := 0; i < len(words); i += 2 {
		numbers[words[i]], _ = strconv.Atoi(words[i+1])
	}
	return numbers
}

func callNumber(call string) int {
	if n, ok := callNumbers[call]; ok {
		return n
	}
	n, err := strconv.Atoi(call)
	if err != nil {
		panic("no system call " + call)
	}
	return n
}

// faultless are the system calls that are not made to fail, by why.
var faultless = map[string]string{
	"the Go runtime's own, for threads, memory, signals and time: without them it ends the process, as SIGKILL would": `
		futex nanosleep clock_nanosleep clock_gettime clone3 mmap munmap madvise mprotect brk mincore rt_sigaction rt_sigprocmask
		rt_sigreturn sigaltstack tgkill sched_getaffinity sched_yield epoll_create1 epoll_ctl epoll_pwait eventfd2 arch_prctl
		set_tid_address set_robust_list rseq restart_syscall prctl timer_create timer_settime timer_delete setitimer getrandom`,
	"they can't fail": "exit exit_group getpid getppid gettid getuid geteuid getgid getegid umask uname",
	// Of its child the clone before it fails.
	"it starts the command": "execve",
}

// faultErrors has the errors that calls fail with; "" are those of any. ENOENT and the
// like are no faults: they are answers.
var faultErrors = map[string]string{
	"": "EIO ENOMEM EPERM EINTR",
	"EMFILE": `open openat openat2 dup dup2 dup3 fcntl pipe2 socket memfd_create open_tree open_by_handle_at fsopen fsmount fspick
		pidfd_open`,
	"ESTALE": `open openat openat2 newfstatat fstat statx statfs fstatfs getdents64 readlinkat read pread64 lseek lgetxattr fgetxattr
		getxattrat llistxattr flistxattr listxattrat name_to_handle_at open_by_handle_at linkat renameat renameat2 unlinkat
		mkdirat fchmodat fchownat utimensat faccessat2 mount fsconfig`,
	"ENOSPC": `open openat write pwrite64 mkdirat mknodat linkat symlinkat renameat renameat2 fsync fdatasync fallocate ftruncate
		truncate lsetxattr fsetxattr setxattrat copy_file_range mount fsconfig sendfile splice fchownat fchmodat close`,
}

var faultNumbers = map[string]syscall.Errno{
	"EIO": syscall.EIO, "ENOMEM": syscall.ENOMEM, "EPERM": syscall.EPERM, "EINTR": syscall.EINTR,
	"EMFILE": syscall.EMFILE, "ESTALE": syscall.ESTALE, "ENOSPC": syscall.ENOSPC,
}

func errorsOf(call string) (list []string) {
	list = strings.Fields(faultErrors[""])
	for _, errno := range []string{"EMFILE", "ESTALE", "ENOSPC"} {
		if hasWord(faultErrors[errno], call) {
			list = append(list, errno)
		}
	}
	return list
}

func hasWord(words, word string) bool {
	return strings.Contains(" "+strings.Join(strings.Fields(words), " ")+" ", " "+word+" ")
}

// fault is one error: that of the nth call of its name that a command or any child of
// it makes.
type fault struct {
	call, errno string
	n           int
}

func (f fault) String() string { return fmt.Sprintf("%s %s %d", f.call, f.errno, f.n) }

// noFault never happens: a command runs as others do, with nothing wrong.
var noFault = fault{"getppid", "EIO", 1 << 30}

func needInjector(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the injector has the numbers of amd64")
	}
}

// injected is the beginning of a command line, of the command to which f happens.
func (r *room) injected(f fault) []string {
	return []string{"perl", r.injector(), "fail", strconv.Itoa(callNumber(f.call)), strconv.Itoa(int(faultNumbers[f.errno])), strconv.Itoa(f.n), r.trace()}
}

// counting is that of one whose calls are counted.
func (r *room) counting() []string {
	var not []string
	for _, calls := range faultless {
		for call := range strings.FieldsSeq(calls) {
			not = append(not, strconv.Itoa(callNumber(call)))
		}
	}
	return []string{"perl", r.injector(), "count", strings.Join(not, ","), r.trace()}
}

func (r *room) trace() string { return filepath.Join(r.dir, "trace") }

func (r *room) injector() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Join(wd, "testdata", "inject.pl")
}

// hit returns the arguments of the call that failed, "" if none did.
func (r *room) hit(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(r.trace())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// calls runs a command undisturbed and counts its calls by name.
func (r *room) calls(t *testing.T, args ...string) map[string]int {
	t.Helper()
	done := r.run(t, nil, append(r.counting(), args...)...)
	if done.status != 0 {
		t.Fatalf("%v, its calls counted: exit status %d: %s%s", args, done.status, done.stdout, done.stderr)
	}
	names := map[string]string{}
	for name, number := range callNumbers {
		names[strconv.Itoa(number)] = name
	}
	counts := map[string]int{}
	for line := range strings.Lines(r.hit(t)) {
		number, count, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		name := names[number]
		if name == "" {
			name = number
		}
		counts[name] = n
	}
	return counts
}

// runtimeCall reports whether a call is the Go runtime's own, though others make it,
// too: to start a thread, to wake one, to look at the standard descriptors. Without
// some of these it ends the process.
func runtimeCall(call, args string) bool {
	words := strings.Fields(args)
	switch call {
	case "clone":
		flags, _ := strconv.ParseUint(words[0], 0, 64)
		return flags&syscall.CLONE_THREAD != 0
	case "fcntl":
		return len(words) > 1 && words[1] == "0x1" // F_GETFD
	}
	return runtimeFile.MatchString(args)
}

// forkCall reports whether a call prepares the user namespace of a child, or tells it
// that this is ready. Package os says of its failure, which no kernel makes, what it says
// of a kernel that refuses the namespace: EINVAL, or ENOSPC as of too many namespaces.
// And if it can't read whether the child came to its exec it waits for the child's end.
func forkCall(call, args string) bool {
	switch call {
	case "write", "read":
		return forkPipe.MatchString(args)
	case "close", "openat":
		return forkFile.MatchString(args)
	}
	return false
}

var forkFile = regexp.MustCompile(`^([3-9]|\d\d+)<pipe:|/proc/\d+/(setgroups|[ug]id_map)[>"]`)

var forkPipe = regexp.MustCompile(`^([3-9]|\d\d+)<pipe:\[\d+\]> 0x[0-9a-f]+ 0x8 |</proc/\d+/(setgroups|[ug]id_map)>`)

var runtimeFile = regexp.MustCompile(`anon_inode:\[event|/sys/kernel/mm/transparent_hugepage`)
