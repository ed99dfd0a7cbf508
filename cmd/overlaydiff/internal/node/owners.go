//go:build linux

package node

import (
	"context"
	"errors"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// WithOwners completes a stack that was resolved from a mount, err being what that returned:
// if layers are id-mapped, the store of the container that has this upper directory says how.
// What the store says is held against what the mount shows. Other errors are returned.
func WithOwners(ctx context.Context, root string, s diff.Stack, err error) (diff.Stack, error) {
	var owners *mountutil.OwnersError
	if !errors.As(err, &owners) {
		return s, err
	}
	overlays, _ := overlaysOf(ctx, root)
	found, _ := stores.Find(ctx, root, append(uppers(overlays), s.Upper)...)
	for _, store := range found {
		list, _ := store.Containers(ctx)
		for _, c := range list {
			if c.Stack.Owners != nil && sameDir(s, s.Upper, c.Stack, c.Stack.Upper) {
				return Prove(s, c.Stack)
			}
		}
	}
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	return s, err
}

// Prove gives a stack that was resolved from a mount the maps that a store says, and returns
// an error if the mount shows that they are wrong, or that a layer is another one.
func Prove(live, said diff.Stack) (diff.Stack, error) {
	if said.Owners != nil {
		live.Owners = map[string]diff.IDMap{}
	}
	for _, path := range append([]string{live.Upper}, live.Lower...) {
		for at, ids := range said.Owners {
			if sameDir(live, path, said, at) {
				live.Owners[path] = ids
			}
		}
	}
	if live.Container.IsZero() {
		live.Container = said.Container
	}
	return live, mountutil.CheckOwners(live)
}

// CheckLive returns an error if the upper directory of a stack is that of an overlay which
// is mounted here, over the same lower layers, and which shows other owners than the stack's
// maps make of those in the layers.
func CheckLive(ctx context.Context, s diff.Stack) error {
	if s.Upper == "" {
		return nil
	}
	points, err := mountutil.MountsOf(s.Upper)
	if err != nil {
		return nil //nolint:nilerr // what is not known contradicts nothing
	}
	for _, point := range points {
		live, err := mountutil.StackOfMount(ctx, point)
		var owners *mountutil.OwnersError
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.As(err, &owners) {
			continue
		}
		_, err = Prove(live, s)
		if !errors.As(err, &owners) {
			continue
		}
		for _, lower := range s.Lower {
			if sameDir(live, owners.Layer, s, lower) {
				return err
			}
		}
	}
	return nil
}
