// Package freeze stops the processes of a container for a moment, by the freezer of its
// control group, version 1 or 2, as all runtimes pause a container.
//
// A process apart, the guard, freezes and thaws: it holds one end of a pipe and thaws as soon as
// the other end is closed, so also after SIGKILL of this process, and at the latest when the
// limit is over. A group stays frozen only if the guard and this process are killed at once.
//
// The package refuses to freeze a group that has this process, an ancestor of it or a
// container runtime in it, and a group that lacks a process which shares the container's
// mounts: that one would go on writing. It does not see a process of the host that writes
// through a path of its own, and it can't tell its own freeze from one that somebody else asks
// for in the meantime: what it froze, it thaws.
//
// The interface of the kernel is in Documentation/admin-guide/cgroup-v2.rst (cgroup.freeze, since
// 5.2) and cgroup-v1/freezer-subsystem.rst.
package freeze
