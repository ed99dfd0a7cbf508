package views

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

func TestRetry(t *testing.T) {
	for _, test := range []struct {
		why            string
		errs           []error // one a try
		settled, raced bool
		fails          bool
	}{
		{"at once", []error{nil}, true, false, false},
		{"gone, then there", []error{syscall.ENOENT, nil}, true, true, false},
		{"twice", []error{&fs.PathError{Err: syscall.ENOTDIR}, inode.ErrSwapped, nil}, true, true, false},
		{"never", []error{syscall.ENOENT, syscall.ELOOP, syscall.ENOENT, nil}, false, true, false},
		{"an error", []error{syscall.EIO, nil}, false, false, true},
		{"gone, then an error", []error{syscall.ENOENT, syscall.EIO}, false, true, true},
		{"a stale handle is an error", []error{syscall.ESTALE}, false, false, true},
	} {
		i := 0
		raced, err := Retry(func() error {
			i++
			return test.errs[i-1]
		})
		settled, failed := err == nil, err != nil && !inode.Vanished(err)
		if settled != test.settled || raced != test.raced || failed != test.fails || i > tries {
			t.Errorf("%s: settled %v, raced %v, %v", test.why, settled, raced, err)
		}
	}
}

func TestSettled(t *testing.T) {
	walk := func(yield func(found[diff.Change], error) bool) {
		for i := range 3 {
			f := found[diff.Change]{value: diff.Change{Kind: diff.Add, Path: fmt.Sprintf("/%d", i)}}
			if i == 1 {
				f = found[diff.Change]{trouble: &trouble{path: "/1"}}
			}
			if !yield(f, nil) {
				return
			}
		}
	}
	collect := func(opts diff.Options) (got []string, failed error) {
		for c, err := range settled(opts, walk) {
			if err != nil {
				failed = err
				continue
			}
			got = append(got, c.String())
		}
		return got, failed
	}
	if got, err := collect(diff.Options{}); len(got) != 2 || err != nil {
		t.Errorf("ignored: %q, %v", got, err)
	}
	raced := ""
	if got, err := collect(diff.Options{OnRace: func(p string) error { raced += p; return nil }}); len(got) != 2 || err != nil || raced != "/1" {
		t.Errorf("counted: %q, %v, raced %q", got, err, raced)
	}
	if got, err := collect(diff.Options{OnRace: func(p string) error { return &diff.RaceError{Path: p} }}); len(got) != 1 || err == nil {
		t.Errorf("strict: %q, %v", got, err)
	}
}

