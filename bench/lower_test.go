package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// BenchmarkLower lists the changes of one small upper layer over images of
// different size. The native engine reads the upper and asks the lower for
// single names: the ratio of the times, not of the sizes, should be near 1.
func BenchmarkLower(b *testing.B) {
	testenv.RequireRoot(b)
	images := []int{1000, 100_000}
	if testing.Short() {
		images = []int{100, 1000}
	}
	var times ratio
	for _, n := range images {
		s := Scenario{Image: n, Upper: smallUpper}
		b.Run(s.Name(), func(b *testing.B) { times.measure(b, Build(b, s, mountOverlay)) })
	}
}

// BenchmarkFeatures lists the changes of the same edits with features off and
// with all of them on, and with one of the files a hard link: then its other
// names, which only the index ties to it, have to be looked for in the whole
// lower layer.
func BenchmarkFeatures(b *testing.B) {
	testenv.RequireRoot(b)
	s := Scenario{Image: image, Upper: smallUpper}
	if testing.Short() {
		s.Image = 1000
	}
	var times ratio
	for _, test := range []struct {
		name         string
		features, up bool
	}{
		{name: "features=off"},
		{name: "features=on", features: true},
		{name: "features=on/link=written", features: true, up: true},
	} {
		b.Run(test.name, func(b *testing.B) {
			s.Features = test.features
			sc := Build(b, s, mountOverlay)
			if test.up {
				testenv.Do(b, sc.Stack.Mountpoint, "write "+linked(b, sc)+" y")
			}
			times.measure(b, sc)
		})
	}
}

// linked returns a file of the image that has another name.
func linked(tb testing.TB, sc *Scene) string {
	tb.Helper()
	c := newCorpus(sc.Scenario)
	for i := range c.files {
		if c.kind(i) == 'h' {
			rel, dir := c.file(i)
			_, err := os.Lstat(filepath.Join(sc.Old, rel))
			must(tb, err)
			return filepath.Join(c.dirs[dir], "f0")
		}
	}
	tb.Fatal("no hard links in the image")
	return ""
}

// ratio compares the times of subjects with that of the first.
type ratio struct{ first float64 }

func (r *ratio) measure(b *testing.B, sc *Scene) {
	want := len(changes(b, sc.Stack, overlaydiff.Native))
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if got := len(changes(b, sc.Stack, overlaydiff.Native)); got != want {
			b.Fatalf("%d changes, and %d the time before", got, want)
		}
	}
	now := float64(b.Elapsed()) / float64(b.N)
	if r.first == 0 {
		r.first = now
	}
	b.ReportMetric(now/r.first, "ratio")
}
