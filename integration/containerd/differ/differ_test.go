package differ

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	ctrapply "github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// snapshot makes two layers and, over them, an upper directory with changes of
// every kind that containerd's own differ can carry.
func snapshot(t *testing.T) odiff.Stack {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Ext4)
	s := odiff.Stack{
		Lower: []string{filepath.Join(dir, "2"), filepath.Join(dir, "1")},
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	}
	testenv.Tree(t, s.Lower[1],
		"dir d mode=0750 uid=7", "file d/kept content=kept", "file d/gone content=gone", "file d/a content=one", "link d/b d/a",
		"dir old/sub", "file old/sub/f content=f", "symlink l -> d/kept", "file changed content=old", "file becomes content=file")
	testenv.Tree(t, s.Lower[0], "dir d mode=0750 uid=7", "file d/second content=second", "whiteout d/gone")
	merged := testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, merged,
		"create new hello", "utimes new 1100000000", "chmod new 4755", "chown new 12:34", "mkdir made 0711", "create made/f x", "utimes made/f 1100000000",
		"write changed more", "utimes changed 1100000001", "unlink d/kept", "write d/a two", "utimes d/a 1100000002",
		"rmtree old", "mkdir old", "create old/f again", "utimes old/f 1100000003", "todir becomes", "symlink s ../made", "utimes s 1100000005", "mknod fifo fifo", "utimes fifo 1100000004",
		"link d/second d/third", "capability new 0000000000000400")
	testenv.Unmount(t, merged)
	return s
}

var mediaTypes = []string{"", ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd}

