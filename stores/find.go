//go:build linux

package stores

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Find looks for the stores of a node below root, "/" or where the node's root is
// mounted: those that the runtimes' configuration names (daemon.json of Docker
// and iSulad, storage.conf, config.toml of containerd), else their defaults, also
// those of k3s, RKE2, k0s and MicroK8s, and those of rootless Docker, nerdctl and
// Podman in the home directories that /etc/passwd has. A store that does not
// exist is left out; one that has two names is found once.
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
	for _, look := range []func() error{f.docker, f.storage, f.isulad, f.containerd} {
		err = and(err, look())
	}
	f.named = false
	for _, h := range f.eyes.accounts.homes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		uid := strconv.FormatUint(uint64(h.uid), 10)
		f.home, f.eyes.user = h, h.uid
		f.addDocker(filepath.Join(h.dir, ".local/share/docker"))
		f.add(Containerd(f.path(h.dir, ".local/share/containerd"), ""))
		f.eyes.images = []string{f.path(h.dir)} // it may be the administrator's
		conf, _ := f.conf(filepath.Join(h.dir, ".config/containers/storage.conf"))
		f.eyes.images = nil
		expand := func(s string) string {
			return os.Expand(s, func(name string) string { return map[string]string{"HOME": h.dir, "UID": uid}[name] })
		}
		f.addStorage(conf, expand, filepath.Join(h.dir, ".local/share/containers/storage"), filepath.Join("/run/user", uid, "containers"))
	}
	f.home, f.eyes.user = home{}, 0
	for _, upper := range uppers {
		f.addAround(upper)
	}
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
		f.addDocker(root)
	case "overlay/diff":
		if f.eyes.exists(f.path(root, "overlay-layers", "layers.json")) {
			f.add(ContainersStorage(f.path(root), ""))
		} else if filepath.Base(root) == "storage" {
			f.add(ISulad(f.path(filepath.Dir(root))))
		}
	case "snapshots/fs":
		f.add(Containerd(f.path(filepath.Dir(root)), ""))
	}
}

// finder collects stores that exist.
type finder struct {
	root   string
	eyes   eyes
	home   home // that is looked at; zero: none
	named  bool // root's configuration names the place
	stores []Store
	seen   map[inode]bool
	denied int // may not be looked at
	one    string
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
		LayoutDocker: "containers", LayoutContainersStorage: "overlay-containers", LayoutISulad: "storage/overlay-containers",
		LayoutContainerd: "io.containerd.metadata.v1.bolt",
	}[s.Layout]
	e := f.eyes
	e.images = s.ImageStores
	var err error
	e.user = 0
	s.eyes, err = e.of(s.Root, f.named)
	if home := f.home; home.uid != 0 {
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

func (f *finder) docker() error {
	var conf struct {
		DataRoot string `json:"data-root"`
		Graph    string `json:"graph"` // before Docker 17.05
	}
	err := f.eyes.readJSON(f.path("/etc/docker/daemon.json"), maxObject, &conf)
	for _, root := range []string{cmp.Or(conf.DataRoot, conf.Graph, "/var/lib/docker"), "/var/snap/docker/common/var-lib-docker"} {
		f.addDocker(root)
		names, err := f.eyes.listIDs(f.path(root))
		f.note(err, f.path(root))
		for _, name := range names {
			if remapped.MatchString(name) {
				f.addDocker(filepath.Join(root, name))
			}
		}
	}
	return unlessMissing(err)
}

// addDocker adds a store of Docker's with the containerd that it may use: its own,
// or that of the system.
func (f *finder) addDocker(root string) {
	own := f.path(root, "containerd/daemon")
	f.add(Docker(f.path(root), own, f.path("/var/lib/containerd")))
	f.add(Containerd(own, f.path("/run/docker/containerd/daemon")))
}

func (f *finder) containerd() error {
	conf, err := f.conf("/etc/containerd/config.toml")
	last := func(key, without string) string {
		if values := conf[key]; len(values) > 0 {
			return values[len(values)-1]
		}
		return without
	}
	for _, dirs := range [][2]string{
		{last(".root", "/var/lib/containerd"), last(".state", "/run/containerd")},
		{"/var/lib/rancher/k3s/agent/containerd", "/run/k3s/containerd"},
		{"/var/lib/rancher/rke2/agent/containerd", "/run/k3s/containerd"},
		{"/var/lib/k0s/containerd", "/run/k0s/containerd"},
		{"/var/snap/microk8s/common/var/lib/containerd", "/var/snap/microk8s/common/run/containerd"},
	} {
		f.add(Containerd(f.path(dirs[0]), f.path(dirs[1])))
	}
	return unlessMissing(err)
}

func (f *finder) isulad() error {
	var conf struct {
		Graph string `json:"graph"`
	}
	err := f.eyes.readJSON(f.path("/etc/isulad/daemon.json"), maxObject, &conf)
	f.add(ISulad(f.path(cmp.Or(conf.Graph, "/var/lib/isulad"))))
	return unlessMissing(err)
}

func (f *finder) storage() error {
	conf, err := f.conf("/etc/containers/storage.conf")
	if errors.Is(err, fs.ErrNotExist) {
		conf, err = f.conf("/usr/share/containers/storage.conf")
	}
	f.addStorage(conf, func(s string) string { return s }, "/var/lib/containers/storage", "/run/containers/storage")
	return unlessMissing(err)
}

// conf reads a storage.conf.
func (f *finder) conf(path string) (map[string][]string, error) {
	data, err := f.eyes.readFile(f.path(path), maxObject)
	return parseConf(string(data)), err
}

// addStorage adds the store of a storage.conf; graphRoot and runRoot are the
// defaults.
func (f *finder) addStorage(conf map[string][]string, expand func(string) string, graphRoot, runRoot string) {
	last := func(key string) string {
		values := conf[key]
		if len(values) == 0 {
			return ""
		}
		return expand(values[len(values)-1])
	}
	s := ContainersStorage(
		f.path(cmp.Or(last("storage.graphroot"), graphRoot)),
		f.path(cmp.Or(last("storage.runroot"), runRoot)))
	for _, dir := range slices.Concat(conf["storage.imagestore"], conf["storage.options.additionalimagestores"]) {
		if dir != "" {
			s.ImageStores = append(s.ImageStores, f.path(expand(dir)))
		}
	}
	s.MountOptions = cmp.Or(last("storage.options.overlay.mountopt"), last("storage.options.mountopt"))
	f.add(s)
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
