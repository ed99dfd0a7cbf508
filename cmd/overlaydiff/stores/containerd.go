//go:build linux

package stores

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
)

// containerd reads the store of a containerd:
//
//	io.containerd.metadata.v1.bolt/meta.db
//	  v1/NAMESPACE/containers/ID/{image,snapshotter,snapshotKey,labels/…}
//	  v1/NAMESPACE/snapshots/SNAPSHOTTER/KEY/{name,parent}
//	io.containerd.snapshotter.v1.SNAPSHOTTER/metadata.db
//	  v1/snapshots/NAME/{id,kind,size}
//	io.containerd.snapshotter.v1.SNAPSHOTTER/snapshots/ID/{fs,work}
//
// as its core/metadata/buckets.go, core/snapshots/storage/bolt.go and
// plugins/snapshots/overlay/overlay.go do.
type containerd struct {
	root       string
	eyes       eyes
	namespaces []string
	roots      map[string][]string     // [Store.Snapshotters]
	known      map[string]*snapshotter // by name of the snapshotter
	keys       map[snapshotKey]snapshotRecord
}

// snapshotKey names a snapshot as containerd's clients do.
type snapshotKey struct{ namespace, snapshotter, key string }

// snapshotRecord is what meta.db has of a snapshot.
type snapshotRecord struct {
	name, parent string
	ids          diff.IDMap // by its labels, that of the mount
}

// containerRow is what meta.db has of a container.
type containerRow struct {
	namespace, id           string
	image, snapshotter, key string
	created                 time.Time
	attempt                 uint32     // of a container of a pod
	ids                     diff.IDMap // that its specification asks for
	labels                  map[string]string
}

// snapshotter has the snapshots of one snapshotter by name.
type snapshotter struct {
	names map[string]snapshotRow
	err   error // of what is not in names
	fatal bool  // of all
}

// snapshotRow is what metadata.db has of a snapshot.
type snapshotRow struct {
	dir  string // the snapshotter's
	id   uint64
	size int64 // -1 if it is not committed
}

// snapshotsEach is how many snapshots there can be for each container.
const snapshotsEach = 16

// openContainerd reads which snapshots there are, and lists the containers.
func openContainerd(ctx context.Context, e eyes, root string, snapshotters map[string][]string) (*containerd, []containerRow, error) {
	d := &containerd{root: root, eyes: e, roots: snapshotters, known: map[string]*snapshotter{}, keys: map[snapshotKey]snapshotRecord{}}
	var rows []containerRow
	path := filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db")
	db, err := openBolt(ctx, e, path)
	if err != nil {
		return nil, nil, err
	}
	v1, err := db.root.at("v1")
	if err == nil {
		err = v1.buckets(func(namespace string, in bucket) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			d.namespaces = append(d.namespaces, namespace)
			list, err := readRows(namespace, in)
			rows = append(rows, list...)
			if len(rows) > e.entries() {
				err = fmt.Errorf("it has more than %d containers: mend the store", e.entries())
			}
			if err != nil {
				return err
			}
			if err := d.readKeys(namespace, in); err != nil {
				return err
			}
			if most := snapshotsEach * e.entries(); len(d.keys) > most {
				return fmt.Errorf("it has more than %d snapshots: mend the store", most)
			}
			return nil
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", diff.QuotePath(path), err)
	}
	return d, rows, nil
}

func readRows(namespace string, in bucket) (rows []containerRow, err error) {
	all, err := in.at("containers")
	if err != nil {
		return nil, err
	}
	err = all.buckets(func(id string, c bucket) error {
		values, err := c.values()
		if err != nil {
			return err
		}
		labels, err := c.at("labels")
		if err != nil {
			return err
		}
		row := containerRow{
			namespace: namespace, id: id, image: values["image"],
			snapshotter: cmp.Or(values["snapshotter"], "overlayfs"), key: values["snapshotKey"],
		}
		_ = row.created.UnmarshalBinary([]byte(values["createdat"])) // zero: not known
		row.ids = specIDs(values["spec"])
		if row.attempt, err = readAttempt(c); err != nil {
			return err
		}
		row.labels, err = labels.values()
		rows = append(rows, row)
		return err
	})
	return rows, err
}

func (d *containerd) readKeys(namespace string, in bucket) error {
	all, err := in.at("snapshots")
	if err != nil {
		return err
	}
	return all.buckets(func(name string, keys bucket) error {
		return keys.buckets(func(key string, s bucket) error {
			values, err := s.values()
			if err != nil {
				return err
			}
			labels, err := s.at("labels")
			if err != nil {
				return err
			}
			all, err := labels.values()
			if err != nil {
				return err
			}
			ids, err := labelIDs(all)
			d.keys[snapshotKey{namespace, name, key}] = snapshotRecord{name: values["name"], parent: values["parent"], ids: ids}
			return err
		})
	})
}

// snapshots returns the snapshots of a snapshotter: of that below containerd's root, of those
// directories that the configuration names, and of those that mounts have led to. The name of
// a snapshot has a number in it, so that it is found where it is.
func (d *containerd) snapshots(ctx context.Context, name string) *snapshotter {
	if d.known[name] == nil {
		s := &snapshotter{names: map[string]snapshotRow{}}
		s.err = d.read(ctx, s, name)
		s.fatal = s.err != nil && !errors.As(s.err, new(*diff.UnsupportedError))
		d.known[name] = s
	}
	return d.known[name]
}

func (d *containerd) read(ctx context.Context, s *snapshotter, name string) error {
	if !isID(name) {
		return fmt.Errorf("find the snapshots of %q: that is no snapshotter: mend the store", short(name))
	}
	its := append(slices.Clone(d.roots[name]), filepath.Join(d.root, "io.containerd.snapshotter.v1."+name))
	found := false
	for i, dir := range slices.Concat(its, d.roots[""]) {
		switch err := s.read(ctx, d.eyes, dir); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case i < len(its):
			found = true
		}
	}
	if !found {
		return &diff.UnsupportedError{
			Op:     "read the snapshots of " + name,
			Reason: "it keeps no list of them where containerd's configuration or a mount says: name the container as pid:N while it runs",
		}
	}
	return nil
}

