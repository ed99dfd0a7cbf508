//go:build linux

package stores

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestResolve(t *testing.T) {
	all := []Store{Docker(dockerTree(t)), ContainersStorage(storageTree(t), ""), ContainersStorage("/nowhere/x", "")}
	for want, name := range map[string]string{
		"docker " + id("b"):  "k8s_app_pod-1_prod_0123-45_0",
		"buildah " + id("c"): "working-container",
		"cri-o " + id("b"):   "k8s_app_pod-1_prod_uid-1_0",
	} {
		c, err := Resolve(t.Context(), all, "/"+name)
		if err != nil || string(c.Runtime)+" "+c.ID != want {
			t.Errorf("%s: %s %s, %v; want %s", name, c.Runtime, c.ID, err, want)
		}
	}
	for _, name := range []string{id("c"), "ccc"} {
		if c, err := Resolve(t.Context(), all, name); err != nil || c.ID != id("c") {
			t.Errorf("%s: %s, %v", name, c.ID, err)
		}
	}
	for name, want := range map[string]Runtime{
		"docker:web": RuntimeDocker, "podman:web": RuntimePodman, "podman:aa": RuntimePodman, "docker:" + id("a"): RuntimeDocker, "cri-o:prod/pod-1/app": RuntimeCRIO,
	} {
		if c, err := Resolve(t.Context(), all, name); err != nil || c.Runtime != want {
			t.Errorf("%s: %s, %v", name, c.Runtime, err)
		}
	}
	for _, name := range []string{"isulad:web", "docker:working-container"} {
		if _, err := Resolve(t.Context(), all, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"web", "prod/pod-1/app", "aa", id("a")} {
		_, err := Resolve(t.Context(), all, name)
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "docker:") ||
			!strings.Contains(err.Error(), ": 2 have that name") {
			t.Errorf("%s: %v, want the two", name, err)
		}
	}
	_, err := Resolve(t.Context(), all, "nobody")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/x") || strings.Contains(err.Error(), "\n") {
		t.Errorf("nobody: %v", err)
	}
	if _, err := Resolve(t.Context(), all[:1], "nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := Resolve(t.Context(), all, "/"); err == nil {
		t.Error("an empty name is found")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Resolve(ctx, all, "web"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Root's containers are named as ever, whatever users call theirs; a user's has the
// user's name before it.
func TestResolve_Owners(t *testing.T) {
	testenv.RequireRoot(t)
	store := func(user int, name string) Store {
		root := t.TempDir()
		testenv.Tree(t, root, dir("overlay/"+id("7")+"/diff"), dir("overlay/"+id("7")+"/empty"),
			file("overlay-containers/containers.json", "[%s]", storageContainer("a", name, id("7"), "")),
			file("overlay-layers/layers.json", "[%s]", storageLayer("7", "", "")))
		chown(t, root, user)
		return podman(root)
	}
	all := []Store{store(1000, "web"), store(0, "web"), store(1001, "only"), store(1002, "1001/only"), store(1003, "aa"), store(1004, "root/other")}
	for name, want := range map[string]string{
		"web": "root web", "podman:web": "root web", "podman@root:web": "root web", "root/web": "root web", "aa": "root web", id("a"): "root web",
		"1000/web": "1000 web", "podman@1000:web": "1000 web", "@1000:web": "1000 web", "only": "1001 only", "1001/only": "1001 only", "1001/aaa": "1001 only",
		"1002/1001/only": "1002 1001/only", "podman@1003:aa": "1003 aa", "1004/root/other": "1004 root/other",
		"root/other": "", "root/only": "", "1000/only": "", "podman@1001:web": "", "docker@1000:web": "",
	} {
		c, err := Resolve(t.Context(), all, name)
		got := ""
		if err == nil {
			c.Owner.Name = "" // of this machine
			got = c.Owner.String() + " " + c.Name
		}
		if got != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	_, err := Resolve(t.Context(), []Store{store(1000, "web"), store(1001, "web")}, "web")
	if err == nil || !strings.Contains(err.Error(), "podman@") || !strings.Contains(err.Error(), ": 2 have that name") {
		t.Errorf("two users' containers: %v", err)
	}
}

// podTree is containerd's store with pods: each line is an id, a pod, a container, an attempt and
// when it was made.
func podTree(t *testing.T, lines ...string) Store {
	t.Helper()
	root := t.TempDir()
	for i, line := range lines {
		f := strings.Fields(line)
		at := func(path ...string) []string {
			return append([]string{"v1", "k8s.io", "containers", f[0]}, path...)
		}
		minute, err := strconv.Atoi(f[4])
		if err != nil {
			t.Fatal(err)
		}
		made, err := time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		putSnapshots(t, root, "k8s.io", "overlayfs", snapshot{uint64(10 * (i + 1)), digest("1"), "", 5000}, snapshot{uint64(10*(i+1) + 1), f[0], digest("1"), 0})
		updateBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), func(tx *bbolt.Tx) {
			put(t, tx, []byte(f[0]), at("snapshotKey")...)
			put(t, tx, []byte("nginx:1"), at("image")...)
			put(t, tx, made, at("createdat")...)
			put(t, tx, []byte("prod"), at("labels", "io.kubernetes.pod.namespace")...)
			put(t, tx, []byte(f[1]), at("labels", "io.kubernetes.pod.name")...)
			if f[2] != "-" {
				put(t, tx, []byte(f[2]), at("labels", "io.kubernetes.container.name")...)
			}
			put(t, tx, []byte(anyOf(`{"Metadata":{"Config":{"metadata":{"attempt":`+f[3]+`}}}}`)), at("extensions", "io.cri-containerd.container.metadata")...)
		})
	}
	return Containerd(root, "")
}

// The container of a pod that was started again, by the names that people know.
func TestResolve_pods(t *testing.T) {
	store := podTree(t, "aa1 web-0 - 0 1", "aa2 web-0 nginx 0 2", "aa3 web-0 nginx 1 3", "bb1 two - 0 1", "bb2 two app 0 2", "bb3 two sidecar 0 2", "cc1 tie app 0 5", "cc2 tie app 0 5")
	for name, want := range map[string]string{
		"web-0": "aa3", "prod/web-0": "aa3", "web-0/nginx": "aa3", "prod/web-0/nginx": "aa3", "/prod/web-0/nginx": "aa3", "k8s.io:web-0": "aa3",
		"prod/web-0/(sandbox)": "aa1", "aa2": "aa2", "two/app": "bb2", "two": "", "prod/two": "", "aa": "", "tie": "", "nginx:1": "", "nowhere/web-0": "-",
	} {
		c, err := Resolve(t.Context(), []Store{store}, name)
		switch {
		case want == "-":
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s, %v", name, c.ID, err)
			}
		case want == "" && (err == nil || errors.Is(err, fs.ErrNotExist)), want != "" && (err != nil || c.ID != want):
			t.Errorf("%s: %s, %v; want %q", name, c.ID, err, want)
		}
	}
	_, err := Resolve(t.Context(), []Store{store}, "two")
	for _, words := range []string{"k8s.io:bb2 (prod/two/app, ", "attempt 0, ", "made 2026-01-02 03:02:00)"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func TestPreferred(t *testing.T) {
	made := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	web := func(id string, r Runtime, s State, minute int) Container {
		return Container{ID: id, Name: "web", Runtime: r, State: s, Created: made(minute)}
	}
	for _, c := range []struct {
		why  string
		list []Container
		want string
	}{
		{"one runs", []Container{web("a", RuntimeDocker, Exited, 9), web("b", RuntimePodman, Running, 1)}, "b"},
		{"one is paused", []Container{web("a", RuntimeDocker, Exited, 9), web("b", RuntimeDocker, Paused, 1)}, "b"},
		{"two run", []Container{web("a", RuntimeDocker, Running, 1), web("b", RuntimePodman, Running, 2)}, ""},
		{"the newest", []Container{web("a", RuntimeDocker, Exited, 1), web("b", RuntimeDocker, Created, 3), web("c", RuntimeDocker, Exited, 2)}, "b"},
		{"of two runtimes", []Container{web("a", RuntimeDocker, Exited, 1), web("b", RuntimePodman, Exited, 3)}, ""},
		{"as old", []Container{web("a", RuntimeDocker, Exited, 3), web("b", RuntimeDocker, Exited, 3)}, ""},
	} {
		got := preferred(c.list)
		if one := len(got) == 1; one != (c.want != "") || one && got[0].ID != c.want {
			t.Errorf("%s: %d, the first %s; want %q", c.why, len(got), got[0].ID, c.want)
		}
	}
}
