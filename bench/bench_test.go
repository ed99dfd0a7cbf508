package bench

import (
	"os"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var engines = []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Naive}

func mountOverlay(tb testing.TB, s diff.Stack, options string) string {
	tb.Helper()
	return testenv.Mount(tb, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: options})
}

// BenchmarkUsage and BenchmarkChanges measure ours alone. With the peers and the
// floor beside them, and in more scenarios: bench/peers.
func BenchmarkUsage(b *testing.B)   { benchmark(b, Usage()) }
func BenchmarkChanges(b *testing.B) { benchmark(b, Changes()) }

func benchmark(b *testing.B, t Task) {
	testenv.RequireRoot(b)
	if stack, ok := stackFromEnv(); ok {
		s := &Scene{Stack: stack, Scenario: Scenario{FS: "disk"}}
		b.Run("image=given", func(b *testing.B) { Measure(b, t, s) })
		return
	}
	set, err := ParseSet(os.Getenv("OVERLAYDIFF_BENCH"))
	must(b, err)
	if testing.Short() {
		set = Tiny
	}
	for _, s := range set.Scenarios() {
		if t.Skips(s) {
			continue
		}
		b.Run(s.Name(), func(b *testing.B) {
			if s.Image == 0 && !HasDebian() {
				b.Skip("no Debian image: bench/real-image.sh large makes it")
			}
			Measure(b, t, Build(b, s, mountOverlay))
		})
	}
}

// stackFromEnv returns the layers that OVERLAYDIFF_BENCH_LOWER, _UPPER, _WORK
// and _MERGED name, and false if there is no lower one among them. As with the
// command's flags, what the layers hold is honoured.
func stackFromEnv() (diff.Stack, bool) {
	s := diff.Stack{
		Upper:      os.Getenv("OVERLAYDIFF_BENCH_UPPER"),
		Work:       os.Getenv("OVERLAYDIFF_BENCH_WORK"),
		Mountpoint: os.Getenv("OVERLAYDIFF_BENCH_MERGED"),
	}
	lower := os.Getenv("OVERLAYDIFF_BENCH_LOWER")
	if lower == "" || s.Upper == "" {
		return diff.Stack{}, false
	}
	s.Lower = []string{lower}
	s.Features = diff.Features{RedirectFollow: true, Metacopy: true, Index: s.Work != ""}
	return s, true
}

// open opens stack with an engine.
func open(tb testing.TB, stack diff.Stack, engine overlaydiff.Choice) *overlaydiff.Diff {
	tb.Helper()
	d, err := overlaydiff.Open(tb.Context(), stack, overlaydiff.Options{Engine: engine})
	must(tb, err)
	if d.Engine() != string(engine) {
		tb.Fatalf("asked for %s, got %s: %s", engine, d.Engine(), d.Reason())
	}
	return d
}

// changes opens stack with an engine and returns its changes.
func changes(tb testing.TB, stack diff.Stack, engine overlaydiff.Choice) (list []diff.Change) {
	tb.Helper()
	d := open(tb, stack, engine)
	defer func() { must(tb, d.Close()) }()
	for c, err := range d.Changes(tb.Context()) {
		must(tb, err)
		list = append(list, c)
	}
	return list
}
