//go:build linux

package stores

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	at := func(path string) string { return filepath.Join(root, path) }
	testenv.Tree(t, root,
		dir("var/lib/docker/containers"), dir("var/lib/docker/1000.1000/containers"), dir("var/lib/docker/overlay2"),
		dir("var/lib/docker/containerd/daemon/io.containerd.metadata.v1.bolt"),
		dir("var/lib/rancher/k3s/agent/containerd/io.containerd.metadata.v1.bolt"),
		dir("var/lib/containers/storage/overlay-containers"), dir("var/lib/isulad/storage/overlay-containers"),
		dir("home/u/.local/share/docker/containers"), dir("home/u/.local/share/containers/storage/overlay-containers"),
		dir("home/v/pods/overlay-containers"),
		file("home/v/.config/containers/storage.conf", "[storage]\ngraphroot = \"$HOME/pods\"\nrunroot='/tmp/$UID'\n"),
		file("etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\nu2:x:1000:1000::/home/u:/bin/sh\nv:x:1001:1001::/home/v:/bin/sh\nbad\n"))
	docker := func(root string) Store {
		return Docker(at(root), at(root+"/containerd/daemon"), at("var/lib/containerd"))
	}
	want := []Store{
		docker("var/lib/docker"), Containerd(at("var/lib/docker/containerd/daemon"), at("run/docker/containerd/daemon")),
		docker("var/lib/docker/1000.1000"),
		ContainersStorage(at("var/lib/containers/storage"), at("run/containers/storage")),
		ISulad(at("var/lib/isulad")),
		Containerd(at("var/lib/rancher/k3s/agent/containerd"), at("run/k3s/containerd")),
		docker("home/u/.local/share/docker"),
		ContainersStorage(at("home/u/.local/share/containers/storage"), at("run/user/1000/containers")),
		ContainersStorage(at("home/v/pods"), at("tmp/1001")),
	}
	got, err := Find(t.Context(), root)
	if d := cmp.Diff(onNode(root, want), got, ofFind); d != "" || err != nil {
		t.Errorf("%v, stores (-want +got):\n%s", err, d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, root); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// ofFind compares stores but for the snapshotters, which all of containerd have.
var ofFind = cmp.Options{cmpopts.IgnoreUnexported(Store{}), cmpopts.IgnoreFields(Store{}, "Snapshotters")}

// onNode is stores that were found below root.
func onNode(root string, stores []Store) []Store {
	for i := range stores {
		stores[i].Node = root
	}
	return stores
}

func TestFind_configured(t *testing.T) {
	root := t.TempDir()
	at := func(path string) string { return filepath.Join(root, path) }
	testenv.Tree(t, root,
		file("etc/containerd/config.toml", "version = 2\nroot = \"/srv/ctd\"\nstate = '/srv/state'\n[grpc]\nroot = \"/no\"\n"), dir("srv/ctd/io.containerd.metadata.v1.bolt"),
		file("etc/docker/daemon.json", `{"data-root":"/srv/docker"}`), dir("mnt/docker/containers"), "symlink srv/docker -> /mnt/docker", // as the node sees it
		file("etc/isulad/daemon.json", `{"graph":"/srv/isulad"}`), dir("srv/isulad/storage/overlay-containers"),
		dir("srv/pods/overlay-containers"), "symlink var/lib/containers/storage -> /srv/pods",
		file("etc/containers/storage.conf", "# graphroot = \"/no\"\n[storage]\n  graphroot = \"/srv/pods\" # \"/no\"\nrunroot = '/srv/run'\n"+
			"imagestore = \"/srv/images\"\n[storage.options]\nadditionalimagestores = [ \"/a\", # \"/no\"\n  '/b',\n]\n[storage.options.overlay]\nmountopt = \"nodev,metacopy=on\"\n"))
	pods := ContainersStorage(at("srv/pods"), at("srv/run"), at("srv/images"), at("a"), at("b"))
	pods.MountOptions = "nodev,metacopy=on"
	got, err := Find(t.Context(), root)
	if d := cmp.Diff(onNode(root, []Store{
		Docker(at("mnt/docker"), at("mnt/docker/containerd/daemon"), at("var/lib/containerd")),
		pods, ISulad(at("srv/isulad")), Containerd(at("srv/ctd"), at("srv/state")),
	}), got, ofFind); d != "" || err != nil {
		t.Errorf("%v, stores (-want +got):\n%s", err, d)
	}
	write(t, `{"data-root":`, root, "etc/docker/daemon.json")
	got, err = Find(t.Context(), root)
	if len(got) != 3 || err == nil || !strings.Contains(err.Error(), "etc/docker/daemon.json") {
		t.Errorf("%v, %v", got, err)
	}
}

// Stores that only a daemon's command line names are found by what is mounted.
func TestFind_mounted(t *testing.T) {
	for _, below := range []bool{false, true} {
		scratch := t.TempDir()
		root, at := "/", func(path string) string { return filepath.Join(scratch, path) }
		if below {
			root, at = scratch, func(path string) string { return "/" + path }
		}
		testenv.Tree(t, scratch, dir("docker/containers"), dir("ctd/io.containerd.metadata.v1.bolt"),
			dir("pods/overlay-containers"), file("pods/overlay-layers/layers.json", "[]"), dir("isulad/storage/overlay-containers"))
		got, err := Find(t.Context(), root, at("docker/overlay2/a/diff"), at("docker/overlay2/b/diff"), at("pods/overlay/a/diff"), "", "/",
			at("isulad/storage/overlay/a/diff"), at("ctd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"), at("no/overlay2/a/diff"), at("pods/upper"))
		var found []string
		for _, s := range got {
			if path, ok := strings.CutPrefix(s.Root, scratch+"/"); ok {
				found = append(found, s.Layout.String()+" "+path)
			}
		}
		want := []string{"docker docker", "containers-storage pods", "isulad isulad", "containerd ctd"}
		if d := cmp.Diff(want, found); d != "" || below && err != nil {
			t.Errorf("below another root: %v: %v, (-want +got):\n%s", below, err, d)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add("[storage]\ngraphroot = \"/x\\\"y\"\n[storage.options]\nadditionalimagestores = [ \"/a\", # \"/no\"\n  '/b',\n]\n")
	f.Add("a = [\"")
	f.Fuzz(func(t *testing.T, text string) {
		for key, values := range parseConf(text) {
			if !strings.Contains(key, ".") {
				t.Errorf("%q: %q", key, values)
			}
		}
	})
}

// nodeOf makes a node, and returns a function that says where a path of it is.
func nodeOf(t *testing.T, lines ...string) (root string, at func(string) string) {
	t.Helper()
	root = t.TempDir()
	testenv.Tree(t, root, lines...)
	return root, func(path string) string { return filepath.Join(root, path) }
}

// roots returns what Find finds, by layout and driver.
func roots(t *testing.T, root string) (found []string) {
	t.Helper()
	all, err := Find(t.Context(), root)
	if err != nil {
		t.Error(err)
	}
	for _, s := range all {
		path, ok := strings.CutPrefix(s.Root, root)
		if !ok {
			t.Errorf("%s is not below the root", s.Root)
		}
		found = append(found, s.Layout.String()+" "+path)
	}
	return found
}

// The administrator writes where the stores of users are, or a user does.
func TestFind_users(t *testing.T) {
	testenv.RequireRoot(t)
	root, at := nodeOf(t, file("etc/passwd", "%s", passwd),
		file("home/u/.config/docker/daemon.json", `{"data-root": "/data/u-docker"}`), dir("data/u-docker/containers"),
		file("home/v/.config/docker/daemon.json", `{"data-root": "/data/v-docker"}`), dir("data/v-docker/containers"),
		file("etc/containers/storage.conf", "[storage]\nrootless_storage_path = \"/data/$USER/storage\"\n"),
		dir("data/u/storage/overlay-containers"), dir("data/v/storage/overlay-containers"),
		dir("home/v/.local/share/containerd/io.containerd.metadata.v1.bolt"))
	chown(t, at("home/v"), 1001)
	chown(t, at("data/u/storage"), 1000)
	chown(t, at("data/v/storage"), 1001)
	want := []string{
		"docker /data/u-docker", "containers-storage /data/u/storage", // root's word in u's home directory
		"containerd /home/v/.local/share/containerd", "containers-storage /data/v/storage", // but v's own names no store of root's
	}
	if d := cmp.Diff(want, roots(t, root)); d != "" {
		t.Errorf("stores (-want +got):\n%s", d)
	}
	chown(t, at("data/v-docker"), 1001)
	if d := cmp.Diff("docker /data/v-docker", roots(t, root)[2]); d != "" {
		t.Errorf("the user's own (-want +got):\n%s", d)
	}
	all, _ := Find(t.Context(), root)
	for _, s := range all {
		if s.Layout == LayoutContainerd && s.RunRoot != at("run/user/1001/containerd") {
			t.Errorf("the state of rootless containerd is in %s", s.RunRoot)
		}
	}
}

// Files that count after others, and other programs' configuration.
func TestFind_dropIns(t *testing.T) {
	root, at := nodeOf(t,
		file("usr/share/containers/storage.conf", "[storage]\ngraphroot = \"/no\"\n"),
		file("usr/share/containers/storage.conf.d/10-a.conf", "[storage]\ngraphroot = \"/no\"\n"),
		file("etc/containers/storage.conf.d/10-a.conf", "[storage]\ngraphroot = \"/srv/pods\"\n"),
		file("etc/containers/storage.conf.d/20-b.conf", "[storage.options.overlay]\nmountopt = \"metacopy=on\"\n"),
		file("etc/containers/storage.conf.d/30-c.ini", "[storage]\ngraphroot = \"/no\"\n"),
		dir("srv/pods/overlay-containers"),
		file("etc/crio/crio.conf", "[crio]\nroot = \"/no\"\nrunroot = \"/srv/crio-run\"\n"),
		file("etc/crio/crio.conf.d/10-disk.conf", "[crio]\nroot = \"/srv/crio\"\nimagestore = \"/srv/images\"\nstorage_option = [\"overlay.mountopt=nodev,index=off\"]\n"),
		dir("srv/crio/overlay-containers"),
		file("etc/containerd/config.toml", "version = 3\nimports = [\"conf.d/*.toml\"]\n"),
		file("etc/containerd/conf.d/disk.toml", "root = '/srv/ctd'\n[plugins.'io.containerd.snapshotter.v1.overlayfs']\nroot_path = '/fast'\n"+
			"[proxy_plugins.lazy]\ntype = 'snapshot'\n[proxy_plugins.lazy.exports]\nroot = '/srv/lazy'\n"),
		dir("srv/ctd/io.containerd.metadata.v1.bolt"))
	pods := ContainersStorage(at("srv/pods"), at("run/containers/storage"))
	pods.MountOptions = "metacopy=on"
	crio := ContainersStorage(at("srv/crio"), at("srv/crio-run"), at("srv/images"))
	crio.MountOptions = "nodev,index=off"
	got, err := Find(t.Context(), root)
	if d := cmp.Diff(onNode(root, []Store{pods, crio, Containerd(at("srv/ctd"), at("run/containerd"))}), got, ofFind); d != "" || err != nil {
		t.Fatalf("%v, stores (-want +got):\n%s", err, d)
	}
	snapshotters := got[2].Snapshotters
	if d := cmp.Diff([][]string{{at("fast")}, {at("srv/lazy"), at("srv/lazy/snapshotter")}, {at("var/lib/overlaydiff")}},
		[][]string{snapshotters["overlayfs"], snapshotters["lazy"], snapshotters["overlaydiff"]}); d != "" {
		t.Errorf("snapshotters (-want +got):\n%s", d)
	}
}
