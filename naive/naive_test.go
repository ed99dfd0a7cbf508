package naive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type closer int

func (c closer) Close() error { sys.Close(int(c)); return nil }

func tree(tb testing.TB, path string) Tree {
	tb.Helper()
	fd, err := sys.OpenDir(path)
	if err != nil {
		tb.Fatal(err)
	}
	return Tree{FD: fd, Closer: closer(fd), Name: path}
}

// The root package runs the suite on views that it mounts. Here the new tree is
// the live mount, in which inode numbers prove nothing.
func TestConformance_LiveMount(t *testing.T) {
	difftest.Run(t, func(ctx context.Context, tb testing.TB, s diff.Stack) (diff.Engine, error) {
		view, err := mountutil.OpenView(ctx, s, mountutil.Old)
		if err != nil {
			return nil, err
		}
		return Open(Tree{FD: view.FD(), Closer: view, Name: "old"}, tree(tb, s.Mountpoint), ProofNone), nil
	})
}

// lines is a random tree, in a small space of names so that two have much in
// common, and differ in every way.
func lines(r *rand.Rand) []string {
	list := []string{"dir ."}
	names := []string{"a", "a-b", "a b", "b", "c,d"}
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var grow func(dir string, depth int)
	grow = func(dir string, depth int) {
		for _, name := range names {
			path := strconv.Quote(dir + name)
			meta := " mode=" + pick("644", "600", "4755")
			switch n := r.IntN(12); {
			case n < 3:
			case n < 6 && depth < 4:
				list = append(list, "dir "+path+" mode="+pick("755", "700", "1777")+pick("", " xattr.trusted.k=1", " mtime=5"))
				grow(dir+name+"/", depth+1)
			case n == 6:
				list = append(list, "symlink "+path+" -> "+pick("a", "nowhere"))
			case n == 7:
				list = append(list, pick("fifo ", "socket ", "char ")+path)
				if strings.HasPrefix(list[len(list)-1], "char") {
					list[len(list)-1] += pick(" 1:3", " 1:5")
				}
			default:
				list = append(list, "file "+path+" content="+pick("x", "y", "longer")+meta+
					pick("", "", " mtime=7.5", " uid=1")+pick("", "", " xattr.trusted.k=1", " xattr.trusted.k=2"))
			}
		}
	}
	grow("", 0)
	return list
}

func TestRandomTrees(t *testing.T) {
	testenv.RequireRoot(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for i := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, i))
			dir := testenv.Scratch(t, fs)
			from, to := filepath.Join(dir, "old"), filepath.Join(dir, "new")
			a, b := lines(r), lines(r)
			testenv.Tree(t, from, a...)
			testenv.Tree(t, to, b...)
			want, err := refdiff.Diff(from, to)
			if err != nil {
				t.Fatal(err)
			}
			e := Open(tree(t, from), tree(t, to), ProofNone)
			var got []refdiff.Change
			for c, err := range e.Changes(t.Context(), diff.Options{}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, refdiff.Change{Kind: c.Kind.String(), Path: c.Path, Type: c.Entry.Type.String(), What: c.What.Names(), Size: c.Entry.Size})
			}
			if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" {
				t.Fatalf("seed %d, case %d: -reference +naive:\n%s\nold:\n%s\nnew:\n%s", seed, i, d, strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A root that can't be read is an error, not an empty tree.
func TestUnreadableRoot(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir, "dir gone", "file there/f")
	gone := tree(t, filepath.Join(dir, "gone"))
	if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	e := Open(gone, tree(t, filepath.Join(dir, "there")), ProofNone)
	defer e.Close()
	for c, err := range e.Changes(t.Context(), diff.Options{}) {
		if !errors.Is(err, syscall.ENOENT) {
			t.Errorf("got %v, %v", c, err)
		}
	}
}

// Large files that differ at one place only, sparse ones among them.
func TestContent(t *testing.T) {
	const size = 3<<20 + 17
	dir := t.TempDir()
	testenv.Tree(t, dir, "dir old", "dir new")
	for _, test := range []struct {
		name  string
		bytes [2]map[int64]string // what is at an offset, in the old and the new file
		same  bool
	}{
		{"equal", [2]map[int64]string{{0: "a", 2 << 20: "b"}, {0: "a", 2 << 20: "b"}}, true},
		{"first byte", [2]map[int64]string{{0: "a"}, {0: "b"}}, false},
		{"last byte", [2]map[int64]string{{size - 1: "a"}, {size - 1: "b"}}, false},
		{"block boundary", [2]map[int64]string{{128<<10 - 1: "ab"}, {128<<10 - 1: "ac"}}, false},
		{"hole and zeros", [2]map[int64]string{{0: "a"}, {0: "a", 1 << 20: strings.Repeat("\x00", 1<<20)}}, true},
		{"data in one hole", [2]map[int64]string{{0: "a"}, {0: "a", 2<<20 + 5: "x"}}, false},
		{"all hole", [2]map[int64]string{{}, {}}, true},
	} {
		for i, side := range []string{"old", "new"} {
			f, err := os.Create(filepath.Join(dir, side, "f"))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for at, s := range test.bytes[i] {
				if _, err := f.WriteAt([]byte(s), at); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
			if err := syscall.UtimesNano(f.Name(), []syscall.Timespec{{Sec: 1}, {Sec: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		e := Open(tree(t, filepath.Join(dir, "old")), tree(t, filepath.Join(dir, "new")), ProofNone)
		same := true
		for c, err := range e.Changes(t.Context(), diff.Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			same = false
			if c.What != diff.WhatContent {
				t.Errorf("%s: %v differs", test.name, c.What)
			}
		}
		if same != test.same {
			t.Errorf("%s: same %v", test.name, same)
		}
		e.Close()
	}
}
