package storage

import (
	"io"
	"path/filepath"
	"testing"

	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"

	"github.com/overlaydiff/overlaydiff/integration/graph/drivertest"
)

// A store finds what it asks overlay for.
var (
	_ graphdriver.DiffGetterDriver           = (*Driver)(nil)
	_ graphdriver.DriverWithDiffer           = (*Driver)(nil)
	_ graphdriver.ApplyDiffStaging           = (*Driver)(nil)
	_ graphdriver.AdditionalLayerStoreDriver = (*Driver)(nil)
)

// underTest is the driver as drivertest takes it.
type underTest struct {
	labeled
	ids *idtools.IDMappings
}

func open(options ...string) drivertest.Opener {
	return func(tb testing.TB, home string, shift uint32) drivertest.Driver {
		tb.Helper()
		d, err := Init(home, graphdriver.Options{RunRoot: filepath.Join(filepath.Dir(home), "run"), DriverOptions: options})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := d.Cleanup(); err != nil {
				tb.Error(err)
			}
		})
		u := underTest{labeled: labeled{Driver: d.(*Driver)}}
		if shift > 0 {
			ids := []idtools.IDMap{{ContainerID: 0, HostID: int(shift), Size: 65536}}
			u.ids = idtools.NewIDMappingsFromMaps(ids, ids)
		}
		return u
	}
}

func (u underTest) Create(id, parent string) error {
	return u.Driver.CreateReadWrite(id, parent, &graphdriver.CreateOpts{IDMappings: u.ids})
}

func (u underTest) Edit(id string) (string, func() error, error) {
	dir, err := u.Get(id, graphdriver.MountOpts{})
	return dir, func() error { return u.Put(id) }, err
}

func (u underTest) Diff(id, parent string) (io.ReadCloser, error) {
	return u.Driver.Diff(id, u.ids, parent, u.ids, "")
}

func (u underTest) Changes(id, parent string) ([]string, error) {
	return lines(u.Driver.Changes(id, u.ids, parent, u.ids, ""))
}

func (u underTest) DiffSize(id, parent string) (int64, error) {
	return u.Driver.DiffSize(id, u.ids, parent, u.ids, "")
}

func (u underTest) ApplyDiff(id, _ string, r io.Reader) (int64, error) {
	return u.Driver.ApplyDiff(id, graphdriver.ApplyDiffOpts{Diff: r, Mappings: u.ids})
}

// Stock is what overlay answers with where it can't read upper directories.
func (u underTest) Stock(id, parent string) ([]string, error) {
	stock := u.Driver.Driver
	naive := graphdriver.NewNaiveDiffDriver(stock, graphdriver.NewNaiveLayerIDMapUpdater(stock))
	return lines(naive.Changes(id, u.ids, parent, u.ids, ""))
}

func lines(changes []archive.Change, err error) (list []string, _ error) {
	for _, c := range changes {
		list = append(list, c.Kind.String()+" "+c.Path)
	}
	return list, err
}

func TestDriver(t *testing.T) {
	t.Run("default", func(t *testing.T) { drivertest.Run(t, open()) })
	t.Run("redirect", func(t *testing.T) { drivertest.Run(t, open("overlay.mountopt=nodev,redirect_dir=on,metacopy=on")) })
}
