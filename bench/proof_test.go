package bench

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// BenchmarkProof finds the layers of a mounted overlay and proves that they are the
// mounted ones, with 1, 10 and 100 lower layers of 10 and of 10,000 files. The price
// depends on the number of layers, not on their contents: see the metric ns/layer. The metric
// getppid/layer is the same price in units of the cheapest system call, measured in the same
// run: machines differ in that by a factor of ten.
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
				price := float64(b.Elapsed()) / float64(b.N) / float64(layers+1)
				b.ReportMetric(price, "ns/layer")
				b.ReportMetric(price/getppid(), "getppid/layer")
			})
		}
	}
}

// layeredImage mounts an overlay of layers as images have them: each adds to the
// directories that all have, some levels down.
func layeredImage(b *testing.B, layers, files int) string {
	dir := b.TempDir()
	names := []string{}
	for i := range layers {
		names = append(names, strconv.Itoa(i))
		lower := filepath.Join(dir, names[i])
		lines := []string{"dir usr", "dir usr/lib", "dir usr/share", "dir etc"}
		for f := range files {
			lines = append(lines, fmt.Sprintf("file usr/lib/f%d-%d content=x", i, f))
		}
		testenv.Tree(b, lower, lines...)
	}
	// By relative names, as container engines do to get a hundred into one page.
	testenv.Tree(b, dir, "dir upper", "dir work", "dir merged")
	b.Chdir(dir)
	options := "lowerdir=" + strings.Join(names, ":") + ",upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	must(b, syscall.Mount("overlay", dir+"/merged", "overlay", 0, options))
	b.Cleanup(func() { testenv.Unmount(b, dir+"/merged") })
	b.Chdir("/")
	return dir + "/merged"
}

// getppid returns what the system call getppid takes, in nanoseconds.
func getppid() float64 {
	const calls = 20_000
	start := time.Now()
	for range calls {
		syscall.Getppid()
	}
	return float64(time.Since(start)) / calls
}
