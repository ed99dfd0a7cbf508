//go:build linux

package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"syscall"

	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/stores"
)

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
		owner := l.owner(processOwner(o.PID))
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
