//go:build linux

package stores

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// The JSON is as Podman 4.3 and CRI-O 1.28 write it, shortened.
const (
	podmanMetadata = `{"image-name":"localhost/busybox:latest","image-id":"%s","name":"web","created-at":1700000000}`
	crioMetadata   = `{"pod-name":"pod-1","pod-id":"%s","image-name":"registry.k8s.io/app:1","image-id":"%s","name":"k8s_app_pod-1_prod_uid-1_0",` +
		`"metadata-name":"app","uid":"uid-1","namespace":"prod","created-at":1700000000}`
)

func storageContainer(digit, name, layer, metadata string) string {
	return fmt.Sprintf(`{"id":%q,"names":[%q],"image":%q,"layer":%q,"metadata":%q,"created":"2026-01-02T03:04:05Z","flags":{"MountLabel":""}}`,
		id(digit), name, id("9"), layer, metadata)
}

func storageLayer(digit, parent string, size string) string {
	s := fmt.Sprintf(`{"id":%q,"created":"2026-01-02T03:04:05Z"`, id(digit))
	if parent != "" {
		s += fmt.Sprintf(`,"parent":%q`, parent)
	}
	if size != "" {
		s += fmt.Sprintf(`,"diff-digest":%q,"diff-size":%s,"compression":2,"uidset":[0]`, digest(digit), size)
	}
	return s + "}"
}

// storageTree has the containers a (Podman), b (CRI-O) and c (Buildah, of
// nothing), the first two of an image of the layers 1 over 2.
func storageTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	var lines []string
	for _, layer := range []string{"1", "2", "7", "8", "6"} {
		lines = append(lines, dir("overlay/"+id(layer)+"/diff"), dir("overlay/"+id(layer)+"/work"))
	}
	lines = append(lines, dir("overlay/"+id("6")+"/empty"),
		file("overlay-containers/containers.json", "[%s,%s]",
			storageContainer("a", "web", id("7"), fmt.Sprintf(podmanMetadata, id("9"))),
			storageContainer("b", "k8s_app_pod-1_prod_uid-1_0", id("8"), fmt.Sprintf(crioMetadata, id("d"), id("9")))),
		file("overlay-containers/volatile-containers.json", "[%s]", storageContainer("c", "working-container", id("6"), "")),
		file("overlay-containers/"+id("c")+"/userdata/buildah.json", "{}"),
		file("overlay-layers/layers.json", "[%s,%s]", storageLayer("2", "", "200"), storageLayer("1", id("2"), "1000")),
		file("overlay-layers/volatile-layers.json", "[%s,%s,%s]", storageLayer("7", id("1"), ""), storageLayer("8", id("1"), ""), storageLayer("6", "", "")))
	testenv.Tree(t, root, lines...)
	return root
}

