//go:build !cgo || exclude_graphdriver_btrfs

// With cgo, a store needs the headers of libbtrfs, or this tag. test.sh does without cgo.

package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// store is one as programs have it, with our driver.
func store(t *testing.T) storage.Store {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	s, err := storage.GetStore(storage.StoreOptions{
		GraphDriverName: Name, GraphRoot: filepath.Join(dir, "graph"), RunRoot: filepath.Join(dir, "run"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.Shutdown(true); err != nil {
			t.Error(err)
		}
		s.Free()
	})
	return s
}

// layerOf returns the layer that the store has of a layer.
func layerOf(t *testing.T, s storage.Store, id string) []byte {
	t.Helper()
	plain := archive.Uncompressed
	r, err := s.Diff("", id, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStore: an image is pulled, a container changes it, is looked at and committed, and
// what was committed is pulled elsewhere, byte for byte.
func TestStore(t *testing.T) {
	s, other := store(t), store(t)
	image := writeTar(t, "etc/", "etc/a", "etc/b", "gone")
	put(t, s, "image", "", image)
	if got := layerOf(t, s, "image"); !bytes.Equal(got, image) {
		t.Errorf("the store gives back %d bytes of the layer, which were %d", len(got), len(image))
	}
	if _, err := s.CreateLayer("container", "image", nil, "", true, nil); err != nil {
		t.Fatal(err)
	}
	dir, err := s.Mount("container", "")
	if err != nil {
		t.Fatal(err)
	}
	testenv.Do(t, dir, "write etc/a more", "unlink gone", "create n 12", "acl n 7:4")
	changes, err := s.Changes("", "container") // while it runs
	if d := cmp.Diff([]string{"C /etc", "C /etc/a", "D /gone", "A /n"}, must(lines(changes, err))); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	if size, err := s.DiffSize("", "container"); err != nil || size != int64(len("etc/amore")+2) {
		t.Errorf("size %d, error %v", size, err)
	}
	commit := layerOf(t, s, "container")
	if _, err := s.Unmount("container", false); err != nil {
		t.Fatal(err)
	}
	if want := []string{"etc/", "etc/a", ".wh.gone", "n"}; !slices.Equal(names(t, commit), want) {
		t.Errorf("the layer has %q, want %q", names(t, commit), want)
	}
	if !bytes.Contains(commit, []byte("SCHILY.xattr.system.posix_acl_access=")) { // overlay's own has none
		t.Error("the layer lost an access control list: it is not ours")
	}
	put(t, other, "image", "", image)
	put(t, other, "commit", "image", commit)
	if got := layerOf(t, other, "commit"); !bytes.Equal(got, commit) {
		t.Errorf("the other store gives back %q of a layer with %q", names(t, got), names(t, commit))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func put(t *testing.T, s storage.Store, id, parent string, layer []byte) {
	t.Helper()
	if _, _, err := s.PutLayer(id, parent, nil, "", false, nil, bytes.NewReader(layer)); err != nil {
		t.Fatal(err)
	}
}

// writeTar returns an archive of directories, whose names end with a slash, and files,
// whose content is their name.
func writeTar(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(name))}
		if path.Dir(name)+"/" == name {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		err := w.WriteHeader(h)
		if err == nil && h.Size > 0 {
			_, err = io.WriteString(w, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// names lists the entries of an archive.
func names(t *testing.T, layer []byte) (list []string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h.Name)
	}
}
