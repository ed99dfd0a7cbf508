package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modules are what whoever imports the library gets, whichever package it is.
var modules = []string{
	"github.com/klauspost/compress",
	"github.com/moby/sys/mountinfo",
	"github.com/opencontainers/go-digest",
	module,
	"golang.org/x/sys",
}

// runtimes begin the names of modules that nothing here may depend on, not the command
// either: what is for them is a module of its own.
var runtimes = []string{
	"github.com/moby/moby", "github.com/moby/buildkit", "github.com/docker/", "github.com/containerd/", "github.com/containers/",
	"go.podman.io/", "google.golang.org/grpc",
}

// TestModules asks go list for all that packages depend on, through whatever others.
func TestModules(t *testing.T) {
	rules, err := parse(table)
	if err != nil {
		t.Fatal(err)
	}
	command := rules[importPath("cmd/overlaydiff/internal/human")].floor
	var library []string
	for path, r := range rules {
		if r.floor < command {
			library = append(library, path)
		}
	}
	if d := cmp.Diff(modules, modulesOf(t, library...)); d != "" {
		t.Errorf("modules that the library depends on (-want +got):\n%s", d)
	}
	all := modulesOf(t, "./...", "./cmd/overlaydiff/...")
	if len(all) <= len(modules) {
		t.Errorf("the command and the tests' packages depend on no other modules than the library: %q", all)
	}
	for _, m := range all {
		if isRuntime(m) {
			t.Errorf("something depends on %s", m)
		}
	}
}

// modulesOf returns the modules of all packages that those named depend on, tests apart.
func modulesOf(t *testing.T, packages ...string) []string {
	t.Helper()
	found := map[string]bool{}
	for name := range strings.FieldsSeq(string(goList(t, append([]string{"-deps", "-f", "{{with .Module}}{{.Path}}{{end}}"}, packages...)...))) {
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func isRuntime(m string) bool {
	return slices.ContainsFunc(runtimes, func(prefix string) bool { return strings.HasPrefix(m, prefix) })
}

func TestIsRuntime(t *testing.T) {
	for m, want := range map[string]bool{
		"github.com/moby/moby/v2": true, "github.com/containerd/containerd/api": true, "go.podman.io/storage": true,
		"google.golang.org/grpc": true, "github.com/moby/sys/mountinfo": false, "google.golang.org/protobuf": false,
	} {
		if got := isRuntime(m); got != want {
			t.Errorf("isRuntime(%q) = %t", m, got)
		}
	}
}
