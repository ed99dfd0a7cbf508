//go:build linux

package mountutil

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// StackOfMount describes the overlay that is mounted at path, the topmost mount there.
//
// Each layer directory is found by its name in the mount table and proven to be the layer
// that is mounted: something in it is one inode through the mount and in the directory. A
// directory that is not where its name leads is looked for in other places, see
// docs/proof.md. What can be neither proven nor refuted is in Stack.Unproven.
//
// Errors: [fs.ErrNotExist] if path does not exist; a [*NotOverlayError]; or a
// [*LayerError] if a layer is not found, or is another directory. With a LayerError the
// stack has the upper directory, if that was found.
//
// What is elided in the table since it equalled a module parameter at the time of reading
// is taken from [KernelDefaults].
func StackOfMount(ctx context.Context, path string) (diff.Stack, error) {
	if err := ctx.Err(); err != nil {
		return diff.Stack{}, err
	}
	// path and table belong to one mount namespace, the calling thread's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	root, err := statPath(path)
	if err != nil {
		return diff.Stack{}, pathError("stat", path, err, "name the path at which an overlay is mounted")
	}
	point, err := filepath.EvalSymlinks(path)
	if err == nil {
		point, err = filepath.Abs(point)
	}
	if err != nil { // asked for by old kernels only
		point = path
	}
	t := target{
		name: diff.QuotePath(path), path: path, root: root,
		lost: "it belongs to another mount namespace, or to a tree that is not mounted any more: name a process in it as pid:N",
	}
	return t.stack(ctx, ownTable(), point)
}

// StackOfProcess describes the overlay that is the root of a process, that is
// of its container, as [StackOfMount] does. It needs the permission to trace the
// process.
//
// Layers are looked up by their paths in the caller's own mount namespace, where
// the container was mounted from, and then in that of the process, below its root.
// The names of those begin with /proc/PID/root and are valid as long as it runs.
//
// The ids of the process's user namespace are those of the container.
//
// Errors match [fs.ErrNotExist] if there is no such process and
// [fs.ErrPermission] if it may not be looked at.
func StackOfProcess(ctx context.Context, pid int) (diff.Stack, error) {
	return StackInProcess(ctx, pid, "/")
}

