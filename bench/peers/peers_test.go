package peers

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	apexlog "github.com/apex/log"
	"github.com/apex/log/handlers/discard"
	"github.com/sirupsen/logrus"
	storagearchive "go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// containerd's mount package changes the working directory of a thread, which
// then ends. The main thread can't, and would keep the scene's file system busy:
// from here on no test runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // the verdicts say it better
	apexlog.SetHandler(discard.New())
	if os.Getenv(childEnv) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "peers:", err)
			os.Exit(1)
		}
		return
	}
	// Some code opens things once and keeps them: the check for leaks is to
	// find them open before.
	if err := warm(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
	}
	flag.Parse()
	if f := flag.Lookup("test.bench"); f != nil && f.Value.String() != "" && os.Getenv("OVERLAYDIFF_TEST_NAMESPACE") != "" {
		describe()
	}
	testenv.Main(m)
}

// describe prints what the numbers come from, in the form of the benchmark
// format's own lines ("cpu: …"), which bench/report reads.
func describe() {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	memory, _ := os.ReadFile("/proc/meminfo")
	total, _, _ := strings.Cut(strings.TrimPrefix(string(memory), "MemTotal:"), "\n")
	fmt.Printf("kernel: %s\ncores: %d\nmemory: %s\ngo: %s\n",
		strings.TrimSpace(string(release)), runtime.NumCPU(), strings.TrimSpace(total), runtime.Version())
	mod, _ := os.ReadFile("go.mod") // a test's binary does not know its versions
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.Contains(f[0], "/") && f[1] != "v0.0.0" {
			fmt.Printf("%s: %s\n", strings.ReplaceAll(f[0], "/", "-"), f[1])
		}
	}
}

// warm has containers/storage look for an attribute of a directory, for which it
// keeps a /proc of its own open.
func warm() error {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := testenv.MakeTree(dir, "file upper/d/f", "dir upper/d xattr.trusted.overlay.opaque=y", "file lower/d/f"); err != nil {
		return nil // not root: nothing will be asked
	}
	_, err = storagearchive.OverlayChanges([]string{dir + "/lower"}, dir+"/upper")
	return err
}

func mountOverlay(tb testing.TB, s diff.Stack, options string) string {
	tb.Helper()
	return testenv.Mount(tb, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: options})
}

func BenchmarkUsage(b *testing.B)   { benchmark(b, Usage()) }
func BenchmarkChanges(b *testing.B) { benchmark(b, Changes()) }

func BenchmarkLayer(b *testing.B)        { benchmark(b, Layers()[0]) }
func BenchmarkLayerDigest(b *testing.B)  { benchmark(b, Layers()[1]) }
func BenchmarkLayerGzip(b *testing.B)    { benchmark(b, Layers()[2]) }
func BenchmarkLayerZstd(b *testing.B)    { benchmark(b, Layers()[3]) }
func BenchmarkApply(b *testing.B)        { benchmark(b, Applies()[0]) }
func BenchmarkApplyDigest(b *testing.B)  { benchmark(b, Applies()[1]) }
func BenchmarkApplyOverlay(b *testing.B) { benchmark(b, Applies()[2]) }

func chosenSet(b *testing.B) bench.Set {
	b.Helper()
	if testing.Short() {
		return bench.Tiny
	}
	set, err := bench.ParseSet(os.Getenv("OVERLAYDIFF_BENCH"))
	if err != nil {
		b.Fatal(err)
	}
	return set
}

func benchmark(b *testing.B, t bench.Task) {
	testenv.RequireRoot(b)
	for _, s := range chosenSet(b).Scenarios() {
		if t.Skips(s) {
			continue
		}
		b.Run(s.Name(), func(b *testing.B) {
			if s.Image == 0 && !bench.HasDebian() {
				b.Skip("no Debian image: bench/real-image.sh large makes it")
			}
			bench.Measure(b, t, bench.Build(b, s, mountOverlay))
		})
	}
}
