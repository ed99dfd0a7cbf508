//go:build linux

package stores

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// within checks that all directories of a container are in the store, and that it can be
// shown.
func within(t *testing.T, root string, c Container) {
	t.Helper()
	dirs := []string{c.RW.Dir, c.Init.Dir, c.Stack.Upper}
	for _, l := range c.Layers {
		dirs = append(dirs, l.Dir)
	}
	for _, dir := range append(dirs, c.Stack.Lower...) {
		if dir != "" && (!strings.HasPrefix(dir, root+"/") || filepath.Clean(dir) != dir) {
			t.Errorf("%s has the layer %q", c.ID, dir)
		}
	}
	if c.Name == "" || c.Err == nil && c.RW.Dir == "" {
		t.Errorf("%+v", c)
	}
	if c.Err != nil && strings.ContainsAny(c.Err.Error(), "\n\x1b\x00") {
		t.Errorf("more than a line, or control characters: %q", c.Err)
	}
}

const pageSize = 1024

// smallBolt makes a database with small pages, so that more of it counts, of paths of
// buckets and values.
func smallBolt(f testing.TB, values [][2]string) []byte {
	f.Helper()
	path := filepath.Join(f.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize})
	if err != nil {
		f.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) (err error) {
		for _, v := range values {
			names := strings.Split(v[0], "/")
			b := tx.Cursor().Bucket()
			for _, name := range names[:len(names)-1] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
			}
			if err == nil {
				err = b.Put([]byte(names[len(names)-1]), []byte(v[1]))
			}
		}
		return err
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00")) // the file has room for more pages
	return data[:(used+pageSize-1)/pageSize*pageSize]
}

// containerdBolts are both databases of a containerd that has one container.
func containerdBolts(f testing.TB, key string) (meta, snapshots []byte) {
	f.Helper()
	const keys, names = "v1/k8s.io/snapshots/overlayfs/", "v1/snapshots/"
	meta = smallBolt(f, [][2]string{
		{"v1/k8s.io/containers/" + key + "/image", "1"}, {"v1/k8s.io/containers/" + key + "/snapshotKey", key},
		{keys + key + "/name", "1-" + key}, {keys + key + "/parent", "p"}, {keys + "p/name", "2-p"}, {keys + "p/parent", ""},
	})
	snapshots = smallBolt(f, [][2]string{
		{names + "1-" + key + "/id", "\x01"}, {names + "1-" + key + "/kind", "\x02"},
		{names + "2-p/id", "\x02"}, {names + "2-p/kind", "\x03"}, {names + "2-p/size", "\x7f"},
	})
	return meta, snapshots
}

// tryContainerd reads the store of a containerd that has these databases.
func tryContainerd(t *testing.T, meta, snapshots []byte) {
	t.Helper()
	root := testenv.MemoryDir(t)
	const of = "io.containerd.snapshotter.v1.overlayfs/"
	testenv.Tree(t, root, "dir io.containerd.metadata.v1.bolt", "dir "+of+"snapshots/1/fs", "dir "+of+"snapshots/2/fs")
	write(t, string(meta), root, "io.containerd.metadata.v1.bolt", "meta.db")
	write(t, string(snapshots), root, of, "metadata.db")
	all, err := Containerd(root, "").Containers(t.Context())
	if err != nil && (len(all) > 0 || strings.ContainsAny(err.Error(), "\n\x1b\x00")) {
		t.Errorf("%d containers and %q", len(all), err)
	}
	for _, c := range all {
		within(t, root, c)
	}
}

// Whatever byte is damaged, that is an error or none, in one line.
func TestContainerd_damaged(t *testing.T) {
	meta, snapshots := containerdBolts(t, "app")
	for _, data := range [][]byte{meta, snapshots} {
		for at := 0; at < len(data); at += 4 { // where the numbers of an element begin
			data[at] ^= 0xff
			tryContainerd(t, meta, snapshots)
			data[at] ^= 0xff
		}
	}
}

// FuzzContainerd reads both databases of a containerd, whatever is in them.
func FuzzContainerd(f *testing.F) {
	for _, key := range []string{"app", "..", "\x1b[2J\n"} {
		meta, snapshots := containerdBolts(f, key)
		f.Add(meta, snapshots)
		f.Add(meta, meta)
	}
	f.Add([]byte{}, []byte("x"))
	f.Fuzz(tryContainerd)
}

