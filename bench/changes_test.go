package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

var engines = []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Naive}

// BenchmarkChanges lists the changes of a small upper layer over a large
// lower one with each engine, opening included.
func BenchmarkChanges(b *testing.B) {
	testenv.RequireRoot(b)
	stack, ok := stackFromEnv()
	want := -1
	if !ok {
		dir := b.TempDir()
		stack = diff.Stack{
			Lower: []string{filepath.Join(dir, "lower")},
			Upper: filepath.Join(dir, "upper"),
			Work:  filepath.Join(dir, "work"),
		}
		for _, d := range []string{stack.Lower[0], stack.Upper, stack.Work} {
			must(b, os.Mkdir(d, 0o755))
		}
		makeTree(b, stack.Lower[0], 4600) // 50,600 entries
		want = makeSmallUpper(b, stack.Upper)
	}
	for _, engine := range engines {
		b.Run("engine="+string(engine), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got := len(changes(b, stack, engine))
				if want < 0 {
					want = got
				}
				if got != want {
					b.Fatalf("%d changes, want %d", got, want)
				}
			}
			b.ReportMetric(float64(want), "changes")
		})
	}
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
