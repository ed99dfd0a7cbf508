package torture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Within how long everything should end when its context does, and after what a test
// fails: machines on which tests run have other things to do.
const (
	promptly = 100 * time.Millisecond
	tooLate  = 2 * time.Second
)

// cancelling is something that a context ends.
type cancelling struct {
	name  string
	do    func(ctx context.Context) error
	usual time.Duration // that it takes if it is not ended
	late  []time.Duration
}

// interrupted is where things are done that are cancelled.
type interrupted struct {
	dir   string
	stack diff.Stack
	layer []byte
}

func newInterrupted(t *testing.T, lower, upper []string) *interrupted {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	i := &interrupted{dir: dir, stack: diff.Stack{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"}}
	testenv.Tree(t, i.stack.Lower[0], lower...)
	testenv.Tree(t, i.stack.Upper, upper...)
	testenv.Tree(t, i.stack.Work)
	testenv.Tree(t, dir+"/tmp")
	return i
}

// asked is what somebody wants to know of a diff.
type asked func(ctx context.Context, d *overlaydiff.Diff) error

// with opens a diff with an engine and asks.
func (i *interrupted) with(engine overlaydiff.Choice, ask asked) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		d, err := overlaydiff.Open(ctx, i.stack, overlaydiff.Options{Engine: engine})
		if err != nil {
			return err
		}
		return errors.Join(ask(ctx, d), d.Close())
	}
}

