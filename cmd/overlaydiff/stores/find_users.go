//go:build linux

package stores

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
)

// user adds the stores of a user: rootless Docker, containerd (nerdctl) and Podman.
func (f *finder) user(h home) {
	f.home, f.eyes.user = h, h.uid
	defer func() { f.home, f.eyes.user, f.named = home{}, 0, false }()
	uid := strconv.FormatUint(uint64(h.uid), 10)
	// The variables of others are not known.
	xdg := func(name, without string) string {
		if v := os.Getenv(name); f.root == "/" && h.uid == uint32(os.Getuid()) && filepath.IsAbs(v) {
			return v
		}
		return without
	}
	conf := xdg("XDG_CONFIG_HOME", filepath.Join(h.dir, ".config"))
	data := xdg("XDG_DATA_HOME", filepath.Join(h.dir, ".local/share"))
	run := xdg("XDG_RUNTIME_DIR", filepath.Join("/run/user", uid))

	var docker dockerConf
	at := filepath.Join(conf, "docker/daemon.json")
	f.of(at, func() { _ = f.eyes.readJSON(f.path(at), maxObject, &docker) })
	f.addDocker(cmp.Or(docker.DataRoot, docker.Graph, filepath.Join(data, "docker")), cmp.Or(docker.ExecRoot, filepath.Join(run, "docker")))
	f.named = false

	// Rootless containerd sees its directories where root's has them: the configuration
	// means those.
	f.add(Containerd(f.path(data, "containerd"), f.path(run, "containerd")))

	var storage map[string][]string
	at = filepath.Join(conf, "containers")
	f.of(filepath.Join(at, "storage.conf"), func() { storage, _ = f.storageConf(at) })
	expand := func(s string) string {
		return os.Expand(s, func(name string) string {
			return map[string]string{"HOME": h.dir, "UID": uid, "USER": f.eyes.accounts.names[h.uid]}[name]
		})
	}
	f.addStorage(storage, expand, cmp.Or(expand(f.rootless), filepath.Join(data, "containers/storage")), filepath.Join(run, "containers"))
}

// of reads a user's configuration, which may be the administrator's: if root alone can have
// written it, it may name any store, like root's own.
func (f *finder) of(path string, read func()) {
	e := f.eyes
	e.user = 0
	w, st, err := e.owner(f.path(path))
	f.named = err == nil && w.user == 0 && e.trusts(st.UID)
	f.eyes.images = []string{f.path(f.home.dir), f.path(filepath.Dir(path))}
	read()
	f.eyes.images = nil
}
