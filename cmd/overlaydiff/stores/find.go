//go:build linux

package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Find looks for the stores of a node below root, "/" or where the node's root is
// mounted: those that the runtimes' configuration names (daemon.json of Docker
// and iSulad, storage.conf, config.toml of containerd), else their defaults, also
// those of k3s, RKE2, k0s and MicroK8s, and those of rootless Docker, nerdctl and
// Podman in the home directories that /etc/passwd has, or name services for users with
// subordinate ids and those who are logged in. A store that does not
// exist is left out; one that has two names is found once.
//
// Looked at are daemon.json of Docker, also that of users, and of iSulad; config.toml of
// containerd with what it imports; storage.conf and storage.conf.d, also of users;
// crio.conf and crio.conf.d.
//
// Stores elsewhere, of which a command line says where they are, are found by
// uppers, the upper directories of mounted overlays (mountutil.Overlays).
//
// With an error, which says what configuration could not be read and where nobody
// may look, it returns what it found nonetheless, but for a cancelled context. A
// user's own configuration is no cause of an error.
func Find(ctx context.Context, root string, uppers ...string) ([]Store, error) {
	f := finder{root: root, eyes: eyes{node: root}}
	var err error
	if f.eyes.node, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	f.eyes.accounts, err = readAccounts(f.eyes)
	f.named = true
	system, _ := f.containerdConf("/etc/containerd/config.toml") // its error is said below
	f.snapshotters = f.ofPlugins(system)
	for _, look := range []func() error{f.docker, f.storage, f.isulad, f.containerd} {
		err = and(err, look())
	}
	f.named = false
	for _, h := range f.eyes.accounts.homes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f.user(h)
	}
	f.home, f.eyes.user = home{}, 0
	for _, upper := range uppers {
		f.addAround(upper)
	}
	f.shareSnapshotters()
	if f.denied > 0 {
		err = and(err, fmt.Errorf("look for stores (in %d places, as %s): %w; run as root of the node", f.denied, diff.QuotePath(f.one), fs.ErrPermission))
	}
	return f.stores, err
}

// addAround adds the store that has an upper directory, ROOT/…/HOME/LAYER/NAME.
func (f *finder) addAround(upper string) {
	home := filepath.Dir(filepath.Dir(upper))
	root := filepath.Dir(home)
	switch filepath.Base(home) + "/" + filepath.Base(upper) {
	case "overlay2/diff", "fuse-overlayfs/diff":
		f.addDocker(root, "/run/docker")
	case "overlay/diff":
		if f.eyes.exists(f.path(root, "overlay-layers", "layers.json")) {
			f.add(ContainersStorage(f.path(root), ""))
		} else if filepath.Base(root) == "storage" {
			f.add(ISulad(f.path(filepath.Dir(root))))
		}
	case "snapshots/fs":
		f.add(Containerd(f.path(filepath.Dir(root)), ""))
		f.addSnapshotter(f.path(root))
	}
}

// finder collects stores that exist.
type finder struct {
	root   string
	eyes   eyes
	home   home // that is looked at; zero: none
	named  bool // root's configuration names the place
	stores []Store

	snapshotters map[string][]string // roots of the system's containerd's, by name
	strays       []stray
	rootless     string // rootless_storage_path
	seen         map[inode]bool
	denied       int // may not be looked at
	one          string
}

// path returns where a path of the node is.
func (f *finder) path(elem ...string) string {
	if f.root == "/" {
		return filepath.Join(elem...)
	}
	return f.eyes.real(filepath.Join(elem...))
}

// add adds a store if it has containers, or the directory for them.
func (f *finder) add(s Store) {
	sub := map[Layout]string{
		LayoutDocker: "containers", LayoutContainersStorage: s.driver() + "-containers", LayoutISulad: "storage/overlay-containers",
		LayoutContainerd: "io.containerd.metadata.v1.bolt",
	}[s.Layout]
	e := f.eyes
	e.images = s.ImageStores
	var err error
	e.user = 0
	s.eyes, err = e.of(s.Root, f.named)
	if home := f.home; home.uid != 0 && !f.named {
		switch s.eyes.user {
		case server: // of the home directory
			s.eyes.user = home.uid
		case home.uid:
		default: // a user's configuration names no store of others
			if s.eyes.user != 0 || !strings.HasPrefix(s.Root, f.path(home.dir)+"/") {
				return
			}
		}
	}
	var st sys.Stat
	if err == nil {
		st, err = s.eyes.dir(filepath.Join(s.Root, sub))
	}
	f.note(err, s.Root)
	if err != nil || f.seen[inode{st.Dev, st.Ino}] {
		return
	}
	s.Node = f.root
	if f.seen == nil {
		f.seen = map[inode]bool{}
	}
	f.seen[inode{st.Dev, st.Ino}] = true
	f.stores = append(f.stores, s)
}

// note keeps that a place may not be looked at: there may be a store.
func (f *finder) note(err error, place string) {
	if errors.Is(err, fs.ErrPermission) {
		f.denied++
		f.one = place
	}
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
