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
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// RandomOptions of [RunRandom]. The zero value is what a test usually wants.
type RandomOptions struct {
	// Cases is how many cases run on each file system; 0 means 25. The
	// environment's OVERLAYDIFF_CASES goes before both.
	Cases int
	// Seed is that of the first case; 0 means a new one for every run. The
	// environment's OVERLAYDIFF_SEED goes before both, and runs that case alone.
	Seed uint64
	// Mounts are the sets of mount options, taken in turn; nil means all those
	// that matter: "", redirect_dir=on, metacopy=on and so on.
	Mounts []string
}

func (o RandomOptions) applyDefaults() RandomOptions {
	if o.Cases == 0 {
		o.Cases = 25
	}
	if n, err := strconv.Atoi(os.Getenv("OVERLAYDIFF_CASES")); err == nil {
		o.Cases = n
	}
	if o.Mounts == nil {
		o.Mounts = []string{
			"", "redirect_dir=on", "metacopy=on", "index=on", "userxattr", "xino=on", "volatile",
			"metacopy=on,index=on",
		}
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 48)
	}
	if seed, err := strconv.ParseUint(os.Getenv("OVERLAYDIFF_SEED"), 10, 64); err == nil {
		o.Seed, o.Cases = seed, 0 // 0: this one, with every set of options
	}
	return o
}

// tally counts what an engine did with one set of mount options.
type tally struct{ answered, refused int }

// RunRandom compares the engines with the reference on random layer stacks, on
// every file system. An engine that refuses is counted, not failed: the counts
// are logged.
func RunRandom(t *testing.T, opts RandomOptions, engines map[string]Opener) {
	opts = opts.applyDefaults()
	t.Logf("seed %d", opts.Seed)
	tallies := map[string]*tally{}
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for i := range max(opts.Cases, 1) {
			c := testenv.Random(opts.Seed + uint64(i))
			mounts := opts.Mounts[i%len(opts.Mounts):][:1]
			if opts.Cases == 0 {
				mounts = opts.Mounts
			}
			for _, options := range mounts {
				t.Run(fmt.Sprintf("seed=%d,%s", c.Seed, options), func(t *testing.T) {
					runRandom(t, fs, c, options, engines, tallies)
				})
			}
		}
	})
	for _, key := range slices.Sorted(maps.Keys(tallies)) {
		t.Logf("%s: %d answered, %d refused", key, tallies[key].answered, tallies[key].refused)
	}
}

func runRandom(t *testing.T, fs testenv.FS, c *testenv.Case, options string, engines map[string]Opener, tallies map[string]*tally) {
	dir := testenv.Scratch(t, fs)
	defer func() {
		if t.Failed() {
			t.Logf("to repeat: OVERLAYDIFF_FS=%s OVERLAYDIFF_SEED=%d; mounted with %q:\n%s", fs, c.Seed, options, c)
		}
	}()
	o := overlay{dir: dir, upper: filepath.Join(dir, "upper"), options: options}
	o.lower = c.Lowers(t, dir, options)
	v := o.mount(t, func(merged string) {
		if err := testenv.Attempt(merged, c.Upper()); err != nil {
			t.Fatal(err)
		}
	})
	want, err := reference(v)
	if err != nil {
		t.Fatalf("reference: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(engines)) {
		e, err := engines[name](t.Context(), t, v.stack)
		if err == nil {
			err = errors.Join(checkAnswer(t.Context(), e, v, want), e.Close())
		}
		key := fmt.Sprintf("%s, mounted with %q", name, options)
		if tallies[key] == nil {
			tallies[key] = &tally{}
		}
		switch {
		case errors.Is(err, diff.ErrUnsupported):
			tallies[key].refused++
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			tallies[key].answered++
		}
	}
}
