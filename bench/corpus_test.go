package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

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

// topDirs is how many directories a generated tree has at its top.
const topDirs = 20

// makeTree fills root with directories and ten times as many other entries,
// most of them small files, always the same. With -short it is a tenth of that.
func makeTree(tb testing.TB, root string, dirs int) {
	tb.Helper()
	if testing.Short() {
		dirs /= 10
	}
	r := rand.New(rand.NewPCG(1, uint64(dirs)))
	content := []byte(strings.Repeat("0123456789abcdef", 256))
	paths := make([]string, dirs)
	for i := range paths {
		parent := root
		if i >= topDirs {
			parent = paths[r.IntN(i)]
		}
		paths[i] = filepath.Join(parent, fmt.Sprintf("d%04d", i))
		must(tb, os.Mkdir(paths[i], 0o755))
	}
	for i := range 10 * dirs {
		dir := paths[i%dirs]
		path := filepath.Join(dir, fmt.Sprintf("f%d", i/dirs))
		switch {
		case i >= dirs && r.IntN(100) < 2:
			must(tb, os.Link(filepath.Join(dir, "f0"), path))
		case i >= dirs && r.IntN(100) < 5:
			must(tb, os.Symlink("f0", path))
		default:
			must(tb, os.WriteFile(path, content[:r.IntN(1024)], 0o644))
		}
	}
}

// makeSmallUpper fills upper with 20 entries as overlayfs would over a tree of
// makeTree, and returns how many changes they are.
func makeSmallUpper(tb testing.TB, upper string) int {
	tb.Helper()
	const dirs = 4
	for i := range dirs {
		dir := filepath.Join(upper, fmt.Sprintf("d%04d", i))
		must(tb, os.Mkdir(dir, 0o755))
		must(tb, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o644))
		must(tb, os.WriteFile(filepath.Join(dir, "f0"), []byte("modified"), 0o644))
		must(tb, os.WriteFile(filepath.Join(dir, "f1"), []byte("modified"), 0o600))
		must(tb, syscall.Mknod(filepath.Join(dir, "f2"), syscall.S_IFCHR, 0)) // a whiteout
	}
	return dirs * 4
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
