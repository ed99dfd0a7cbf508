package storage

import (
	"io"
	"testing"

	"github.com/sirupsen/logrus"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/graphtest"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/reexec"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	logrus.SetOutput(io.Discard) // the drivers' own: verdicts say it better
	// As in overlay's own tests: without a chroot in another process.
	graphdriver.ApplyUncompressedLayer = archive.ApplyUncompressedLayer
	testenv.Main(m)
}

// TestGraph is the suite of containers/storage for graph drivers, whole. Its own overlay
// leaves out Changes and DiffApply where it can't read upper directories.
func TestGraph(t *testing.T) {
	testenv.RequireRoot(t)
	deepest := 500 // that overlay takes
	if testing.Short() {
		deepest = 128
	}
	graphtest.GetDriverNoCleanup(t, Name) // one for all
	for _, suite := range []struct {
		name string
		test func(tb testing.TB)
	}{
		{"CreateEmpty", func(tb testing.TB) { graphtest.DriverTestCreateEmpty(tb, Name) }},
		{"CreateBase", func(tb testing.TB) { graphtest.DriverTestCreateBase(tb, Name) }},
		{"CreateSnap", func(tb testing.TB) { graphtest.DriverTestCreateSnap(tb, Name) }},
		{"CreateFromTemplate", func(tb testing.TB) { graphtest.DriverTestCreateFromTemplate(tb, Name) }},
		{"DeepLayerRead", func(tb testing.TB) { graphtest.DriverTestDeepLayerRead(tb, deepest, Name) }},
		{"DiffApply", func(tb testing.TB) { graphtest.DriverTestDiffApply(tb, 10, Name) }},
		{"Changes", func(tb testing.TB) { graphtest.DriverTestChanges(tb, Name) }},
		{"Echo", func(tb testing.TB) { graphtest.DriverTestEcho(tb, Name) }},
		{"ListLayers", func(tb testing.TB) { graphtest.DriverTestListLayers(tb, Name) }},
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
