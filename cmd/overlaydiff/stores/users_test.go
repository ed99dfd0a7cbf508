//go:build linux

package stores

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

const passwd = "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\nv:x:1001:1001::/home/v:/bin/sh\n"

// userNode has a store of Podman's in the home directory of user u, and one of root's
// elsewhere.
func userNode(t *testing.T) (root, home string) {
	t.Helper()
	testenv.RequireRoot(t)
	root = t.TempDir()
	home = filepath.Join(root, "home/u")
	testenv.Tree(t, root, file("etc/passwd", "%s", passwd), file("etc/subuid", "u:100000:65536\nv:200000:65536\n"))
	moveTree(t, storageTree(t), filepath.Join(home, ".local/share/containers/storage"))
	chown(t, home, 1000)
	return root, home
}

func moveTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// one returns the container with the id of as many a as it takes.
func one(t *testing.T, root string) (c Container, found int) {
	t.Helper()
	all, err := Find(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		list, err := s.Containers(t.Context())
		if err != nil {
			c.Err = err
			found++
		}
		for _, l := range list {
			if l.ID == id("a") {
				c = l
				found++
			}
		}
	}
	return c, found
}

// What is in a user's store belongs to the user, or to an id of the user's.
func TestUsers_Owners(t *testing.T) {
	root, home := userNode(t)
	store := filepath.Join(home, ".local/share/containers/storage")
	for _, name := range []string{"overlay/" + id("7") + "/diff", "overlay/" + id("1") + "/diff", "overlay-containers/containers.json", "overlay-layers/layers.json"} {
		path := filepath.Join(store, name)
		for owner, fine := range map[int]bool{1000: true, 100000: true, 165535: true, 165536: false, 99999: false, 1001: false, 200000: false, 0: false} {
			if err := os.Chown(path, owner, owner); err != nil {
				t.Fatal(err)
			}
			c, found := one(t, root)
			if found != 1 || (c.Err == nil) != fine {
				t.Errorf("%s of user %d: %d found, error %v", name, owner, found, c.Err)
			}
			if fine && c.Owner != (Owner{UID: 1000, Name: "u"}) {
				t.Errorf("the container is %v's", c.Owner)
			}
		}
		if err := os.Chown(path, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// The ids of a user's containerd are those of the user's namespace, and those of a container with
// a namespace of its own are within.
func TestUsers_ContainerdIDs(t *testing.T) {
	root, home := userNode(t)
	store := containerdTree(t)
	updateBolt(t, filepath.Join(store, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
		spec := anyOf(`{"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1000}],"gidMappings":[{"containerID":0,"hostID":1,"size":1000}]}}`)
		put(t, tx, []byte(spec), "v1", "k8s.io", "containers", "app", "spec")
	})
	write(t, "u:300000:65536\n", root, "etc/subgid")
	moveTree(t, store, filepath.Join(home, ".local/share/containerd"))
	chown(t, home, 1000)
	all, err := Find(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Layout != LayoutContainerd {
			continue
		}
		got := list(t, s)
		for name, want := range map[string]diff.IDMap{
			"app":  {Users: ranges(0, 100_000, 1000), Groups: ranges(0, 300_000, 1000)},
			"bare": {Users: ranges(0, 1000, 1, 1, 100_000, 65536), Groups: ranges(0, 1000, 1, 1, 300_000, 65536)},
		} {
			if c := got[name]; c.Err != nil || !c.Stack.Container.Equal(want) {
				t.Errorf("%s: ids %v, error %v, want %v", name, c.Stack.Container, c.Err, want)
			}
		}
		return
	}
	t.Error("the user's containerd is not found")
}

// A layer that is another's by the time it is opened is not opened.
func TestUsers_Opener(t *testing.T) {
	root, home := userNode(t)
	c, _ := one(t, root)
	if c.Err != nil {
		t.Fatal(c.Err)
	}
	secret := filepath.Join(root, "secret")
	testenv.Tree(t, secret, dir("diff"))
	testenv.Tree(t, home, "symlink hop -> "+secret)
	layer := filepath.Dir(c.Stack.Upper)
	if err := os.Rename(layer, layer+"-away"); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{secret, filepath.Join(home, "hop")} {
		if err := os.Symlink(target, layer); err != nil {
			t.Fatal(err)
		}
		for _, owner := range []int{1000, 0} { // root's link in the user's directory is the user's word, too
			for _, link := range []string{layer, filepath.Join(home, "hop")} {
				if err := os.Lchown(link, owner, owner); err != nil {
					t.Fatal(err)
				}
			}
			if f, err := c.Stack.Opener.Open(c.Stack.Upper); err == nil {
				f.Close()
				t.Errorf("by a link of user %d to %s, root's directory was opened", owner, target)
			}
		}
		if err := os.Remove(layer); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(layer+"-away", layer); err != nil {
		t.Fatal(err)
	}
	f, err := c.Stack.Opener.Open(c.Stack.Upper)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// Image stores that a user names are read as far as everybody may read them.
func TestUsers_ImageStores(t *testing.T) {
	root, home := userNode(t)
	shared := filepath.Join(root, "srv/images")
	store := filepath.Join(home, ".local/share/containers/storage")
	testenv.Tree(t, shared, file("overlay-layers/layers.json", "[%s,%s]", storageLayer("2", "", "200"), storageLayer("1", id("2"), "1000")))
	for _, layer := range []string{"1", "2"} {
		moveTree(t, filepath.Join(store, "overlay", id(layer)), filepath.Join(shared, "overlay", id(layer)))
	}
	chown(t, shared, 0)
	testenv.Tree(t, home, file(".config/containers/storage.conf", "[storage.options]\nadditionalimagestores = [ \"/srv/images\" ]\n"))
	for _, path := range []string{"srv", "srv/images/overlay/" + id("1") + "/diff", "srv/images/overlay-layers/layers.json"} {
		for _, closed := range []bool{false, true} {
			mode := os.FileMode(0o755)
			if closed {
				mode = 0o700
			}
			if err := os.Chmod(filepath.Join(root, path), mode); err != nil {
				t.Fatal(err)
			}
			if c, found := one(t, root); found != 1 || (c.Err != nil) != closed {
				t.Errorf("%s is closed: %t: %d found, error %v", path, closed, found, c.Err)
			}
		}
		if err := os.Chmod(filepath.Join(root, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// A user's configuration names no store of root's, with options of the user's choice.
func TestUsers_Configured(t *testing.T) {
	root, home := userNode(t)
	moveTree(t, filepath.Join(home, ".local/share/containers/storage"), filepath.Join(root, "srv/pods"))
	testenv.Tree(t, home, file(".config/containers/storage.conf", "[storage]\ngraphroot = \"/srv/pods\"\n"))
	for owner, want := range map[int]int{0: 0, 1001: 0, 1000: 1} {
		chown(t, filepath.Join(root, "srv/pods"), owner)
		if c, found := one(t, root); found != want {
			t.Errorf("the store is user %d's: %d found, %v", owner, found, c.Err)
		}
	}
}

// A data-root that root's configuration names is root's if it belongs to root, be it in a
// user's home directory, and as long as it is that directory.
func TestUsers_DataRootInHome(t *testing.T) {
	testenv.RequireRoot(t)
	root := t.TempDir()
	home := filepath.Join(root, "home/u")
	testenv.Tree(t, root, file("etc/passwd", "%s", passwd), file("etc/docker/daemon.json", `{"data-root":"/home/u/docker"}`))
	data := filepath.Join(home, "docker")
	moveTree(t, dockerTree(t), data)
	if err := os.Chown(home, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	c, found := one(t, root)
	if found != 1 || c.Err != nil || c.Owner != (Owner{}) {
		t.Fatalf("%d found, of %v: %v", found, c.Owner, c.Err)
	}
	if err := os.Rename(data, data+"-away"); err != nil {
		t.Fatal(err)
	}
	moveTree(t, dockerTree(t), data)
	if f, err := c.Stack.Opener.Open(c.Stack.Upper); err == nil {
		f.Close()
		t.Error("a directory in the place of root's was opened")
	}
	chown(t, data, 1000)
	if c, found := one(t, root); found != 1 || c.Owner.UID != 1000 {
		t.Errorf("the user's directory in the place of root's: %d found, of %v", found, c.Owner)
	}
}

// The process that a user's file names must be the user's.
func TestUsers_Process(t *testing.T) {
	testenv.RequireRoot(t)
	for user, want := range map[uint32]State{0: Running, 1000: Exited} {
		var c Container
		if c.setProcess(os.Getpid(), Running, mounter{eyes: eyes{node: "/", user: user}}); c.State != want {
			t.Errorf("a process of root's in the store of user %d: %q", user, c.State)
		}
	}
}
