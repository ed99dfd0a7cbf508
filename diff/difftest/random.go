package difftest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// RandomOptions of [RunRandom]. The zero value is what a test usually wants.
type RandomOptions struct {
	// Cases is how many cases run on each file system; 0 means 60. The
	// environment's OVERLAYDIFF_CASES goes before both.
	Cases int
	// Seed is that of the first case; 0 means a new one for every run. The
	// environment's OVERLAYDIFF_SEED goes before both; without OVERLAYDIFF_CASES
	// it runs that case alone.
	Seed uint64
	// Mounts are the sets of mount options, of which the seed takes one; nil
	// means all those that matter: "", redirect_dir=on, metacopy=on and so on.
	Mounts []string
	// Checks are done on every case besides, by name.
	Checks map[string]Check
	// IDMaps makes id-mapped mounts of lower layers: which, and with which of these maps
	// (see [testenv.IDMapped]), the seed says.
	IDMaps []string
	// Needs are what all cases need; where a file system has it not, its test is left out.
	Needs []testenv.Need
	// Contents says of engines, by name, when they read contents. What is then
	// missed by the documentation of [diff.Content], and nothing else, is logged
	// instead of failed.
	Contents map[string]diff.Content
}

var allMounts = []string{
	"", "redirect_dir=on", "metacopy=on", "index=on", "nfs_export=on", "userxattr", "xino=on", "volatile",
	"redirect_dir=on,index=on", "redirect_dir=on,metacopy=on,index=on", "redirect_dir=nofollow", "userxattr,index=on",
}

func (o RandomOptions) applyDefaults() RandomOptions {
	if o.Cases == 0 {
		o.Cases = 60
	}
	if o.Mounts == nil {
		o.Mounts = allMounts
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 48)
	}
	if seed, err := strconv.ParseUint(os.Getenv("OVERLAYDIFF_SEED"), 10, 64); err == nil {
		o.Seed, o.Cases = seed, 1
	}
	if n, err := strconv.Atoi(os.Getenv("OVERLAYDIFF_CASES")); err == nil {
		o.Cases = n
	}
	return o
}

// RunRandom compares the engines with the reference on random layer stacks, on
// every file system. An engine that refuses is counted, not failed. The first
// differences are shrunk to scripts for [RunScript]; of all, the seeds are given.
func RunRandom(t *testing.T, opts RandomOptions, engines map[string]Opener) {
	opts = opts.applyDefaults()
	t.Logf("seed %d", opts.Seed)
	var total tally
	fileSystems, seed := 0, opts.Seed
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Scratch(t, fs) // skips, where there is none
		testenv.Needs(t, fs, opts.Needs...)
		r := random{t: t, fs: fs, engines: engines, contents: opts.Contents, checks: opts.Checks, idmaps: opts.IDMaps}
		r.run(opts, seed)
		t.Logf("%s: %s", fs, r.tally)
		total.add(r.tally)
		fileSystems++
		if opts.Cases > 1 { // other cases on the next one
			seed += uint64(opts.Cases)
		}
	})
	t.Logf("%d cases on %d file systems: %s", total.cases, fileSystems, total.outcome())
}

// RunScript compares the engines with the reference on the case of a script, as
// RunRandom prints it, on every file system.
func RunScript(t *testing.T, script string, engines map[string]Opener) {
	c, err := testenv.ParseCase(script)
	if err != nil {
		t.Fatal(err)
	}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		r := random{t: t, fs: fs, engines: engines}
		for engine, wrong := range r.try(c).wrong {
			t.Errorf("%s: %s\n%s", engine, wrong, c)
		}
	})
}

// tally counts what became of cases.
type tally struct {
	cases, differences int
	refused, missed    map[string]int // by engine
}

func (n *tally) add(m tally) {
	n.cases += m.cases
	n.differences += m.differences
	n.refused, n.missed = sum(n.refused, m.refused), sum(n.missed, m.missed)
}

func sum(a, b map[string]int) map[string]int {
	all := maps.Clone(a)
	for engine, n := range b {
		if all == nil {
			all = map[string]int{}
		}
		all[engine] += n
	}
	return all
}

func (n tally) String() string { return fmt.Sprintf("%d cases, %s", n.cases, n.outcome()) }

func (n tally) outcome() string {
	var more []string
	for _, engine := range slices.Sorted(maps.Keys(n.refused)) {
		more = append(more, fmt.Sprintf("%s refused %d", engine, n.refused[engine]))
		if missed := n.missed[engine]; missed > 0 {
			more = append(more, fmt.Sprintf("misses %d as it says", missed))
		}
	}
	return fmt.Sprintf("%d differences; %s", n.differences, strings.Join(more, ", "))
}

// random tries cases on one file system.
type random struct {
	t        *testing.T
	fs       testenv.FS
	engines  map[string]Opener
	contents map[string]diff.Content
	checks   map[string]Check
	idmaps   []string
	tally    tally
}

// idmapsOf returns the maps of a case's lower layers, of which one at least has one.
func (r *random) idmapsOf(seed uint64, layers int) []string {
	if len(r.idmaps) == 0 {
		return nil
	}
	from := rand.New(rand.NewPCG(seed, 0))
	maps := make([]string, layers)
	for i := range maps {
		if from.IntN(3) > 0 {
			maps[i] = r.idmaps[from.IntN(len(r.idmaps))]
		}
	}
	maps[from.IntN(layers)] = r.idmaps[from.IntN(len(r.idmaps))]
	return maps
}

