package torture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

const (
	swapEnv       = "OVERLAYDIFF_TORTURE_SWAP"
	swapSeedEnv   = "OVERLAYDIFF_TORTURE_SWAP_SEED"
	swapCanaryEnv = "OVERLAYDIFF_TORTURE_SWAP_CANARY"
	swapUser      = 1000
	swapped       = "~" // after a name: the link that takes its place; no id has it
)

// While a user swaps each directory and file of their stores with links to a tree of
// root's that is made as they are, root, reading those stores, never opens or reads
// anything there.
func TestSwaps(t *testing.T) {
	if dir := os.Getenv(swapEnv); dir != "" {
		swap(t, dir)
		return
	}
	run := torture.Start(t, torture.Races, 33)
	c := newCanary(t, func(dir string) { addUsersStores(t, dir, "secret") })
	root := t.TempDir()
	testenv.Tree(t, root, fmt.Sprintf("file etc/passwd content=%q", fmt.Sprintf("u:x:%d:%d::/home/u:/bin/sh\n", swapUser, swapUser)))
	home := filepath.Join(root, "home/u")
	addUsersStores(t, home, "mine")
	addLinks(t, home, c.path)
	r := reader{root: root, extra: []stores.Store{stores.ISulad(filepath.Join(home, "isulad"))}, found: map[string]int{}}
	r.read(t, overlaydiff.Native)
	if want := 5; len(r.found) != want || r.refused > 0 {
		t.Fatalf("while nothing is swapped: containers %v, want %d, and %d errors", r.found, want, r.refused)
	}
	c.untouched(t)
	var pids []int
	var stops []func()
	for range 2 {
		pid, stop := startSwapper(t, home, c.path)
		pids, stops = append(pids, pid), append(stops, stop)
	}
	start := time.Now()
	for turn := 0; (run.More() || time.Since(start) < time.Minute) && !t.Failed(); turn++ {
		r.read(t, []overlaydiff.Choice{overlaydiff.Native, overlaydiff.Native, overlaydiff.Naive}[turn%3])
		for _, by := range c.touched(t, pids...) {
			t.Errorf("for a user's container, something of root's was read: %s", by)
		}
	}
	for _, stop := range stops {
		stop()
	}
	c.untouched(t, pids...)
	run.Count("answers while a user swaps directories", r.answered)
	run.Count("refusals", r.refused)
	for name, n := range r.found {
		if n < 2 {
			t.Errorf("%s was read %d times", name, n)
		}
	}
	if r.refused == 0 {
		t.Error("nothing was ever refused: nothing was swapped")
	}
}

// reader reads all stores of a node, as ps and changes do.
type reader struct {
	root              string
	extra             []stores.Store
	answered, refused int
	found             map[string]int // how often each container was read whole
}

