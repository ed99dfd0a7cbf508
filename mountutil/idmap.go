//go:build linux

package mountutil

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// mapper makes id-mapped copies of the mounts of layers.
type mapper struct {
	owners map[string]diff.IDMap // by path of the layer
	made   []userNamespace
	copies []*os.File // closed by who got them
}

type userNamespace struct {
	ids  diff.IDMap
	file *os.File
}

// mapped returns dir, which has the path in the stack, or instead an id-mapped copy of
// it, which must be attached before it can be a layer.
func (m *mapper) mapped(dir *os.File, path string) (*os.File, error) {
	ids := m.owners[path]
	if ids.IsZero() {
		return dir, nil
	}
	defer dir.Close()
	ns, err := m.namespace(ids)
	if err != nil {
		return nil, unmapped(path, err)
	}
	fd, err := sys.IDMappedCopy(int(dir.Fd()), int(ns.Fd()))
	if err != nil {
		return nil, unmapped(path, err)
	}
	clone := os.NewFile(uintptr(fd), path)
	m.copies = append(m.copies, clone)
	return clone, nil
}

// attach mounts the copies at point, one over the other: an overlay accepts layers in its
// mounter's namespace only. No path leads to point's own content any more.
func (m *mapper) attach(point string) error {
	for _, c := range m.copies {
		if err := sys.Attach(int(c.Fd()), point); err != nil {
			return mountError("attach the id-mapped layer "+diff.QuotePath(c.Name()), err)
		}
	}
	return nil
}

// unmapped says why a layer can't be shown with the owners that the overlay shows.
func unmapped(path string, err error) error {
	reason := err.Error()
	switch {
	case errors.Is(err, unix.ENOSYS):
		reason = "id-mapped mounts came with Linux 5.12, and layers of overlays that are with 5.19"
	case errors.Is(err, unix.EINVAL):
		reason = "the kernel has no id-mapped mounts of its file system: compare natively, or where the overlay is mounted"
	case errors.Is(err, unix.EPERM):
		reason = "it is on an id-mapped mount already, or this process may not map ids: run as root of the node, and name the layer where it is not mapped"
	}
	return &diff.UnsupportedError{Op: "map the owners in the layer " + diff.QuotePath(path), Reason: reason, Err: err}
}

// namespace returns a user namespace with these ids.
func (m *mapper) namespace(ids diff.IDMap) (*os.File, error) {
	for _, ns := range m.made {
		if ns.ids.Equal(ids) {
			return ns.file, nil
		}
	}
	f, err := sys.NewUserNamespace(procMap(ids.Users), procMap(ids.Groups))
	if err == nil {
		m.made = append(m.made, userNamespace{ids, f})
	}
	return f, err
}

func (m *mapper) close() {
	for _, ns := range m.made {
		ns.file.Close()
	}
	m.made = nil
}

// procMap returns the lines of /proc/PID/uid_map.
func procMap(ranges []diff.IDRange) []syscall.SysProcIDMap {
	if len(ranges) == 0 { // every id is its own
		return []syscall.SysProcIDMap{{Size: math.MaxUint32}}
	}
	var lines []syscall.SysProcIDMap
	for _, r := range ranges {
		lines = append(lines, syscall.SysProcIDMap{ContainerID: int(r.Container), HostID: int(r.Host), Size: int(r.Size)})
	}
	return lines
}
