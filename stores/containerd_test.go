//go:build linux

package stores

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// put writes a value by its path of buckets.
func put(t *testing.T, tx *bbolt.Tx, value []byte, path ...string) {
	t.Helper()
	b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
	for _, name := range path[1 : len(path)-1] {
		if err == nil {
			b, err = b.CreateBucketIfNotExists([]byte(name))
		}
	}
	if err == nil {
		err = b.Put([]byte(path[len(path)-1]), value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// updateBolt changes a database, which it makes if need be.
func updateBolt(t *testing.T, path string, update func(*bbolt.Tx)) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		update(tx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot is one in the fixture.
type snapshot struct {
	id          uint64
	key, parent string
	size        int64 // 0: it is active
}

func putSnapshots(t *testing.T, root, namespace, snapshotter string, list ...snapshot) {
	t.Helper()
	dir := filepath.Join(root, "io.containerd.snapshotter.v1."+snapshotter)
	name := func(s snapshot) string { return fmt.Sprintf("%s/%d/%s", namespace, s.id+100, s.key) }
	updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		for _, s := range list {
			put(t, tx, []byte(name(s)), "v1", namespace, "snapshots", snapshotter, s.key, "name")
			put(t, tx, []byte(s.parent), "v1", namespace, "snapshots", snapshotter, s.key, "parent")
		}
	})
	updateBolt(t, filepath.Join(dir, "metadata.db"), func(tx *bbolt.Tx) {
		for _, s := range list {
			kind := []byte{2}
			if s.size != 0 {
				kind = []byte{3}
				put(t, tx, binary.AppendVarint(nil, s.size), "v1", "snapshots", name(s), "size")
			}
			put(t, tx, kind, "v1", "snapshots", name(s), "kind")
			put(t, tx, binary.AppendUvarint(nil, s.id), "v1", "snapshots", name(s), "id")
			testenv.Tree(t, dir, fmt.Sprintf("dir snapshots/%d/fs", s.id), fmt.Sprintf("dir snapshots/%d/work", s.id))
		}
	})
}

func putContainer(t *testing.T, root, namespace, id string, fields map[string]string) {
	t.Helper()
	updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		for key, value := range fields {
			path := []string{"v1", namespace, "containers", id, key}
			if label := filepath.Base(key); filepath.Dir(key) == "labels" {
				path = []string{"v1", namespace, "containers", id, "labels", label}
			}
			put(t, tx, []byte(value), path...)
		}
	})
}

// containerdTree has containers of two namespaces on an image of two layers.
func containerdTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	putSnapshots(t, root, "k8s.io", "overlayfs",
		snapshot{1, digest("1"), "", 5000}, snapshot{300, digest("2"), digest("1"), 70_000},
		snapshot{301, "app", digest("2"), 0}, snapshot{302, "bare", "", 0})
	putSnapshots(t, root, "moby", "overlayfs",
		snapshot{400, digest("1"), "", 5000}, snapshot{401, id("a") + "-init", digest("1"), 4096}, snapshot{402, id("a"), id("a") + "-init", 0})
	putContainer(t, root, "k8s.io", "app", map[string]string{
		"image": "docker.io/library/web:1", "snapshotter": "overlayfs", "snapshotKey": "app",
		"labels/" + "io.kubernetes.pod.name": "pod",
	})
	updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		for key, value := range map[string]string{
			"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "prod", "io.kubernetes.container.name": "nginx",
		} {
			put(t, tx, []byte(value), "v1", "k8s.io", "containers", "app", "labels", key)
		}
	})
	putContainer(t, root, "k8s.io", "bare", map[string]string{"snapshotKey": "bare", "labels/nerdctl": "no"})
	putContainer(t, root, "k8s.io", "lost", map[string]string{"snapshotKey": "gone"})
	putContainer(t, root, "k8s.io", "other", map[string]string{"snapshotKey": "gone", "snapshotter": "native"})
	putContainer(t, root, "moby", id("b"), map[string]string{"image": ""}) // of Docker with a graph driver
	return root
}

func TestContainerd(t *testing.T) {
	root := containerdTree(t)
	over := func(id string) string {
		return filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs", "snapshots", id, "fs")
	}
	all := list(t, Containerd(root, ""))
	got := all["app"]
	stack := got.Stack
	got.Stack = diff.Stack{}
	want := Container{
		Runtime: RuntimeContainerd, Namespace: "k8s.io", ID: "app", Name: "prod/web-0/nginx", Names: []string{"prod/web-0/nginx"},
		Image: "docker.io/library/web:1", ImageID: "docker.io/library/web:1",
		RW: Layer{SnapshotKey: "app", Dir: over("301"), Size: -1},
		Layers: []Layer{
			{SnapshotKey: digest("2"), ChainID: digest("2"), Dir: over("300"), Size: 70_000},
			{SnapshotKey: digest("1"), ChainID: digest("1"), Dir: over("1"), Size: 5000},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{over("300"), over("1")}, stack.Lower); d != "" || stack.Upper != over("301") || stack.Features.Index {
		t.Errorf("stack %+v (-want +got):\n%s", stack, d)
	}
	if c := all["bare"]; c.Err != nil || c.Stack.Upper != over("302") || c.Stack.Lower != nil {
		t.Errorf("without a lower layer: %+v", c)
	}
	if c := all["lost"]; !errors.Is(c.Err, fs.ErrNotExist) {
		t.Errorf("a snapshot that is gone: %v", c.Err)
	}
	if c := all["other"]; c.Err == nil {
		t.Error("a snapshot of another snapshotter: no error")
	}
	state := t.TempDir()
	testenv.Tree(t, state, file("io.containerd.runtime.v2.task/k8s.io/app/init.pid", "%d", 1<<23))
	if all := list(t, Containerd(root, state)); got.State != Unknown || all["app"].State != Exited || all["bare"].State != Stopped {
		t.Errorf("states %q, %q, %q", got.State, all["app"].State, all["bare"].State)
	}
	if len(all) != 4 {
		t.Errorf("%d containers listed", len(all))
	}
}

func TestDocker_containerdImageStore(t *testing.T) {
	root, images := dockerTree(t), containerdTree(t)
	config := filepath.Join("containers", id("a"), "config.v2.json")
	write(t, `{"Name":"/web","Driver":"overlayfs","Image":"`+digest("9")+`","State":`+dockerExited+`}`, root, config)
	all := list(t, Docker(root, filepath.Join(root, "none"), images))
	c := all[id("a")]
	over := func(id string) string {
		return filepath.Join(images, "io.containerd.snapshotter.v1.overlayfs", "snapshots", id, "fs")
	}
	if d := cmp.Diff([]string{over("401"), over("400")}, c.Stack.Lower); d != "" || c.Err != nil || c.Stack.Upper != over("402") {
		t.Errorf("%v, stack %+v (-want +got):\n%s", c.Err, c.Stack, d)
	}
	if size, ok := c.ImageSize(); size != 5000 || !ok || c.Init.Size != 4096 {
		t.Errorf("image size %d, %v; init layer %+v", size, ok, c.Init)
	}
	onlyBroken(t, Docker(root), id("a"), "storage driver overlayfs", 2)
}
