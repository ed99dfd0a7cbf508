//go:build linux

package stores

import (
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

// smallBolt makes a database with small pages, so that more of it counts.
func smallBolt(f *testing.F, fill func(put func(value string, path ...string) error) error) []byte {
	f.Helper()
	path := filepath.Join(f.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024})
	if err != nil {
		f.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return fill(func(value string, path ...string) error {
			b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
			for _, name := range path[1 : len(path)-1] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
			}
			if err == nil {
				err = b.Put([]byte(path[len(path)-1]), []byte(value))
			}
			return err
		})
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
	return data
}

// FuzzContainerd reads both databases of a containerd, whatever is in them.
func FuzzContainerd(f *testing.F) {
	for _, key := range []string{"app", "../../x", "\x1b[2J\n"} {
		meta := smallBolt(f, func(put func(string, ...string) error) error {
			for _, row := range [][]string{
				{"1", "v1", "k8s.io", "containers", key, "image"}, {key, "v1", "k8s.io", "containers", key, "snapshotKey"},
				{"n", "v1", "k8s.io", "containers", key, "labels", "nerdctl/name"},
				{"k8s.io/1/" + key, "v1", "k8s.io", "snapshots", "overlayfs", key, "name"}, {"p", "v1", "k8s.io", "snapshots", "overlayfs", key, "parent"},
				{"k8s.io/2/p", "v1", "k8s.io", "snapshots", "overlayfs", "p", "name"}, {"", "v1", "k8s.io", "snapshots", "overlayfs", "p", "parent"},
			} {
				if err := put(row[0], row[1:]...); err != nil {
					return err
				}
			}
			return nil
		})
		snapshots := smallBolt(f, func(put func(string, ...string) error) error {
			for _, row := range [][]string{
				{"\x01", "v1", "snapshots", "k8s.io/1/" + key, "id"}, {"\x02", "v1", "snapshots", "k8s.io/1/" + key, "kind"},
				{"\x02", "v1", "snapshots", "k8s.io/2/p", "id"}, {"\x03", "v1", "snapshots", "k8s.io/2/p", "kind"}, {"\x7f", "v1", "snapshots", "k8s.io/2/p", "size"},
			} {
				if err := put(row[0], row[1:]...); err != nil {
					return err
				}
			}
			return nil
		})
		f.Add(meta, snapshots)
		f.Add(meta, meta)
	}
	f.Add([]byte{}, []byte("x"))
	f.Fuzz(func(t *testing.T, meta, snapshots []byte) {
		root := t.TempDir()
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
	})
}

// FuzzDockerLayers reads the files of a word that Docker keeps of mounts and layers.
func FuzzDockerLayers(f *testing.F) {
	f.Add(id("7"), id("7")+"-init", digest("1"), id("3"), digest("5"), "1000")
	f.Add("..", "../x", "sha256:..", "/", "sha256:", "-1")
	f.Add(id("7"), "", digest("1"), id("3"), digest("5"), "99999999999999999999")
	f.Fuzz(func(t *testing.T, mount, init, parent, cache, diffID, size string) {
		root := t.TempDir()
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
		root := t.TempDir()
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
