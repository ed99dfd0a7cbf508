//go:build linux

package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// overlaysOf lists the overlays that are mounted. Where the root of another mount namespace is
// mounted, as that of the node in a container, what is mounted below it belongs to a process
// there, in whose namespace the paths in the mount table lead to the layers.
func overlaysOf(ctx context.Context, root string) ([]mountutil.Overlay, error) {
	list, err := mountutil.Overlays(ctx)
	above := filepath.Clean(root) + "/"
	below := func(o mountutil.Overlay) bool { return o.PID == 0 && strings.HasPrefix(o.Mountpoint, above) }
	if root == "/" || !slices.ContainsFunc(list, below) {
		return list, err
	}
	pid := rootProcess(root)
	for i, o := range list {
		if pid != 0 && below(o) {
			list[i].PID, list[i].Mountpoint = pid, "/"+strings.TrimPrefix(o.Mountpoint, above)
		}
	}
	return list, err
}

// rootProcess returns a process of root's whose root is that directory, the first one if it may
// be looked at; 0 if there is none.
func rootProcess(root string) int {
	is := func(pid int) bool { return hasRoot(pid, root) && processOwner(pid) == 0 }
	if is(1) {
		return 1
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && is(pid) {
			return pid
		}
	}
	return 0
}

// hasRoot reports whether a process, this one if pid is 0, has its root at a path.
func hasRoot(pid int, path string) bool {
	if pid == 0 {
		return path == "/"
	}
	wanted, err := os.Stat(path)
	if err != nil {
		return false
	}
	root, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root/.")
	return err == nil && os.SameFile(root, wanted)
}

// under returns where a path of a node is, whose root is mounted at root.
func under(root, path string) string {
	if path == "" {
		return ""
	}
	return filepath.Join(root, path)
}

func uppers(overlays []mountutil.Overlay) []string {
	var list []string
	for _, o := range overlays {
		list = append(list, o.Upper)
	}
	return list
}

// mounts adds the mounted overlays with an upper directory, but for those that stores
// have, which are known by it already.
func (l *lister) mounts(ctx context.Context, overlays []mountutil.Overlay) {
	paths := maps.Clone(l.paths)
	for _, o := range overlays {
		known, ok := paths[o.Upper]
		if !ok {
			known, ok = paths[under(l.root, o.Upper)]
		}
		owner := l.owner(processOwner(o.PID))
		if l.OwnOnly && !own(owner) {
			continue
		}
		if ok && l.list[known].State == stores.Unknown && l.list[known].Owner == owner {
			l.list[known].State = mounted
		}
		// A path in another namespace may be another directory.
		if o.Upper == "" || o.PID == 0 && ok {
			continue
		}
		if l.full(owner) {
			l.leftOut++
			continue
		}
		c := stores.Container{Runtime: Mounted, Owner: owner, State: mounted, PID: o.PID, Name: o.Mountpoint}
		if o.PID != 0 {
			c.Name = fmt.Sprintf("pid:%d", o.PID)
			if o.Mountpoint != "/" {
				c.Name += ":" + o.Mountpoint
			}
		}
		c.Stack, c.Err = stackOf(ctx, o)
		c.ID = c.Name
		c.RW, c.Layers = mountedLayers(c.Stack)
		l.add(c)
	}
}

// processOwner returns whose a process is, in whose mount namespace an overlay is. In
// the caller's own namespace, 0, root alone mounts overlays.
func processOwner(pid int) uint32 {
	if pid == 0 {
		return 0
	}
	const unmapped = 65534 // it ended; nobody is root for that
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return unmapped
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unmapped
	}
	return st.Uid
}