func TestSettle(t *testing.T) {
	boom, told := errors.New("boom"), errors.New("told")
	for _, test := range []struct {
		raced bool
		err   error
		want  error // nil: none
	}{
		{false, nil, nil},
		{true, nil, told},
		{false, boom, boom},
		{true, boom, boom},
	} {
		opts := diff.Options{OnRace: func(string) error { return told }}
		if err := settle("explain", "/f", test.raced, test.err, opts); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if err := settle("explain", "/f", true, nil, diff.Options{}); err != nil {
		t.Errorf("a race that nobody asks for: %v", err)
	}
	var race *diff.RaceError
	if err := settle("explain", "/f", true, syscall.ENOENT, diff.Options{}); !errors.As(err, &race) || race.Path != "/f" {
		t.Errorf("what never stays is %v", err)
	}
	if err := settle("explain", "/a\nb", false, boom, diff.Options{}); err == nil || err.Error() != `explain "/a\nb": boom` {
		t.Error(err)
	}
}

// plain is the smallest engine: two trees, in which every name is looked up. It fails as
// fail says.
type plain struct {
	root trees
	fail func(path string) error
}

type trees struct{ old, new *fswalk.Dir }

type nameOf string

func (n nameOf) String() string { return string(n) }

func (p *plain) Root() trees                          { return p.root }
func (p *plain) Name(name string) nameOf              { return nameOf(name) }
func (p *plain) Layers() ([]diff.LayerAt, error)      { return []diff.LayerAt{}, nil }
func (p *plain) Enter(d *trees) Lookup[trees, nameOf] { return &plainLookup{plain: p, dir: d} }

func (p *plain) Names(ctx context.Context, d *trees) (names []nameOf, err error) {
	for _, dir := range []*fswalk.Dir{d.old, d.new} {
		if dir == nil {
			continue
		}
		if err := p.fail(dir.DisplayPath("")); err != nil {
			return nil, err
		}
		list, err := dir.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			names = append(names, nameOf(e.Name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

type plainLookup struct {
	*plain
	dir *trees
	ref [2]*inode.Ref
}

func (l *plainLookup) Leave() {}

func (l *plainLookup) Payload(inNew bool) diff.Payload {
	if inNew {
		return &inode.Payload{Ref: *l.ref[1]}
	}
	return &inode.Payload{Ref: *l.ref[0]}
}

func (l *plainLookup) Lookup(name nameOf, v *Visit[trees]) (err error) {
	children := [2]*fswalk.Dir{}
	for i, dir := range []*fswalk.Dir{l.dir.old, l.dir.new} {
		l.ref[i] = nil
		if dir == nil {
			continue
		}
		r := &inode.Ref{Dir: dir, Name: string(name)}
		if err := l.fail(dir.DisplayPath(string(name))); err != nil {
			return err
		}
		if err := r.Reload(); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		l.ref[i] = r
		if name == "" {
			children[i] = dir
		} else if r.IsDir() {
			children[i] = r.Child()
		}
	}
	v.Old, v.New = l.ref[0], l.ref[1]
	v.Child, v.Below = trees{children[0], children[1]}, children[1] != nil
	return nil
}

// opened makes two trees and returns what opens them as views; a name fails with the
// errors of fails, one after the other.
func opened(t *testing.T, fails map[string][]error) Open[trees, nameOf] {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"old/d/in", "old/gone/f", "old/same", "new/d/in", "new/d/more", "new/new/f", "new/same"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "new/d/in"), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, pool *fswalk.Pool, _ Question) (Views[trees, nameOf], error) {
		p := &plain{fail: func(path string) error {
			path = strings.TrimPrefix(strings.TrimSuffix(path, "/"), dir)
			left := fails[path]
			if len(left) == 0 {
				return nil
			}
			fails[path] = left[1:]
			return left[0]
		}}
		for side, tree := range map[string]**fswalk.Dir{"old": &p.root.old, "new": &p.root.new} {
			fd, err := sys.OpenDir(filepath.Join(dir, side))
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { sys.Close(fd) })
			*tree = pool.Root(fd, filepath.Join(dir, side))
		}
		return p, nil
	}
}

// TestChanges: what the walk makes of names that fail is the same for every engine.
func TestChanges(t *testing.T) {
	const all = "C /d/in, A /d/more, D /gone, A /new, A /new/f"
	gone, refused := error(syscall.ENOENT), error(inode.Refused{Err: syscall.EPERM})
	for _, test := range []struct {
		why              string
		fails            map[string][]error
		want, raced, odd string
		failed           error
	}{
		{"nothing fails", nil, all, "", "", nil},
		{"gone for a moment", map[string][]error{"/new/d/in": {gone, gone}}, all, "/d/in", "", nil},
		{"gone for too long", map[string][]error{"/new/d/in": {gone, gone, gone}}, "A /d/more, D /gone, A /new, A /new/f", "/d/in", "", nil},
		{"refused for a moment", map[string][]error{"/new/d/in": {refused}}, all, "/d/in", "", nil},
		{"refused", map[string][]error{"/new/d/in": {refused, refused, refused}}, "A /d/more, D /gone, A /new, A /new/f", "", "/d/in", nil},
		{"unreadable", map[string][]error{"/new/d/in": {syscall.EIO}}, "A /d/more, D /gone, A /new, A /new/f", "", "/d/in", nil},
		{"a directory that vanished", map[string][]error{"/new/d": {nil, gone}}, "D /gone, A /new, A /new/f", "/d", "", nil},
		{"another error", map[string][]error{"/new/d/in": {syscall.EMFILE}}, "", "", "", syscall.EMFILE},
	} {
		var got, raced, odd []string
		var failed error
		opts := diff.Options{
			Workers:      1,
			OnRace:       func(path string) error { raced = append(raced, path); return nil },
			OnUnreadable: func(err *diff.UnreadableError) error { odd = append(odd, err.Path); return nil },
		}
		for c, err := range Changes(t.Context(), opts, opened(t, test.fails)) {
			if failed = err; err == nil {
				got = append(got, string(c.Kind.Letter())+" "+c.Path)
			}
		}
		found := []string{strings.Join(got, ", "), strings.Join(raced, ", "), strings.Join(odd, ", ")}
		if d := cmp.Diff([]string{test.want, test.raced, test.odd}, found); d != "" && test.failed == nil {
			t.Errorf("%s: %s", test.why, d)
		}
		if !errors.Is(failed, test.failed) {
			t.Errorf("%s: %v", test.why, failed)
		}
	}
}

// TestAlong: explain and look go down the same way, and try again as a walk does.
func TestAlong(t *testing.T) {
	for _, test := range []struct {
		path, want string
		fails      map[string][]error
		raced      int
	}{
		{"/d/in", "modify", nil, 0},
		{"/d/in", "modify", map[string][]error{"/new/d": {syscall.ENOENT}}, 1},
		{"/d/more", "add", nil, 0},
		{"/gone/f", "delete", nil, 0},
		{"/same", "", nil, 0},
		{"/", "", nil, 0},
		{"/none/f", "", nil, 0},
		{"/same/f", "", nil, 0},
	} {
		raced := 0
		opts := diff.Options{OnRace: func(string) error { raced++; return nil }}
		x, err := Explain(t.Context(), test.path, opts, opened(t, test.fails))
		kind := ""
		if x.Change != nil {
			kind = x.Change.Kind.String()
		}
		if kind != test.want || err != nil || raced != test.raced || (x.NotDir != nil) != (test.path == "/same/f") {
			t.Errorf("%s: %q, %v, raced %d, %+v", test.path, kind, err, raced, x)
		}
		err = Look(t.Context(), test.path, diff.Options{}, opened(t, nil), func(from, to *diff.Seen) error {
			if (from != nil) != (x.Old != nil) || (to != nil) != (x.New != nil) {
				t.Errorf("%s: look sees %v and %v, explain %v and %v", test.path, from, to, x.Old, x.New)
			}
			return nil
		})
		if err != nil {
			t.Errorf("look at %s: %v", test.path, err)
		}
	}
}
