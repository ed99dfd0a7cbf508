//go:build linux

package stores

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// dockerConf is what is read of Docker's daemon.json.
type dockerConf struct {
	DataRoot string `json:"data-root"`
	Graph    string `json:"graph"` // before Docker 17.05
	ExecRoot string `json:"exec-root"`
}

func (f *finder) docker() error {
	var conf dockerConf
	err := f.eyes.readJSON(f.path("/etc/docker/daemon.json"), maxObject, &conf)
	for _, root := range []string{cmp.Or(conf.DataRoot, conf.Graph, "/var/lib/docker"), "/var/snap/docker/common/var-lib-docker"} {
		f.addDocker(root, cmp.Or(conf.ExecRoot, "/run/docker"))
		names, err := f.eyes.listIDs(f.path(root))
		f.note(err, f.path(root))
		for _, name := range names {
			if remapped.MatchString(name) {
				f.addDocker(filepath.Join(root, name), cmp.Or(conf.ExecRoot, "/run/docker"))
			}
		}
	}
	return unlessMissing(err)
}

// addDocker adds a store of Docker's with the containerd that it may use: its own,
// or that of the system.
func (f *finder) addDocker(root, execRoot string) {
	own := f.path(root, "containerd/daemon")
	s := Docker(f.path(root), own, f.path("/var/lib/containerd"))
	s.Snapshotters = f.snapshotters
	f.add(s)
	f.add(Containerd(own, f.path(execRoot, "containerd/daemon")))
}

func (f *finder) containerd() error {
	var err error
	for _, c := range []struct{ conf, root, state string }{
		{"/etc/containerd/config.toml", "/var/lib/containerd", "/run/containerd"},
		{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "/var/lib/rancher/k3s/agent/containerd", "/run/k3s/containerd"},
		{"/var/lib/rancher/rke2/agent/etc/containerd/config.toml", "/var/lib/rancher/rke2/agent/containerd", "/run/k3s/containerd"},
		{"/etc/k0s/containerd.toml", "/var/lib/k0s/containerd", "/run/k0s/containerd"},
		{"/var/snap/microk8s/current/args/containerd.toml", "/var/snap/microk8s/common/var/lib/containerd", "/var/snap/microk8s/common/run/containerd"},
	} {
		conf, e := f.containerdConf(c.conf)
		err = and(err, e)
		f.add(f.ofContainerdConf(conf, c.root, c.state))
	}
	return err
}

// ofContainerdConf returns the store that a containerd's configuration is of. root and
// state are the defaults.
func (f *finder) ofContainerdConf(conf map[string][]string, root, state string) Store {
	// MicroK8s writes ${SNAP_COMMON}.
	last := func(key, without string) string {
		if v := lastOf(conf, key); v != "" && !strings.Contains(v, "$") {
			return v
		}
		return without
	}
	s := Containerd(f.path(last(".root", root)), f.path(last(".state", state)))
	s.Snapshotters = f.ofPlugins(conf)
	return s
}

// knownSnapshotters are where proxy plugins keep their snapshots if nothing says where.
var knownSnapshotters = map[string][]string{
	"stargz":         {"/var/lib/containerd-stargz-grpc/snapshotter"},
	"soci":           {"/var/lib/soci-snapshotter-grpc/snapshotter"},
	"nydus":          {"/var/lib/containerd-nydus", "/var/lib/containerd/io.containerd.snapshotter.v1.nydus"},
	"fuse-overlayfs": {"/var/lib/containerd-fuse-overlayfs"},
	"overlaydiff":    {"/var/lib/overlaydiff"},
}

