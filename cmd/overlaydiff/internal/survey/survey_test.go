package survey

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// text has a line for each node.
func text(t *Tree) (lines []string) {
	for i := range t.Len() {
		n := t.Node(i)
		line := t.Path(i)
		if n.Kind != 0 {
			line += " " + n.Kind.String()
		}
		if n.What != 0 {
			line += " " + n.What.String()
		}
		if n.Waste != 0 {
			line += " " + n.Waste.String()
		}
		s := n.Sum
		lines = append(lines, fmt.Sprintf("%s: %d B, %d copied up, %d kept, A%d C%d D%d", line, s.Bytes, s.CopyUps, s.Kept, s.Added, s.Modified, s.Deleted))
	}
	return lines
}

func TestBuild(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work", Features: diff.Features{RedirectFollow: true}}
	testenv.Tree(t, s.Lower[0], "file a/b size=10", "file a/b.c size=20", "file gone/f size=3", "file gone/g size=4", "file z size=5", "file meta size=6")
	merged := testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, merged, "open a/b", "write a/b.c x", "mkdir a/b-d", "create a/b-d/new 12345", "link a/b-d/new a/link", "rmtree gone", "open z", "chmod meta 0600")
	want := []string{
		"/: 32 B, 21 copied up, 7 kept, A3 C2 D1",
		"/a: 26 B, 10 copied up, 0 kept, A3 C1 D0",
		"/a/b unchanged: 0 B, 10 copied up, 0 kept, A0 C0 D0",
		"/a/b-d add: 5 B, 0 copied up, 0 kept, A2 C0 D0",
		"/a/b-d/new add: 5 B, 0 copied up, 0 kept, A1 C0 D0",
		"/a/b.c modify size,content,mtime: 21 B, 0 copied up, 0 kept, A0 C1 D0",
		"/a/link add: 0 B, 0 copied up, 0 kept, A1 C0 D0",
		"/gone delete deleted: 0 B, 0 copied up, 7 kept, A0 C0 D1",
		"/meta modify mode metadata_only: 6 B, 6 copied up, 0 kept, A0 C1 D0",
		"/z unchanged: 0 B, 5 copied up, 0 kept, A0 C0 D0",
	}
	for _, engine := range []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Naive} {
		d, err := overlaydiff.Open(t.Context(), s, overlaydiff.Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		tree, err := Build(t.Context(), d, Options{Waste: true, Found: func(n int) { found = n }})
		if err != nil {
			t.Fatal(err)
		}
		if engine == overlaydiff.Naive {
			if !errors.Is(tree.NoWaste, diff.ErrUnsupported) || tree.Node(0).Sum != (Sum{Bytes: 32, Added: 3, Modified: 2, Deleted: 1}) {
				t.Errorf("naive: %+v, %v", tree.Node(0).Sum, tree.NoWaste)
			}
		} else if d := cmp.Diff(want, text(tree)); d != "" || tree.NoWaste != nil {
			t.Errorf("%v; tree (-want +got):\n%s", tree.NoWaste, d)
		}
		if found != 6 {
			t.Errorf("%d changes found", found)
		}
		size, err := d.Size(t.Context())
		if err != nil || size != tree.Node(0).Sum.Bytes {
			t.Errorf("size %d, %v", size, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func list(changes ...diff.Change) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func added(path string) diff.Change {
	return diff.Change{Kind: diff.Add, Path: path, Entry: diff.Entry{Type: diff.File, Size: 1, Nlinks: 1}}
}

func TestTree_Navigation(t *testing.T) {
	long := strings.Repeat("n", 255)
	tree, err := build(list(added("/a/b/c"), added("/a/b/d"), added("/a/b.d"), added("/"+long+"/\xff\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for i := range tree.Len() {
		paths = append(paths, tree.Path(i))
		if found, exact := tree.Find(tree.Path(i)); found != i || !exact {
			t.Errorf("%q is found at %d, not %d", tree.Path(i), found, i)
		}
	}
	want := []string{"/", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/b.d", "/" + long, "/" + long + "/\xff\n"}
	if d := cmp.Diff(want, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]int{2, 5}, slices.Collect(tree.Children(1))); d != "" {
		t.Errorf("children (-want +got):\n%s", d)
	}
	if i, exact := tree.Find("/a/b/nothing"); i != 2 || exact {
		t.Errorf("the nearest is %d, %v", i, exact)
	}
	if sum := tree.Node(0).Sum; sum.Bytes != 4 || sum.Changes() != 4 {
		t.Errorf("sum %+v", sum)
	}
}

func TestBuild_Empty(t *testing.T) {
	tree, err := build(list(), nil)
	if err != nil || tree.Len() != 1 || tree.End(0) != 1 {
		t.Errorf("%+v, %v", tree, err)
	}
}

func TestBuild_Error(t *testing.T) {
	broken := errors.New("broken")
	_, err := build(func(yield func(diff.Change, error) bool) { yield(diff.Change{}, broken) }, nil)
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkBuild(b *testing.B) {
	var changes []diff.Change
	for i := range 1_000_000 {
		changes = append(changes, added(fmt.Sprintf("/dir-%04d/file-%06d", i/1000, i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := build(list(changes...), nil); err != nil {
			b.Fatal(err)
		}
	}
}
