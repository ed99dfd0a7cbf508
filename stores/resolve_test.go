//go:build linux

package stores

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
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