// StackInProcess is [StackOfProcess] for the overlay that a process sees at a
// mount point.
func StackInProcess(ctx context.Context, pid int, mountpoint string) (diff.Stack, error) {
	if err := ctx.Err(); err != nil {
		return diff.Stack{}, err
	}
	proc := "/proc/" + strconv.Itoa(pid)
	if pid <= 0 {
		return diff.Stack{}, fmt.Errorf("find process %d: %w; name the id of a running process", pid, fs.ErrNotExist)
	}
	t := target{
		name: "the root of process " + strconv.Itoa(pid), path: proc + "/root", pid: pid,
		lost: "it is a directory inside a mount, not a mount point: name the mount point",
	}
	if mountpoint != "/" {
		t.path += mountpoint
		t.name = diff.QuotePath(mountpoint) + " of process " + strconv.Itoa(pid)
	}
	var err error
	t.root, err = statPath(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return diff.Stack{}, fmt.Errorf("find %s: %w; name the id of a running process", t.name, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return diff.Stack{}, pathError("stat", t.path, err, "run as root, or as the user and in the user namespace of the process")
	case err != nil:
		return diff.Stack{}, pathError("stat", t.path, err, "name the id of a running process")
	}
	s, err := t.stack(ctx, proc+"/mountinfo", mountpoint)
	ids, idsErr := ProcessIDs(pid)
	if idsErr != nil && err == nil {
		err = fmt.Errorf("find the owners in the layers of %s: %w; run as root", t.name, idsErr)
	}
	s.Container = ids
	return s, err
}

// target is what a stack is to be found for.
type target struct {
	name string // for errors
	path string // leads to the root of the mount
	root stat
	pid  int    // whose table it is; 0 if it is that of this process
	lost string // what it means if the mount is not in the table, and the remedy
	info *mountinfo.Info
}

// stack finds the mount of t in the mount table, in which its mount point
// reads point, and resolves its layers.
func (t target) stack(ctx context.Context, table, point string) (diff.Stack, error) {
	id := strconv.FormatUint(t.root.Mnt_id, 10)
	infos, err := readTable(table, func(line []byte) bool { return bytes.HasPrefix(line, []byte(id+" ")) })
	if err != nil {
		return diff.Stack{}, fmt.Errorf("read the mount table: %w; is /proc mounted?", err)
	}
	if len(infos) == 0 {
		return diff.Stack{}, fmt.Errorf("find the overlay at %s: %s", t.name, t.lost)
	}
	t.info = infos[0]
	isRoot := t.root.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	if t.root.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 { // before Linux 5.8
		isRoot = t.info.Mountpoint == point
	}
	switch {
	case t.info.FSType != "overlay":
		return diff.Stack{}, &NotOverlayError{Mount: t.name, Type: t.info.FSType}
	case t.info.Root != "/":
		return diff.Stack{}, fmt.Errorf("find the overlay at %s: only the directory %s of an overlay is mounted there: name %s", t.name, diff.QuotePath(t.info.Root), t.wholeMount())
	case !isRoot:
		return diff.Stack{}, fmt.Errorf("find the overlay at %s: it is inside an overlay but not its mount point: name %s", t.name, diff.QuotePath(t.info.Mountpoint))
	}
	return t.resolve(ctx)
}

// wholeMount returns where all of the overlay is mounted, for a remedy.
func (t target) wholeMount() string {
	if points := t.mountpoints(); len(points) > 0 {
		return diff.QuotePath(points[0])
	}
	return "the mount point of the whole overlay"
}

// mountpoints returns at which paths of the caller's namespace the overlay is
// mounted as a whole: every mount of it has the same device number.
func (t target) mountpoints() []string {
	dev := fmt.Sprintf(" %d:%d / ", t.info.Major, t.info.Minor)
	infos, err := readTable(ownTable(), func(line []byte) bool { return bytes.Contains(line, []byte(dev)) })
	if err != nil {
		return nil
	}
	var points []string
	for _, m := range infos {
		if m.FSType == "overlay" && m.Major == t.info.Major && m.Minor == t.info.Minor && m.Root == "/" {
			points = append(points, m.Mountpoint)
		}
	}
	return points
}

// ownTable returns the mount table of the calling thread, which may have a
// namespace of its own. thread-self exists since Linux 3.17.
func ownTable() string { return "/proc/thread-self/mountinfo" }

// parseLine parses a line. The library gives up at 64 KiB, so what may be long is put
// in after it; of the options it would undo the escapes.
func parseLine(line string) (*mountinfo.Info, error) {
	const root, point = 3, 4 // proc(5), "/proc/PID/mountinfo"
	fields := strings.Split(line, " ")
	long := map[int]string{len(fields) - 1: fields[len(fields)-1]}
	for i, field := range fields {
		if len(field) > 4096 {
			long[i] = field
		}
	}
	for i := range long {
		fields[i] = "/"
	}
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(strings.Join(fields, " ")), nil)
	if err != nil {
		return nil, err
	}
	if len(infos) != 1 {
		return nil, errors.New("a line of it is cut off")
	}
	info := infos[0]
	info.VFSOptions = long[len(fields)-1]
	if field, ok := long[root]; ok {
		info.Root = octal(field, false)
	}
	if field, ok := long[point]; ok {
		info.Mountpoint = octal(field, false)
	}
	return info, nil
}

// readTable parses those lines of a mount table that pick wants. They may be of any
// length: paths in them are of directories, which have no longest one, and options
// of layers (lowerdir+).
func readTable(path string, pick func(line []byte) bool) ([]*mountinfo.Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTable(f, pick)
}

func parseTable(f io.Reader, pick func(line []byte) bool) ([]*mountinfo.Info, error) {
	var infos []*mountinfo.Info
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 && pick(line) {
			one, err := parseLine(strings.TrimSuffix(string(line), "\n"))
			if err != nil {
				return nil, err
			}
			infos = append(infos, one)
		}
		switch {
		case err == io.EOF:
			return infos, nil
		case err != nil:
			return nil, err
		}
	}
}

type stat struct{ unix.Statx_t }

// statPath follows symbolic links and always tells the id of the mount.
func statPath(path string) (stat, error) {
	var s stat
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	err := sys.Retry(func() error { return unix.Statx(unix.AT_FDCWD, path, 0, mask, &s.Statx_t) })
	if err != nil || s.Mask&unix.STATX_MNT_ID != 0 {
		return s, err
	}
	s.Mnt_id, err = oldMountID(path)
	return s, err
}

// oldMountID does for kernels before 5.8 what STATX_MNT_ID does: a descriptor's
// entry in /proc has told the id since 3.15.
func oldMountID(path string) (uint64, error) {
	fd, err := sys.Open(unix.AT_FDCWD, path, unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	b, err := os.ReadFile("/proc/thread-self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	_, id, _ := strings.Cut(string(b), "mnt_id:")
	id, _, _ = strings.Cut(id, "\n")
	return strconv.ParseUint(strings.TrimSpace(id), 10, 64)
}

func (s *stat) isDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

func (s *stat) dev() uint64 { return unix.Mkdev(s.Dev_major, s.Dev_minor) }
