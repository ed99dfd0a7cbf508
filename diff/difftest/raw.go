package difftest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/rawgen"
	"github.com/overlaydiff/overlaydiff/testenv/rawref"
)

// RawOptions of [RunRaw].
type RawOptions struct {
	RandomOptions // Cases: 0 means 100
	// Mounted returns the stack of an overlay that is mounted with options, Described that of
	// mount options.
	Mounted   func(ctx context.Context, merged, options string) (diff.Stack, error)
	Described func(ctx context.Context, options string) (diff.Stack, error)
}

var rawMounts = []string{
	"", "redirect_dir=on", "metacopy=on", "redirect_dir=nofollow", "index=on", "nfs_export=on", "userxattr",
	"redirect_dir=on,index=on", "metacopy=on,index=on", "metacopy=on,verity=on", "metacopy=on,verity=require",
	"userxattr,index=on", "xino=on,redirect_dir=on", "redirect_dir=on,nfs_export=on", "metacopy=on,uuid=off,index=on",
}

// rawMost is how many entries of a view are read; a few redirects can show one
// directory many times.
const rawMost = 300

// RunRaw compares the engines with the kernel's own mounts of layers that
// [rawgen.Random] wrote, on every file system: once while the overlay is mounted, and
// once by its options alone. What differs is shrunk to a shell script.
func RunRaw(t *testing.T, opts RawOptions, engines map[string]Opener) {
	if opts.Cases == 0 {
		opts.Cases = 100
	}
	if opts.Mounts == nil {
		opts.Mounts = rawMounts
	}
	opts.RandomOptions = opts.applyDefaults()
	t.Logf("seed %d", opts.Seed)
	seed := opts.Seed
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Scratch(t, fs)
		r := raw{t: t, fs: fs, opts: opts, engines: engines, counts: map[string]int{}}
		for n := range uint64(opts.Cases) { //nolint:gosec // a small number
			r.judge(r.random(seed + n))
		}
		if opts.Cases > 1 {
			seed += uint64(opts.Cases) //nolint:gosec // as above
		}
		var counts []string
		for _, what := range slices.Sorted(maps.Keys(r.counts)) {
			counts = append(counts, fmt.Sprintf("%s %d", what, r.counts[what]))
		}
		t.Logf("%s: %d cases, %d differences; %s", fs, opts.Cases, r.differences, strings.Join(counts, ", "))
	})
}

// raw tries cases on one file system.
type raw struct {
	t           *testing.T
	fs          testenv.FS
	opts        RawOptions
	engines     map[string]Opener
	counts      map[string]int
	differences int
}

func (r *raw) random(seed uint64) *rawgen.Case {
	options := r.opts.Mounts[seed%uint64(len(r.opts.Mounts))]
	if strings.Contains(options, "userxattr") && !testenv.Has(r.t, r.fs, testenv.UserXattrMarks) {
		options = ""
	}
	data := testenv.Has(r.t, r.fs, testenv.DataLayers) &&
		(strings.Contains(options, "metacopy=on") || testenv.Has(r.t, r.fs, testenv.PlainDataLayers))
	return rawgen.Random(seed, options, data, testenv.Has(r.t, r.fs, testenv.IDMaps))
}

// verdicts has what is wrong, by engine and way to name the stack.
type verdicts map[string]string

// try makes a case and asks all engines.
func (r *raw) try(c *rawgen.Case, count bool) verdicts {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		v := verdicts{}
		t := try(r.t, func(tb testing.TB) { r.once(tb, c, v, count) })
		if t.Failed() {
			v[setting] = t.log.String()
		}
		r.count(count && t.Skipped(), "skipped")
		if wait > time.Second || !strings.Contains(v[setting], syscall.EBUSY.Error()) {
			return v
		}
		time.Sleep(wait)
	}
}

func (r *raw) count(yes bool, what string) {
	if yes {
		r.counts[what]++
	}
}

// once makes a case, reads what the kernel shows of it, and asks all engines: while it is
// mounted, and then by its options.
func (r *raw) once(tb testing.TB, c *rawgen.Case, v verdicts, count bool) {
	b := r.layers(tb, c)
	b.Do(c.Early)
	r.lowers(tb, c, b)
	options := c.MountOptions(func(name string) string { return b.Dirs[name] })
	merged, old := b.Dirs["m"], filepath.Join(b.Dirs[""], "old")
	if len(c.Through) > 0 {
		if err := syscall.Mount("overlay", merged, "overlay", 0, options); err == nil {
			b.Do(c.Through)
			testenv.Unmount(tb, merged)
		}
	}
	b.Do(c.Late)
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		r.count(count, "not mounted")
		return
	}
	tb.Cleanup(func() { testenv.Unmount(tb, merged) })
	mountOld(tb, c, b, old)
	// First, since to look a name up can change marks: with nfs_export, the kernel writes
	// the origin and the index entry of a directory then.
	s, unproven := r.opts.Mounted(tb.Context(), merged, options)
	want, err := expected(old, merged)
	if errors.Is(err, rawref.ErrTooMany) {
		r.count(count, "too large")
		return
	}
	if err != nil {
		tb.Fatalf("reference: %v", err)
	}
	r.count(count, "mounted")
	for _, x := range want {
		r.count(count && x.Lines[0] == rawref.Unreadable, "unreadable paths")
	}
	switch {
	case errors.Is(unproven, diff.ErrUnsupported): // nothing visible tells whether the layers are those
		r.count(count, "layers not proven")
	case unproven != nil:
		tb.Fatalf("the stack of the mount: %v", unproven)
	default:
		r.ask(tb, s, want, v, "mounted", count)
	}
	testenv.Unmount(tb, merged)
	testenv.Unmount(tb, old)
	switch s, err = r.opts.Described(tb.Context(), options); {
	case errors.Is(err, diff.ErrUnsupported):
		r.count(count, "options refused")
	case err != nil:
		v["options"] = err.Error()
	default:
		r.ask(tb, s, want, v, "options", count)
	}
}