func TestContainersStorage(t *testing.T) {
	root := storageTree(t)
	over := func(digit string) string { return filepath.Join(root, "overlay", id(digit), "diff") }
	all := list(t, ContainersStorage(root, ""))
	layers := []Layer{
		{ID: id("1"), DiffID: digest("1"), Dir: over("1"), Size: 1000},
		{ID: id("2"), DiffID: digest("2"), Dir: over("2"), Size: 200},
	}
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := map[string]Container{
		id("a"): {
			Created: made, Runtime: RuntimePodman, ID: id("a"), Name: "web", Names: []string{"web"},
			Image: "localhost/busybox:latest", ImageID: id("9"), RW: Layer{ID: id("7"), Dir: over("7"), Size: -1}, Layers: layers,
			Stack: diff.Stack{Owners: map[string]diff.IDMap{}, Lower: []string{over("1"), over("2")}, Upper: over("7"), Work: filepath.Join(root, "overlay", id("7"), "work")},
		},
		id("b"): {
			Created: made, Pod: Pod{Namespace: "prod", Name: "pod-1", Container: "app"}, Runtime: RuntimeCRIO, ID: id("b"), Name: "k8s_app_pod-1_prod_uid-1_0", Names: []string{"k8s_app_pod-1_prod_uid-1_0", "prod/pod-1/app"},
			Image: "registry.k8s.io/app:1", ImageID: id("9"), RW: Layer{ID: id("8"), Dir: over("8"), Size: -1}, Layers: layers,
			Stack: diff.Stack{Owners: map[string]diff.IDMap{}, Lower: []string{over("1"), over("2")}, Upper: over("8"), Work: filepath.Join(root, "overlay", id("8"), "work")},
		},
		id("c"): {
			Created: made, Runtime: RuntimeBuildah, ID: id("c"), Name: "working-container", Names: []string{"working-container"},
			Image: id("9"), ImageID: id("9"), RW: Layer{ID: id("6"), Dir: over("6"), Size: -1},
			Stack: diff.Stack{Owners: map[string]diff.IDMap{}, Lower: []string{filepath.Join(root, "overlay", id("6"), "empty")}, Upper: over("6"), Work: filepath.Join(root, "overlay", id("6"), "work")},
		},
	}
	for id, c := range all {
		c.Stack.Features = diff.Features{} // the kernel's
		all[id] = c
	}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("containers (-want +got):\n%s", d)
	}
}

// The layers of a container with ids of its own are mapped when they are mounted, or the topmost
// is a copy with the host's owners.
func TestContainersStorage_ids(t *testing.T) {
	const ids = `"uidmap":[{"container_id":0,"host_id":100000,"size":10}],"gidmap":[{"container_id":0,"host_id":200000,"size":10}]`
	const others = `"uidmap":[{"container_id":0,"host_id":5,"size":10}],"gidmap":[{"container_id":0,"host_id":200000,"size":10}]`
	want := diff.IDMap{Users: ranges(0, 100000, 10), Groups: ranges(0, 200000, 10)}
	with := func(object, more string) string { return strings.TrimSuffix(object, "}") + "," + more + "}" }
	for _, tt := range []struct {
		what, top string // what the topmost layer of the image says besides
		fuse      bool
		owners    map[string]diff.IDMap // by the digit of the layer
	}{
		{"id-mapped", `"x":1`, false, map[string]diff.IDMap{"1": want, "2": want}},
		{"by fuse-overlayfs", `"x":1`, true, map[string]diff.IDMap{"1": want, "2": want, "7": want}},
		{"copied", ids, false, map[string]diff.IDMap{}},
		{"copied, since fuse-overlayfs can't", ids, true, map[string]diff.IDMap{}},
		{"copied for another", others, false, nil},
	} {
		root := storageTree(t)
		write(t, "["+with(storageContainer("a", "web", id("7"), ""), ids)+"]", root, "overlay-containers/containers.json")
		write(t, "["+storageLayer("2", "", "200")+","+with(storageLayer("1", id("2"), "1000"), tt.top)+"]", root, "overlay-layers/layers.json")
		if tt.fuse {
			write(t, "true", root, "overlay/.has-mount-program")
		}
		c := list(t, ContainersStorage(root, ""))[id("a")]
		if tt.owners == nil {
			if !errors.As(c.Err, new(*diff.UnsupportedError)) {
				t.Errorf("%s: %v", tt.what, c.Err)
			}
			continue
		}
		owners := map[string]diff.IDMap{}
		for digit, ids := range tt.owners {
			owners[filepath.Join(root, "overlay", id(digit), "diff")] = ids
		}
		if d := cmp.Diff(owners, c.Stack.Owners); d != "" || c.Err != nil || c.Fuse != tt.fuse || !c.Stack.Container.Equal(want) {
			t.Errorf("%s: fuse %v, ids %v, %v (-want +got):\n%s", tt.what, c.Fuse, c.Stack.Container, c.Err, d)
		}
	}
}

