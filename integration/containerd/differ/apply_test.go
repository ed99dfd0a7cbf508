package differ

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// archived puts a tar archive into the store.
func archived(t *testing.T, store content.Store, headers ...*tar.Header) ocispec.Descriptor {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(b.Bytes()), Size: int64(b.Len())}
	if err := content.WriteBlob(inNamespace(t.Context()), store, desc.Digest.String(), &b, desc); err != nil {
		t.Fatal(err)
	}
	return desc
}

// TestApply_incomplete: of a directory that is only in lower layers the layer says
// nothing, and it links to a file there.
func TestApply_incomplete(t *testing.T) {
	s := snapshot(t)
	store, _ := newStore(t)
	dir := filepath.Dir(s.Upper)
	s.Upper, s.Work = filepath.Join(dir, "fresh"), filepath.Join(dir, "fresh.work")
	testenv.Tree(t, s.Upper)
	testenv.Tree(t, s.Work)
	desc := archived(t, store,
		&tar.Header{Name: "d/new", Typeflag: tar.TypeReg, Mode: 0o600},
		&tar.Header{Name: "linked", Typeflag: tar.TypeLink, Linkname: "d/second"},
		&tar.Header{Name: "old/.wh..wh..opq", Typeflag: tar.TypeReg},
		&tar.Header{Name: ".wh.changed", Typeflag: tar.TypeReg})
	got, err := New(store, nil, Options{}).Apply(inNamespace(t.Context()), desc, mounts(s))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != desc.Digest || got.Size != desc.Size || got.MediaType != desc.MediaType {
		t.Errorf("applied %v, want %v", got, desc)
	}
	merged := testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	stat := func(name string) *syscall.Stat_t {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(merged, name), &st); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return &st
	}
	if d := stat("d"); d.Mode&0o7777 != 0o750 || d.Uid != 7 {
		t.Errorf("the lower directory has mode %o, uid %d; want 750, 7", d.Mode&0o7777, d.Uid)
	}
	if a, b := stat("d/second"), stat("linked"); a.Ino != b.Ino {
		t.Error("the link to a lower file is none")
	}
	for _, gone := range []string{"changed", "old/sub"} {
		if _, err := os.Lstat(filepath.Join(merged, gone)); !os.IsNotExist(err) {
			t.Errorf("%s: error %v, want that it is gone", gone, err)
		}
	}
}

func TestApply_declines(t *testing.T) {
	s := snapshot(t)
	store, _ := newStore(t)
	ctx := inNamespace(t.Context())
	desc := archived(t, store, &tar.Header{Name: "f", Typeflag: tar.TypeReg})
	before := testenv.TakeInventory()
	for _, c := range []struct {
		what      string
		mediaType string
		mounts    []mount.Mount
	}{
		{"encrypted", ocispec.MediaTypeImageLayer + "+encrypted", mounts(s)},
		{"encrypted and compressed", images.MediaTypeDockerSchema2LayerGzip + "+encrypted", mounts(s)},
		{"no layer", ocispec.MediaTypeImageConfig, mounts(s)},
		{"a read-only overlay", desc.MediaType, below(s)},
		{"a read-only directory", desc.MediaType, bound(s.Lower[0], "ro")},
		{"a layer by itself", desc.MediaType, []mount.Mount{{Type: "overlay", Options: []string{"rw", "upperdir=" + s.Upper}}}},
		{"another file system", desc.MediaType, []mount.Mount{{Type: "btrfs", Source: "/x"}}},
	} {
		desc.MediaType = c.mediaType
		if _, err := New(store, nil, Options{}).Apply(ctx, desc, c.mounts); !errdefs.IsNotImplemented(err) {
			t.Errorf("%s: error %v, want one that matches ErrNotImplemented", c.what, err)
		}
	}
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}

// TestApply_failed: an error after the beginning is final.
func TestApply_failed(t *testing.T) {
	s := snapshot(t)
	store, _ := newStore(t)
	dir := filepath.Dir(s.Upper)
	s.Upper, s.Work = filepath.Join(dir, "fresh"), filepath.Join(dir, "fresh.work")
	testenv.Tree(t, s.Upper)
	testenv.Tree(t, s.Work)
	desc := archived(t, store, &tar.Header{Name: "f", Typeflag: tar.TypeReg}, &tar.Header{Name: "../f", Typeflag: tar.TypeReg})
	if _, err := New(store, nil, Options{}).Apply(inNamespace(t.Context()), desc, mounts(s)); err == nil || errdefs.IsNotImplemented(err) {
		t.Errorf("error %v, want one that is final", err)
	}
}