// ofPlugins returns where snapshotters keep their snapshots: root_path of those in
// containerd, the exported root of those that are proxy plugins.
func (f *finder) ofPlugins(conf map[string][]string) map[string][]string {
	roots := map[string][]string{}
	add := func(name string, paths ...string) {
		if name == "" || strings.Contains(name, ".") {
			return
		}
		for _, path := range paths {
			roots[name] = append(roots[name], f.path(path))
		}
	}
	for key := range conf {
		value := lastOf(conf, key)
		if name, ok := cutAround(key, "plugins.", ".root_path"); ok && value != "" {
			add(strings.TrimPrefix(name, "io.containerd.snapshotter.v1."), value)
		}
		if name, ok := cutAround(key, "proxy_plugins.", ".exports.root"); ok && value != "" {
			add(name, value, filepath.Join(value, "snapshotter"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(knownSnapshotters)) {
		add(name, knownSnapshotters[name]...)
	}
	return roots
}

func cutAround(s, prefix, suffix string) (string, bool) {
	s, before := strings.CutPrefix(s, prefix)
	s, after := strings.CutSuffix(s, suffix)
	return s, before && after
}

// containerdConf reads a containerd's configuration, and what that imports, of which the last
// word counts (containerd, cmd/containerd/server/config, LoadConfig). One that does not exist
// is empty.
func (f *finder) containerdConf(path string) (map[string][]string, error) {
	conf, err := f.conf(path)
	if err != nil {
		return conf, unlessMissing(err)
	}
	for _, pattern := range conf[".imports"] {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(path), pattern)
		}
		for _, file := range f.glob(pattern) {
			more, e := f.conf(file)
			err = and(err, unlessMissing(e))
			maps.Copy(conf, more)
		}
	}
	return conf, err
}

// glob returns the files of the node that a pattern means, whose last part alone may have
// '*', in order.
func (f *finder) glob(pattern string) (files []string) {
	dir, last := filepath.Split(pattern)
	if !strings.ContainsAny(last, "*?[") {
		return []string{pattern}
	}
	names, err := f.eyes.listIDs(f.path(dir))
	f.note(err, f.path(dir))
	for _, name := range names {
		if ok, _ := filepath.Match(last, name); ok {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files
}

// stray is a snapshotter's directory that a mounted overlay has led to.
type stray struct {
	dir  string
	user uint32
}

// addSnapshotter keeps a directory with snapshots, of which it is not known which
// containerd's they are.
func (f *finder) addSnapshotter(dir string) {
	e, err := f.eyes.of(dir, false)
	s := stray{dir, e.user}
	if err == nil && !slices.Contains(f.strays, s) && f.eyes.exists(filepath.Join(dir, "metadata.db")) {
		f.strays = append(f.strays, s)
	}
}

// shareSnapshotters gives these directories to the stores that are the same user's: a
// snapshot is found there by its name.
func (f *finder) shareSnapshotters() {
	for i, s := range f.stores {
		if s.Layout != LayoutContainerd && s.Layout != LayoutDocker {
			continue
		}
		f.stores[i].Snapshotters = maps.Clone(s.Snapshotters)
		for _, stray := range f.strays {
			if stray.user != s.eyes.user {
				continue
			}
			if f.stores[i].Snapshotters == nil {
				f.stores[i].Snapshotters = map[string][]string{}
			}
			f.stores[i].Snapshotters[""] = append(f.stores[i].Snapshotters[""], stray.dir)
		}
	}
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
	conf, err := f.storageConf("/usr/share/containers", "/etc/containers")
	same := func(s string) string { return s }
	f.addStorage(conf, same, defaultGraphRoot, "/run/containers/storage")
	f.rootless = lastOf(conf, "storage.rootless_storage_path")
	crio, e := f.crioConf(conf)
	if crio != nil {
		f.addStorage(crio, same, defaultGraphRoot, "/run/containers/storage")
	}
	return and(err, e)
}

const defaultGraphRoot = "/var/lib/containers/storage"

// storageConf reads the storage.conf of the last of the directories that has one, and all
// files of the directories' storage.conf.d, which count in order of their names; of equal
// names the last one's (containers-storage.conf(5)).
func (f *finder) storageConf(dirs ...string) (map[string][]string, error) {
	conf, whole := map[string][]string{}, error(nil)
	drop := map[string]string{}
	for _, dir := range dirs {
		one, err := f.conf(filepath.Join(dir, "storage.conf"))
		if err == nil {
			conf = one
		}
		whole = and(whole, unlessMissing(err))
		for _, file := range f.glob(filepath.Join(dir, "storage.conf.d", "*.conf")) {
			drop[filepath.Base(file)] = file
		}
	}
	for _, name := range slices.Sorted(maps.Keys(drop)) {
		one, err := f.conf(drop[name])
		whole = and(whole, unlessMissing(err))
		maps.Copy(conf, one)
	}
	return conf, whole
}

// crioConf returns a storage.conf with what CRI-O's configuration says otherwise, nil if it
// has none (crio.conf(5)).
func (f *finder) crioConf(storage map[string][]string) (map[string][]string, error) {
	conf, err := f.conf("/etc/crio/crio.conf")
	files := f.glob("/etc/crio/crio.conf.d/*")
	if errors.Is(err, fs.ErrNotExist) && len(files) == 0 {
		return nil, nil //nolint:nilnil // it has none
	}
	err = unlessMissing(err)
	for _, file := range files {
		one, e := f.conf(file)
		err = and(err, unlessMissing(e))
		maps.Copy(conf, one)
	}
	merged := maps.Clone(storage)
	for from, to := range map[string]string{
		"crio.root": "storage.graphroot", "crio.runroot": "storage.runroot", "crio.imagestore": "storage.imagestore", "crio.storage_driver": "storage.driver",
	} {
		if v := lastOf(conf, from); v != "" {
			merged[to] = []string{v}
		}
	}
	if options := conf["crio.storage_option"]; len(options) > 0 { // instead of those of storage.conf
		delete(merged, "storage.options.additionalimagestores")
		for _, option := range options {
			name, value, _ := strings.Cut(option, "=")
			switch name {
			case "overlay.mountopt", ".mountopt":
				merged["storage.options.overlay.mountopt"] = []string{value}
			case "overlay.imagestore", ".imagestore", "additionalimagestore":
				merged["storage.options.additionalimagestores"] = append(merged["storage.options.additionalimagestores"], value)
			}
		}
	}
	return merged, err
}

// conf reads a file of TOML.
func (f *finder) conf(path string) (map[string][]string, error) {
	data, err := f.eyes.readFile(f.path(path), maxObject)
	return parseConf(string(data)), err
}

// addStorage adds the stores of a storage.conf; graphRoot and runRoot are the
// defaults.
func (f *finder) addStorage(conf map[string][]string, expand func(string) string, graphRoot, runRoot string) {
	last := func(key string) string { return expand(lastOf(conf, key)) }
	s := ContainersStorage(
		f.path(cmp.Or(last("storage.graphroot"), graphRoot)),
		f.path(cmp.Or(last("storage.runroot"), runRoot)))
	for _, dir := range slices.Concat(conf["storage.imagestore"], conf["storage.options.imagestore"], conf["storage.options.additionalimagestores"]) {
		if dir != "" {
			s.ImageStores = append(s.ImageStores, f.path(expand(dir)))
		}
	}
	s.MountOptions = cmp.Or(last("storage.options.overlay.mountopt"), last("storage.options.mountopt"))
	f.add(s)
	s.Driver = "vfs"
	f.add(s)
}

// lastOf returns the value that a configuration has of a key, "" if none.
func lastOf(conf map[string][]string, key string) string {
	if values := conf[key]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}
