package moby

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/moby/go-archive"
	"github.com/moby/moby/v2/daemon/graphdriver"
	"github.com/moby/moby/v2/daemon/graphdriver/overlay2"
	"github.com/moby/moby/v2/daemon/graphdriver/overlayutils"
	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/integration/graph"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Name is what the driver is called in a daemon's configuration.
const Name = "overlaydiff"

func init() {
	if err := graphdriver.Register(Name, Init); err != nil {
		panic(err) // of the program, not of its input: two drivers have one name
	}
}

// Driver is overlay2 with other diffs. It is safe for concurrent use as overlay2 is.
type Driver struct {
	graphdriver.Driver // overlay2
	home               string
	options            mountutil.Options // that overlay2 mounts with, without directories
	defaults           mountutil.Defaults
	uids, gids         []layer.IDMap
	prober             features.Prober
}

// Init returns the driver for the layers in home. It takes the options of overlay2.
func Init(home string, options []string, ids user.IdentityMapping) (graphdriver.Driver, error) {
	stock, err := overlay2.Init(home, options, ids)
	if err != nil {
		return nil, err
	}
	// overlay2 takes an error for no, too.
	userxattr, err := overlayutils.NeedsUserXAttr(home)
	return &Driver{
		Driver: stock, home: home, uids: idMaps(ids.UIDMaps), gids: idMaps(ids.GIDMaps),
		options:  mountutil.Options{Index: "off", UserXattr: err == nil && userxattr},
		defaults: mountutil.KernelDefaults(), // as of now: to read them takes a fifth of a small diff
	}, nil
}

func idMaps(from []user.IDMap) (to []layer.IDMap) {
	for _, m := range from {
		to = append(to, layer.IDMap{Container: uint32(m.ID), Host: uint32(m.ParentID), Size: uint32(m.Count)})
	}
	return to
}

// String returns the name of the driver.
func (d *Driver) String() string { return Name }

// Status is overlay2's, but for whether diffs are native: that is asked of overlaydiff.
func (d *Driver) Status() [][2]string {
	rows := d.Driver.Status()
	for i := range rows {
		if rows[i][0] != "Native Overlay Diff" {
			continue
		}
		rows[i][1] = "unknown"
		if native, err := d.prober.NativeDiff(context.Background(), d.home, d.options.String()); err == nil {
			rows[i][1] = fmt.Sprint(native.OK)
		}
	}
	return rows
}

// Diff returns the changes from parent to id as a layer, a tar archive. Close it before
// the layers are removed.
func (d *Driver) Diff(id, parent string) (io.ReadCloser, error) {
	c, err := d.open(id, parent)
	if err != nil {
		return nil, err
	}
	// The daemon makes its own digests.
	return c.Layer(context.Background(), layer.ExportOptions{UIDs: d.uids, GIDs: d.gids, NoDigests: true}), nil
}

// Changes lists what differs between parent and id, in path order, with the directories
// above.
func (d *Driver) Changes(id, parent string) (list []archive.Change, err error) {
	c, err := d.open(id, parent)
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
func (d *Driver) DiffSize(id, parent string) (size int64, err error) {
	c, err := d.open(id, parent)
	if err != nil {
		return 0, err
	}
	defer end(c, &err)
	return c.Size(context.Background())
}

// ApplyDiff unpacks a layer, an archive that is not compressed, and returns the bytes of
// its files: into the upper directory of id or, if parent is not what id is on, into what
// id shows.
func (d *Driver) ApplyDiff(id, parent string, r io.Reader) (int64, error) {
	stack, err := d.Stack(id)
	if err != nil {
		return 0, err
	}
	on, err := graph.IsOn(d, stack, parent)
	if err != nil {
		return 0, err
	}
	options := layer.ApplyOptions{UIDs: d.uids, GIDs: d.gids, NoDigests: true, SkipDevices: userns.RunningInUserNS()}
	if !on {
		return graph.ApplyMounted(context.Background(), d, id, r, options)
	}
	return graph.Apply(context.Background(), stack, r, options)
}

// Stack implements [graph.Layers].
func (d *Driver) Stack(id string) (diff.Stack, error) {
	dirs, err := d.GetMetadata(id)
	if err != nil {
		return diff.Stack{}, err
	}
	o := d.options
	o.Upper, o.Work = dirs["UpperDir"], dirs["WorkDir"]
	if lower := dirs["LowerDir"]; lower != "" {
		o.Lower = strings.Split(lower, ":")
	}
	return o.Stack(d.defaults), nil
}

// Mount implements [graph.Layers].
func (d *Driver) Mount(id string) (dir string, unmount func() error, err error) {
	dir, err = d.Get(id, "")
	return dir, func() error { return d.Put(id) }, err
}

func (d *Driver) open(id, parent string) (*graph.Diff, error) {
	return graph.Open(context.Background(), d, id, parent, overlaydiff.Options{Kinds: true})
}

// end closes a diff at the end of a function that returns err.
func end(d *graph.Diff, err *error) {
	if closing := d.Close(); *err == nil {
		*err = closing
	}
}
