//go:build linux

package freeze

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// runtimes are the names, as /proc/PID/comm cuts them, of the programs without which a
// container can't be thawed, or its files not be read.
var runtimes = []string{
	"dockerd", "containerd", "containerd-shim", "conmon", "conmonrs", "crio", "podman", "buildah", "buildkitd", "runc", "crun",
	"kubelet", "isulad", "isulad-shim", "fuse-overlayfs",
}

// check returns an error unless the group has all processes that share the mounts of process
// pid, and none that must not be frozen.
func (h *held) check(pid int) error {
	members := map[int]bool{}
	if err := h.members(int(h.dir.Fd()), members); err != nil {
		return h.refuse("its processes can't be listed: %w", err)
	}
	switch {
	case members[0]:
		return h.refuse("a process of another pid namespace is in it: run overlaydiff in the pid namespace of the node")
	case !members[pid]:
		return h.refuse("process %d is not in it, or not any more: try again", pid)
	}
	for _, n := range ancestors(os.Getpid()) {
		if members[n] {
			return h.refuse("overlaydiff itself runs in it, below process %d (%s): run it outside of the container", n, comm(n))
		}
	}
	mounts, err := os.Readlink(mountsOf(pid))
	if err != nil {
		return h.refuse("whether all processes of the container are in it is not known: %w", err)
	}
	return h.checkMounts(pid, mounts, members)
}

// checkMounts looks at all processes of the node: those with the same mounts must be
// in the group, and those in the group that have others must not be the runtime.
func (h *held) checkMounts(pid int, mounts string, members map[int]bool) error {
	above, mine := ancestors(pid)[1:], ancestors(os.Getpid())
	all, err := os.ReadDir("/proc")
	if err != nil {
		return h.refuse("whether all processes of the container are in it is not known: %w", err)
	}
	for _, entry := range all {
		n, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		theirs, err := os.Readlink(mountsOf(n))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // it has ended
		case err != nil && !members[n] && slices.Contains(mine, n):
			// The kernel shows the mounts of nobody who may do more than this process. Who started
			// this process is outside of the container if this process is, which is checked.
		case err != nil:
			return h.refuse("whether process %d is the container's is not known: %w; run as root of the node", n, err)
		case theirs == mounts && !members[n]:
			return h.refuse("process %d (%s) has the same mounts and is outside of it, so that it would go on writing", n, comm(n))
		case theirs != mounts && members[n] && (slices.Contains(above, n) || slices.Contains(runtimes, comm(n))):
			return h.refuse("process %d (%s) in it belongs to the runtime, which must not be frozen", n, comm(n))
		}
	}
	return nil
}

func mountsOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/mnt", pid) }

// members adds the processes of the group and of all groups below it.
func (h *held) members(dir int, to map[int]bool) error {
	text, err := readAt(dir, "cgroup.procs")
	if err != nil {
		return err
	}
	for word := range strings.FieldsSeq(text) {
		n, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		to[n] = true
	}
	var below []string
	if err := sys.Rewind(dir); err != nil {
		return err
	}
	if err := sys.ReadDir(dir, func(d sys.Dirent) bool {
		if d.Type == sys.TypeDir {
			below = append(below, d.Name)
		}
		return true
	}); err != nil {
		return err
	}
	for _, name := range below {
		fd, err := sys.OpenDirAt(dir, name)
		if err == nil {
			err = h.members(fd, to)
			sys.Close(fd)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) { // it was removed
			return err
		}
	}
	return nil
}

// ancestors returns the process and all above it that this pid namespace has.
func ancestors(pid int) (list []int) {
	for pid > 0 && !slices.Contains(list, pid) {
		list = append(list, pid)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		// After the name, which may have anything in it, come the state and the parent: proc(5).
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) < 2 {
			break
		}
		pid, _ = strconv.Atoi(f[1])
	}
	return list
}

func comm(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return diff.QuotePath(strings.TrimSuffix(string(name), "\n"))
}

func (h *held) refuse(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return refusal(diff.QuotePath(h.dir.Name()), err.Error(), errors.Unwrap(err))
}

func refusal(what, why string, err error) error {
	return &diff.UnsupportedError{Op: "freeze " + what, Reason: why, Err: err}
}
