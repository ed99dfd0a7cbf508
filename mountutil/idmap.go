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

// mapper makes id-mapped mounts of layers.
type mapper struct {
	owners map[string]diff.IDMap // by path of the layer
	made   []userNamespace
}

type userNamespace struct {
	ids  diff.IDMap
	file *os.File
}

// maps reports whether the owners in the layer at path are shown in another way than they
// are stored.
func (m *mapper) maps(path string) bool { return !m.owners[path].IsZero() }

// set maps the owners of a detached mount of the layer at path.
func (m *mapper) set(tree *os.File, path string) error {
	ns, err := m.namespace(m.owners[path])
	if err == nil {
		err = sys.MapIDs(int(tree.Fd()), int(ns.Fd()))
	}
	return cannotMap(path, err)
}

// cannotMap says why a layer can't be shown with the owners that the overlay shows.
func cannotMap(path string, err error) error {
	if err == nil {
		return nil
	}
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