func changesTo(n int, cancel func()) asked {
	return func(ctx context.Context, d *overlaydiff.Diff) error {
		for _, err := range d.Changes(ctx) {
			if n--; n == 0 && cancel != nil {
				cancel()
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func exportToNowhere(ctx context.Context, d *overlaydiff.Diff) error {
	_, err := d.Export(ctx, io.Discard, layer.ExportOptions{})
	return err
}

func sized(ctx context.Context, d *overlaydiff.Diff) error {
	_, err := d.Size(ctx)
	return err
}

// all is all that takes a context.
func (i *interrupted) all(t *testing.T) (all []*cancelling) {
	t.Helper()
	add := func(name string, do func(ctx context.Context) error) {
		all = append(all, &cancelling{name: name, do: do})
	}
	for _, engine := range engines {
		add(string(engine)+" changes", i.with(engine, changesTo(0, nil)))
		add(string(engine)+" size", i.with(engine, sized))
		add(string(engine)+" export", i.with(engine, exportToNowhere))
		add(string(engine)+" explain", i.with(engine, func(ctx context.Context, d *overlaydiff.Diff) error {
			_, err := d.Explain(ctx, "/d1/f1")
			return err
		}))
		add(string(engine)+" verify", i.with(engine, func(ctx context.Context, d *overlaydiff.Diff) error {
			_, err := d.Verify(ctx, overlaydiff.VerifyOptions{TempDir: i.dir + "/tmp"})
			return err
		}))
	}
	add("copy-ups", i.with(overlaydiff.Native, func(ctx context.Context, d *overlaydiff.Diff) error {
		_, err := d.CopyUps(ctx)
		return err
	}))
	add("usage", func(ctx context.Context) error {
		_, err := overlaydiff.Usage(ctx, i.stack, overlaydiff.Options{})
		return err
	})
	add("ps", func(ctx context.Context) error {
		c := stores.Container{ID: "c", Stack: i.stack, Layers: []stores.Layer{{Dir: i.stack.Lower[0]}}}
		_, err := node.Measure(ctx, []stores.Container{c, c, c}, node.Options{Rule: node.Own, CopyUps: true})
		return err
	})
	add("probe", func(ctx context.Context) error {
		_, err := new(features.Prober).NativeDiff(ctx, i.dir+"/tmp", "")
		return err
	})
	for _, form := range []layer.Form{layer.Plain, layer.Overlay} {
		add("apply "+string(form), func(ctx context.Context) error {
			target := filepath.Join(i.dir, "tmp", "applied")
			_, err := layer.Apply(ctx, bytes.NewReader(i.layer), target, layer.ApplyOptions{Form: form})
			if err != nil {
				return err
			}
			return os.RemoveAll(target)
		})
	}
	var b bytes.Buffer
	if err := i.with(overlaydiff.Native, func(ctx context.Context, d *overlaydiff.Diff) error {
		_, err := d.Export(ctx, &b, layer.ExportOptions{})
		return err
	})(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.layer = b.Bytes()
	return all
}

// Whatever is going on ends when its context does, with the context's error, and
// leaves nothing.
func TestCancellation(t *testing.T) {
	run := torture.Start(t, torture.Cancellation, 10)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var lower, upper []string
	for i := range 800 {
		lower = append(lower, fmt.Sprintf("file d%d/f%d size=1000 mtime=1", i%50, i), fmt.Sprintf("file e%d/f%d content=old", i%50, i))
		upper = append(upper, fmt.Sprintf("file d%d/f%d content=abc", i%50, i))
	}
	i := newInterrupted(t, lower, upper)
	all := i.all(t)
	for _, c := range all {
		c.measure(t)
	}
	for turn := 0; turn < 3*len(all) || run.More(); turn++ {
		c := all[turn%len(all)]
		if n := turn / len(all); n%3 == 2 && strings.HasSuffix(c.name, " changes") { // after so many changes, not so much time
			i.endAfter(t, run, c, 1+r.IntN(800))
			continue
		}
		i.end(t, run, c, time.Duration(r.Int64N(int64(c.usual))))
	}
	report(run, all)
}

// measure learns how long it takes whole.
func (c *cancelling) measure(t *testing.T) {
	t.Helper()
	start := time.Now()
	if err := c.do(t.Context()); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	c.usual = max(time.Since(start), time.Microsecond)
}

// end ends it after a while.
func (i *interrupted) end(t *testing.T, run *torture.Run, c *cancelling, after time.Duration) {
	t.Helper()
	before, mounts := testenv.TakeInventory(), mountCount(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan time.Time, 1)
	timer := time.AfterFunc(after, func() {
		ended <- time.Now()
		cancel()
	})
	err := c.do(ctx)
	returned := time.Now()
	if !timer.Stop() && err != nil {
		c.late = append(c.late, returned.Sub(<-ended))
		run.Count("cancellations", 1)
	}
	c.check(t, err, after)
	i.check(t, c, before, mounts)
}

// endAfter ends changes after n of them.
func (i *interrupted) endAfter(t *testing.T, run *torture.Run, c *cancelling, n int) {
	t.Helper()
	before, mounts := testenv.TakeInventory(), mountCount(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ended time.Time
	engine := overlaydiff.Choice(strings.Fields(c.name)[0])
	err := i.with(engine, changesTo(n, func() { ended = time.Now(); cancel() }))(ctx)
	if err != nil {
		c.late = append(c.late, time.Since(ended))
		run.Count("cancellations", 1)
	}
	c.check(t, err, 0)
	i.check(t, c, before, mounts)
}

func (c *cancelling) check(t *testing.T, err error, after time.Duration) {
	t.Helper()
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%s, ended after %v: %v", c.name, after, err)
	}
	if n := len(c.late); n > 0 && c.late[n-1] > tooLate {
		t.Errorf("%s, ended after %v: it went on for %v", c.name, after, c.late[n-1])
	}
}

// check makes sure that nothing is left.
func (i *interrupted) check(t *testing.T, c *cancelling, before *testenv.Inventory, mounts int) {
	t.Helper()
	if err := before.Leaks(); err != nil {
		t.Fatalf("%s leaves: %v", c.name, err)
	}
	if n := mountCount(t); n > mounts {
		t.Fatalf("%s leaves %d mounts", c.name, n-mounts)
	}
	for _, dir := range []string{i.dir + "/tmp", os.TempDir()} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if strings.HasPrefix(e.Name(), ".") || e.Name() == "applied" {
				t.Fatalf("%s leaves %s", c.name, e.Name())
			}
		}
	}
}

func mountCount(t *testing.T) int {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(table, []byte("\n"))
}

// report notes how long things went on.
func report(run *torture.Run, all []*cancelling) {
	var late []time.Duration
	over := map[string]int{}
	for _, c := range all {
		late = append(late, c.late...)
		for _, d := range c.late {
			if d > promptly {
				over[c.name]++
			}
		}
	}
	slices.Sort(late)
	at := func(percent int) time.Duration { return late[(len(late)-1)*percent/100].Round(10 * time.Microsecond) }
	if len(late) > 0 {
		run.Note("Of %d cancellations, half returned within %v, 99 of 100 within %v, the last after %v. After more than %v: %v.",
			len(late), at(50), at(99), at(100), promptly, over)
	}
}

// What takes long and is one thing to whoever asked for it: each is ended in the
// middle.
func TestCancellation_LongSteps(t *testing.T) {
	run := torture.Start(t, torture.Cancellation, 0)
	var all []*cancelling
	for name, prepare := range map[string]func(t *testing.T) (*interrupted, asked){
		"the content of one file": func(t *testing.T) (*interrupted, asked) {
			i := newInterrupted(t, nil, nil)
			content := bytes.Repeat([]byte("content "), 15<<20)
			for _, dir := range []string{i.stack.Lower[0], i.stack.Upper} {
				if err := os.WriteFile(dir+"/f", content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			return i, changesTo(0, nil)
		},
		"a file of 4 EiB, exported": func(t *testing.T) (*interrupted, asked) {
			return newInterrupted(t, nil, []string{fmt.Sprintf("file f size=%d", int64(1)<<62)}), exportToNowhere
		},
		"one wide directory": func(t *testing.T) (*interrupted, asked) {
			n := 50_000
			if run.Whole() {
				n = 500_000
			}
			i := newInterrupted(t, nil, nil)
			for k := range n {
				if err := os.WriteFile(fmt.Sprintf("%s/%d", i.stack.Upper, k*7919%n), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			return i, sized
		},
		"large extended attributes": func(t *testing.T) (*interrupted, asked) {
			i := newInterrupted(t, []string{"file f"}, []string{"file f"})
			for k := range 2000 {
				for _, dir := range []string{i.stack.Lower[0], i.stack.Upper} {
					if err := xattr.LSet(dir+"/f", fmt.Sprintf("trusted.a%d", k), make([]byte, 60_000)); err != nil {
						t.Fatal(err)
					}
				}
			}
			return i, changesTo(0, nil)
		},
	} {
		for _, engine := range engines {
			t.Run(fmt.Sprintf("%s, %s", name, engine), func(t *testing.T) {
				i, ask := prepare(t)
				c := &cancelling{name: t.Name(), do: i.with(engine, ask)}
				c.usual = time.Second
				if !strings.Contains(name, "EiB") { // that would never end
					c.measure(t)
				}
				for _, part := range []time.Duration{10, 3, 2} {
					i.end(t, run, c, c.usual/part)
				}
				if len(c.late) == 0 {
					t.Error("it was never ended")
				}
				t.Logf("whole %v, went on for %v", c.usual, c.late)
				all = append(all, c)
			})
		}
	}
	report(run, all)
}