// mountOld mounts the old view: that of an upper layer in which nothing is.
func mountOld(tb testing.TB, c *rawgen.Case, b rawgen.Builder, point string) {
	empty := maps.Clone(b.Dirs)
	empty["U"], empty["W"] = filepath.Join(b.Dirs[""], "EU"), filepath.Join(b.Dirs[""], "EW")
	if err := errors.Join(os.Mkdir(point, 0o755), os.Mkdir(empty["U"], 0o755), os.Mkdir(empty["W"], 0o755)); err != nil {
		tb.Fatal(err)
	}
	options := c.MountOptions(func(name string) string { return empty[name] })
	if err := syscall.Mount("overlay", point, "overlay", 0, options); err != nil {
		tb.Fatalf("mount the old view: %v", err)
	}
	tb.Cleanup(func() { testenv.Unmount(tb, point) })
}

// expected returns what there is to say of two mounts.
func expected(old, merged string) ([]rawref.Expected, error) {
	after, err := rawref.Read(merged, rawgen.Names, rawMost)
	if err != nil {
		return nil, err
	}
	before, err := rawref.Read(old, rawgen.Names, rawMost)
	want := rawref.Compare(before, after)
	for _, root := range []string{old, merged} {
		if _, err := os.ReadDir(root); err != nil {
			want = append(want, rawref.Expected{Path: "/", Lines: []string{""}, Unlistable: true})
			break
		}
	}
	return want, err
}

