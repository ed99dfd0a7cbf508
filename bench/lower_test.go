package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// BenchmarkLower lists the changes of one upper layer of 20 entries over lower
// layers of different size, in directories that the upper changes. The native
// engine reads the upper and asks the lower for single names: the ratio of the
// times, not of the sizes, should be near 1. OVERLAYDIFF_BENCH_FILES=1000000
// makes the larger one larger.
func BenchmarkLower(b *testing.B) {
	large := 100_000
	if n, err := strconv.Atoi(os.Getenv("OVERLAYDIFF_BENCH_FILES")); err == nil {
		large = n
	}
	if testing.Short() {
		large = 10_000
	}
	dir := testenv.Scratch(b, testenv.Tmpfs)
	upper := filepath.Join(dir, "upper")
	must(b, os.Mkdir(upper, 0o755))
	want := makeSmallUpper(b, upper)
	var times ratio
	for _, files := range []int{1000, large} {
		lower := filepath.Join(dir, strconv.Itoa(files))
		makeFlat(b, lower, files)
		stack := diff.Stack{Lower: []string{lower}, Upper: upper}
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) { times.measure(b, stack, want) })
	}
}

// BenchmarkFeatures lists the changes of the same edits, 20 entries over 50,600,
// made with features off and with all of them on, and with one of the files a
// hard link: then its other names, which only the index ties to it, have to be
// looked for in the whole lower layer.
func BenchmarkFeatures(b *testing.B) {
	dir := testenv.Scratch(b, testenv.Tmpfs)
	lower := filepath.Join(dir, "lower")
	must(b, os.Mkdir(lower, 0o755))
	makeTree(b, lower, 4600)
	linked := filepath.Join("d0000", "linked")
	must(b, os.WriteFile(filepath.Join(lower, linked), []byte("x"), 0o644))
	must(b, os.Link(filepath.Join(lower, linked), filepath.Join(lower, "d0001", "linked")))

	const options = "redirect_dir=on,metacopy=on,index=on"
	all := diff.Features{RedirectFollow: true, Metacopy: true, Index: true}
	var times ratio
	for i, test := range []struct {
		name, options string
		features      diff.Features
		more          []string // edits
	}{
		{name: "features=off"},
		{name: "features=all", options: options, features: all},
		{name: "features=all,link=written", options: options, features: all, more: []string{"write " + linked + " y"}},
	} {
		layers := filepath.Join(dir, strconv.Itoa(i))
		stack := diff.Stack{Lower: []string{lower}, Upper: layers + ".upper", Work: layers + ".work", Features: test.features}
		merged := testenv.Mount(b, testenv.Overlay{Lower: stack.Lower, Upper: stack.Upper, Work: stack.Work, Options: test.options})
		want := edit(b, merged, lower)
		testenv.Do(b, merged, test.more...)
		testenv.Unmount(b, merged)
		want += 2 * len(test.more) // both names show it
		b.Run(test.name, func(b *testing.B) { times.measure(b, stack, want) })
	}
}

// ratio compares the times of subjects with that of the first.
type ratio struct{ first float64 }

func (r *ratio) measure(b *testing.B, stack diff.Stack, want int) {
	b.ReportAllocs()
	for b.Loop() {
		if got := len(changes(b, stack, overlaydiff.Native)); got != want {
			b.Fatalf("%d changes, want %d", got, want)
		}
	}
	now := float64(b.Elapsed()) / float64(b.N)
	if r.first == 0 {
		r.first = now
	}
	b.ReportMetric(now/r.first, "ratio")
}

// makeFlat makes root with empty files in a few large directories.
func makeFlat(tb testing.TB, root string, files int) {
	tb.Helper()
	for d := range topDirs {
		dir := filepath.Join(root, fmt.Sprintf("d%04d", d))
		must(tb, os.MkdirAll(dir, 0o755))
		for f := range files / topDirs {
			must(tb, syscall.Mknod(filepath.Join(dir, "f"+strconv.Itoa(f)), syscall.S_IFREG|0o644, 0))
		}
	}
}

// edit does through a mount what leaves 20 entries in the upper layer, and
// returns how many changes that are. It keeps off hard links.
func edit(tb testing.TB, merged, lower string) int {
	tb.Helper()
	const dirs = 4
	for d := range dirs {
		dir := fmt.Sprintf("d%04d", d)
		var plain []string
		for f := 0; len(plain) < 3; f++ {
			name := filepath.Join(dir, "f"+strconv.Itoa(f))
			info, err := os.Lstat(filepath.Join(lower, name))
			must(tb, err)
			if info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Nlink == 1 {
				plain = append(plain, name)
			}
		}
		testenv.Do(tb, merged, "create "+dir+"/new new", "write "+plain[0]+" more", "chmod "+plain[1]+" 600", "unlink "+plain[2])
	}
	return dirs * 4
}
