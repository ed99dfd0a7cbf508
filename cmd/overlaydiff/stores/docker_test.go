//go:build linux

package stores

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// dockerConfigJSON is as dockerd 20.10 writes it, shortened.
func dockerConfigJSON(digit, name, state string) string {
	return `{"StreamConfig":{},"State":` + state + `,"ID":"` + id(digit) + `","Created":"2026-01-02T03:04:05.6Z",` +
		`"Managed":false,"Path":"sh","Args":[],"Config":{"Hostname":"h","Image":"busybox:latest","Labels":{}},` +
		`"Image":"` + digest("9") + `","Name":"/` + name + `","Driver":"overlay2","OS":"linux","RestartCount":0}`
}

const (
	dockerExited  = `{"Running":false,"Paused":false,"Restarting":false,"Dead":false,"Pid":0,"ExitCode":0,"StartedAt":"2026-01-02T03:04:06Z","FinishedAt":"2026-01-02T03:05:06Z"}`
	dockerCreated = `{"Running":false,"Pid":0,"StartedAt":"0001-01-01T00:00:00Z"}`
)

// dockerTree has two containers, a and b, of an image of two layers: chains 1
// over 2, in the directories 3 and 4.
func dockerTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	db := "image/overlay2/layerdb/"
	lines := []string{
		dir("containers/" + "k8s.tmp"), // any other name is not hidden
		file(db+"sha256/"+id("1")+"/size", "1000"), file(db+"sha256/"+id("1")+"/diff", "%s", digest("5")),
		file(db+"sha256/"+id("1")+"/cache-id", "%s", id("3")), file(db+"sha256/"+id("1")+"/parent", "%s", digest("2")),
		file(db+"sha256/"+id("2")+"/size", "200"), file(db+"sha256/"+id("2")+"/diff", "%s", digest("6")),
		file(db+"sha256/"+id("2")+"/cache-id", "%s", id("4")),
		dir("overlay2/" + id("3") + "/diff"), dir("overlay2/" + id("4") + "/diff"), dir("overlay2/l"),
	}
	for mount, digit := range map[string]string{"7": "a", "8": "b"} {
		lines = append(lines,
			file(db+"mounts/"+id(digit)+"/mount-id", "%s", id(mount)),
			file(db+"mounts/"+id(digit)+"/init-id", "%s-init", id(mount)),
			file(db+"mounts/"+id(digit)+"/parent", "%s", digest("1")),
			dir("overlay2/"+id(mount)+"/diff"), dir("overlay2/"+id(mount)+"/work"), dir("overlay2/"+id(mount)+"-init/diff"))
	}
	lines = append(lines,
		file("containers/"+id("a")+"/config.v2.json", "%s", dockerConfigJSON("a", "web", dockerExited)),
		file("containers/"+id("b")+"/config.v2.json", "%s", dockerConfigJSON("b", "k8s_app_pod-1_prod_0123-45_0", dockerCreated)))
	testenv.Tree(t, root, lines...)
	remove(t, root, "containers", "k8s.tmp")
	return root
}

func TestDocker(t *testing.T) {
	root := dockerTree(t)
	over := func(name string) string { return filepath.Join(root, "overlay2", name, "diff") }
	all := list(t, Docker(root))
	want := Container{
		Runtime: RuntimeDocker, ID: id("a"), Name: "web", Names: []string{"web"},
		Image: "busybox:latest", ImageID: digest("9"), State: Exited,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC),
		RW:      Layer{CacheID: id("7"), Dir: over(id("7")), Size: -1},
		Init:    Layer{CacheID: id("7") + "-init", Dir: over(id("7") + "-init"), Size: -1},
		Layers: []Layer{
			{DiffID: digest("5"), ChainID: digest("1"), CacheID: id("3"), Dir: over(id("3")), Size: 1000},
			{DiffID: digest("6"), ChainID: digest("2"), CacheID: id("4"), Dir: over(id("4")), Size: 200},
		},
	}
	got := all[id("a")]
	stack := got.Stack
	got.Stack = diff.Stack{}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	stack.Features = diff.Features{RedirectFollow: stack.Features.RedirectFollow, Metacopy: stack.Features.Metacopy} // the kernel's
	wantStack := stack
	wantStack.Lower = []string{over(id("7") + "-init"), over(id("3")), over(id("4"))}
	wantStack.Upper, wantStack.Work = over(id("7")), filepath.Join(root, "overlay2", id("7"), "work")
	if d := cmp.Diff(wantStack, stack); d != "" {
		t.Errorf("stack (-want +got):\n%s", d)
	}
	if size, ok := got.ImageSize(); size != 1200 || !ok {
		t.Errorf("image size %d, %v", size, ok)
	}
	if b := all[id("b")]; b.State != Created || !cmp.Equal(b.Names, []string{"k8s_app_pod-1_prod_0123-45_0", "prod/pod-1/app"}) {
		t.Errorf("container of a pod: %q %q", b.State, b.Names)
	}
}

