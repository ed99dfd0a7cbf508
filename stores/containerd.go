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
	"strconv"
	"strings"

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
	labels                  map[string]string
}

// snapshotter has the snapshots of one snapshotter by name.
type snapshotter struct {
	dir   string
	names map[string]snapshotRow
	err   error
}

// snapshotRow is what metadata.db has of a snapshot.
type snapshotRow struct {
	id   uint64
	size int64 // -1 if it is not committed
}

// snapshotsEach is how many snapshots there can be for each container.
const snapshotsEach = 16

// openContainerd reads which snapshots there are, and lists the containers.
func openContainerd(ctx context.Context, e eyes, root string) (*containerd, []containerRow, error) {
	d := &containerd{root: root, eyes: e, known: map[string]*snapshotter{}, keys: map[snapshotKey]snapshotRecord{}}
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

// snapshots returns the snapshots of a snapshotter.
func (d *containerd) snapshots(ctx context.Context, name string) *snapshotter {
	if d.known[name] == nil {
		s := &snapshotter{dir: filepath.Join(d.root, "io.containerd.snapshotter.v1."+name), names: map[string]snapshotRow{}}
		s.err = s.read(ctx, d.eyes, name)
		d.known[name] = s
	}
	return d.known[name]
}

func (s *snapshotter) read(ctx context.Context, e eyes, name string) error {
	if !isID(name) {
		return fmt.Errorf("find the snapshots of %q: that is no snapshotter: mend the store", short(name))
	}
	path := filepath.Join(s.dir, "metadata.db")
	db, err := openBolt(ctx, e, path)
	if errors.Is(err, fs.ErrNotExist) {
		return &diff.UnsupportedError{
			Op:     "read the snapshots of " + name,
			Reason: "it keeps no list of them in containerd's root, as those that make overlays do: name the container as pid:N while it runs",
		}
	}
	if err != nil {
		return err
	}
	all, err := db.root.at("v1", "snapshots")
	if err == nil {
		err = all.buckets(func(name string, in bucket) error {
			values, err := in.values()
			s.names[name] = parseSnapshot(values)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", diff.QuotePath(path), err)
	}
	return nil
}

func parseSnapshot(values map[string]string) snapshotRow {
	const committed = "\x03" // snapshots.KindCommitted
	row := snapshotRow{size: -1}
	row.id, _ = binary.Uvarint([]byte(values["id"]))
	if size, n := binary.Varint([]byte(values["size"])); n > 0 && values["kind"] == committed && size >= 0 {
		row.size = size
	}
	return row
}

// layer returns the layer of a snapshot, and the key of its parent.
func (d *containerd) layer(ctx context.Context, k snapshotKey) (Layer, string, error) {
	record, ok := d.keys[k]
	if !ok {
		return Layer{}, "", notFound("find the snapshot " + diff.QuotePath(short(k.key)) + ": containerd has none; it was removed meanwhile")
	}
	all := d.snapshots(ctx, k.snapshotter)
	if all.err != nil {
		return Layer{}, "", all.err
	}
	row, ok := all.names[record.name]
	if !ok {
		return Layer{}, "", notFound("find the snapshot " + diff.QuotePath(short(k.key)) + ": its snapshotter has none; it was removed meanwhile")
	}
	l := Layer{SnapshotKey: k.key, Size: row.size, Dir: filepath.Join(all.dir, "snapshots", strconv.FormatUint(row.id, 10), "fs")}
	if _, ok := sha256Hex(k.key); ok {
		l.ChainID = k.key
	}
	return l, record.parent, d.eyes.layerDir(l.Dir)
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
	d, rows, err := openContainerd(ctx, *s.eyes, s.Root)
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
		c.setNames(row.names())
		c.Err = d.fill(ctx, &c, m, snapshotKey{row.namespace, row.snapshotter, row.key})
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

// names returns how the clients of containerd call a container: nerdctl by a
// label, Kubernetes by its pod.
func (row containerRow) names() []string {
	var names []string
	if name := row.labels["nerdctl/name"]; name != "" {
		names = append(names, name)
	}
	pod, namespace := row.labels["io.kubernetes.pod.name"], row.labels["io.kubernetes.pod.namespace"]
	if pod != "" && namespace != "" {
		name := cmp.Or(row.labels["io.kubernetes.container.name"], "(sandbox)")
		names = append(names, strings.Join([]string{namespace, pod, name}, "/"))
	}
	return names
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
