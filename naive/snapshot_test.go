package naive

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// subvolumes makes a btrfs subvolume, and a snapshot of it after fill and
// before change.
func subvolumes(t *testing.T, fill, change func(dir string)) (from, to string) {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Btrfs)
	from, to = dir+"/old", dir+"/new"
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
			t.Fatalf("btrfs %v: %v: %s", args, err, out)
		}
	}
	run("subvolume", "create", from)
	t.Cleanup(func() { run("subvolume", "delete", from) })
	fill(from)
	run("subvolume", "snapshot", from, to)
	t.Cleanup(func() { run("subvolume", "delete", to) })
	change(to)
	return from, to
}

func list(t *testing.T, e *Engine) []string {
	t.Helper()
	var got []string
	for c, err := range e.Changes(t.Context(), diff.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(c.Kind, " ", c.Path, " ", strings.Join(c.What.Names(), ",")))
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	return got
}

func reference(t *testing.T, from, to string) []string {
	t.Helper()
	changes, err := refdiff.Diff(from, to)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range changes {
		want = append(want, fmt.Sprint(c.Kind, " ", c.Path, " ", strings.Join(c.What, ",")))
	}
	return want
}

func TestSnapshot_Btrfs(t *testing.T) {
	from, to := subvolumes(t, func(dir string) {
		testenv.Tree(t, dir, "file d/f content=old", "file d/g content=x", "file e/h", "link e/i e/h", "symlink l -> d/f", "dir x xattr.user.k=v")
		time.Sleep(50 * time.Millisecond)
		testenv.Tree(t, dir, "dir later") // so that the rest is old enough to be proven
	}, func(dir string) {
		testenv.Do(t, dir, "write d/f new", "chmod d/g 600", "rmtree e", "create x/new abc", "setxattr x user.k=w")
	})
	if d := cmp.Diff(reference(t, from, to), list(t, Open(tree(t, from), tree(t, to), ProofSnapshot))); d != "" {
		t.Errorf("-reference +naive:\n%s", d)
	}
}

// TestSnapshot_SameTick: a change right after the split may have the change time
// of one right before. The proof must not be taken there.
func TestSnapshot_SameTick(t *testing.T) {
	from, to := subvolumes(t, func(dir string) { testenv.Tree(t, dir, "file f content=old") }, func(string) {})
	a, b := Open(tree(t, from), tree(t, to), ProofSnapshot), &inode.Ref{}
	defer a.Close()
	pool := fswalk.NewPool(0)
	defer pool.Close()
	if err := a.snapshot.date(t.Context(), a, pool, 1); err != nil {
		t.Fatal(err)
	}
	b.Dir, b.Name = pool.Root(a.old.FD, from), "f"
	c := &inode.Ref{Dir: pool.Root(a.new.FD, to), Name: "f"}
	for _, r := range []*inode.Ref{b, c} {
		if err := r.Dir.Stat("f", sys.StatAll, &r.Stat); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		older time.Duration // than the newest change before the split
		want  bool
	}{{0, false}, {tick, false}, {2 * tick, false}, {3 * tick, true}} {
		at := a.snapshot.newest.Add(-test.older)
		for _, r := range []*inode.Ref{b, c} {
			r.Stat.Ctime = sys.Timespec{Sec: at.Unix(), Nsec: uint32(at.Nanosecond())}
		}
		if got := a.proven(b, c); got != test.want {
			t.Errorf("changed %v before: proven %v", test.older, got)
		}
	}
	c.Stat.Ino++
	if a.proven(b, c) {
		t.Error("another inode is proven the same")
	}
	c.Stat.Ino--
	c.Stat.Dev++ // mounted inside the tree
	if a.proven(b, c) {
		t.Error("an inode of another file system is proven the same")
	}
}

// TestSnapshot_Reads: with the proof nothing is read of what did not change.
func TestSnapshot_Reads(t *testing.T) {
	const size = 4 << 20
	from, to := subvolumes(t, func(dir string) {
		if err := os.WriteFile(dir+"/big", bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		testenv.Tree(t, dir, "file g")
	}, func(dir string) { testenv.Do(t, dir, "write g new") })
	for proof, reads := range map[Proof]bool{ProofSnapshot: false, ProofNone: true} {
		before := bytesRead(t)
		e := Open(tree(t, from), tree(t, to), proof)
		e.extents = false // which would prove it on btrfs, but not on block devices
		list(t, e)
		if got := bytesRead(t) - before; (got >= size) != reads {
			t.Errorf("proof %d: %d bytes are read", proof, got)
		}
	}
}

// bytesRead returns how much this process has read, from caches too.
func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err == nil {
		_, err = fmt.Sscanf(string(b), "rchar: %d", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
