//go:build linux

package stores

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
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
		Pod:   Pod{Namespace: "prod", Name: "web-0", Container: "nginx"},
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

// Snapshots are where the configuration says, or where a mount is.
func TestContainerd_snapshotters(t *testing.T) {
	root, disk := t.TempDir(), t.TempDir()
	put := func(name, dir string, first uint64) {
		putSnapshots(t, root, "default", name, snapshot{first, digest("1"), "", 5000}, snapshot{first + 1, name, digest("1"), 0})
		putContainer(t, root, "default", name, map[string]string{"snapshotter": name, "snapshotKey": name})
		if dir != "" {
			moveTree(t, filepath.Join(root, "io.containerd.snapshotter.v1."+name), dir)
		}
	}
	put("overlayfs", filepath.Join(disk, "fast"), 1)
	put("lazy", filepath.Join(disk, "lazy"), 11)
	put("stray", filepath.Join(disk, "stray"), 21)
	put("remote", filepath.Join(disk, "gone"), 31)
	put("native", "", 41)
	for _, n := range []string{"41", "42"} {
		remove(t, root, "io.containerd.snapshotter.v1.native/snapshots", n, "fs")
	}
	s := Containerd(root, "")
	s.Snapshotters = map[string][]string{"overlayfs": {filepath.Join(disk, "fast")}, "lazy": {filepath.Join(disk, "no"), filepath.Join(disk, "lazy")}, "": {filepath.Join(disk, "stray")}}
	all := list(t, s)
	for name, want := range map[string]string{"overlayfs": "fast/snapshots/2/fs", "lazy": "lazy/snapshots/12/fs", "stray": "stray/snapshots/22/fs"} {
		if c := all[name]; c.Err != nil || c.Stack.Upper != filepath.Join(disk, want) || len(c.Layers) != 1 || c.Layers[0].Size != 5000 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	for _, name := range []string{"native", "remote"} {
		c := all[name]
		if !errors.As(c.Err, new(*diff.UnsupportedError)) || errors.Is(c.Err, fs.ErrNotExist) || c.RW.Dir != "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// anyOf is a google.protobuf.Any of a value.
func anyOf(value string) string {
	message := append([]byte{1<<3 | 2, 5}, "a/b/c"...)
	return string(binary.AppendUvarint(append(message, 2<<3|2), uint64(len(value)))) + value
}

func TestAnyValue(t *testing.T) {
	for _, size := range []int{0, 1, 123, 127, 128, 15_743, 15_744, 15_871, 100_000} { // with '{' among the bytes of the length
		value := strings.Repeat("{", size)
		if got := anyValue(anyOf(value)); got != value {
			t.Errorf("of %d bytes: %d", size, len(got))
		}
	}
	whole := anyOf("{}")
	for end := range whole {
		if got := anyValue(whole[:end]); got != "" {
			t.Errorf("of the first %d bytes: %q", end, got)
		}
	}
	if got := anyValue("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01{}"); got != "" {
		t.Errorf("longer than memory: %q", got)
	}
}

// The ids of a container that does not run are those of its specification, or of the labels of
// its snapshot, which the mount has.
func TestContainerd_ids(t *testing.T) {
	root := containerdTree(t)
	spec := func(from int) string {
		return anyOf(fmt.Sprintf(`{"ociVersion":"1.3.0","process":{"args":[%q]},"linux":{"uidMappings":[{"containerID":0,"hostID":%d,"size":1000}],"gidMappings":[{"containerID":0,"hostID":300000,"size":65536},{"containerID":65536,"hostID":9,"size":1}]}}`, strings.Repeat("x", 15_600), from))
	}
	updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		put(t, tx, []byte(spec(200_000)), "v1", "k8s.io", "containers", "app", "spec")
		put(t, tx, []byte(spec(200_000)), "v1", "k8s.io", "containers", "bare", "spec")
		put(t, tx, []byte("0:100000:1000"), "v1", "k8s.io", "snapshots", "overlayfs", "bare", "labels", "containerd.io/snapshot/uidmapping")
		put(t, tx, []byte("0:100000:1000"), "v1", "k8s.io", "snapshots", "overlayfs", "bare", "labels", "containerd.io/snapshot/gidmapping")
	})
	all := list(t, Containerd(root, ""))
	if d := cmp.Diff(diff.IDMap{Users: ranges(0, 200_000, 1000), Groups: ranges(0, 300_000, 65536, 65536, 9, 1)}, all["app"].Stack.Container); d != "" {
		t.Errorf("by the specification (-want +got):\n%s", d)
	}
	if got := all["app"].Stack.Owners; len(got) != 0 {
		t.Errorf("its layers are mapped: %v", got)
	}
	if d := cmp.Diff(diff.IDMap{Users: ranges(0, 100_000, 1000), Groups: ranges(0, 100_000, 1000)}, all["bare"].Stack.Container); d != "" {
		t.Errorf("by the labels (-want +got):\n%s", d)
	}
	for _, damaged := range []string{`{"linux":{"uidMappings":[{"hostID":-1}]}}`, `"uidMappings"`, `{"uidMappings":`} {
		if got := specIDs(anyOf(damaged)); !got.IsZero() {
			t.Errorf("%s: %v", damaged, got)
		}
	}
}

// Names of a container: of its pod, with the attempt, and of Compose.
func TestContainerd_names(t *testing.T) {
	root := containerdTree(t)
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at, err := made.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		put(t, tx, at, "v1", "k8s.io", "containers", "app", "createdat")
		put(t, tx, []byte(anyOf(`{"Version":"v1","Metadata":{"ID":"app","Config":{"metadata":{"name":"nginx","attempt":3}}}}`)),
			"v1", "k8s.io", "containers", "app", "extensions", "io.cri-containerd.container.metadata")
		put(t, tx, []byte("shop"), "v1", "k8s.io", "containers", "bare", "labels", "com.docker.compose.project")
		put(t, tx, []byte("db"), "v1", "k8s.io", "containers", "bare", "labels", "com.docker.compose.service")
	})
	all := list(t, Containerd(root, ""))
	if c := all["app"]; c.Pod != (Pod{"prod", "web-0", "nginx", 3}) || !c.Created.Equal(made) {
		t.Errorf("%+v, made %v", c.Pod, c.Created)
	}
	if c := all["bare"]; c.Name != "bare" || !slices.Contains(c.Names, "shop/db") {
		t.Errorf("the service of Compose is called %s, %q", c.Name, c.Names)
	}
}
