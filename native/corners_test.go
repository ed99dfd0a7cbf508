package native_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/rawgen"
)

// unreadable asks the engine for changes, and checks that the paths which it can't read
// are those at which the mount has the same error.
func unreadable(t *testing.T, s diff.Stack, merged string, want ...string) {
	t.Helper()
	e, err := native.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var got []string
	opts := diff.Options{OnUnreadable: func(u *diff.UnreadableError) error {
		got = append(got, u.String())
		var errno syscall.Errno
		if _, kernel := os.Lstat(merged + u.Path); !errors.As(u, &errno) || !errors.Is(kernel, errno) {
			t.Errorf("%v; the mount: %v", u, kernel)
		}
		return nil
	}}
	for c, err := range e.Changes(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.String())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// entry writes an entry of the index for what is at origin, as rawgen's verb says.
func entry(t *testing.T, s diff.Stack, verb, origin string, args ...string) {
	t.Helper()
	b := rawgen.Builder{Dirs: map[string]string{"L": s.Lower[0], "U": s.Upper, "W": s.Work}}
	if b.Do([]rawgen.Op{{Verb: verb, Args: append([]string{"L/" + origin}, args...)}}) != 1 {
		t.Fatalf("%s %s %q could not be done", verb, origin, args)
	}
}

// Entries of the index that can't be those of what the layers show.
func TestIndex_Bad(t *testing.T) {
	const origin = "trusted.overlay.origin"
	mistyped := "E"
	if testenv.Has(t, testenv.Ext4, testenv.LooseOrigins) {
		mistyped = "A" // its origin, of another type, is unknown
	}
	for name, test := range map[string]struct {
		options string
		make    func(t *testing.T, s diff.Stack)
		want    []string
	}{
		"a whiteout": {"index=on", func(t *testing.T, s diff.Stack) { entry(t, s, "ixwhiteout", "d/f") }, []string{"E /d/f"}},
		"a fifo": {"index=on", func(t *testing.T, s diff.Stack) {
			testenv.Tree(t, s.Upper, "fifo p") // a second name, or the mount removes the entry
			entry(t, s, "ixlink", "d/f", "U/p", origin)
		}, []string{"E /d/f", mistyped + " /p"}},
		"a directory for a file": {"index=on", func(t *testing.T, s diff.Stack) {
			entry(t, s, "ixdir", "d/f", "U/.", "trusted.overlay.upper")
		}, []string{"E /d/f"}},
		"an origin that claims to be the upper layer's": {"index=on", func(t *testing.T, s diff.Stack) {
			testenv.Tree(t, s.Upper, "file n")
			entry(t, s, "ixdir", "d/f", "U/.", "trusted.overlay.upper")
			b := rawgen.Builder{Dirs: map[string]string{"L": s.Lower[0], "U": s.Upper}}
			if b.Do([]rawgen.Op{{Verb: "upper", At: "U/n", Args: []string{origin, "L/d/f"}}}) != 1 {
				t.Fatal("the mark can't be set")
			}
		}, []string{"E /d/f", "E /n"}},
		"a directory that is shown elsewhere": {"nfs_export=on", func(t *testing.T, s diff.Stack) {
			testenv.Tree(t, s.Upper, "dir other")
			entry(t, s, "ixdir", "d", "U/other", "trusted.overlay.upper")
			setOrigin(t, s, "other", "d")
		}, []string{"E /d", "A /other"}},
		"all names of an inode": {"index=on", func(t *testing.T, s diff.Stack) { entry(t, s, "ixwhiteout", "two") }, []string{"E /d/one", "E /two"}},
		"a count that lies": {"index=on", func(t *testing.T, s diff.Stack) {
			testenv.Tree(t, s.Upper, "file x content=xyz")
			entry(t, s, "ixlink", "two", "U/x", origin)
			entry(t, s, "ixnlink", "two", "trusted.overlay.nlink", "0x552d35") // U-5
		}, []string{"C /d/one", "C /two", "A /x"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := layers{options: test.options, lower: []string{"file d/f; file two; link d/one two; file e/g"}}.make(t, testenv.Scratch(t, testenv.Ext4))
			testenv.Unmount(t, o.mount(t).new) // the mount makes what it needs
			test.make(t, o.stack)
			v := o.mount(t)
			unreadable(t, o.stack, v.new, test.want...)
		})
	}
}

// setOrigin gives an upper entry the origin of a lower one.
func setOrigin(t *testing.T, s diff.Stack, upper, lower string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.Work, "index"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		value, err := hex.DecodeString(e.Name())
		if err == nil {
			err = xattr.Set(filepath.Join(s.Upper, upper), "trusted.overlay.origin", value)
		}
		if err != nil {
			t.Fatalf("origin of %s: %v", lower, err)
		}
	}
}

// A layer inside another is refused where a lookup comes to it (ELOOP). Like all that
// both views show alike, it is looked for where the upper layer has something.
func TestTraps(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	lower := filepath.Join(dir, "lower")
	testenv.Tree(t, lower, "file f", "file in/g", "dir in/u", "dir in/u.work")
	s := diff.Stack{Lower: []string{lower}, Upper: lower + "/in/u", Work: lower + "/in/u.work", Features: diff.Features{RedirectFollow: true}}
	merged := testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper})
	testenv.Do(t, merged, "unlink in/g", "create n x")
	testenv.Tree(t, s.Upper, "file in/u/x")
	unreadable(t, s, merged, "D /in/g", "E /in/u", "A /n")
}
