//go:build linux

package mountutil

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/internal/witness"
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
		err = mounting.MapIDs(int(tree.Fd()), int(ns.Fd()))
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
	users, err := procMap(ids.Users)
	if err != nil {
		return nil, err
	}
	groups, err := procMap(ids.Groups)
	if err != nil {
		return nil, err
	}
	f, err := sys.NewUserNamespace(users, groups)
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

// procMap returns the lines of /proc/PID/uid_map. On a 32-bit architecture, where Go's type
// holds no id of 2^31 or more, a range that reaches there is an error.
func procMap(ranges []diff.IDRange) (lines []syscall.SysProcIDMap, err error) {
	if len(ranges) == 0 { // every id is its own
		ranges = []diff.IDRange{{Size: math.MaxUint32}}
	}
	for _, r := range ranges {
		if uint64(max(r.Container, r.Host, r.Size)) > math.MaxInt {
			return nil, fmt.Errorf("a 32-bit program can't map ids of 2^31 or more, as in %d:%d:%d", r.Container, r.Host, r.Size)
		}
		lines = append(lines, syscall.SysProcIDMap{ContainerID: int(r.Container), HostID: int(r.Host), Size: int(r.Size)})
	}
	return lines, nil
}

// CheckOwners returns an [OwnersError] if the maps of a stack that was resolved from a mount
// contradict what the mount showed then, or if s.Owners is nil, so that nobody said how the
// layers are mapped, and what it showed is no proof that they are not: set s.Owners and call
// it again. Of other stacks nothing is known, so they pass.
func CheckOwners(s diff.Stack) error {
	p, ok := s.Opener.(*proven)
	if !ok {
		return nil
	}
	for _, layer := range append([]string{s.Upper}, s.Lower...) {
		if dir := p.dirs[layer]; s.Owners == nil && dir.copied.Path != "" {
			return ownersError(p.mount, layer, dir.copied, true)
		}
		for _, o := range p.dirs[layer].owners {
			if shownAs("uid", s.Owners[layer].Users, o.UID, o.ShownUID) && shownAs("gid", s.Owners[layer].Groups, o.GID, o.ShownGID) {
				continue
			}
			return ownersError(p.mount, layer, o, false)
		}
	}
	return nil
}

func ownersError(mount, layer string, o witness.Owner, copied bool) error {
	return &OwnersError{
		Mount: mount, Layer: layer, Path: o.Path, UID: o.UID, GID: o.GID, ShownUID: o.ShownUID, ShownGID: o.ShownGID, Copied: copied,
	}
}

// shownAs reports whether a mount with these ids may show a stored id so.
func shownAs(kind string, ids []diff.IDRange, stored, shown uint32) bool {
	if sys.LacksID(kind, stored) {
		return true
	}
	host, ok := diff.HostID(ids, stored)
	if !ok {
		host = sys.OverflowID(kind)
	}
	return host == shown
}

// ProcessIDs returns which ids the user namespace of a process has: the container's, and
// what they are in the caller's own user namespace. It is zero if that is the same one.
//
// Errors match [fs.ErrNotExist] if there is no such process.
func ProcessIDs(pid int) (diff.IDMap, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	its, err := os.Readlink(dir + "/ns/user")
	own, ownErr := os.Readlink("/proc/self/ns/user")
	if err == nil && ownErr == nil && its == own {
		return diff.IDMap{}, nil
	}
	var ids diff.IDMap
	for _, m := range []struct {
		name string
		to   *[]diff.IDRange
	}{{"/uid_map", &ids.Users}, {"/gid_map", &ids.Groups}} {
		text, err := os.ReadFile(dir + m.name)
		if err != nil {
			return diff.IDMap{}, err
		}
		if *m.to, err = ParseIDMap(string(text)); err != nil {
			return diff.IDMap{}, fmt.Errorf("read %s%s: %w", dir, m.name, err)
		}
	}
	return ids, nil
}

// ParseIDMap reads the ranges of an id map: lines as of /proc/PID/uid_map, or
// CONTAINER:HOST:SIZE[,…], as containerd writes them in labels and mount options. If every
// id is its own there are none.
func ParseIDMap(text string) (ids []diff.IDRange, err error) {
	text = strings.NewReplacer(":", " ", ",", "\n").Replace(strings.TrimSuffix(text, "\n"))
	if text == "" {
		return nil, nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		r, err := parseIDRange(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("the range %q of an id map: %w", line, err)
		}
		ids = append(ids, r)
	}
	if slices.Equal(ids, []diff.IDRange{{Size: math.MaxUint32}}) {
		return nil, nil
	}
	return ids, nil
}

func parseIDRange(numbers []string) (r diff.IDRange, err error) {
	to := []*uint32{&r.Container, &r.Host, &r.Size}
	if len(numbers) != len(to) {
		return r, errors.New("it has not three numbers")
	}
	for i, text := range numbers {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return r, err
		}
		*to[i] = uint32(n)
	}
	return r, nil
}