// FuzzDockerLayers reads the files of a word that Docker keeps of mounts and layers.
func FuzzDockerLayers(f *testing.F) {
	f.Add(id("7"), id("7")+"-init", digest("1"), id("3"), digest("5"), "1000")
	f.Add("..", "../x", "sha256:..", "/", "sha256:", "-1")
	f.Add(id("7"), "", digest("1"), id("3"), digest("5"), "99999999999999999999")
	f.Fuzz(func(t *testing.T, mount, init, parent, cache, diffID, size string) {
		root := testenv.MemoryDir(t)
		const db = "image/overlay2/layerdb/"
		mounts, layer := db+"mounts/"+id("a"), db+"sha256/"+id("1")
		testenv.Tree(t, root, "dir "+mounts, "dir "+layer, "dir containers/"+id("a"),
			"dir overlay2/"+id("7")+"/diff", "dir overlay2/"+id("7")+"-init/diff", "dir overlay2/"+id("3")+"/diff", "dir diff", "dir x/diff")
		write(t, dockerConfigJSON("a", "web", dockerExited), root, "containers", id("a"), "config.v2.json")
		for name, word := range map[string]string{
			mounts + "/mount-id": mount, mounts + "/init-id": init, mounts + "/parent": parent,
			layer + "/cache-id": cache, layer + "/diff": diffID, layer + "/size": size, layer + "/parent": parent,
		} {
			write(t, word, root, name)
		}
		all, err := Docker(root, filepath.Join(root, "none")).Containers(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("%d containers, %v", len(all), err)
		}
		within(t, root, all[0])
		for _, l := range all[0].Layers {
			if l.Size < -1 || filepath.Dir(filepath.Dir(l.Dir)) != filepath.Join(root, "overlay2") {
				t.Errorf("%+v", l)
			}
		}
	})
}

var (
	idForm     = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// FuzzStorage reads the lists of a containers/storage, of Podman's and CRI-O's
// containers, in files as they are.
func FuzzStorage(f *testing.F) {
	layers := "[" + storageLayer("2", "", "200") + "," + storageLayer("1", id("2"), "-1") + "]"
	f.Add([]byte("["+storageContainer("a", "web", id("1"), "{}")+"]"), []byte(layers))
	f.Add([]byte("["+storageContainer("a", "\x1b[2J", "../..", "7")+",7,null]"), []byte("[null,{}]"))
	f.Add([]byte("null"), []byte("{"))
	f.Fuzz(func(t *testing.T, containers, layers []byte) {
		if !json.Valid(containers) && !json.Valid(layers) {
			return
		}
		root := testenv.MemoryDir(t)
		testenv.Tree(t, root, "dir overlay-containers", "dir overlay-layers", "dir overlay/"+id("1")+"/diff", "dir overlay/"+id("2")+"/diff", "dir diff")
		write(t, string(containers), root, "overlay-containers", "containers.json")
		write(t, string(layers), root, "overlay-layers", "layers.json")
		all, err := ContainersStorage(root, "").Containers(t.Context())
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b\x00") {
			t.Errorf("%q", err)
		}
		seen := map[string]bool{}
		for _, c := range all {
			within(t, root, c)
			if seen[c.ID] || c.Err == nil && !idForm.MatchString(c.ID) {
				t.Errorf("id %q", c.ID)
			}
			seen[c.ID] = true
		}
	})
}

// FuzzID holds what may become a part of a path.
func FuzzID(f *testing.F) {
	for _, s := range []string{id("a"), digest("a"), "..", ".", "a/b", "", "-a", strings.Repeat("a", 129), "sha256:" + id("A"), "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := isID(s); got != idForm.MatchString(s) || got && filepath.Base(s) != s {
			t.Errorf("isID(%q) = %t", s, got)
		}
		digits, ok := sha256Hex(s)
		if ok != digestForm.MatchString(s) || ok && !isID(digits) {
			t.Errorf("sha256Hex(%q) = %q, %t", s, digits, ok)
		}
	})
}
