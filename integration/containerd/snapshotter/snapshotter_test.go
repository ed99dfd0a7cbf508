package snapshotter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/continuity/fs"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// containerd's mount package changes the working directory of a thread, which
// then ends. The main thread can't: from here on no test runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { testenv.Main(m) }

// TestSuite is containerd's own.
func TestSuite(t *testing.T) {
	testenv.RequireRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s, err := New(root)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
}

// newSnapshots returns a snapshotter with a committed snapshot, "base", and an
// active one over it, "active", that is mounted.
func newSnapshots(t *testing.T) (s *Snapshotter, upper, merged string) {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	s, err := New(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	first, err := s.Prepare(ctx, "first", "")
	if err != nil {
		t.Fatal(err)
	}
	testenv.Tree(t, first[0].Source, "file d/f content=lower", "file d/g content=lower")
	if err := s.Commit(ctx, "base", "first"); err != nil {
		t.Fatal(err)
	}
	mounts, err := s.Prepare(ctx, "active", "base")
	if err != nil {
		t.Fatal(err)
	}
	merged = filepath.Join(dir, "merged")
	testenv.Tree(t, merged)
	if err := mount.All(mounts, merged); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.UnmountAll(merged, 0); err != nil {
			t.Error(err)
		}
	})
	testenv.Do(t, merged, "write d/f more", "unlink d/g", "create new content", "link new linked", "mkdir e", "create e/x x", "truncate e/x 10000000")
	at, err := s.look(ctx, "active")
	if err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(dir, "root", "snapshots", at.id, "fs"), merged
}

// TestUsage: the numbers are those of containerd's rule, before and after a commit.
func TestUsage(t *testing.T) {
	s, upper, _ := newSnapshots(t)
	ctx := t.Context()
	want, err := fs.DiskUsage(ctx, upper)
	if err != nil {
		t.Fatal(err)
	}
	if want.Inodes < 5 || want.Size == 0 {
		t.Fatalf("continuity says %+v: that is not what was made", want)
	}
	got, err := s.Usage(ctx, "active")
	if err != nil || got != snapshots.Usage(want) {
		t.Errorf("active: %+v, error %v; want %+v", got, err, want)
	}
	if err := s.Commit(ctx, "committed", "active"); err != nil {
		t.Fatal(err)
	}
	testenv.Tree(t, upper, "file later size=100") // it is not measured again
	got, err = s.Usage(ctx, "committed")
	if err != nil || got != snapshots.Usage(want) {
		t.Errorf("committed: %+v, error %v; want %+v", got, err, want)
	}
	if _, err := s.Usage(ctx, "nothing"); err == nil {
		t.Error("a snapshot that is not there has a usage")
	}
}

// TestUsage_races: a container makes and removes files all the time.
func TestUsage_races(t *testing.T) {
	s, _, merged := newSnapshots(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			dir := filepath.Join(merged, "churn")
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.WriteFile(filepath.Join(dir, "a", "f"), nil, 0o644), os.RemoveAll(dir)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 200 {
		if _, err := s.Usage(ctx, "active"); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	wg.Wait()
}