// read adds the snapshots in a directory. What is known already stays.
func (s *snapshotter) read(ctx context.Context, e eyes, dir string) error {
	path := filepath.Join(dir, "metadata.db")
	db, err := openBolt(ctx, e, path)
	if err != nil {
		return err
	}
	all, err := db.root.at("v1", "snapshots")
	if err == nil {
		err = all.buckets(func(name string, in bucket) error {
			values, err := in.values()
			if _, known := s.names[name]; !known {
				s.names[name] = parseSnapshot(dir, values)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", diff.QuotePath(path), err)
	}
	return nil
}

func parseSnapshot(dir string, values map[string]string) snapshotRow {
	const committed = "\x03" // snapshots.KindCommitted
	row := snapshotRow{dir: dir, size: -1}
	row.id, _ = binary.Uvarint([]byte(values["id"]))
	if size, n := binary.Varint([]byte(values["size"])); n > 0 && values["kind"] == committed && size >= 0 {
		row.size = size
	}
	return row
}

// noOverlays are containerd's snapshotters that keep whole trees or block devices.
var noOverlays = map[string]bool{"native": true, "btrfs": true, "zfs": true, "devmapper": true, "blockfile": true}

// layer returns the layer of a snapshot, and the key of its parent.
func (d *containerd) layer(ctx context.Context, k snapshotKey) (Layer, string, error) {
	record, ok := d.keys[k]
	if !ok {
		return Layer{}, "", notFound("find the snapshot " + diff.QuotePath(short(k.key)) + ": containerd has none; it was removed meanwhile")
	}
	all := d.snapshots(ctx, k.snapshotter)
	row, ok := all.names[record.name]
	switch {
	case all.fatal || !ok && all.err != nil:
		return Layer{}, "", all.err
	case !ok:
		return Layer{}, "", notFound("find the snapshot " + diff.QuotePath(short(k.key)) + ": its snapshotter has none; it was removed meanwhile")
	}
	dir := filepath.Join(row.dir, "snapshots", strconv.FormatUint(row.id, 10))
	l := Layer{SnapshotKey: k.key, Size: row.size, Dir: filepath.Join(dir, "fs")}
	if _, ok := sha256Hex(k.key); ok {
		l.ChainID = k.key
	}
	err := d.eyes.layerDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) && (noOverlays[k.snapshotter] || d.eyes.isDir(dir)) {
		l.Dir = ""
		err = &diff.UnsupportedError{
			Op:     "find the layers of snapshot " + diff.QuotePath(short(k.key)),
			Reason: fmt.Sprintf("the snapshotter %s keeps them in no directories that an overlay could have", k.snapshotter),
		}
	}
	return l, record.parent, err
}

// fill finds the layers of the container whose own snapshot is k.
func (d *containerd) fill(ctx context.Context, c *Container, m mounter, k snapshotKey) error {
	c.Fuse = k.snapshotter == "fuse-overlayfs"
	m.fuse = c.Fuse
	rw, parent, err := d.layer(ctx, k)
	if err != nil {
		return err
	}
	c.RW = rw
	all := m.newChains(func(key string) (Layer, string, error) {
		return d.layer(ctx, snapshotKey{k.namespace, k.snapshotter, key})
	})
	layers, err := all.of(ctx, parent)
	lower := dirs(layers)
	if len(layers) > 0 && layers[0].SnapshotKey == k.key+"-init" { // Docker's
		c.Init, layers = layers[0], layers[1:]
	}
	c.Layers = layers
	if err != nil {
		return err
	}
	c.Stack = m.stack(rw.Dir, lower)         // without a lower one, the plain directory is mounted
	if ids := d.keys[k].ids; !ids.IsZero() { // the mount maps the layers below (2.0)
		c.Stack.Container = ids
		for _, dir := range lower {
			c.Stack.Owners[dir] = ids
		}
	}
	return nil
}

// dockers returns the name of the snapshot of a container of Docker's.
func (d *containerd) dockers(driver, id string) (snapshotKey, bool) {
	for _, namespace := range d.namespaces { // "moby", if the daemon's configuration says nothing else
		k := snapshotKey{namespace, driver, id}
		if _, ok := d.keys[k]; ok {
			return k, true
		}
	}
	return snapshotKey{}, false
}

func containerdContainers(ctx context.Context, s Store) ([]Container, error) {
	d, rows, err := openContainerd(ctx, *s.eyes, s.Root, s.Snapshotters)
	if err != nil {
		return nil, err
	}
	m, err := s.mounter()
	if err != nil {
		return nil, err
	}
	var list []Container
	for _, row := range rows {
		if row.key == "" { // Docker's with a graph driver, or of a sandbox without a root
			continue
		}
		c := Container{Runtime: RuntimeContainerd, Namespace: row.namespace, ID: row.id, Image: row.image, ImageID: row.image}
		row.describe(&c)
		c.Err = d.fill(ctx, &c, m, snapshotKey{row.namespace, row.snapshotter, row.key})
		if c.Err == nil {
			c.Err = s.setIDs(&c, row.ids, m)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.eyes.isDir(s.RunRoot) {
			c.State = Stopped // unless it has a task
		}
		c.setProcess(s.taskPID(row), Running, m)
		list = append(list, c)
	}
	return list, nil
}

// setIDs sets the ids of a container whose specification has these, unless the labels of its
// snapshot have said them; its process, if it runs, tells them anew.
func (s Store) setIDs(c *Container, ids diff.IDMap, m mounter) error {
	if m.rootless {
		own, err := s.userIDs(m)
		ids = nested(ids, own)
		if err != nil {
			return err
		}
	}
	if c.Stack.Container.IsZero() {
		c.Stack.Container = ids
	}
	return nil
}

// describe fills in how the clients of containerd call a container: nerdctl by labels,
// Kubernetes by its pod.
func (row containerRow) describe(c *Container) {
	c.Created = row.created
	var names []string
	if name := row.labels["nerdctl/name"]; name != "" {
		names = append(names, name)
	}
	pod := Pod{
		Namespace: row.labels["io.kubernetes.pod.namespace"], Name: row.labels["io.kubernetes.pod.name"],
		Container: cmp.Or(row.labels["io.kubernetes.container.name"], sandbox), Attempt: row.attempt,
	}
	if pod.Name != "" && pod.Namespace != "" {
		c.Pod = pod
		names = append(names, pod.String())
	}
	c.setNames(names)
	c.addService(row.labels)
}

// taskPID returns the first process of a container's task, 0 if there is none:
// its shim writes it into the bundle.
func (s Store) taskPID(row containerRow) int {
	if s.RunRoot == "" || !isID(row.namespace) || !isID(row.id) {
		return 0
	}
	for _, plugin := range []string{"io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"} {
		word, err := s.eyes.readWord(filepath.Join(s.RunRoot, plugin, row.namespace, row.id, "init.pid"))
		if err == nil {
			pid, _ := strconv.Atoi(word)
			return pid
		}
	}
	return 0
}