func (r *reader) read(t *testing.T, engine overlaydiff.Choice) {
	t.Helper()
	ctx := t.Context()
	list, err := stores.Find(ctx, r.root)
	if err != nil {
		r.refused++
	}
	var all []stores.Container
	for _, s := range append(list, r.extra...) {
		containers, err := s.Containers(ctx)
		if err != nil {
			r.refused++
		}
		all = append(all, containers...)
	}
	measured, err := node.Measure(ctx, all, node.Options{Rule: node.Own, CopyUps: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range measured {
		if err := errors.Join(m.Err, m.RootFsErr, m.CopyUpsErr); err != nil {
			r.refused++
			continue
		}
		r.answered++
	}
	for _, c := range all {
		if c.Err != nil || len(c.Stack.Lower) == 0 {
			r.refused++
			continue
		}
		if err := r.changes(ctx, t, c, engine); err != nil {
			r.refused++
			continue
		}
		r.answered++
	}
}

func (r *reader) changes(ctx context.Context, t *testing.T, c stores.Container, engine overlaydiff.Choice) error {
	d, err := overlaydiff.Open(ctx, c.Stack, overlaydiff.Options{Engine: engine})
	if err != nil {
		return err
	}
	defer d.Close()
	mine := false
	for change, err := range d.Changes(ctx) {
		if err != nil {
			return err
		}
		if strings.Contains(change.Path, "secret") {
			t.Errorf("%s %s: %s is in the changes", c.Runtime, c.Name, change.Path)
		}
		mine = mine || strings.HasSuffix(change.Path, "/mine") && change.Kind == diff.Add
	}
	if mine {
		r.found[string(c.Runtime)+" "+c.Name]++
	}
	return nil
}

// addUsersStores makes a store of each runtime as users have them, below a home
// directory. name is that of a file in each layer.
func addUsersStores(t *testing.T, home, name string) {
	t.Helper()
	id := func(digit string) string { return strings.Repeat(digit, 64) }
	digest := func(digit string) string { return "sha256:" + id(digit) }
	file := func(path, content string) string { return fmt.Sprintf("file %s content=%q", path, content) }
	layers := func(paths ...string) (lines []string) {
		for i, path := range paths {
			lines = append(lines, fmt.Sprintf("file %s/d%d/%s content=x", path, i, name), fmt.Sprintf("dir %s/../work", path))
		}
		return lines
	}
	podman := filepath.Join(home, ".local/share/containers/storage")
	testenv.Tree(t, podman, append(layers("overlay/"+id("7")+"/diff", "overlay/"+id("1")+"/diff"),
		file("overlay-containers/containers.json", fmt.Sprintf(`[{"id":%q,"names":["web"],"image":"i","layer":%q}]`, id("a"), id("7"))),
		file("overlay-layers/layers.json", fmt.Sprintf(`[{"id":%q},{"id":%q,"parent":%q}]`, id("1"), id("7"), id("1"))))...)

	docker := filepath.Join(home, ".local/share/docker")
	const db = "image/overlay2/layerdb/"
	testenv.Tree(t, docker, append(layers("overlay2/"+id("7")+"/diff", "overlay2/"+id("7")+"-init/diff", "overlay2/"+id("3")+"/diff"),
		file("containers/"+id("b")+"/config.v2.json", `{"Name":"/dock","Driver":"overlay2","Config":{"Image":"i"}}`),
		file("containers/"+id("c")+"/config.v2.json", `{"Name":"/snap","Driver":"overlayfs","Config":{"Image":"i"}}`),
		file(db+"mounts/"+id("b")+"/mount-id", id("7")), file(db+"mounts/"+id("b")+"/init-id", id("7")+"-init"), file(db+"mounts/"+id("b")+"/parent", digest("1")),
		file(db+"sha256/"+id("1")+"/size", "1000"), file(db+"sha256/"+id("1")+"/diff", digest("5")), file(db+"sha256/"+id("1")+"/cache-id", id("3")))...)
	addSnapshots(t, filepath.Join(docker, "containerd/daemon"), "moby", id("c"), "", name)
	addSnapshots(t, filepath.Join(home, ".local/share/containerd"), "default", "app", "nerd", name)

	testenv.Tree(t, filepath.Join(home, "isulad"), append(layers("storage/overlay/"+id("d")+"/diff", "storage/overlay/"+id("1")+"/diff"),
		file("storage/overlay-containers/"+id("d")+"/container.json", fmt.Sprintf(`{"id":%q,"names":["isula"],"image":"i"}`, id("d"))),
		file("storage/overlay-layers/"+id("d")+"/layer.json", fmt.Sprintf(`{"id":%q,"parent":%q}`, id("d"), id("1"))),
		file("storage/overlay-layers/"+id("1")+"/layer.json", fmt.Sprintf(`{"id":%q}`, id("1"))),
		file("engines/lcr/"+id("d")+"/config.v2.json", `{"CommonConfig":{"Name":"isula"}}`))...)
}

// addSnapshots makes a containerd with one snapshot over another, and a container of it
// if title is one.
func addSnapshots(t *testing.T, root, namespace, key, title, name string) {
	t.Helper()
	snapshots := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs")
	meta := map[string][]byte{
		"v1/" + namespace + "/snapshots/overlayfs/base/name":          []byte("1"),
		"v1/" + namespace + "/snapshots/overlayfs/" + key + "/name":   []byte("2"),
		"v1/" + namespace + "/snapshots/overlayfs/" + key + "/parent": []byte("base"),
	}
	if title != "" {
		meta["v1/"+namespace+"/containers/"+key+"/image"] = []byte("i")
		meta["v1/"+namespace+"/containers/"+key+"/snapshotKey"] = []byte(key)
		meta["v1/"+namespace+"/containers/"+key+"/labels/nerdctl|name"] = []byte(title)
	}
	putBolt(t, filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db"), meta)
	putBolt(t, filepath.Join(snapshots, "metadata.db"), map[string][]byte{
		"v1/snapshots/1/kind": {3}, "v1/snapshots/1/id": binary.AppendUvarint(nil, 1),
		"v1/snapshots/2/kind": {2}, "v1/snapshots/2/id": binary.AppendUvarint(nil, 2),
	})
	testenv.Tree(t, filepath.Join(snapshots, "snapshots"), "file 1/fs/d1/"+name+" content=x", "file 2/fs/d0/"+name+" content=x", "dir 2/work")
}

// components are the paths of all that is below a directory.
func components(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." && !strings.HasSuffix(rel, swapped) {
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// addLinks puts a link beside each name, to what has that path in the canary: some
// directly, some by a link in the home directory. All is the user's.
func addLinks(t *testing.T, home, canary string) {
	t.Helper()
	if err := os.Symlink(canary, filepath.Join(home, "hop")); err != nil {
		t.Fatal(err)
	}
	for i, rel := range components(t, home) {
		if rel == "hop" {
			continue
		}
		target := filepath.Join(canary, rel)
		if up := strings.Repeat("../", strings.Count(rel, "/")); i%2 == 0 {
			target = up + "hop/" + rel
		}
		if err := os.Symlink(target, filepath.Join(home, rel+swapped)); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, swapUser, swapUser))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func startSwapper(t *testing.T, home, canary string) (pid int, stop func()) {
	t.Helper()
	seed := rand.Uint64()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestSwaps$", "-test.v")
	cmd.Env = append(os.Environ(), swapEnv+"="+home, swapSeedEnv+"="+strconv.FormatUint(seed, 10), swapCanaryEnv+"="+canary)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, func() {
		_ = end.Close()
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), " swaps") {
			t.Errorf("who swaps, seed %d: %v\n%s", seed, err, &out)
		}
		t.Log(strings.TrimSpace(out.String()[strings.Index(out.String(), "seed"):]))
	}
}

// swap exchanges names below dir with their links until standard input ends: each for a
// while at full speed, or once for a moment, so that other paths can be walked.
func swap(t *testing.T, dir string) {
	seed, err := strconv.ParseUint(os.Getenv(swapSeedEnv), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var end atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end.Store(true)
	}()
	random := rand.New(rand.NewPCG(seed, 0))
	var paths []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, swapped) {
			paths = append(paths, strings.TrimSuffix(path, swapped))
		}
		if errors.Is(err, fs.ErrNotExist) { // the other one swaps as well
			return nil
		}
		return err
	})
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d paths, %v", len(paths), err)
	}
	swaps := 0
	for !end.Load() {
		path := paths[random.IntN(len(paths))]
		for range 2 * (1 + random.IntN(2000)) { // an even number: it is back after that
			if sys.RenameExchange(path, path+swapped) == nil {
				swaps++
			}
		}
	}
	t.Logf("seed %d: %d swaps", seed, swaps)
}
