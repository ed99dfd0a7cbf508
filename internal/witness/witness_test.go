package witness

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// stack is an overlay of two lower layers.
type stack struct {
	testing.TB
	dir, merged string
	mount       *Mount
}

func newStack(t *testing.T, fs testenv.FS, edits ...string) *stack {
	dir := testenv.Scratch(t, fs)
	s := &stack{TB: t, dir: dir}
	testenv.Tree(t, dir+"/l1", "file d/one content=1", "file top content=1", "dir empty")
	testenv.Tree(t, dir+"/l2", "file d/two content=2", "file hidden content=2", "file top content=2")
	s.merged = testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/l1", dir + "/l2"}, Upper: dir + "/u"})
	testenv.Do(t, s.merged, edits...)
	root := s.open(s.merged)
	var err error
	if s.mount, err = Open(int(root.Fd()), diff.Features{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.mount.Close)
	return s
}

func (s *stack) open(path string) *os.File {
	s.Helper()
	f, err := os.Open(path)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { f.Close() })
	return f
}

// layer examines a directory and keeps it if it is not refuted.
func (s *stack) layer(name string, want Verdict) {
	s.Helper()
	dir, err := sys.OpenDir(s.dir + "/" + name)
	if err != nil {
		s.Fatal(err)
	}
	var l *Layer
	if above := len(s.mount.Layers()); above == 0 {
		l, err = s.mount.Top(dir, true)
	} else {
		l, err = s.mount.Lower(dir, above)
	}
	if err != nil {
		s.Fatal(err)
	}
	if l.Verdict != want {
		s.Errorf("%s is %s (%s), want %s", name, l.Verdict, l.Evidence, want)
	}
	if l.Verdict == Refuted {
		l.Close()
		return
	}
	s.mount.Keep(l)
}

func (s *stack) audit(want string) {
	s.Helper()
	if got, err := s.mount.Audit(s.Context()); got != want || err != nil {
		s.Errorf("audit: %q %v, want %q", got, err, want)
	}
}

func (s *stack) orphans(want ...string) {
	s.Helper()
	var got []string
	for _, o := range s.mount.Orphans(8) {
		got = append(got, o.Path)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.Errorf("orphans %q, want %q", got, want)
	}
}

func TestMount(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.LayerHandles) // TestStale of the root package has the rest
		t.Run("the right layers", func(t *testing.T) {
			s := newStack(t, fs, "write top changed", "unlink hidden", "tmpfile new x")
			s.layer("u", Proven)
			s.layer("l1", Proven)
			s.layer("l2", Proven)
			s.orphans()
			s.audit("")
		})
		t.Run("a copy in the place of a layer", func(t *testing.T) {
			s := newStack(t, fs)
			testenv.Tree(t, s.dir+"/copy", "file d/one content=1", "file top content=1", "dir empty")
			s.layer("u", Proven)
			s.layer("copy", Refuted)
		})
		t.Run("an empty directory in the place of a layer", func(t *testing.T) {
			s := newStack(t, fs)
			testenv.Tree(t, s.dir+"/none")
			s.layer("u", Proven)
			s.layer("none", Unproven)
			s.layer("l2", Proven)
			s.orphans("/d", "/empty", "/top") // they are l1's
		})
		t.Run("layers in the other order", func(t *testing.T) {
			s := newStack(t, fs, "write top changed")
			s.layer("u", Proven)
			s.layer("l2", Proven) // something of it is shown
			s.layer("l1", Proven)
			if got, err := s.mount.Audit(s.Context()); got == "" || err != nil {
				t.Errorf("audit: %q %v: not the order of the mount", got, err)
			}
		})
		t.Run("wholly hidden", func(t *testing.T) {
			s := newStack(t, fs, "unlink d/two", "unlink hidden", "unlink top")
			s.layer("u", Proven)
			s.layer("l1", Proven)
			s.layer("l2", Unproven)
			s.orphans()
			s.audit("")
		})
		t.Run("something is mounted inside", func(t *testing.T) {
			s := newStack(t, fs, "unlink hidden", "unlink top")
			if err := syscall.Mount("inside", s.merged+"/d", "tmpfs", 0, "size=64k"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { testenv.Unmount(t, s.merged+"/d") })
			testenv.Tree(t, s.merged+"/d", "file two content=other")
			s.layer("u", Proven)
			s.layer("l1", Proven)
			s.layer("l2", Unproven) // the mount inside covers all that is visible of it
			s.orphans()
			s.audit("")
		})
		t.Run("a whiteout of nothing", func(t *testing.T) {
			s := newStack(t, fs, "unlink hidden")
			testenv.Tree(t, s.dir+"/none")
			s.layer("u", Proven)
			s.layer("l1", Proven)
			s.layer("none", Unproven)
			s.orphans("/d/two", "/hidden")
		})
		t.Run("the overlay itself", func(t *testing.T) {
			s := newStack(t, fs)
			root, err := sys.OpenDir(s.merged)
			if err != nil {
				t.Fatal(err)
			}
			l, err := s.mount.Top(root, true)
			if err != nil || l.Verdict != Refuted {
				t.Fatalf("%+v %v", l, err)
			}
			l.Close()
		})
		t.Run("another upper directory", func(t *testing.T) {
			s := newStack(t, fs, "tmpfile new x")
			testenv.Tree(t, s.dir+"/other", "file new content=x")
			s.layer("other", Refuted)
		})
	})
}