// layers makes the directories of a case.
func (r *raw) layers(tb testing.TB, c *rawgen.Case) rawgen.Builder {
	base := testenv.Scratch(tb, r.fs)
	b := rawgen.Builder{Dirs: map[string]string{"": base}}
	add := func(name, dir string) {
		b.Dirs[name] = filepath.Join(dir, name)
		if err := os.Mkdir(b.Dirs[name], 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for _, name := range []string{"U", "W", "m"} {
		add(name, base)
	}
	// All of them, so that a seed is one case whatever OVERLAYDIFF_FS has.
	all := []testenv.FS{testenv.Tmpfs, testenv.Ext4, testenv.XFS, testenv.Btrfs}
	for _, l := range c.Layers {
		dir := base
		if l.FS > 0 {
			dir = testenv.Scratch(tb, all[(slices.Index(all, r.fs)+l.FS)%len(all)])
		}
		add(l.Name, dir)
		if l.Kind != rawgen.Plain {
			add(l.Name+"b", dir)
			add(l.Name+"m", dir)
		}
	}
	return b
}

// lowers mounts the layers that are mounts.
func (r *raw) lowers(tb testing.TB, c *rawgen.Case, b rawgen.Builder) {
	for _, l := range c.Layers {
		point := b.Dirs[l.Name+"m"]
		switch l.Kind {
		case rawgen.Overlay:
			if err := syscall.Mount("overlay", point, "overlay", 0, "lowerdir="+b.Dirs[l.Name]+":"+b.Dirs[l.Name+"b"]); err != nil {
				tb.Fatalf("mount a layer: %v", err)
			}
			tb.Cleanup(func() { testenv.Unmount(tb, point) })
		case rawgen.IDMap:
			if mapped, err := testenv.TryIDMapped(tb, b.Dirs[l.Name], "0:100000:65536"); err == nil { // else as it is
				b.Dirs[l.Name] = mapped
			}
		}
	}
}

// ask asks the engines and compares what they say with what is wanted.
func (r *raw) ask(tb testing.TB, s diff.Stack, want []rawref.Expected, v verdicts, way string, count bool) {
	for name, open := range r.engines {
		key := name + ", " + way
		var wrong []string
		var err error
		for tries := 0; tries == 0 || len(wrong) > 0 && name == "naive" && s.Mountpoint != "" && tries < 5; tries++ {
			// A mount shows of two names of one lower inode what it has in its cache of
			// the one or the other, so that its answer is not always the same.
			r.count(count && tries > 0, "naive asked again")
			wrong, err = r.answer(tb, s, open, want, count)
		}
		if len(wrong) > 0 {
			v[key] = strings.Join(wrong, "\n")
		}
		switch {
		case errors.Is(err, diff.ErrUnsupported):
			r.count(count, key+" refused")
		case err != nil:
			v[key] = err.Error()
		}
	}
}

// answer opens an engine and returns what it says and may not say.
func (r *raw) answer(tb testing.TB, s diff.Stack, open Opener, want []rawref.Expected, count bool) ([]string, error) {
	tb.Helper()
	e, err := open(tb.Context(), tb, s)
	if err != nil {
		return nil, err
	}
	// With nfs_export, an overlay that has one directory at two places in its cache gives
	// EIO for the second: the proof of the layers has looked at some of them before.
	wrong, err := r.compare(tb.Context(), e, want, count, s.Features.NFSExport)
	return wrong, errors.Join(err, e.Close())
}

// compare returns what an engine says and may not say.
func (r *raw) compare(ctx context.Context, e diff.Engine, want []rawref.Expected, count, exports bool) (wrong []string, err error) {
	said := map[string]string{}
	var stale []string // where the engine's own mount had another name of the inode in its cache
	refused := map[string]error{}
	opts := diff.Options{OnUnreadable: func(u *diff.UnreadableError) error {
		said[u.Path] = rawref.Unreadable
		refused[u.Path] = u.Err
		if e.Name() == "naive" && (errors.Is(u, syscall.ESTALE) || exports && errors.Is(u, syscall.EIO)) {
			stale = append(stale, u.Path)
		}
		return nil
	}}
	for c, err := range e.Changes(ctx, opts) {
		if err != nil {
			unlistable := func(x rawref.Expected) bool { return x.Path == "/" && x.Unlistable }
			if e.Name() == "naive" && slices.ContainsFunc(want, unlistable) {
				r.count(count, "naive can't look up or list")
				return nil, nil
			}
			return nil, err
		}
		p := plain(c)
		said[c.Path] = rawref.Line(p.Kind, p.Type, p.What, p.Size)
	}
	cached := func(path string) bool {
		return slices.ContainsFunc(stale, func(s string) bool { return path == s || strings.HasPrefix(path, s+"/") })
	}
	for _, x := range want {
		line := said[x.Path]
		delete(said, x.Path)
		if x.Unlistable && e.Name() == "naive" && line == rawref.Unreadable {
			stale = append(stale, x.Path)
		}
		switch {
		case x.Allows(line), x.Hidden && e.Name() == "naive" && line == "":
		case cached(x.Path):
			r.count(count, "naive can't look up or list")
		case exports && x.Errno == syscall.EIO && line == "":
			r.count(count, "one directory at two places")
		case e.Name() == "naive" && slices.Contains(x.Cached, line):
			r.count(count, "naive shows another name's inode")
		default:
			wrong = append(wrong, fmt.Sprintf("%s: %q (%v), want one of %q", x.Path, line, refused[x.Path], x.Lines))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(said)) {
		if !cached(path) {
			wrong = append(wrong, fmt.Sprintf("%s: %q, want nothing", path, said[path]))
		}
	}
	return wrong, nil
}

// judge reports what is wrong with a case.
func (r *raw) judge(c *rawgen.Case) {
	v := r.try(c, true)
	if len(v) == 0 {
		return
	}
	r.differences++
	who := slices.Min(slices.Collect(maps.Keys(v)))
	repeat := fmt.Sprintf("to repeat: OVERLAYDIFF_FS=%s OVERLAYDIFF_SEED=%d", r.fs, c.Seed)
	if r.differences > shrinkMost {
		r.t.Errorf("%s is wrong; %s", who, repeat)
		return
	}
	start, wrong := time.Now(), v[who]
	small := shrinkRaw(c, func(c *rawgen.Case) bool {
		if time.Since(start) > shrinkTime {
			return false
		}
		now := r.try(c, false)[who]
		if now != "" {
			wrong = now
		}
		return now != ""
	})
	r.t.Errorf("%s is wrong; %s\n%s\nshrunk from %d operations to %d:\n%s", who, repeat, wrong, c.Ops(), small.Ops(), small)
}

// shrinkRaw returns a case that still fails without operations and layers that it can
// do without.
func shrinkRaw(c *rawgen.Case, fails func(*rawgen.Case) bool) *rawgen.Case {
	for {
		before := c.Ops() + len(c.Layers)
		for i := -1; ; {
			s := c.Without(i, 0)
			if s == nil && -i > len(c.Layers) {
				break
			}
			if s != nil && fails(s) {
				c = s
			} else {
				i--
			}
		}
		for chunk := max(c.Ops()/2, 1); chunk > 0; chunk /= 2 {
			for from := 0; from < c.Ops(); {
				if s := c.Without(from, chunk); fails(s) {
					c = s
				} else {
					from += chunk
				}
			}
		}
		if c.Ops()+len(c.Layers) == before {
			return c
		}
	}
}