// TestCompare_walking: containerd's own differ makes a layer of the same snapshot;
// unpacked by containerd, both give the same tree.
func TestCompare_walking(t *testing.T) {
	s := snapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	for _, mediaType := range mediaTypes {
		t.Run(mediaType, func(t *testing.T) {
			var trees []string
			for _, d := range []diff.Comparer{New(store, lm, Options{}), walking.NewWalkingDiff(store)} {
				desc, err := d.Compare(ctx, below(s), mounts(s), diff.WithMediaType(mediaType))
				if err != nil {
					t.Fatal(err)
				}
				if mediaType != "" && desc.MediaType != mediaType || desc.MediaType == "" {
					t.Errorf("media type %q, want %q", desc.MediaType, mediaType)
				}
				checkContent(ctx, t, store, desc)
				trees = append(trees, unpacked(ctx, t, store, desc, s))
			}
			if err := same(ctx, trees[1], trees[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkContent compares a descriptor with the content, and the label with its DiffID.
func checkContent(ctx context.Context, t *testing.T, store content.Store, desc ocispec.Descriptor) {
	t.Helper()
	packed, archive, err := blob(ctx, store, desc)
	if err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(packed) != desc.Digest || int64(len(packed)) != desc.Size {
		t.Errorf("the content is %s, %d bytes; the descriptor says %s, %d", digest.FromBytes(packed), len(packed), desc.Digest, desc.Size)
	}
	info, err := store.Info(ctx, desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Labels[labels.LabelUncompressed], digest.FromBytes(archive).String(); got != want && got != "" { // containerd's own leaves it empty if nothing is compressed
		t.Errorf("the label says that the DiffID is %q, it is %q", got, want)
	}
}

// unpacked has containerd unpack a layer over the lower layers of a stack, and
// returns where that is mounted.
func unpacked(ctx context.Context, t *testing.T, store content.Store, desc ocispec.Descriptor, s odiff.Stack) string {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Ext4)
	s.Upper, s.Work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	testenv.Tree(t, s.Upper)
	testenv.Tree(t, s.Work)
	if _, err := ctrapply.NewFileSystemApplier(store).Apply(ctx, desc, mounts(s)); err != nil {
		t.Fatal(err)
	}
	return testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
}

func TestCompare_label(t *testing.T) {
	s := snapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	d := New(store, lm, Options{})
	for _, mediaType := range mediaTypes {
		for range 2 { // the second time the content is there
			desc, err := d.Compare(ctx, below(s), mounts(s), diff.WithMediaType(mediaType), diff.WithReference("mine"), diff.WithLabels(map[string]string{"a": "b"}))
			if err != nil {
				t.Fatal(err)
			}
			_, archive, err := blob(ctx, store, desc)
			if err != nil {
				t.Fatal(err)
			}
			info, err := store.Info(ctx, desc.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := info.Labels[labels.LabelUncompressed], digest.FromBytes(archive).String(); got != want {
				t.Errorf("%s: DiffID label %q, want %q", mediaType, got, want)
			}
			if info.Labels["a"] != "b" {
				t.Errorf("%s: labels %v, want the caller's too", mediaType, info.Labels)
			}
			// Content from elsewhere has no such label.
			if _, err := store.Update(ctx, content.Info{Digest: desc.Digest, Labels: map[string]string{"a": "b"}}, "labels"); err != nil {
				t.Fatal(err)
			}
		}
	}
	noUploads(ctx, t, store)
	held, err := lm.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range held { // as the caller had none
		resources, err := lm.ListResources(ctx, l)
		if err != nil || len(resources) != 1 || l.Labels["containerd.io/gc.expire"] == "" {
			t.Errorf("lease %v holds %v, error %v; want one layer, until it expires", l, resources, err)
		}
	}
	if len(held) != 2*len(mediaTypes) {
		t.Errorf("%d leases, want one a layer", len(held))
	}
}

// TestCompare_lease: with a lease of the caller there is no other.
func TestCompare_lease(t *testing.T) {
	s := snapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	mine, err := lm.Create(ctx, leases.WithID("mine"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(store, lm, Options{}).Compare(leases.WithLease(ctx, mine.ID), below(s), mounts(s)); err != nil {
		t.Fatal(err)
	}
	resources, err := lm.ListResources(ctx, mine)
	if err != nil || len(resources) != 1 {
		t.Errorf("the caller's lease holds %v, error %v; want the layer", resources, err)
	}
	if all, err := lm.List(ctx); err != nil || len(all) != 1 {
		t.Errorf("leases %v, error %v; want the caller's", all, err)
	}
}

func TestCompare_epoch(t *testing.T) {
	s := snapshot(t)
	store, _ := newStore(t)
	ctx := inNamespace(t.Context())
	epoch := time.Unix(1_050_000_000, 0)
	desc, err := New(store, nil, Options{}).Compare(ctx, below(s), mounts(s), diff.WithMediaType(ocispec.MediaTypeImageLayer), diff.WithSourceDateEpoch(&epoch))
	if err != nil {
		t.Fatal(err)
	}
	_, archive, err := blob(ctx, store, desc)
	if err != nil {
		t.Fatal(err)
	}
	bounded := 0
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.After(epoch) {
			t.Errorf("%s has the time %v, after SOURCE_DATE_EPOCH", h.Name, h.ModTime)
		}
		if h.ModTime.Equal(epoch) {
			bounded++
		}
	}
	if bounded == 0 {
		t.Error("no entry has the time of SOURCE_DATE_EPOCH")
	}
}

func TestCompare_first(t *testing.T) {
	s := snapshot(t)
	store, _ := newStore(t)
	ctx := inNamespace(t.Context())
	empty := t.TempDir()
	desc, err := New(store, nil, Options{}).Compare(ctx, bound(empty, "ro"), bound(s.Lower[1], "rw"))
	if err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(testenv.Scratch(t, testenv.Ext4), "into")
	testenv.Tree(t, into)
	if _, err := New(store, nil, Options{}).Apply(ctx, desc, bound(into, "rw"), diff.WithSyncFs(true)); err != nil {
		t.Fatal(err)
	}
	if err := same(ctx, s.Lower[1], into); err != nil {
		t.Error(err)
	}
}

func TestCompare_declines(t *testing.T) {
	s := snapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	overlay := func(options ...string) []mount.Mount { return []mount.Mount{{Type: "overlay", Options: options}} }
	layers := func(o ...string) []string {
		return append([]string{"lowerdir=" + strings.Join(s.Lower, ":"), "upperdir=" + s.Upper, "workdir=" + s.Work}, o...)
	}
	half := mounts(s)
	half[0].Options = append(half[0].Options, "uidmap=0:100000:65536")
	other := s
	other.Lower = s.Lower[1:]
	for _, c := range []struct {
		what         string
		lower, upper []mount.Mount
		opts         []diff.Opt
	}{
		{"no mounts", nil, nil, nil},
		{"two directories", bound(s.Lower[1], "ro"), bound(s.Lower[0], "ro"), nil},
		{"other lower layers", below(other), mounts(s), nil},
		{"an active parent", mounts(s), mounts(s), nil},
		{"a first layer with an overlay", below(s), bound(s.Lower[0], "ro"), nil},
		{"two mounts", below(s), append(mounts(s), mounts(s)...), nil},
		{"below another mount", below(s), []mount.Mount{{Type: "overlay", Target: "sub", Options: layers()}}, nil},
		{"another file system", []mount.Mount{{Type: "erofs", Source: "/x"}}, []mount.Mount{{Type: "erofs", Source: "/y"}}, nil},
		{"ids of users alone", below(s), half, nil},
		{"malformed ids", below(s), mapped(mounts(s), "0:100000", "0:100000:1"), nil},
		{"other ids below", mapped(below(s), "0:1:1", "0:1:1"), mapped(mounts(s), "0:2:1", "0:2:1"), nil},
		{"ids below alone", mapped(below(s), "0:1:1", "0:1:1"), mounts(s), nil},
		{"an id-mapped directory", bound(t.TempDir(), "ro"), mapped(bound(s.Lower[1], "rw"), "0:1:1", "0:1:1"), nil},
		{"an unknown option", below(s), overlay(layers("shiny=on")...), nil},
		{"a malformed option", below(s), overlay(layers("index=maybe")...), nil},
		{"a relative path", overlay("lowerdir=b:a"), overlay("lowerdir=c:b:a"), nil},
		{"marks of another kind below", overlay("lowerdir="+strings.Join(s.Lower, ":"), "userxattr"), mounts(s), nil},
		{"an unknown media type", below(s), mounts(s), []diff.Opt{diff.WithMediaType("application/vnd.example")}},
		{"a compressor", below(s), mounts(s), []diff.Opt{diff.WithCompressor(func(io.Writer, string) (io.WriteCloser, error) { return nil, nil })}},
	} {
		if _, err := New(store, lm, Options{}).Compare(ctx, c.lower, c.upper, c.opts...); !errdefs.IsNotImplemented(err) {
			t.Errorf("%s: error %v, want one that matches ErrNotImplemented", c.what, err)
		}
	}
	testenv.Tree(t, s.Lower[0], "dir . xattr.trusted.overlay.opaque=x")
	if _, err := New(store, lm, Options{}).Compare(ctx, bound(s.Lower[1], "ro"), below(s)); !errdefs.IsNotImplemented(err) {
		t.Errorf("a committed layer with xattr whiteouts: error %v, want one that matches ErrNotImplemented", err)
	}
	noUploads(ctx, t, store)
}

// TestCompare_failed: what can't be made is an error, and no other differ's business.
func TestCompare_failed(t *testing.T) {
	s := snapshot(t)
	store, lm := newStore(t)
	ctx := inNamespace(t.Context())
	testenv.Tree(t, s.Upper, "file .wh.name")
	if _, err := New(store, lm, Options{}).Compare(ctx, below(s), mounts(s)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a name that begins with .wh.: error %v", err)
	}
	s.Lower = []string{filepath.Join(s.Upper, "missing")}
	if _, err := New(store, lm, Options{}).Compare(ctx, below(s), mounts(s)); err == nil || errdefs.IsNotImplemented(err) {
		t.Errorf("a missing layer: error %v", err)
	}
	noUploads(ctx, t, store)
	if all, err := lm.List(ctx); err != nil || len(all) > 0 {
		t.Errorf("leases %v, error %v; want none", all, err)
	}
}

// cancelling cancels when the first bytes are written.
type cancelling struct {
	content.Store
	cancel context.CancelFunc
}

func (c cancelling) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := c.Store.Writer(ctx, opts...)
	return cancellingWriter{w, c.cancel}, err
}

type cancellingWriter struct {
	content.Writer
	cancel context.CancelFunc
}

func (w cancellingWriter) Write(p []byte) (int, error) {
	w.cancel()
	return w.Writer.Write(p)
}

func TestCompare_cancelled(t *testing.T) {
	s := snapshot(t)
	testenv.Tree(t, s.Upper, "file big size=33554432")
	store, lm := newStore(t)
	ctx, cancel := context.WithCancel(inNamespace(t.Context()))
	defer cancel()
	_, err := New(cancelling{store, cancel}, lm, Options{}).Compare(ctx, below(s), mounts(s), diff.WithMediaType(ocispec.MediaTypeImageLayer))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	ctx = inNamespace(t.Context())
	noUploads(ctx, t, store)
	if all, err := lm.List(ctx); err != nil || len(all) > 0 {
		t.Errorf("leases %v, error %v; want none", all, err)
	}
	if err := store.Walk(ctx, func(i content.Info) error { t.Errorf("%s was committed", i.Digest); return nil }); err != nil {
		t.Fatal(err)
	}
}

func noUploads(ctx context.Context, t *testing.T, store content.Store) {
	t.Helper()
	active, err := store.ListStatuses(ctx)
	if err != nil || len(active) > 0 {
		t.Errorf("uploads %v, error %v; want none", active, err)
	}
}
