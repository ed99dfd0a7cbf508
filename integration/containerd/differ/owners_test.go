package differ

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

const ids = "0:100000:1000,1000:200000:1"

// mapped returns mounts with id maps, as the overlay snapshotter does for a snapshot with
// labels of ids.
func mapped(mounts []mount.Mount, users, groups string) []mount.Mount {
	m := mounts[0]
	m.Options = append([]string{"uidmap=" + users, "gidmap=" + groups}, m.Options...)
	return []mount.Mount{m}
}

// mappedSnapshot makes two layers and an upper directory, as a container with ids of its own
// leaves it: owners there are the host's. It returns where the overlay is mounted, too.
func mappedSnapshot(t *testing.T) (s odiff.Stack, merged string) {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	layers := filepath.Join(dir, "layers")
	s = odiff.Stack{
		Lower: []string{layers + "/2", layers + "/1"}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	}
	testenv.Tree(t, s.Lower[1], "dir d uid=7", "file d/opened uid=1000 gid=5 content=x", "file d/changed uid=33 gid=1000 content=old", "file gone")
	testenv.Tree(t, s.Lower[0], "dir d uid=7", "file d/given content=x", "file f uid=6 content=f", "dir e", "file e/f")
	testenv.Tree(t, s.Upper, "dir . uid=100000 gid=100000")
	testenv.Tree(t, s.Work)
	point := testenv.IDMapped(t, testenv.Ext4, layers, ids)
	merged = testenv.Mount(t, testenv.Overlay{Lower: []string{point + "/2", point + "/1"}, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, merged, "open d/opened", "write d/changed more", "chown d/given 100040:100041", "unlink gone",
		"create new x", "chown new 100033:100034", "acl new 100009:7", "mkdir made", "chown made 100000:100000", "create made/in x", "chown made/in 200000:100000")
	return s, merged
}

// owners has the owners in a layer by path.
func owners(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		found[name] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		if strings.HasPrefix(filepath.Base(name), ".wh.") {
			found[name] = "deleted"
		}
	}
}

// TestCompare_mapped: the layer of a container with ids of its own has these, 0 for its root,
// and not what was copied up without a change.
func TestCompare_mapped(t *testing.T) {
	s, merged := mappedSnapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	view := odiff.Stack{Lower: s.Lower}
	for _, c := range []struct {
		what         string
		lower, upper []mount.Mount
		want         map[string]string
	}{
		{"the parent without ids, as of snapshots.Mounts and View", below(s), mapped(mounts(s), ids, ids), map[string]string{
			"d": "7:0", "d/changed": "33:1000", "d/given": "40:41", ".wh.gone": "deleted", "new": "33:34", "made": "0:0", "made/in": "1000:0",
		}},
		{"a parent with ids", mapped(below(s), ids, ids), mapped(mounts(s), ids, ids), map[string]string{
			"d": "7:0", "d/changed": "33:1000", "d/given": "40:41", ".wh.gone": "deleted", "new": "33:34", "made": "0:0", "made/in": "1000:0",
		}},
		{"a view of a layer of the image", bound(s.Lower[1], "ro"), mapped(mounts(view), ids, ids), map[string]string{
			"d": "7:0", "d/given": "0:0", "f": "6:0", "e": "0:0", "e/f": "0:0",
		}},
	} {
		desc, err := New(store, lm, Options{}).Compare(ctx, c.lower, c.upper, diff.WithMediaType(ocispec.MediaTypeImageLayer))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		_, archive, err := blob(ctx, store, desc)
		if err != nil {
			t.Fatal(err)
		}
		if got := owners(t, archive); !maps.Equal(got, c.want) {
			t.Errorf("%s: the layer has %v, want %v", c.what, got, c.want)
		}
	}

	// Root of the host has no id in the container: a layer with it would be another one's.
	testenv.Do(t, merged, "create host x")
	if _, err := New(store, lm, Options{}).Compare(ctx, below(s), mapped(mounts(s), ids, ids)); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "/host") {
		t.Errorf("an owner without an id in the container: %v", err)
	}
	noUploads(ctx, t, store)
}
