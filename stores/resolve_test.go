//go:build linux

package stores

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

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
