package bench

import (
	"fmt"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// BenchmarkProof finds the layers of a mounted overlay and proves that they are the
// mounted ones, with 1, 10 and 100 lower layers of 10 and of 10,000 files. The price is
// one of a layer, whatever is in it: see the metric ns/layer.
func BenchmarkProof(b *testing.B) {
	testenv.RequireRoot(b)
	sizes := []int{10, 10_000}
	if testing.Short() {
		sizes = []int{10}
	}
	for _, layers := range []int{1, 10, 100} {
		for _, files := range sizes {
			if layers*files > 100_000 {
				continue
			}
			b.Run(fmt.Sprintf("layers=%d/files=%d", layers, files), func(b *testing.B) {
				merged := layeredImage(b, layers, files)
				ctx := b.Context()
				for b.Loop() {
					s, err := overlaydiff.FromMount(ctx, merged)
					must(b, err)
					if !s.Proven() {
						b.Fatalf("not proven: %q", s.Unproven)
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(layers+1), "ns/layer")
			})
		}
	}
}

// layeredImage mounts an overlay of layers as images have them: each adds to the
// directories that all have, some levels down.
func layeredImage(b *testing.B, layers, files int) string {
	dir := b.TempDir()
	o := testenv.Overlay{Upper: dir + "/upper"}
	for i := range layers {
		lower := fmt.Sprintf("%s/%d", dir, i)
		lines := []string{"dir usr", "dir usr/lib", "dir usr/share", "dir etc"}
		for f := range files {
			lines = append(lines, fmt.Sprintf("file usr/lib/f%d-%d content=x", i, f))
		}
		testenv.Tree(b, lower, lines...)
		o.Lower = append(o.Lower, lower)
	}
	return testenv.Mount(b, o)
}
