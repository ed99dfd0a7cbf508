//go:build linux

package node

import (
	"context"
	"errors"
	"os"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// hold holds what a store's files say of a container's layers against the overlay that is
// mounted for it. The mount counts. Nothing is said of the store's layer if the container's
// root is no overlay.
func hold(ctx context.Context, root string, c *stores.Container, overlays []mountutil.Overlay) {
	if errors.As(c.Err, new(*diff.UnsupportedError)) && c.RW.Dir == "" {
		adopt(ctx, c)
		return
	}
	if c.Fuse || c.Err != nil || c.Stack.Upper == "" || len(c.Stack.Lower) == 0 {
		return
	}
	s, err := mountOf(ctx, root, c, overlays)
	var no *mountutil.NotOverlayError
	var layer *mountutil.LayerError
	switch {
	case errors.As(err, &no):
		c.Err = &diff.UnsupportedError{
			Op:     "find the layers of container " + diff.QuotePath(c.Name),
			Reason: "its root is on " + no.Type + ", not an overlay of the layer in its store",
		}
		c.Stack, c.RW, c.Init, c.Layers = diff.Stack{}, stores.Layer{Size: -1}, stores.Layer{}, nil
	case errors.As(err, &layer):
		c.Stack, c.Err = s, err // of the mount, of which the upper directory is known at most
	case err != nil && !errors.As(err, new(*mountutil.OwnersError)) || s.Mountpoint == "": // not mounted, or not to be looked at: the files count
	case alike(c.Stack, s):
		said := c.Stack
		c.Stack = mountutil.Rename(s, said.Upper, said.Lower)
		c.Stack.Owners = said.Owners
		if c.Stack.Container.IsZero() {
			c.Stack.Container = said.Container
		}
		c.Err = mountutil.CheckOwners(c.Stack)
	default:
		c.Err = err
		c.Stack, c.Init = s, stores.Layer{}
		c.RW, c.Layers = mountedLayers(s)
	}
}

// adopt takes the layers of a container that runs from its root, where its store says none that
// could be understood: what a snapshotter has that is not known here, or is somewhere else.
func adopt(ctx context.Context, c *stores.Container) {
	if !c.OwnsProcess() {
		return
	}
	s, err := mountutil.StackInProcess(ctx, c.PID, "/")
	if err != nil && !errors.As(err, new(*mountutil.OwnersError)) || s.Upper == "" {
		return // the store's error says more
	}
	c.Stack, c.Err = s, err
	c.RW, c.Layers = mountedLayers(s)
}

// mountedLayers describes the layers of a mount that no store knows.
func mountedLayers(s diff.Stack) (rw stores.Layer, layers []stores.Layer) {
	for _, dir := range s.Lower {
		layers = append(layers, stores.Layer{Dir: dir, Size: -1})
	}
	return stores.Layer{Dir: s.Upper, Size: -1}, layers
}

// mountOf returns the stack of the overlay that is mounted for a container: the root of its
// process, or else one that is mounted with its upper directory. The stack is empty if
// there is none.
func mountOf(ctx context.Context, root string, c *stores.Container, overlays []mountutil.Overlay) (diff.Stack, error) {
	var failed error
	if c.PID > 0 {
		s, err := mountutil.StackInProcess(ctx, c.PID, "/")
		if err == nil || isAnswer(err) {
			return s, err
		}
		failed = err
	}
	for _, o := range overlays {
		// What a user mounted somewhere says nothing of another's container.
		if of := processOwner(o.PID); o.Upper != c.Stack.Upper && under(root, o.Upper) != c.Stack.Upper || of != 0 && of != c.Owner.UID {
			continue
		}
		s, err := stackOf(ctx, o)
		// Below the store's root that path is the layer's, whatever was moved or mounted there
		// since. Below another one it may be another store's.
		if err == nil && (hasRoot(o.PID, root) || sameDir(s, s.Upper, c.Stack, c.Stack.Upper)) || isAnswer(err) {
			return s, err
		}
	}
	return diff.Stack{}, failed
}

// isAnswer reports whether an error says something of the mount, not of the attempt to look
// at it.
func isAnswer(err error) bool {
	return errors.As(err, new(*mountutil.NotOverlayError)) || errors.As(err, new(*mountutil.LayerError)) || errors.As(err, new(*mountutil.OwnersError))
}

func stackOf(ctx context.Context, o mountutil.Overlay) (diff.Stack, error) {
	if o.PID == 0 {
		return mountutil.StackOfMount(ctx, o.Mountpoint)
	}
	return mountutil.StackInProcess(ctx, o.PID, o.Mountpoint)
}

// alike reports whether two stacks have the same directories.
func alike(a, b diff.Stack) bool {
	if len(a.Lower) != len(b.Lower) || !sameDir(a, a.Upper, b, b.Upper) {
		return false
	}
	for i := range a.Lower {
		if !sameDir(a, a.Lower[i], b, b.Lower[i]) {
			return false
		}
	}
	return true
}

// sameDir reports whether a directory of one stack is that of another.
func sameDir(a diff.Stack, pathA string, b diff.Stack, pathB string) bool {
	stat := func(s diff.Stack, path string) os.FileInfo {
		f, err := mountutil.Open(s, path)
		if err != nil {
			return nil
		}
		defer f.Close()
		info, _ := f.Stat()
		return info
	}
	x, y := stat(a, pathA), stat(b, pathB)
	return x != nil && y != nil && os.SameFile(x, y)
}
