package storage

import (
	"context"
	"fmt"
	"io"
	"slices"

	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/overlay"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/unshare"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Name is what the driver is called in storage.conf.
const Name = "overlaydiff"

func init() { graphdriver.MustRegister(Name, Init) }

// Driver is overlay with other diffs. It has all that overlay has, so that a store finds
// the same abilities. It is safe for concurrent use as overlay is.
type Driver struct {
	*overlay.Driver
	home     string
	options  mountutil.Options // that overlay mounts with, without directories
	defaults mountutil.Defaults
	foreign  bool // its layers are not what the kernel sees
	prober   features.Prober
}

// Init returns the driver for the layers in home. It takes the options of overlay.
func Init(home string, options graphdriver.Options) (graphdriver.Driver, error) {
	stock, err := overlay.Init(home, options)
	if err != nil {
		return nil, err
	}
	of, ok := stock.(*overlay.Driver)
	if !ok {
		return nil, fmt.Errorf("make the graph driver %s: overlay is a %T, which is not known here", Name, stock)
	}
	// The defaults are those of now: to read them takes a fifth of a small diff.
	d := &Driver{Driver: of, home: home, defaults: mountutil.KernelDefaults()}
	if err := d.configure(options); err != nil {
		return nil, fmt.Errorf("make the graph driver %s: %w", Name, err)
	}
	return d, nil
}

// String returns the name of the driver.
func (*Driver) String() string { return Name }

// Status is overlay's, but for whether diffs are native: that is asked of overlaydiff.
func (d *Driver) Status() [][2]string {
	rows := d.Driver.Status()
	for i := range rows {
		if rows[i][0] != "Native Overlay Diff" || d.foreign {
			continue
		}
		rows[i][1] = "unknown"
		if native, err := d.prober.NativeDiff(context.Background(), d.home, d.options.String()); err == nil {
			rows[i][1] = fmt.Sprint(native.OK)
		}
	}
	return rows
}

// Diff returns the changes from parent to id as a layer, a tar archive, with the ids of
// the container. Close it before the layers are removed.
func (d *Driver) Diff(id string, ids *idtools.IDMappings, parent string, parentIDs *idtools.IDMappings, label string) (io.ReadCloser, error) {
	if d.leaves(ids, parent, parentIDs) {
		return d.Driver.Diff(id, ids, parent, parentIDs, label)
	}
	c, err := d.open(id, parent, label)
	if err != nil {
		return nil, err
	}
	uids, gids := idMaps(ids)
	// The store makes its own digests.
	return c.Layer(context.Background(), layer.ExportOptions{UIDs: uids, GIDs: gids, NoDigests: true}), nil
}

// Changes lists what differs between parent and id, in path order, with the directories
// above.
func (d *Driver) Changes(id string, ids *idtools.IDMappings, parent string, parentIDs *idtools.IDMappings, label string) (list []archive.Change, err error) {
	if d.leaves(ids, parent, parentIDs) {
		return d.Driver.Changes(id, ids, parent, parentIDs, label)
	}
	c, err := d.open(id, parent, label)
	if err != nil {
		return nil, err
	}
	defer end(c, &err)
	for change, err := range diff.WithParents(c.Changes(context.Background())) {
		if err != nil {
			return nil, err
		}
		list = append(list, archive.Change{Path: change.Path, Kind: kinds[change.Kind]})
	}
	return list, nil
}

var kinds = map[diff.Kind]archive.ChangeType{
	diff.Add: archive.ChangeAdd, diff.Modify: archive.ChangeModify, diff.Delete: archive.ChangeDelete,
}

// DiffSize returns the bytes of what was added or modified from parent to id, every
// inode once, without directories.
func (d *Driver) DiffSize(id string, ids *idtools.IDMappings, parent string, parentIDs *idtools.IDMappings, label string) (size int64, err error) {
	if d.leaves(ids, parent, parentIDs) {
		return d.Driver.DiffSize(id, ids, parent, parentIDs, label)
	}
	c, err := d.open(id, parent, label)
	if err != nil {
		return 0, err
	}
	defer end(c, &err)
	return c.Size(context.Background())
}

// ApplyDiff unpacks a layer, an archive that is not compressed, into the upper directory
// of id, and returns the bytes of the files there.
func (d *Driver) ApplyDiff(id string, options graphdriver.ApplyDiffOpts) (int64, error) {
	if d.foreign || options.IgnoreChownErrors || options.ForceMask != nil {
		return d.Driver.ApplyDiff(id, options)
	}
	stack, err := d.Stack(id)
	if err != nil {
		return 0, err
	}
	uids, gids := idMaps(options.Mappings)
	return graph.Apply(context.Background(), stack, options.Diff, layer.ApplyOptions{
		UIDs: uids, GIDs: gids, NoDigests: true, SkipDevices: unshare.IsRootless(),
	})
}

// leaves reports whether a diff is overlay's to make, see the package.
func (d *Driver) leaves(ids *idtools.IDMappings, parent string, parentIDs *idtools.IDMappings) bool {
	uids, gids := idMaps(ids)
	parentUIDs, parentGIDs := idMaps(parentIDs)
	return d.foreign || parent != "" && !(slices.Equal(uids, parentUIDs) && slices.Equal(gids, parentGIDs))
}

func idMaps(ids *idtools.IDMappings) (uids, gids []layer.IDMap) {
	if ids == nil {
		return nil, nil
	}
	list := func(from []idtools.IDMap) (to []layer.IDMap) {
		for _, m := range from {
			to = append(to, layer.IDMap{Container: uint32(m.ContainerID), Host: uint32(m.HostID), Size: uint32(m.Size)})
		}
		return to
	}
	return list(ids.UIDs()), list(ids.GIDs())
}

func (d *Driver) open(id, parent, label string) (*graph.Diff, error) {
	return graph.Open(context.Background(), labeled{d, label}, id, parent, overlaydiff.Options{Kinds: true})
}

// end closes a diff at the end of a function that returns err.
func end(d *graph.Diff, err *error) {
	if closing := d.Close(); *err == nil {
		*err = closing
	}
}
