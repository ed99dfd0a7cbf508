package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// demo is the part that runs in the namespaces made for it.
type demo struct {
	cmd     *cobra.Command
	lower   string
	scratch string
	out     sticky
	hidden  int // directories that the user can't read
}

// answer is what one engine found, and how long it took from opening to closing.
type answer struct {
	changes  []diff.Change
	size     int64
	listTime time.Duration
	sizeTime time.Duration
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return &diff.UnsupportedError{Op: "run the demo", Reason: "this sandbox does not let a process change its own mounts (" + err.Error() + "): run it outside, as root"}
	}
	edits, layers, err := d.prepare(ctx)
	if err != nil {
		return err
	}
	m, err := d.mount(ctx, layers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()

	d.out.w = d.cmd.OutOrStdout()
	out := &d.out
	fmt.Fprintf(out, "An overlay over %s is mounted", diff.QuotePath(d.lower))
	if d.hidden > 0 {
		fmt.Fprintf(out, ", without %s that this user can't read", human.Plural(int64(d.hidden), "directory", "directories"))
	}
	fmt.Fprint(out, ".\nThrough the mount, this is done:\n\n")
	var rows [][]string
	for _, e := range edits {
		switch err := e.apply(m.Path()); {
		case errors.Is(err, syscall.EOPNOTSUPP): // no user.* on this file system
			continue
		case err != nil:
			return fmt.Errorf("%s %s: %w", e.verb, diff.QuotePath(e.path), err)
		}
		rows = append(rows, []string{"  " + e.verb, diff.QuotePath(e.path) + e.note})
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	stack, err := overlaydiff.FromMount(ctx, m.Path())
	if err != nil {
		return err
	}
	return d.compare(ctx, stack)
}

// compare asks both engines and prints what they say.
func (d *demo) compare(ctx context.Context, stack diff.Stack) error {
	status := newStatus(d.cmd.ErrOrStderr(), "the naive engine walks both views")
	defer status.done()
	fast, err := ask(ctx, stack, overlaydiff.Native)
	if err != nil {
		return err
	}
	slow, err := ask(ctx, stack, overlaydiff.Naive)
	if err != nil {
		return fmt.Errorf("%w; name a tree that this user can read with --lower", err)
	}
	usage, err := overlaydiff.Usage(ctx, stack, overlaydiff.Options{})
	if err != nil {
		return err
	}
	status.done()

	out := &d.out
	fmt.Fprint(out, "\noverlaydiff finds:\n\n")
	var rows [][]string
	for _, c := range fast.changes {
		rows = append(rows, []string{"  " + c.String(), c.What.String()})
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe upper directory holds %s in %s.\n\n", human.ExactBytes(usage.Bytes), human.Plural(usage.Inodes, "inode", "inodes"))
	if err := printAnswers(out, fast, slow); err != nil {
		return err
	}
	if difference := differ(fast, slow); difference != "" {
		return fmt.Errorf("compare the engines: they disagree: %s; please report this", difference)
	}
	fmt.Fprintln(out, "\nBoth engines agree.")
	return out.err
}

func printAnswers(out io.Writer, fast, slow answer) error {
	ratio := func(fast, slow time.Duration) string {
		r := float64(slow) / float64(max(fast, 1))
		if r < 10 {
			return fmt.Sprintf("%.1f times", r)
		}
		return human.Count(int64(r)) + " times"
	}
	return printTable(out, [][]string{
		{"", "native", "naive", "native is faster"},
		{"changes", human.Count(int64(len(fast.changes))), human.Count(int64(len(slow.changes))), ""},
		{"  time", duration(fast.listTime), duration(slow.listTime), ratio(fast.listTime, slow.listTime)},
		{"size", human.ExactBytes(fast.size), human.ExactBytes(slow.size), ""},
		{"  time", duration(fast.sizeTime), duration(slow.sizeTime), ratio(fast.sizeTime, slow.sizeTime)},
	})
}

// ask lets one engine answer both questions.
func ask(ctx context.Context, stack diff.Stack, engine overlaydiff.Choice) (a answer, err error) {
	timed := func(took *time.Duration, do func(*overlaydiff.Diff) error) error {
		start := time.Now()
		defer func() { *took = time.Since(start) }()
		d, err := overlaydiff.Open(ctx, stack, overlaydiff.Options{Engine: engine})
		if err != nil {
			return err
		}
		defer d.Close()
		return do(d)
	}
	err = timed(&a.listTime, func(d *overlaydiff.Diff) error {
		for c, err := range d.Changes(ctx) {
			if err != nil {
				return err
			}
			a.changes = append(a.changes, c)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	err = timed(&a.sizeTime, func(d *overlaydiff.Diff) (err error) {
		a.size, err = d.Size(ctx)
		return err
	})
	return a, err
}

// differ says where two answers differ, "" if nowhere. Inode numbers are each
// engine's own.
func differ(a, b answer) string {
	for i := range max(len(a.changes), len(b.changes)) {
		var ca, cb diff.Change
		if i < len(a.changes) {
			ca = a.changes[i]
		}
		if i < len(b.changes) {
			cb = b.changes[i]
		}
		ca.Entry.Inode, ca.Entry.Nlinks, cb.Entry.Inode, cb.Entry.Nlinks = diff.Inode{}, 0, diff.Inode{}, 0
		if ca != cb {
			return fmt.Sprintf("native says %q (%s), naive %q (%s)", ca, ca.What, cb, cb.What)
		}
	}
	if a.size != b.size {
		return fmt.Sprintf("the size is %d bytes natively, %d naively", a.size, b.size)
	}
	return ""
}

// prepare chooses what to change and returns the lower layers, topmost first.
// In a user namespace, overlayfs can't copy up what belongs to users outside;
// so a second lower layer has copies of what will be changed. It also hides
// what the user can't read, which no walk of the whole tree could pass.
func (d *demo) prepare(ctx context.Context) ([]edit, []string, error) {
	v, err := chooseVictims(ctx, d.lower)
	if err != nil {
		return nil, nil, err
	}
	layers := []string{d.lower}
	if inUserNamespace() {
		copies := filepath.Join(d.scratch, "copies")
		if err := v.copyTo(d.lower, copies); err != nil {
			return nil, nil, fmt.Errorf("copy what the demo changes: %w; name a tree that this user can read with --lower", err)
		}
		if d.hidden, err = hideUnreadable(ctx, d.lower, copies); err != nil {
			return nil, nil, fmt.Errorf("leave out what can't be read: %w; name another tree with --lower", err)
		}
		layers = append([]string{copies}, layers...)
	}
	return v.edits(), layers, nil
}

// mount mounts the overlay. Where the scratch directory's file system can't be
// an upper layer, as in most containers, it is put in memory.
func (d *demo) mount(ctx context.Context, layers []string) (*mountutil.Mounted, error) {
	m, err := d.tryMount(ctx, layers)
	if err == nil || errors.Is(err, diff.ErrUnsupported) || inUserNamespace() {
		return m, err
	}
	if syscall.Mount("tmpfs", d.scratch, "tmpfs", 0, "mode=700") != nil {
		return nil, err
	}
	return d.tryMount(ctx, layers)
}

func (d *demo) tryMount(ctx context.Context, layers []string) (*mountutil.Mounted, error) {
	o := mountutil.Options{
		Lower: layers,
		Upper: filepath.Join(d.scratch, "upper"), Work: filepath.Join(d.scratch, "work"),
		UserXattr: inUserNamespace(),
	}
	for _, dir := range []string{o.Upper, o.Work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Setenv("TMPDIR", d.scratch); err != nil {
		return nil, err
	}
	return mountutil.Mount(ctx, o)
}
