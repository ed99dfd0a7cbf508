package moby

import (
	"io"
	"runtime"
	"testing"

	"github.com/containerd/log"
	"github.com/moby/go-archive"
	"github.com/moby/moby/v2/daemon/graphdriver"
	"github.com/moby/moby/v2/daemon/graphdriver/graphtest"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// overlay2 changes the working directory of a thread, which then ends. The main thread
// can't, and would keep a file system busy: from here on no test runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	log.L.Logger.SetOutput(io.Discard) // the drivers' own: verdicts say it better
	// As in overlay2's own tests: without a chroot in another process.
	graphdriver.ApplyUncompressedLayer = archive.ApplyUncompressedLayer
	testenv.Main(m)
}

// TestGraph is moby's suite for graph drivers, whole. Its own overlay2 leaves out
// Changes, and where redirect_dir is the kernel's default DiffApply, too.
func TestGraph(t *testing.T) {
	testenv.RequireRoot(t)
	graphtest.GetDriver(t, Name) // one for all
	for _, suite := range []struct {
		name string
		test func(tb testing.TB)
	}{
		{"CreateEmpty", func(tb testing.TB) { graphtest.DriverTestCreateEmpty(tb, Name) }},
		{"CreateBase", func(tb testing.TB) { graphtest.DriverTestCreateBase(tb, Name) }},
		{"CreateSnap", func(tb testing.TB) { graphtest.DriverTestCreateSnap(tb, Name) }},
		{"DeepLayerRead", func(tb testing.TB) { graphtest.DriverTestDeepLayerRead(tb, 128, Name) }},
		{"DiffApply", func(tb testing.TB) { graphtest.DriverTestDiffApply(tb, 10, Name) }},
		{"Changes", func(tb testing.TB) { graphtest.DriverTestChanges(tb, Name) }},
	} {
		t.Run(suite.name, func(t *testing.T) {
			defer func() {
				if t.Skipped() {
					t.Error("it was skipped")
				}
			}()
			suite.test(t)
		})
	}
	graphtest.PutDriver(t)
}