func TestDocker_broken(t *testing.T) {
	meta := func(root string) string { return filepath.Join(root, "image/overlay2/layerdb") }
	for name, c := range map[string]struct {
		spoil func(t *testing.T, root string)
		words string
	}{
		"removed: config":  {func(t *testing.T, root string) { remove(t, root, "containers", id("b"), "config.v2.json") }, "removed meanwhile"},
		"removed: mounts":  {func(t *testing.T, root string) { remove(t, meta(root), "mounts", id("b")) }, "removed meanwhile"},
		"removed: upper":   {func(t *testing.T, root string) { remove(t, root, "overlay2", id("8")) }, "removed meanwhile"},
		"removed: init":    {func(t *testing.T, root string) { remove(t, root, "overlay2", id("8")+"-init") }, "removed meanwhile"},
		"half a config":    {func(t *testing.T, root string) { write(t, `{"Name":`, root, "containers", id("b"), "config.v2.json") }, "decode"},
		"mount-id with ..": {func(t *testing.T, root string) { write(t, "../../etc", meta(root), "mounts", id("b"), "mount-id") }, "is no id"},
		"init-id with /":   {func(t *testing.T, root string) { write(t, "a/b", meta(root), "mounts", id("b"), "init-id") }, "is no id"},
		"parent with ..":   {func(t *testing.T, root string) { write(t, "sha256:../..", meta(root), "mounts", id("b"), "parent") }, "no sha256 digest"},
		"dangling parent":  {func(t *testing.T, root string) { write(t, digest("c"), meta(root), "mounts", id("b"), "parent") }, "removed meanwhile"},
		"huge id": {func(t *testing.T, root string) {
			write(t, strings.Repeat("a", maxWord+1), meta(root), "mounts", id("b"), "mount-id")
		}, "larger than"},
		"a fifo": {func(t *testing.T, root string) {
			remove(t, root, "containers", id("b"), "config.v2.json")
			testenv.Tree(t, root, "fifo containers/"+id("b")+"/config.v2.json")
		}, "no regular file"},
		"a link": {func(t *testing.T, root string) {
			remove(t, root, "containers", id("b"), "config.v2.json")
			testenv.Tree(t, root, "symlink containers/"+id("b")+"/config.v2.json -> ../"+id("a")+"/config.v2.json")
		}, "symbolic links"},
		"upper a link": {func(t *testing.T, root string) {
			remove(t, root, "overlay2", id("8"), "diff")
			testenv.Tree(t, root, "symlink overlay2/"+id("8")+"/diff -> /")
		}, "no directory"},
		"containerd's": {func(t *testing.T, root string) {
			write(t, strings.Replace(dockerConfigJSON("b", "x", dockerExited), "overlay2", "overlayfs", 1), root, "containers", id("b"), "config.v2.json")
		}, "containerd"},
		"a circle": {func(t *testing.T, root string) {
			testenv.Tree(t, meta(root)+"/sha256/"+id("c"), file("cache-id", "%s", id("3")), file("diff", "%s", digest("5")),
				file("size", "1"), file("parent", "%s", digest("c")))
			write(t, digest("c"), meta(root), "mounts", id("b"), "parent")
		}, "circle"},
	} {
		t.Run(name, func(t *testing.T) {
			root := dockerTree(t)
			c.spoil(t, root)
			onlyBroken(t, Docker(root), id("b"), c.words, 2)
		})
	}
}

// TestDocker_huge shows that a file is not read without a bound.
func TestDocker_huge(t *testing.T) {
	root := dockerTree(t)
	path := filepath.Join(root, "containers", id("b"), "config.v2.json")
	if err := syscall.Truncate(path, 1<<40); err != nil {
		t.Skip("no such sparse file here:", err)
	}
	onlyBroken(t, Docker(root), id("b"), "larger than", 2)
}

// TestDocker_stale has a machine that went down: files say that it runs.
func TestDocker_stale(t *testing.T) {
	root := dockerTree(t)
	for pid, why := range map[int]string{os.Getpid(): "another process", 1 << 23: "no process"} {
		state := `{"Running":true,"Pid":` + strconv.Itoa(pid) + `,"StartedAt":"2026-01-02T03:04:06Z"}`
		write(t, dockerConfigJSON("a", "web", state), root, "containers", id("a"), "config.v2.json")
		if c := list(t, Docker(root))[id("a")]; c.State != Exited || c.PID != 0 || c.Err != nil {
			t.Errorf("%s: state %q, pid %d, error %v", why, c.State, c.PID, c.Err)
		}
	}
}

func TestContainers_errors(t *testing.T) {
	for _, s := range []Store{Docker("/nowhere/x"), ContainersStorage("/nowhere/x", ""), ISulad("/nowhere/x")} {
		if _, err := s.Containers(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s that is not there: %v", s.Layout, err)
		}
	}
	if _, err := (Store{Root: "/"}).Containers(t.Context()); err == nil {
		t.Error("a store without a layout is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Docker(dockerTree(t)).Containers(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	empty := t.TempDir()
	for _, s := range []Store{Docker(empty), ContainersStorage(empty, ""), ISulad(empty)} {
		if list, err := s.Containers(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("an empty %s store: %v, %v", s.Layout, list, err)
		}
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(dockerConfigJSON("a", "web", dockerExited)))
	f.Add([]byte(`{"Name":"/","State":{"StartedAt":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var config dockerConfig
		if json.Unmarshal(data, &config) != nil {
			return
		}
		c := Container{ID: "x"}
		c.setNames([]string{config.Name})
		if c.Name == "" || config.State.state() == Unknown {
			t.Errorf("name %q, state %q", c.Name, config.State.state())
		}
	})
}
