#!/usr/bin/env bash
# Writes docs/probe-examples.md: what overlaydiff probe says on this kernel, on
# several file systems, as root and as others, and which system calls it takes.
#
#   docs/probe-examples.sh [FILE]     for root; FILE instead of docs/probe-examples.md
#
# All is in a tmpfs on /mnt, in a mount namespace that ends with the script:
# nothing is left, whatever ends it. It fails, and writes nothing, if a run fails
# or makes a system call that the list below does not explain.
set -euo pipefail

die() { echo "probe-examples.sh: $*" >&2; exit 1; }

self=$(readlink -f "$0")
cd "$(dirname "$self")/.."
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
[ $# -le 1 ] || die "name one file at most"
out=$(readlink -m "${1-docs/probe-examples.md}")
[ "$(id -u)" = 0 ] || die "needs root: it makes file systems and mounts overlays"
# As Debian names the packages.
need() {
  command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"
}
need unshare util-linux
need setpriv util-linux
need mount mount
need mkfs.ext4 e2fsprogs
need mkfs.xfs xfsprogs
need mkfs.btrfs btrfs-progs
need strace strace
command -v go >/dev/null || die "go is missing: https://go.dev/dl/"
[ -d /mnt ] || die "there is no directory /mnt to mount something on"

if [ -z "${OVERLAYDIFF_PROBE_EXAMPLES_NS-}" ]; then
  OVERLAYDIFF_PROBE_EXAMPLES_NS=1 exec unshare --mount --propagation private "$self" "$@"
fi
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mount -t tmpfs -o mode=755 probe-examples /mnt
mkdir /mnt/bin /mnt/tmpfs /mnt/ext4 /mnt/xfs /mnt/btrfs /mnt/images /mnt/overlay /mnt/said
go build -trimpath -o /mnt/bin/overlaydiff ./cmd/overlaydiff
PATH=/mnt/bin:$PATH

for fs in ext4 xfs btrfs; do
  truncate -s 512M "/mnt/images/$fs"
  force=-f
  [ $fs != ext4 ] || force=-F
  "mkfs.$fs" -q $force "/mnt/images/$fs" >/mnt/said/mkfs 2>&1 || die "mkfs.$fs: $(cat /mnt/said/mkfs)"
  mount -t $fs -o loop "/mnt/images/$fs" "/mnt/$fs"
done
mount -t tmpfs probe-examples /mnt/tmpfs
mkdir /mnt/ext4/{layers,home,lower,upper,work}
for fs in tmpfs xfs btrfs; do mkdir "/mnt/$fs/layers"; done
chown 65534:65534 /mnt/ext4/home
mount -t overlay -o lowerdir=/mnt/ext4/lower,upperdir=/mnt/ext4/upper,workdir=/mnt/ext4/work overlay /mnt/overlay
mkdir /mnt/overlay/layers

# run NAME CMD…: keeps what it says as NAME; its directory must be empty then.
run() {
  local name=$1 dir=${!#}
  shift
  "$@" >"/mnt/said/$name" || die "failed: $*"
  [ -z "$(ls -A "$dir")" ] || die "$*: left in $dir: $(ls -A "$dir")"
}

# Differences from the first run: the lines of those answers that differ, under
# their headings, after what comes before the answers.
differences() {
  awk '
    function sign(line) { return substr(line, 3, 1) }
    function flush_block() {
      if (name == "") return
      if (what != base[name]) {
        if (!headed) { print ""; print group; headed = 1 }
        if (same && !shown) reason_of(); else printf "%s", block
        shown = 1
      } else shown = 0
      name = ""
    }
    # What "for the same reason" means is not among the lines that are shown.
    function reason_of() { sub(/ *for the same reason\n/, reason, block); printf "%s", block }
    function flush_lacking(   i, n, names, differs) {
      if (lacking == "") return
      list = lacking; sub(/^ *[a-z?]+ +for lack of [a-z0-9_]+: /, "", list); gsub(/[ \n]+/, "", list)
      n = split(list, names, ",")
      for (i = 1; i <= n; i++) if (base[names[i]] != what) differs = 1
      if (differs) {
        if (!headed) { print ""; print group; headed = 1 }
        printf "%s", lacking
      }
      lacking = ""
    }
    function flush() { flush_block(); flush_lacking() }
    FNR == 1 { part++; started = 0; lacking = "" }
    # The first file is the base: the sign of each question.
    part == 1 {
      if ($0 ~ /^  (yes|no |\?  ) for lack of /) { lackSign = sign($0); rest = $0; sub(/.*: /, "", rest) }
      else if ($0 ~ /^  (yes|no |\?  ) [a-z0-9_]+  /) { base[$2] = sign($0); lackSign = ""; next }
      else if (lackSign != "" && $0 ~ /^      [a-z]/) rest = $0
      else { lackSign = ""; next }
      gsub(/ /, "", rest); n = split(rest, ns, ",")
      for (i = 1; i <= n; i++) if (ns[i] != "") base[ns[i]] = lackSign
      next
    }
    !started { if ($0 == "overlay") { started = 1; group = $0; next } else { before = before $0 "\n"; next } }
    started == 1 && before != "" { sub(/\n+$/, "", before); print before; before = "" }
    /^$/ { flush(); next }
    /^[a-z]/ { flush(); group = $0; headed = 0; next }
    /^  (yes|no |\?  ) for lack of / { flush(); lacking = $0 "\n"; what = sign($0); next }
    /^  (yes|no |\?  ) [a-z0-9_]+  / { flush(); name = $2; what = sign($0); block = $0 "\n"; same = 0; inReason = 1; fresh = 1; next }
    lacking != "" { lacking = lacking $0 "\n"; next }
    {
      block = block $0 "\n"
      if ($0 ~ /^ *for the same reason$/) same = 1
      else if ($0 ~ /^ *-> /) inReason = 0
      else if (inReason && substr($0, 1, 32) ~ /^ *$/ && substr($0, 33, 1) != " ") { if (fresh) reason = ""; fresh = 0; reason = reason $0 "\n" }
    }
    END { flush() }
  ' /mnt/said/ext4 "$1"
}

fence() { echo '```'; cat; echo '```'; }

# example TITLE SENTENCE PROMPT SHOWN NAME CMD…
example() {
  local title=$1 sentence=$2 prompt=$3 shown=$4 name=$5
  shift 5
  run "$name" "$@"
  printf '\n## %s\n\n%s\n\n' "$title" "$sentence"
  { echo "$prompt $shown"; differences "/mnt/said/$name"; } | fence
}

user="setpriv --reuid=65534 --regid=65534 --clear-groups"

examples() {
  cat <<'END'
<!-- Written by docs/probe-examples.sh. -->

# What overlaydiff probe says

All on one machine. The first output is whole. Of the others there are only the first lines and those answers that differ from the
first; what is not there has the same answer. [probe.md](probe.md) says what the questions and answers mean.

## Root, on ext4

An ordinary file system, and all privileges.

END
  run ext4 overlaydiff probe /mnt/ext4/layers
  { echo '# overlaydiff probe /mnt/ext4/layers'; cat /mnt/said/ext4; } | fence

  example 'Root, on tmpfs' 'A file system in memory.' \
    '#' 'overlaydiff probe /mnt/tmpfs/layers' tmpfs overlaydiff probe /mnt/tmpfs/layers
  example 'Root, on xfs' 'Files can share their data, so copy-up takes no space.' \
    '#' 'overlaydiff probe /mnt/xfs/layers' xfs overlaydiff probe /mnt/xfs/layers
  example 'Root, on btrfs' 'Here, too.' \
    '#' 'overlaydiff probe /mnt/btrfs/layers' btrfs overlaydiff probe /mnt/btrfs/layers
  example 'Root, on an overlay' 'As inside a container: what is written there is in the upper layer of another overlay.' \
    '#' 'overlaydiff probe /mnt/overlay/layers' overlay overlaydiff probe /mnt/overlay/layers
  example 'An ordinary user' 'Without a user namespace nothing can be mounted, so nothing can be told of overlays; what a user namespace would allow is known.' \
    '$' 'overlaydiff probe /mnt/ext4/home' user $user overlaydiff probe /mnt/ext4/home
  example 'In a user namespace, unshare -Ur' 'The user is root in a user namespace. The probe takes a mount namespace of its own.' \
    '$' 'unshare -Ur overlaydiff probe /mnt/ext4/home' ur $user unshare -Ur overlaydiff probe /mnt/ext4/home
  example 'In a user namespace, unshare -Urm' 'The same, but as rootless container tools do it: with a mount namespace, and userxattr.' \
    '$' 'unshare -Urm overlaydiff probe --options userxattr /mnt/ext4/home' urm $user unshare -Urm overlaydiff probe --options userxattr /mnt/ext4/home
  example 'Root without CAP_SYS_ADMIN' 'What most containers run as.' \
    '#' 'setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin overlaydiff probe /mnt/ext4/layers' caps \
    setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin overlaydiff probe /mnt/ext4/layers
}

# What each system call is for, in groups.
explained=$(cat <<'END'
= What is asked about
fsopen             opens the configuration of a file system that is to be mounted
fsconfig           sets mount options, and creates the file system
fsmount            makes a mount of it, in no namespace
move_mount         gives such a mount a path, where a layer needs one
umount2            takes that away
mount              makes the thread's mounts private; tries how many lower layers are accepted
open_tree          copies a mount, to give it an id mapping; asks whether it is there
mount_setattr      gives a mount an id mapping; asks whether it is there
quotactl_fd        asks for the project quota
openat2            asks whether it is there
statmount          asks whether it is there
listmount          asks whether it is there
getxattrat         asks whether it is there
listxattrat        asks whether it is there
name_to_handle_at  asks for file handles
renameat           renames a lower directory through an overlay
renameat2          RENAME_WHITEOUT, RENAME_EXCHANGE
mknodat            makes whiteouts
linkat             makes hard links, for the questions about index
truncate           gives a file without data its size, for data-only layers
fchmodat           changes metadata only, for the questions about metacopy
copy_file_range    copies a file
ioctl              clones a file (FICLONE), asks for its fs-verity digest, makes a directory ignore case, asks who owns a namespace
memfd_create       a file in memory, to see whether trusted.* can be set
lsetxattr          sets marks in layers
fsetxattr          sets trusted.* on the file in memory
lgetxattr          reads marks in layers
lremovexattr       takes marks away
fgetxattr          reads attributes
fstatfs            the type of the file system
statfs             the type of the file system
uname              the kernel's release
capget             whether CAP_SYS_ADMIN is there

= The scratch directory
mkdirat            makes it, and directories in it
openat             opens it, and files in it; reads /proc and /sys
read               reads files; what the kernel says of a mount that failed; what the child answers
write              writes files; the answers
close              closes what was opened
newfstatat         what is a name; which user namespace is this
fstat              what was opened
statx              which mount is this
getdents64         lists directories: to find leftovers, to remove all, to see the types
unlinkat           removes files and directories, each tried as a file first
flock              says that the scratch directory is in use
fcntl              Go looks at the mode of every descriptor that it opens
dup                a second descriptor
fchdir             back to the directory
lseek              from the beginning

= Namespaces and the process in the new user namespace
unshare            gives the thread a mount namespace of its own, where nobody sees what it mounts
setns              enters a namespace
clone              starts that process, in a new user and mount namespace
execve             starts the program, and again in that process
pipe2              pipes to and from it
dup3               its standard input and output
waitid             waits for its end
wait4              waits for its end
kill               ends it, if the probe is interrupted
pidfd_open         refers to it
pidfd_send_signal  asks whether the kernel has pidfds
readlinkat         where the scratch directory is in its own mount namespace
chdir              its current directory
geteuid            the user ids to map
getegid            the group id to map
getuid             the user id
getgid             the group id
exit               the end of a thread that had a namespace of its own
exit_group         the end of a process

= Go's runtime and the C library
futex              threads wait and wake each other
nanosleep          threads look for work
sched_yield        threads look for work
clone3             threads
set_robust_list    threads
rseq               threads
set_tid_address    threads
gettid             threads
tgkill             threads interrupt each other
getpid             threads interrupt each other
rt_sigaction       signals
rt_sigprocmask     signals
rt_sigreturn       signals
sigaltstack        signals
restart_syscall    a sleep goes on after a signal
epoll_create1      waiting for pipes
epoll_ctl          what can be waited for; most files can't
epoll_pwait        waiting for pipes
eventfd2           waiting for pipes
mmap               memory
munmap             memory
mprotect           memory
madvise            memory
brk                memory
prctl              names memory; makes the process in the new namespace end with its parent
getppid            … and sees that the parent is still there
sched_getaffinity  how many processors there are
prlimit64          how many descriptors may be open, how large a stack
getrandom          random numbers, for the name of the scratch directory and maps
arch_prctl         the C library's start
access             the C library's start
pread64            the C library's start; reads the size of huge pages
END
)

# strace -c leaves out what strace has no name for; its log has the number.
syscalls() {
  strace -f -o /mnt/said/strace overlaydiff probe /mnt/ext4/layers >/mnt/said/stdout
  awk '
    BEGIN { # the same on every architecture
      named["syscall_0x1c9"] = "statmount"; named["syscall_0x1ca"] = "listmount"
      named["syscall_0x1d0"] = "getxattrat"; named["syscall_0x1d1"] = "listxattrat"
    }
    FNR == NR && /^= / { group = substr($0, 3); groups[++n] = group; next }
    FNR == NR { if ($1 != "") { name = $1; $1 = ""; sub(/^ /, ""); of[name] = group; says[name] = $0; order[++m] = name } next }
    match($0, /^[0-9]+ +[a-z0-9_]+\(/) {
      name = $2
      sub(/\(.*/, "", name)
      if (name in named) name = named[name]
      if (!(name in of) && !told[name]++) { print "probe-examples.sh: no line explains the system call " name > "/dev/stderr"; bad = 1 }
      calls[name]++
      total[of[name]]++
      all++
    }
    END {
      if (!all) { print "probe-examples.sh: there are no system calls in the log of strace" > "/dev/stderr"; bad = 1 }
      if (bad) exit 1
      for (g = 1; g <= n; g++) {
        printf "\n%s: %d calls.\n\n| system call | calls | what for |\n|---|---:|---|\n", groups[g], total[groups[g]]
        for (i = 1; i <= m; i++) if (of[order[i]] == groups[g] && order[i] in calls)
          printf "| `%s` | %d | %s |\n", order[i], calls[order[i]], says[order[i]]
      }
    }
  ' - /mnt/said/strace <<<"$explained"
}

{
  examples
  cat <<'END'

## System calls

What `strace -f overlaydiff probe` sees as root on ext4: all threads, and the process in the new user namespace. Those of the runtime
differ from run to run, and are more under strace than without.
END
  syscalls
} >/mnt/said/document
cat /mnt/said/document >"$out"
