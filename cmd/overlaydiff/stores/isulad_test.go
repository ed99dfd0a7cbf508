//go:build linux

package stores

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func isuladJSON(digit string) string {
	return fmt.Sprintf(`{"id":%q,"names":[%q],"image":%q,"layer":%q,"metadata":"{}","created":"2020-04-29T07:34:27.0Z"}`,
		id(digit), id(digit), id("9"), id(digit))
}

// isuladTree has the containers a and b, of an image of the layers 1 over 2; of
// a there is a file of the engine, too.
func isuladTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	var lines []string
	for _, layer := range []string{"1", "2", "a", "b"} {
		lines = append(lines, dir("storage/overlay/"+id(layer)+"/diff"), dir("storage/overlay/"+id(layer)+"/work"))
	}
	lines = append(lines,
		file("storage/overlay-containers/"+id("a")+"/container.json", "%s", isuladJSON("a")),
		file("storage/overlay-containers/"+id("b")+"/container.json", "%s", isuladJSON("b")),
		file("storage/overlay-layers/"+id("a")+"/layer.json", "%s", storageLayer("a", id("1"), "")),
		file("storage/overlay-layers/"+id("b")+"/layer.json", "%s", storageLayer("b", id("1"), "")),
		file("storage/overlay-layers/"+id("1")+"/layer.json", "%s", storageLayer("1", id("2"), "1000")),
		file("storage/overlay-layers/"+id("2")+"/layer.json", "%s", storageLayer("2", "", "200")),
		file("engines/lcr/"+id("a")+"/config.v2.json", `{"CommonConfig":{"Name":"web","Image":"busybox:latest"},"State":{"StartedAt":"2026-01-02T03:04:06Z"}}`))
	testenv.Tree(t, root, lines...)
	return root
}

func TestISulad(t *testing.T) {
	root := isuladTree(t)
	over := func(digit string) string { return filepath.Join(root, "storage", "overlay", id(digit), "diff") }
	all := list(t, ISulad(root))
	got := all[id("a")]
	got.Stack.Features = diff.Features{} // the kernel's
	want := Container{
		Created: time.Date(2020, 4, 29, 7, 34, 27, 0, time.UTC),
		Runtime: RuntimeISulad, ID: id("a"), Name: "web", Names: []string{"web"}, Image: "busybox:latest", ImageID: id("9"), State: Exited,
		Stack: diff.Stack{Owners: map[string]diff.IDMap{}, Lower: []string{over("1"), over("2")}, Upper: over("a"), Work: filepath.Join(root, "storage/overlay", id("a"), "work")},
		RW:    Layer{ID: id("a"), Dir: over("a"), Size: -1},
		Layers: []Layer{
			{ID: id("1"), DiffID: digest("1"), Dir: over("1"), Size: 1000},
			{ID: id("2"), DiffID: digest("2"), Dir: over("2"), Size: 200},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	if b := all[id("b")]; b.Err != nil || b.Name != id("b") || b.State != Unknown {
		t.Errorf("without the engine's file: %+v", b)
	}
}

func TestISulad_broken(t *testing.T) {
	for name, c := range map[string]struct{ file, content, words string }{
		"no container.json":  {"overlay-containers/" + id("b") + "/container.json", "", "removed meanwhile"},
		"another's":          {"overlay-containers/" + id("b") + "/container.json", isuladJSON("a"), "is that of"},
		"layer with ..":      {"overlay-containers/" + id("b") + "/container.json", `{"id":"` + id("b") + `","layer":"../x"}`, "is no id"},
		"no layer.json":      {"overlay-layers/" + id("b") + "/layer.json", "", "removed meanwhile"},
		"another layer's":    {"overlay-layers/" + id("b") + "/layer.json", storageLayer("a", "", ""), "is that of"},
		"parent with ..":     {"overlay-layers/" + id("b") + "/layer.json", storageLayer("b", "../..", ""), "is no id"},
		"dangling parent":    {"overlay-layers/" + id("b") + "/layer.json", storageLayer("b", id("f"), ""), "removed meanwhile"},
		"its own parent":     {"overlay-layers/" + id("b") + "/layer.json", storageLayer("b", id("b"), ""), "its own parent"},
		"container.json: []": {"overlay-containers/" + id("b") + "/container.json", "[]", "decode"},
	} {
		t.Run(name, func(t *testing.T) {
			root := isuladTree(t)
			if c.content == "" {
				remove(t, root, "storage", c.file)
			} else {
				write(t, c.content, root, "storage", c.file)
			}
			onlyBroken(t, ISulad(root), id("b"), c.words, 2)
		})
	}
}

func FuzzISulad(f *testing.F) {
	f.Add([]byte(isuladJSON("a")), []byte(storageLayer("a", id("1"), "")))
	f.Add([]byte(`{"id":"`+id("a")+`","layer":"../x"}`), []byte(`{"id":"`+id("a")+`","parent":".."}`))
	f.Fuzz(func(t *testing.T, container, layer []byte) {
		if !json.Valid(container) && !json.Valid(layer) {
			return
		}
		root := t.TempDir()
		testenv.Tree(t, root,
			file("storage/overlay-containers/"+id("a")+"/container.json", "%s", container),
			file("storage/overlay-layers/"+id("a")+"/layer.json", "%s", layer),
			file("engines/lcr/"+id("a")+"/config.v2.json", "%s", container),
			dir("storage/overlay/"+id("a")+"/diff"))
		for _, c := range list(t, ISulad(root)) {
			if c.ID != id("a") || c.Err == nil && c.Stack.Upper != filepath.Join(root, "storage", "overlay", id("a"), "diff") {
				t.Errorf("%+v", c)
			}
		}
	})
}
