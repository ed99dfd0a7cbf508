//go:build linux

package stores

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// chown gives all of a tree to a user.
func chown(t *testing.T, root string, uid int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A user's store does not lead root to what is not the user's, by whatever
// directory in it, be it of layers or of files.
func TestLinks(t *testing.T) {
	testenv.RequireRoot(t)
	for _, c := range []struct {
		name, path string // what is a link
		tree       func(*testing.T) string
		store      func(root string) Store
		id         string
	}{
		{"Podman's layer", "overlay/" + id("8"), storageTree, podman, "b"},
		{"an image's layer", "overlay/" + id("1") + "/diff", storageTree, podman, "b"},
		{"Podman's layers", "overlay", storageTree, podman, ""},
		{"Docker's layer", "overlay2/" + id("8"), dockerTree, func(root string) Store { return Docker(root) }, "b"},
		{"Docker's container", "containers/" + id("b"), dockerTree, func(root string) Store { return Docker(root) }, "b"},
		{"iSulad's layer", "storage/overlay/" + id("b"), isuladTree, ISulad, "b"},
		{"containerd's snapshots", "io.containerd.snapshotter.v1.overlayfs/snapshots", containerdTree, func(root string) Store { return Containerd(root, "") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := c.tree(t)
			at, elsewhere := filepath.Join(root, c.path), filepath.Join(t.TempDir(), "x")
			if err := os.Rename(at, elsewhere); err != nil {
				t.Fatal(err)
			}
			// Relative, since the user can't search the directory of all tests.
			target, err := filepath.Rel(filepath.Dir(at), elsewhere)
			if err != nil {
				t.Fatal(err)
			}
			testenv.Tree(t, root, "symlink "+c.path+" -> "+target)
			chown(t, root, 1000)
			for _, owner := range []int{1000, 0} {
				chown(t, elsewhere, owner)
				seen := 0
				for _, one := range list(t, c.store(root)) {
					if c.id != "" && one.ID != id(c.id) || one.ID == "lost" || one.ID == "other" {
						continue
					}
					seen++
					refused := one.Err != nil && strings.Contains(one.Err.Error(), "user 1000 made the link")
					if refused != (owner == 0) || refused && (one.Stack.Upper != "" || strings.HasPrefix(one.RW.Dir, at)) {
						t.Errorf("what the link leads to is user %d's: %s: error %v, upper %q", owner, one.ID, one.Err, one.RW.Dir)
					}
				}
				if seen == 0 {
					t.Error("no container is listed")
				}
			}
		})
	}
}

func podman(root string) Store { return ContainersStorage(root, "") }

func TestBelow(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, "dir data/docker/x", "dir var/lib", "dir home/u/own", "dir up", "symlink var/lib/docker -> /data/docker", "symlink rel -> up/../data",
		"symlink out -> ../../../../etc", "symlink circle -> /circle", "symlink two -> /var/lib/docker/../docker", "symlink home/u/l -> /home/u/own", "symlink home/u/bad -> /data")
	for _, path := range []string{"home/u", "home/u/own", "home/u/l", "home/u/bad"} {
		if err := os.Lchown(filepath.Join(root, path), 1000, 1000); err != nil {
			testenv.RequireRoot(t)
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"/":                  "/",
		"/var/lib/docker":    "/data/docker",
		"/var/lib/docker/x":  "/data/docker/x",
		"/var/lib/docker/no": "/data/docker/no",
		"/rel/docker":        "/data/docker",
		"/out":               "/etc",
		"/../out/x":          "/etc/x",
		"/two":               "/data/docker",
		"/circle":            "/circle",
		"/home/u/l":          "/home/u/own",
		"/home/u/bad/docker": "/home/u/bad/docker", // the user's, to root's
	} {
		if got := (eyes{node: root}).real(path); got != filepath.Join(root, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