// A map that no kernel takes is not looked up for each owner.
func TestContainersStorage_manyIDs(t *testing.T) {
	for n, fine := range map[int]bool{maxRanges: true, maxRanges + 1: false} {
		root := storageTree(t)
		ids := strings.TrimSuffix(strings.Repeat(`{"container_id":0,"host_id":1,"size":1},`, n), ",")
		c := strings.TrimSuffix(storageContainer("a", "web", id("7"), ""), "}") + `,"uidmap":[` + ids + `]}`
		write(t, "["+c+"]", root, "overlay-containers/containers.json")
		if c := list(t, ContainersStorage(root, ""))[id("a")]; (c.Err == nil) != fine {
			t.Errorf("%d ranges: %v", n, c.Err)
		}
	}
}

func TestContainersStorage_mounted(t *testing.T) {
	root := storageTree(t)
	s := ContainersStorage(root, "")
	s.MountOptions = "nodev,redirect_dir=on,metacopy=on"
	if c := list(t, s)[id("a")]; !c.Stack.Features.Metacopy || c.Fuse {
		t.Errorf("%+v", c)
	}
	s.MountOptions = "metacopy=perhaps"
	if _, err := s.Containers(t.Context()); err == nil {
		t.Error("wrong mount options are no error")
	}
	write(t, "true", root, "overlay", ".has-mount-program")
	if c := list(t, s)[id("a")]; !c.Fuse || len(c.Stack.Unknown) > 0 {
		t.Errorf("with fuse-overlayfs: %+v", c)
	}
	remove(t, root, "overlay", ".has-mount-program")
	testenv.RequireRoot(t)
	chown(t, root, 1000)
	if c := list(t, ContainersStorage(root, ""))[id("a")]; !c.Stack.Features.UserXattr {
		t.Error("a user's own store is not mounted with userxattr")
	}
}

// TestContainersStorage_other has an image in an additional store, a transient
// store's container in the runroot, and a size that nobody knows.
func TestContainersStorage_other(t *testing.T) {
	root, run, shared := storageTree(t), t.TempDir(), t.TempDir()
	testenv.Tree(t, shared, dir("overlay/"+id("3")+"/diff"),
		file("overlay-layers/layers.json", "[%s]", strings.Replace(storageLayer("3", "", "-1"), `"diff-digest":"`+digest("3")+`"`, `"toc-digest":"`+digest("3")+`"`, 1)))
	testenv.Tree(t, run,
		file("overlay-containers/volatile-containers.json", "[%s]", storageContainer("e", "brief", id("5"), "")),
		file("overlay-layers/volatile-layers.json", "[%s]", storageLayer("5", id("3"), "")))
	testenv.Tree(t, root, dir("overlay/"+id("5")+"/diff"))
	testenv.Tree(t, run, dir("overlay-containers/"+id("a")+"/userdata"), file("overlay-containers/"+id("b")+"/userdata/pidfile", "%d", 1<<23))
	all := list(t, ContainersStorage(root, run, shared))
	if a, b, c := all[id("a")].State, all[id("b")].State, all[id("c")].State; a != Stopped || b != Exited || c != Unknown {
		t.Errorf("states %q, %q, %q", a, b, c)
	}
	c := all[id("e")]
	want := []Layer{{ID: id("3"), Dir: filepath.Join(shared, "overlay", id("3"), "diff"), Size: -1}}
	if d := cmp.Diff(want, c.Layers); d != "" || c.Err != nil || c.Name != "brief" {
		t.Errorf("%v, layers (-want +got):\n%s", c.Err, d)
	}
	if _, ok := c.ImageSize(); ok {
		t.Error("the image's size is known")
	}
	onlyBroken(t, ContainersStorage(root, run), id("e"), "layers.json has none", 4)
}

