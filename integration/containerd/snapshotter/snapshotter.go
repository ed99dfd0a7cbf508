//go:build linux

// Package snapshotter is containerd's overlay snapshotter, unchanged but for what it
// says of sizes: the usage of an active snapshot, and that which is written down
// when it is committed, are measured by overlaydiff.
//
// The numbers are containerd's own, allocated bytes and inodes, directories included
// and every inode once. What is different is how they are found: a file that vanishes
// meanwhile is no error, large snapshots are read in parallel, and a commit measures
// before it locks the database and not under the lock.
package snapshotter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Snapshotter is an overlay snapshotter. Close it when it is done with.
type Snapshotter struct {
	snapshots.Snapshotter
	meta *storage.MetaStore
	root string
}

var _ snapshots.Cleaner = (*Snapshotter)(nil)

// New returns a snapshotter that keeps snapshots below root, in the layout of
// containerd's, which is made if it is missing. One process at a time can have it.
func New(root string) (*Snapshotter, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the root of the snapshots: %w", err)
	}
	meta, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"))
	if err != nil {
		return nil, fmt.Errorf("open the snapshots' database: %w", err)
	}
	stock, err := overlay.NewSnapshotter(root, overlay.WithMetaStore(meta), overlay.AsynchronousRemove)
	if err != nil {
		meta.Close()
		return nil, fmt.Errorf("use %s for snapshots: %w", root, err)
	}
	return &Snapshotter{Snapshotter: stock, meta: meta, root: root}, nil
}

// Usage returns what a snapshot takes: of an active one now, of a committed one when
// it was committed.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	at, err := s.look(ctx, key)
	if err != nil || at.kind != snapshots.KindActive {
		return at.usage, err
	}
	return s.measure(ctx, at.id)
}

// Commit makes an active snapshot a committed one, with its usage.
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	at, err := s.look(ctx, key)
	if err != nil {
		return err
	}
	usage, err := s.measure(ctx, at.id)
	if err != nil {
		return err
	}
	return s.meta.WithTransaction(ctx, true, func(ctx context.Context) error {
		id, _, _, err := storage.GetInfo(ctx, key)
		if err != nil {
			return err
		}
		if id != at.id {
			return fmt.Errorf("commit the snapshot %s: it was removed and made anew meanwhile: %w", key, errdefs.ErrUnavailable)
		}
		if _, err := storage.CommitActive(ctx, key, name, usage, opts...); err != nil {
			return fmt.Errorf("commit the snapshot %s: %w", key, err)
		}
		return nil
	})
}

// Cleanup removes the directories of removed snapshots.
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	return s.Snapshotter.(snapshots.Cleaner).Cleanup(ctx)
}

// record is what the database has of a snapshot.
type record struct {
	id    string
	kind  snapshots.Kind
	usage snapshots.Usage
}

func (s *Snapshotter) look(ctx context.Context, key string) (at record, err error) {
	err = s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		var info snapshots.Info
		at.id, info, at.usage, err = storage.GetInfo(ctx, key)
		at.kind = info.Kind
		return err
	})
	return at, err
}

// measure reads the upper directory of a snapshot.
func (s *Snapshotter) measure(ctx context.Context, id string) (snapshots.Usage, error) {
	stack := diff.Stack{Upper: filepath.Join(s.root, "snapshots", id, "fs")}
	u, err := overlaydiff.Usage(ctx, stack, overlaydiff.Options{})
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("measure the snapshot: %w", err)
	}
	return snapshots.Usage{Size: u.DiskBytes, Inodes: u.Inodes}, nil
}
