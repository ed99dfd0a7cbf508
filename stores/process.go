//go:build linux

package stores

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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
	table, uid, err := mountTable(pid)
	switch {
	case err == nil && !m.eyes.owns(uid):
		c.State = Exited
		return
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH), errors.Is(err, syscall.EINVAL): // EINVAL: a zombie
		c.State = Exited
		return
	case err == nil && c.RW.Dir != "" && !c.runs(string(table), m.defaults):
		c.State = Exited
		return
	}
	c.PID, c.State = pid, state
}

// mountTable returns the mount table of a process, and whose the process is. Both are
// read through one directory of /proc, which never becomes another process's.
func mountTable(pid int) (table []byte, uid uint32, err error) {
	path := "/proc/" + strconv.Itoa(pid)
	dir, err := sys.OpenDir(path)
	if err != nil {
		return nil, 0, err
	}
	defer sys.Close(dir)
	var st sys.Stat
	if err := sys.StatAt(dir, "", sys.StatAll, &st); err != nil {
		return nil, 0, err
	}
	fd, err := sys.OpenFileAt(dir, "mountinfo")
	if err != nil {
		return nil, 0, err
	}
	f := os.NewFile(uintptr(fd), path+"/mountinfo")
	defer f.Close()
	table, err = readAll(f, f.Name(), maxObject)
	return table, st.UID, err
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
