//go:build linux

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Mounted is the runtime of an overlay that is mounted and that no store knows.
const Mounted stores.Runtime = "mount"

// mounted is the state of an overlay of which no more is known.
const mounted stores.State = "mounted"

// List returns the containers of all stores below root ("/"), and then the other
// overlays that are mounted with an upper directory, in any mount namespace.
//
// The errors say what could not be looked at; what is wrong with one container
// is in its Err. Only a cancelled context leaves nothing.
func List(ctx context.Context, root string) ([]stores.Container, []error) {
	l := Bounds{}.List(ctx, root)
	return l.Containers, l.Errs
}

// Bounds say how much of a machine is listed at most. Containers in stores of users are
// left out before others. The zero value has no bounds.
type Bounds struct {
	Containers int // in all; 0: all
	OfUser     int // in the stores of one user, of these; 0: all
	// OwnOnly: what the caller has alone is listed, and it is no error that others' may not be
	// looked at.
	OwnOnly bool
}

// Listed is what was found on a machine.
type Listed struct {
	Containers []stores.Container
	LeftOut    int // containers that exceed the bounds
	Errs       []error
}

// List is [List] within bounds.
func (b Bounds) List(ctx context.Context, root string) Listed {
	overlays, unseen := overlaysOf(ctx, root)
	found, err := stores.Find(ctx, root, uppers(overlays)...)
	var errs []error
	for _, err := range []error{err, unseen} {
		if err != nil && !(b.OwnOnly && errors.Is(err, fs.ErrPermission)) {
			errs = append(errs, err)
		}
	}
	l := lister{Bounds: b, root: root, ofUser: map[uint32]int{}, uppers: map[inode]bool{}, paths: map[string]int{}, owner: stores.Owners(root)}
	for _, s := range found {
		containers, err := settled(ctx, s)
		if err != nil && !(b.OwnOnly && errors.Is(err, fs.ErrPermission)) {
			errs = append(errs, err)
		}
		for _, c := range containers {
			if b.OwnOnly && !own(c.Owner) {
				continue
			}
			word := c.Stack.Upper
			if !l.full(c.Owner) {
				hold(ctx, root, &c, overlays)
			}
			l.add(c)
			at, ok := l.paths[c.Stack.Upper]
			if _, known := l.paths[word]; ok && !known && word != "" {
				l.paths[word] = at // as the mount table has it
			}
		}
	}
	l.mounts(ctx, overlays)
	if err := ctx.Err(); err != nil {
		return Listed{Errs: []error{err}}
	}
	return Listed{Containers: l.bounded(), LeftOut: l.leftOut, Errs: errs}
}

// settled lists the containers of a store. One that is being made or removed may
// lack files: it is listed so only if that stays.
func settled(ctx context.Context, s stores.Store) ([]stores.Container, error) {
	const tries = 3
	for try := 1; ; try++ {
		list, err := s.Containers(ctx)
		half := errors.Is(err, fs.ErrNotExist) || slices.ContainsFunc(list, func(c stores.Container) bool {
			return errors.Is(c.Err, fs.ErrNotExist)
		})
		if !half || try == tries || ctx.Err() != nil {
			return list, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type inode struct{ dev, ino uint64 }

// lister collects containers. Two stores may have one: Docker, and the containerd
// that keeps its layers.
type lister struct {
	Bounds
	list    []stores.Container
	ofUser  map[uint32]int // by the user's id
	leftOut int

	root   string
	uppers map[inode]bool
	paths  map[string]int // where in list one is, by the name of its upper directory
	owner  func(uid uint32) stores.Owner
}

func (l *lister) add(c stores.Container) {
	if l.full(c.Owner) {
		l.leftOut++
		return
	}
	l.ofUser[c.Owner.UID]++
	if errors.As(c.Err, new(*mountutil.OwnersError)) { // sizes don't depend on owners
		c.Err = nil
	}
	if upper := c.Stack.Upper; upper != "" {
		i, ok := upperInode(c.Stack)
		if ok && l.uppers[i] {
			return
		}
		l.uppers[i] = ok
		if _, known := l.paths[upper]; !known {
			l.paths[upper] = len(l.list)
		}
	}
	l.list = append(l.list, c)
}

// full reports whether no more of a user's containers is listed.
func (l *lister) full(o stores.Owner) bool {
	return o.UID != 0 && l.OfUser > 0 && l.ofUser[o.UID] >= l.OfUser
}

// bounded leaves out what exceeds the bounds, users' containers first.
func (l *lister) bounded() []stores.Container {
	if l.Bounds.Containers == 0 || len(l.list) <= l.Bounds.Containers {
		return l.list
	}
	slices.SortStableFunc(l.list, func(a, b stores.Container) int { return byOwner(a.Owner, b.Owner) })
	l.leftOut += len(l.list) - l.Bounds.Containers
	return l.list[:l.Bounds.Containers]
}

func own(o stores.Owner) bool { return o.UID == uint32(os.Geteuid()) }

// byOwner puts root's before those of users.
func byOwner(a, b stores.Owner) int { return cmp.Compare(a.UID, b.UID) }

// SortByOwner sorts by owner, root's first, and then by name.
func SortByOwner(list []Measured) {
	slices.SortStableFunc(list, func(a, b Measured) int {
		return cmp.Or(byOwner(a.Owner, b.Owner), cmp.Compare(a.Runtime, b.Runtime), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

func upperInode(s diff.Stack) (inode, bool) {
	f, err := mountutil.Open(s, s.Upper)
	if err != nil {
		return inode{}, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return inode{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{st.Dev, st.Ino}, true
}

// Resolve finds one container by its name or the beginning of its id, in the
// stores below root.
func Resolve(ctx context.Context, root, nameOrID string) (stores.Container, error) {
	overlays, _ := overlaysOf(ctx, root)
	found, err := stores.Find(ctx, root, uppers(overlays)...)
	if ctx.Err() != nil {
		return stores.Container{}, ctx.Err()
	}
	c, missing := stores.Resolve(ctx, found, nameOrID)
	if missing == nil {
		hold(ctx, root, &c, overlays)
	}
	if missing != nil && err != nil {
		return c, fmt.Errorf("%w; and %w", missing, err)
	}
	return c, missing
}

// SortBySize sorts by SizeRw, largest first; those without a size come last.
func SortBySize(list []Measured) {
	slices.SortStableFunc(list, func(a, b Measured) int {
		switch {
		case (a.Err == nil) != (b.Err == nil):
			if a.Err == nil {
				return -1
			}
			return 1
		case a.SizeRw != b.SizeRw:
			if a.SizeRw > b.SizeRw {
				return -1
			}
			return 1
		}
		return 0
	})
}