// run tries cases, one after another. Two at a time were hardly faster where
// they were right, and every hundredth was not: the naive engine mounts in a
// namespace that is a copy of ours, in which what another case has just
// unmounted stays for a moment, and with index=on that layer is then busy.
func (r *random) run(opts RandomOptions, first uint64) {
	for seed := first; seed < first+uint64(opts.Cases); seed++ {
		c := testenv.Random(seed, r.mount(opts.Mounts, seed))
		r.judge(c, r.try(c))
	}
}

// mount returns the mount options of a seed: those that it takes or, where
// these can't exist, the next that can.
func (r *random) mount(mounts []string, seed uint64) string {
	for i := range uint64(len(mounts)) {
		options := mounts[(seed+i)%uint64(len(mounts))]
		if !strings.Contains(options, "userxattr") || testenv.Has(r.t, r.fs, testenv.UserXattrMarks) {
			return options
		}
	}
	r.t.Fatalf("none of %q can exist on this kernel and %s", mounts, r.fs)
	return ""
}

// verdict says of each engine what it got wrong, why it refused, or what it
// misses as it says.
type verdict struct {
	wrong, refused map[string]string
	missed         map[string][]refdiff.Change
}

// setting stands in a verdict for what is no engine: the mounts, the reference.
const setting = "the case itself"

// try tries a case, again if a layer was busy: a mount namespace that some other
// process has just made is a copy of ours, and as long as it lives, so does a
// mount in which we made a layer.
func (r *random) try(c *testenv.Case) verdict {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		v := r.once(c)
		if wait > 2*time.Second || !strings.Contains(v.wrong[setting], syscall.EBUSY.Error()) {
			return v
		}
		time.Sleep(wait)
	}
}

// once makes the case, asks all engines and takes everything down.
func (r *random) once(c *testenv.Case) verdict {
	v := verdict{wrong: map[string]string{}, refused: map[string]string{}, missed: map[string][]refdiff.Change{}}
	t := try(r.t, func(tb testing.TB) {
		dir := testenv.Scratch(tb, r.fs)
		o := overlay{fs: r.fs, dir: dir, lower: c.Lowers(tb, dir), upper: filepath.Join(dir, "upper"), options: c.Options}
		o.idmaps = r.idmapsOf(c.Seed, len(o.lower))
		mounted := o.mount(tb, func(merged string) {
			if err := testenv.Attempt(merged, c.Upper()); err != nil {
				tb.Fatal(err)
			}
		})
		want, err := reference(mounted)
		if err != nil {
			tb.Fatalf("reference: %v", err)
		}
		judge := func(name string, err error) {
			switch {
			case errors.Is(err, diff.ErrUnsupported):
				v.refused[name] = err.Error()
			case err != nil:
				v.wrong[name] = err.Error()
			}
		}
		for name, open := range r.engines {
			content := r.contents[name]
			answer, missed, err := want.reading(content, mounted)
			if err != nil {
				tb.Fatalf("reference: %v", err)
			}
			e, err := open(tb.Context(), tb, mounted.stack)
			if err == nil {
				err = errors.Join(checkAnswer(tb.Context(), e, mounted, answer, diff.Options{Content: content}), e.Close())
			}
			if judge(name, err); err == nil {
				v.missed[name] = missed
			}
		}
		for name, check := range r.checks {
			judge(name, check(tb, View{Stack: mounted.stack, Old: mounted.old, New: mounted.new, Dir: dir}))
		}
	})
	if t.Failed() {
		v.wrong[setting] = t.log.String()
	}
	return v
}

// Shrinking is bounded: of a mistake that every case shows, a few small cases
// are enough.
const (
	shrinkMost = 3
	shrinkTime = 20 * time.Second
)

// judge counts a case and reports what is wrong with it.
func (r *random) judge(c *testenv.Case, v verdict) {
	r.tally.cases++
	for _, engine := range slices.Concat(slices.Collect(maps.Keys(r.engines)), slices.Collect(maps.Keys(r.checks))) {
		n := 0
		if v.refused[engine] != "" {
			n = 1
		}
		missed := v.missed[engine]
		r.tally.add(tally{refused: map[string]int{engine: n}, missed: map[string]int{engine: len(missed)}})
		if len(missed) > 0 {
			r.t.Logf("seed %d: %s misses %s", c.Seed, engine, strings.Join(lines(missed), ", "))
		}
	}
	if len(v.wrong) == 0 {
		return
	}
	r.tally.differences++
	engine := slices.Min(slices.Collect(maps.Keys(v.wrong)))
	repeat := fmt.Sprintf("to repeat: OVERLAYDIFF_FS=%s OVERLAYDIFF_SEED=%d", r.fs, c.Seed)
	if r.tally.differences > shrinkMost {
		r.t.Errorf("%s is wrong; %s", engine, repeat)
		return
	}
	start, wrong, again := time.Now(), v.wrong[engine], 0
	small := shrink(c, func(c *testenv.Case) bool {
		if time.Since(start) > shrinkTime {
			return false
		}
		now := r.try(c).wrong[engine]
		if now != "" {
			wrong = now
			again++
		}
		return now != ""
	})
	if again == 0 {
		repeat += "; not seen again when tried with less"
	}
	r.t.Errorf("%s is wrong; %s\n%s\nshrunk from %d operations to %d in %v; for RunScript:\n%s",
		engine, repeat, wrong, c.Ops(), small.Ops(), time.Since(start).Round(time.Millisecond), small)
}
