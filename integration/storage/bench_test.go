package storage

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/graphtest"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// each runs a benchmark with our driver and with the stock one, for benchstat -col /subject.
func each(b *testing.B, bench func(b *testing.B, driver string)) {
	b.Helper()
	testenv.RequireRoot(b)
	for _, driver := range []string{Name, "overlay"} {
		b.Run("subject="+driver, func(b *testing.B) { bench(b, driver) })
	}
}

// files is n, or few in a test that the benchmarks still work.
func files(n int) int {
	if testing.Short() {
		return min(n, 20)
	}
	return n
}

// The first are those of containers/storage, but for DiffApplyN, which applies no layer
// (v1.65.0): they ask for all that a layer shows, over nothing.

func BenchmarkDiffBase(b *testing.B) {
	each(b, func(b *testing.B, driver string) { graphtest.DriverBenchDiffBase(b, driver) })
}

func BenchmarkDiffSmallUpper(b *testing.B) {
	each(b, func(b *testing.B, driver string) { graphtest.DriverBenchDiffN(b, 10, 10, driver) })
}

func BenchmarkDiff10KFileUpper(b *testing.B) {
	each(b, func(b *testing.B, driver string) { graphtest.DriverBenchDiffN(b, 10, files(10000), driver) })
}

func BenchmarkDiff10KFilesBottom(b *testing.B) {
	each(b, func(b *testing.B, driver string) { graphtest.DriverBenchDiffN(b, files(10000), 10, driver) })
}

func BenchmarkDiff20Layers(b *testing.B) {
	each(b, func(b *testing.B, driver string) { graphtest.DriverBenchDeepLayerDiff(b, 20, driver) })
}

// These ask what a store asks: for a layer over its parent, of 10,000 files, 10 changed.

func BenchmarkParentDiff(b *testing.B) {
	overParent(b, func(d graphdriver.Driver) error {
		r, err := d.Diff("top", nil, "base", nil, "")
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	})
}

func BenchmarkParentChanges(b *testing.B) {
	overParent(b, func(d graphdriver.Driver) error {
		_, err := d.Changes("top", nil, "base", nil, "")
		return err
	})
}

func BenchmarkParentDiffSize(b *testing.B) {
	overParent(b, func(d graphdriver.Driver) error {
		_, err := d.DiffSize("top", nil, "base", nil, "")
		return err
	})
}

func overParent(b *testing.B, ask func(d graphdriver.Driver) error) {
	each(b, func(b *testing.B, driver string) {
		d := graphtest.GetDriver(b, driver)
		err := d.Create("base", "", nil)
		if err == nil {
			err = fill(d, "base", files(10000))
		}
		if err == nil {
			err = d.Create("top", "base", nil)
		}
		if err == nil {
			err = fill(d, "top", 10)
		}
		for err == nil && b.Loop() {
			err = ask(d)
		}
		if err != nil {
			b.Fatal(err)
		}
	})
}

// fill writes n files, 100 a directory.
func fill(d graphdriver.Driver, id string, n int) error {
	root, err := d.Get(id, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	defer d.Put(id)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprint("dir", i/100))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), []byte(id), 0o644); err != nil {
			return err
		}
	}
	return nil
}