func TestContainersStorage_broken(t *testing.T) {
	for name, c := range map[string]struct {
		container, layer string // of b, and its layer 8
		words            string
	}{
		"layer with ..":   {storageContainer("b", "x", "../../etc", ""), storageLayer("8", id("1"), ""), "is no id"},
		"no layer":        {storageContainer("b", "x", "", ""), storageLayer("8", id("1"), ""), "is no id"},
		"dangling layer":  {storageContainer("b", "x", id("f"), ""), storageLayer("8", id("1"), ""), "removed meanwhile"},
		"dangling parent": {storageContainer("b", "x", id("8"), ""), storageLayer("8", id("f"), ""), "removed meanwhile"},
		"parent with ..":  {storageContainer("b", "x", id("8"), ""), storageLayer("8", "../..", ""), "layers.json has none"},
		"own parent":      {storageContainer("b", "x", id("8"), ""), storageLayer("8", id("8"), ""), "its own parent"},
		"a circle": {storageContainer("b", "x", id("8"), ""),
			storageLayer("8", id("e"), "") + "," + storageLayer("e", id("f"), "1") + "," + storageLayer("f", id("e"), "1"), "circle"},
		"layer a number": {storageContainer("b", "x", id("8"), ""), `{"id":"` + id("8") + `","parent":7}`, "layers.json has none"},
	} {
		t.Run(name, func(t *testing.T) {
			root := storageTree(t)
			testenv.Tree(t, root, dir("overlay/"+id("e")+"/diff"), dir("overlay/"+id("f")))
			if name == "a circle" {
				testenv.Tree(t, root, dir("overlay/"+id("f")+"/diff"))
			}
			write(t, "["+storageContainer("a", "web", id("7"), "{")+","+c.container+"]", root, "overlay-containers", "containers.json")
			write(t, "["+c.layer+","+storageLayer("7", id("1"), "")+","+storageLayer("6", "", "")+"]", root, "overlay-layers", "volatile-layers.json")
			onlyBroken(t, ContainersStorage(root, ""), id("b"), c.words, 3)
		})
	}
}

func TestContainersStorage_brokenEntries(t *testing.T) {
	root := storageTree(t)
	for _, entry := range []string{`{"id":"../x"}`, `{"id":7}`, `7`, `{}`} {
		write(t, "["+entry+","+storageContainer("a", "web", id("7"), "")+"]", root, "overlay-containers", "containers.json")
		onlyBroken(t, ContainersStorage(root, ""), "containers.json[0]", "mend the store", 3)
	}
	testenv.Tree(t, root, file("overlay/"+id("2")+"/composefs-data/composefs.blob", "x"))
	if c := list(t, ContainersStorage(root, ""))[id("a")]; c.Err == nil || !strings.Contains(c.Err.Error(), "composefs") {
		t.Errorf("composefs: %v", c.Err)
	}
	for _, name := range []string{"overlay-containers/containers.json", "overlay-layers/layers.json"} {
		write(t, `[{"id":`, root, name)
		if _, err := ContainersStorage(root, "").Containers(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("half of %s: %v", name, err)
		}
		write(t, "["+strings.Repeat("7,", maxEntries)+"7]", root, name)
		if _, err := ContainersStorage(root, "").Containers(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 65536 entries") {
			t.Errorf("%s without an end: %v", name, err)
		}
		for _, none := range []string{"null", "{}"} {
			write(t, none, root, name)
			if _, err := ContainersStorage(root, "").Containers(t.Context()); (err == nil) != (none == "null") {
				t.Errorf("%s is %s: %v", name, none, err)
			}
		}
		if err := os.Truncate(filepath.Join(root, name), 1<<40); err != nil {
			t.Skip("no such sparse file here:", err)
		}
		if _, err := ContainersStorage(root, "").Containers(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("a huge %s: %v", name, err)
		}
		write(t, "[]", root, name)
	}
}

