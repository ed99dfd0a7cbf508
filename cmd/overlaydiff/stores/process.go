//go:build linux

package stores

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/freeze"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// setProcess is told by files that the container's first process is pid. A
// machine that went down leaves such files behind, and the number may be another
// process's by now: it is the right one if its root is this overlay. Then the
// features are those of the mount. If that can't be found out, files are believed. A
// user's files are not believed about a process of another user.
func (c *Container) setProcess(pid int, state State, m mounter) {
	if pid <= 0 {
		return
	}
	p, err := openProcess(pid)
	var table []byte
	if err == nil {
		defer p.close()
		table, err = p.read("mountinfo")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH), errors.Is(err, syscall.EINVAL), // EINVAL: a zombie
		p != nil && !m.eyes.owns(p.uid),
		err == nil && c.RW.Dir != "" && !c.runs(string(table), m.defaults) && !c.owns(p):
		c.State = Exited
		return
	}
	c.PID, c.State = pid, state
	if state == Running && p.frozen(m.eyes.node) {
		c.State = Paused
	}
	if ids, err := mountutil.ProcessIDs(pid); err == nil && !ids.IsZero() {
		c.Stack.Container = ids
	}
}

// process is an open directory of /proc: it never becomes that of another process which
// gets the number.
type process struct {
	dir  int
	path string
	uid  uint32 // whose it is
}

func openProcess(pid int) (*process, error) {
	p := &process{path: "/proc/" + strconv.Itoa(pid)}
	var err error
	if p.dir, err = sys.OpenDir(p.path); err != nil {
		return nil, err
	}
	var st sys.Stat
	if err := sys.StatAt(p.dir, "", sys.StatAll, &st); err != nil {
		p.close()
		return nil, err
	}
	p.uid = st.UID
	return p, nil
}

func (p *process) close() { sys.Close(p.dir) }

// read returns what a file of the process has.
func (p *process) read(name string) ([]byte, error) {
	fd, err := sys.OpenFileAt(p.dir, name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p.path+"/"+name)
	defer f.Close()
	return readAll(f, f.Name(), maxObject)
}

// runs reports whether a process with that mount table has the overlay as its
// root, and takes the features from there.
func (c *Container) runs(table string, defaults mountutil.Defaults) bool {
	if c.RW.SnapshotKey != "" && len(c.Stack.Lower) == 0 {
		return true // no overlay, but the directory itself is mounted
	}
	fstype, super := rootMount(table)
	if strings.HasPrefix(fstype, "fuse") { // fuse-overlayfs shows no layers
		return c.Fuse
	}
	o, err := mountutil.ParseMountinfo(super)
	if err != nil || fstype != "overlay" || layerName(o.Upper) != layerName(c.RW.Dir) {
		return false
	}
	if c.Stack.Upper != "" {
		live := o.Stack(defaults)
		c.Stack.Features, c.Stack.Unknown = live.Features, live.Unknown
	}
	return true
}

// owns reports whether a process is in a control group of the container's, which every
// runtime names by the container's id. Its root may be another directory than the layer in
// the store all the same: that of --rootfs.
func (c *Container) owns(p *process) bool {
	groups, err := p.read("cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(groups)) {
		path := strings.TrimSuffix(line, "\n")
		if c.ID != "" && strings.HasSuffix(path, "/"+c.ID) || len(c.ID) >= 12 && strings.Contains(path, c.ID) {
			return true
		}
	}
	return false
}

// OwnsProcess reports whether PID is a process in a control group that is named by the
// container's id, so that its mounts are the container's, whatever the store says.
func (c *Container) OwnsProcess() bool {
	if c.PID <= 0 {
		return false
	}
	p, err := openProcess(c.PID)
	if err != nil {
		return false
	}
	defer p.close()
	return c.owns(p)
}

// frozen reports whether the process's control group is frozen: that is how all runtimes
// pause a container. The hierarchies are mounted below node, or else here; the format is in
// cgroups(7).
func (p *process) frozen(node string) bool {
	groups, err := p.read("cgroup")
	if err != nil {
		return false
	}
	return frozenIn(node, string(groups)) || node != "/" && frozenIn("/", string(groups))
}

func frozenIn(node, groups string) bool {
	return slices.ContainsFunc(freeze.Groups(groups), func(g freeze.Group) bool {
		state, err := eyesOf(node).readWord(filepath.Join(node, g.Dir, g.StateFile()))
		return err == nil && g.IsFrozen(state)
	})
}

// layerName returns the name of the directory that has an upper directory: the
// path may be relative in the mount table.
func layerName(upper string) string { return filepath.Base(filepath.Dir(upper)) }

// rootMount returns the type of a mount table's root and its options, those of
// the topmost mount there. The format is in proc(5).
func rootMount(table string) (fstype, super string) {
	for line := range strings.Lines(table) {
		mount, device, _ := strings.Cut(line, " - ")
		m, d := strings.Fields(mount), strings.SplitN(strings.TrimSuffix(device, "\n"), " ", 3)
		if len(m) > 4 && m[4] == "/" && len(d) == 3 {
			fstype, super = d[0], d[2]
		}
	}
	return fstype, super
}
