//go:build linux

package mountutil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Overlay is a mounted overlay, as a mount table has it.
type Overlay struct {
	// PID is 0 if it is mounted in the caller's mount namespace, else a process in
	// the namespace where it is.
	PID        int
	Mountpoint string // as that process sees it
	Upper      string // the upper directory as it was mounted; "" without one
}

// Overlays lists the overlays that are mounted as a whole in any mount namespace
// that has a process, each once: the caller's own first.
//
// With an error, which matches [fs.ErrPermission] if processes may not be looked
// at, it returns what it found nonetheless. A process that ends meanwhile is none.
func Overlays(ctx context.Context) ([]Overlay, error) {
	var f finder
	if err := f.table(0, ownTable()); err != nil {
		return nil, fmt.Errorf("read the mount table: %w; is /proc mounted?", err)
	}
	own, _ := os.Readlink("/proc/thread-self/ns/mnt")
	seen := map[string]bool{own: true}
	proc, err := os.Open("/proc")
	if err != nil {
		return f.list, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	denied, one := 0, 0
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pid, e := strconv.Atoi(name)
		if e != nil {
			continue
		}
		ns, e := os.Readlink("/proc/" + name + "/ns/mnt")
		if e == nil && ns == "" {
			e = fs.ErrPermission // as Linux 5.10 says it
		}
		if e == nil && seen[ns] {
			continue
		}
		if e == nil {
			seen[ns] = true
			e = f.table(pid, "/proc/"+name+"/mountinfo")
		}
		switch {
		case errors.Is(e, fs.ErrPermission):
			denied++
			one = pid
		case e != nil && !ended(e):
			err = errors.Join(err, e)
		case e != nil:
			delete(seen, ns) // another process may tell
		}
	}
	if _, e := os.Lstat("/proc/1"); errors.Is(e, fs.ErrNotExist) { // which every /proc has
		err = errors.Join(err, fmt.Errorf("look for overlays in the mount namespaces of processes: those of others are hidden (/proc is mounted with hidepid): %w; run as root of the node", fs.ErrPermission))
	}
	if denied > 0 {
		err = errors.Join(err, fmt.Errorf("look for overlays in the mount namespaces of processes (%d, as pid:%d): %w; run as root of the node", denied, one, fs.ErrPermission))
	}
	return f.list, err
}

// MountsOf returns where overlays are mounted in the caller's mount namespace that were
// mounted with an upper directory, each once.
func MountsOf(upper string) ([]string, error) {
	own, err := os.Stat(upper)
	if err != nil {
		return nil, err
	}
	var f finder
	if err := f.table(0, ownTable()); err != nil {
		return nil, fmt.Errorf("read the mount table: %w; is /proc mounted?", err)
	}
	var points []string
	for _, o := range f.list {
		if its, err := os.Stat(o.Upper); err == nil && os.SameFile(own, its) {
			points = append(points, o.Mountpoint)
		}
	}
	return points, nil
}

// ended reports whether err says that a process is gone, or is a zombie.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

type finder struct {
	list []Overlay
	seen map[[2]int]bool // by device: every overlay has its own
}

// table adds the overlays of a process's mount table.
func (f *finder) table(pid int, path string) error {
	infos, err := readTable(path, func(line []byte) bool { return bytes.Contains(line, []byte(" - overlay ")) })
	if err != nil {
		return err
	}
	if f.seen == nil {
		f.seen = map[[2]int]bool{}
	}
	for _, m := range infos {
		device := [2]int{m.Major, m.Minor}
		if m.FSType != "overlay" || m.Root != "/" || f.seen[device] {
			continue
		}
		f.seen[device] = true
		o := Overlay{PID: pid, Mountpoint: m.Mountpoint}
		if options, err := ParseMountinfo(m.VFSOptions); err == nil {
			o.Upper = options.Upper
		}
		f.list = append(f.list, o)
	}
	return nil
}
