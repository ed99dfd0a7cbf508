//go:build linux

package freeze

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// held is the open directory of a control group: it never becomes that of another group
// which gets the name.
type held struct {
	Group
	dir *os.File
}

// find opens the control group of a container's processes.
func find(t Target) (*held, error) {
	what := fmt.Sprintf("process %d", t.PID)
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", t.PID))
	if err != nil {
		return nil, refusal(what, "its control group is not known: "+err.Error(), err)
	}
	refused := error(fs.ErrNotExist)
	for _, g := range choose(Groups(string(table)), t.ID) {
		for _, root := range []string{t.Root, "/"} {
			h, err := open(filepath.Join(root, g.Dir), g)
			if err == nil {
				return h, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				refused = err
			}
		}
	}
	return nil, refusal(what, "it is in no control group with a freezer here ("+refused.Error()+"): run on the node itself, with control groups mounted at /sys/fs/cgroup, or give the process a group of its own", refused)
}

// choose returns the groups of the container's processes that can be frozen, best first: those
// that its id names if there are any, and never the root group, which has no freezer.
func choose(groups []Group, id string) (list []Group) {
	var others []Group
	for _, g := range groups {
		g, named := g.of(id)
		switch {
		case g.path == "/":
		case named:
			list = append(list, g)
		default:
			others = append(others, g)
		}
	}
	if len(list) == 0 {
		return others
	}
	return list
}

func open(path string, g Group) (*held, error) {
	fd, err := sys.OpenDir(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	h := &held{Group: g, dir: os.NewFile(uintptr(fd), path)}
	if !sys.IsCgroup(fd) {
		h.dir.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if _, err := readAt(fd, h.StateFile()); err != nil {
		h.dir.Close()
		return nil, &fs.PathError{Op: "read", Path: path + "/" + h.StateFile(), Err: err}
	}
	return h, nil
}

// set asks for the group to be frozen or thawed. All that is below it follows.
func (h *held) set(frozen bool) error {
	path := h.dir.Name() + "/" + h.StateFile()
	fd, err := sys.OpenWriteAt(int(h.dir.Fd()), h.StateFile(), false)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	_, err = f.WriteString(h.word(frozen))
	return err
}

// frozen reports whether all processes of the group stand still, whoever asked for it.
func (h *held) frozen() (bool, error) {
	if !h.V2 {
		state, err := readAt(int(h.dir.Fd()), h.StateFile())
		return h.IsFrozen(state), err
	}
	events, err := readAt(int(h.dir.Fd()), "cgroup.events")
	return strings.Contains("\n"+events+"\n", "\nfrozen 1\n"), err
}

// asked reports whether this group, not one above it, is frozen or about to be.
func (h *held) asked() (bool, error) {
	file, yes := h.StateFile(), h.word(true)
	if !h.V2 {
		file, yes = "freezer.self_freezing", "1"
	}
	word, err := readAt(int(h.dir.Fd()), file)
	return word == yes, err
}

// readAt returns what a file in a directory of control groups has. The kernel writes it.
func readAt(dir int, name string) (string, error) {
	fd, err := sys.OpenFileAt(dir, name)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var b strings.Builder
	_, err = f.WriteTo(&b)
	return strings.TrimSpace(b.String()), err
}

func (h *held) String() string { return diff.QuotePath(h.dir.Name()) }
