package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// TestRealImage compares both engines and the reference differ on a mounted
// overlay. bench/real-image.sh makes one of a Debian system.
func TestRealImage(t *testing.T) {
	stack, ok := stackFromEnv()
	if !ok || stack.Mountpoint == "" {
		t.Skip("no image: bench/real-image.sh makes one and runs this test on it")
	}
	testenv.RequireRoot(t)

	type answer struct {
		changes []diff.Change
		size    int64
	}
	answers := map[overlaydiff.Choice]answer{}
	for _, engine := range engines {
		var a answer
		list := timed(func() { a.changes = changes(t, stack, engine) })
		size := timed(func() { a.size = diffSize(t, stack, engine) })
		answers[engine] = a
		t.Logf("%-9s %d changes in %v, %d bytes in %v", engine, len(a.changes), list, a.size, size)
	}
	var want []refdiff.Change
	var wantSize int64
	var err error
	list := timed(func() { want, err = refdiff.Diff(stack.Lower[0], stack.Mountpoint) })
	must(t, err)
	size := timed(func() { wantSize, err = refdiff.Size(stack.Lower[0], stack.Mountpoint) })
	must(t, err)
	t.Logf("reference %d changes in %v, %d bytes in %v", len(want), list, wantSize, size)
	if len(want) == 0 {
		t.Error("no changes: nothing was compared")
	}

	native, naive := answers[overlaydiff.Native], answers[overlaydiff.Naive]
	if d := cmp.Diff(whole(naive.changes), whole(native.changes)); d != "" {
		t.Errorf("changes (-naive +native):\n%s", shorten(d))
	}
	var wantLines []string
	for _, c := range want {
		wantLines = append(wantLines, line(c))
	}
	var gotLines []string
	for _, c := range native.changes {
		gotLines = append(gotLines, line(refdiff.Change{
			Kind: c.Kind.String(), Path: c.Path, Type: c.Entry.Type.String(), What: c.What.Names(), Size: c.Entry.Size,
		}))
	}
	if d := cmp.Diff(wantLines, gotLines); d != "" {
		t.Errorf("changes (-reference +native):\n%s", shorten(d))
	}
	if native.size != wantSize || naive.size != wantSize {
		t.Errorf("size: native %d, naive %d, reference %d", native.size, naive.size, wantSize)
	}
}

// whole returns the changes as text, without what has no meaning across engines.
func whole(changes []diff.Change) (lines []string) {
	for _, c := range changes {
		c.Entry.Inode, c.Entry.Nlinks = diff.Inode{}, 0
		lines = append(lines, fmt.Sprintf("%s %v %+v", c, c.What, c.Entry))
	}
	return lines
}

func line(c refdiff.Change) string {
	return fmt.Sprintf("%s %q %s %v %d", c.Kind, c.Path, c.Type, c.What, c.Size)
}

// shorten cuts a text that is too long to read.
func shorten(s string) string {
	const most = 8000
	if len(s) > most {
		return s[:most] + "\n... and more"
	}
	return s
}

func diffSize(t *testing.T, stack diff.Stack, engine overlaydiff.Choice) int64 {
	t.Helper()
	d := open(t, stack, engine)
	defer func() { must(t, d.Close()) }()
	n, err := d.Size(t.Context())
	must(t, err)
	return n
}

// timed runs f and returns how long it took.
func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start).Round(10 * time.Microsecond)
}