func FuzzContainersJSON(f *testing.F) {
	f.Add([]byte("[" + storageContainer("a", "web", id("7"), fmt.Sprintf(podmanMetadata, id("9"))) + "]"))
	f.Add([]byte("[" + storageContainer("b", "k8s_app_pod-1_prod_uid-1_0", "../x", fmt.Sprintf(crioMetadata, id("d"), id("9"))) + ",7]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil {
			return
		}
		for _, raw := range list {
			r, err := parseContainer(raw)
			if err != nil {
				continue
			}
			e := eyes{node: "/"}
			d := storage{Store: Store{eyes: &e}, layered: newLayered(mounter{eyes: e}, []string{"/nowhere/x"}, layerTable{}.find)}
			c := Container{ID: r.ID}
			if err := d.fill(t.Context(), &c, r); err == nil {
				t.Errorf("%+v has layers", r)
			}
			if !isID(c.ID) || c.Name == "" || c.RW.Dir != "" {
				t.Errorf("%+v", c)
			}
		}
	})
}

func FuzzLayersJSON(f *testing.F) {
	f.Add([]byte("[" + storageLayer("2", "", "200") + "," + storageLayer("1", id("2"), "-1") + "]"))
	f.Add([]byte(`[{"id":"a","parent":"b"},{"id":"b","parent":"a"},{"id":"c","parent":"../.."}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil {
			return
		}
		table := layerTable{}
		for _, raw := range list {
			table.add(raw)
		}
		images := mounter{}.newChains(func(id string) (Layer, string, error) {
			r, err := table.find(id)
			return r.layer("/home"), r.Parent, err
		})
		for id := range table {
			layers, _ := images.of(t.Context(), id)
			for _, l := range layers {
				if !isID(l.ID) || l.Size < -1 || l.Dir != "/home/"+l.ID+"/diff" {
					t.Errorf("%+v", l)
				}
			}
		}
	})
}

// podman commit is Buildah's code, which leaves its file beside Podman's container.
func TestContainersStorage_committed(t *testing.T) {
	root := storageTree(t)
	testenv.Tree(t, root, file("overlay-containers/"+id("a")+"/userdata/buildah.json", "{}"))
	all := list(t, ContainersStorage(root, ""))
	if a, c := all[id("a")].Runtime, all[id("c")].Runtime; a != RuntimePodman || c != RuntimeBuildah {
		t.Errorf("Podman's is %s's, Buildah's is %s's", a, c)
	}
}

// A driver that makes no overlays: the containers are listed, with what can be known.
func TestContainersStorage_vfs(t *testing.T) {
	root := t.TempDir()
	store := filepath.Join(root, "var/lib/containers/storage")
	testenv.Tree(t, store, file("vfs-containers/containers.json", "[%s]", storageContainer("a", "web", id("7"), fmt.Sprintf(podmanMetadata, id("9")))))
	found, err := Find(t.Context(), root)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	c := list(t, found[0])[id("a")]
	if c.Runtime != RuntimePodman || c.Name != "web" || c.Image != "localhost/busybox:latest" || !errors.As(c.Err, new(*diff.UnsupportedError)) ||
		!strings.Contains(c.Err.Error(), "vfs") {
		t.Errorf("%+v", c)
	}
}

// A layer that was copied for other ids has several directories.
func TestContainersStorage_copied(t *testing.T) {
	root := storageTree(t)
	over := func(digit, name string) string { return filepath.Join(root, "overlay", id(digit), name) }
	testenv.Tree(t, root, dir("overlay/"+id("7")+"/diff1"), dir("overlay/"+id("1")+"/diff1"), dir("overlay/"+id("1")+"/diff2"), dir("overlay/"+id("2")+"/diff2"))
	c := list(t, ContainersStorage(root, ""))[id("a")]
	want := []string{over("7", "diff1"), over("1", "diff"), over("1", "diff1"), over("1", "diff2"), over("2", "diff")}
	if d := cmp.Diff(want, c.Stack.Lower); d != "" || c.Err != nil || c.Stack.Upper != over("7", "diff") {
		t.Errorf("%v (-want +got):\n%s", c.Err, d)
	}
}
