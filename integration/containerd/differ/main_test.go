package differ

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// containerd's mount package changes the working directory of a thread, which
// then ends. The main thread can't: from here on no test runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { testenv.Main(m) }

// newStore returns a content store and leases as containerd has them.
func newStore(t *testing.T) (content.Store, leases.Manager) {
	t.Helper()
	dir := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	db := metadata.NewDB(file, blobs, nil)
	if err := db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db.ContentStore(), metadata.NewLeaseManager(db)
}

// inNamespace is what containerd's interceptor makes of a call's context.
func inNamespace(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, "test") }

// blob returns a layer of the store as it is, and the tar in it.
func blob(ctx context.Context, store content.Store, desc ocispec.Descriptor) (packed, tar []byte, err error) {
	packed, err = content.ReadBlob(ctx, store, desc)
	if err != nil {
		return nil, nil, err
	}
	switch desc.MediaType {
	case ocispec.MediaTypeImageLayerGzip:
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, nil, err
		}
		tar, err = io.ReadAll(r)
		return packed, tar, err
	case ocispec.MediaTypeImageLayerZstd:
		r, err := zstd.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		tar, err = io.ReadAll(r)
		return packed, tar, err
	}
	return packed, packed, nil
}

// mountOptions returns the options that make a stack with these layers and features.
func mountOptions(s odiff.Stack) mountutil.Options {
	o := mountutil.Options{Lower: s.Lower, Data: s.Data, Upper: s.Upper, Work: s.Work, UserXattr: s.Features.UserXattr}
	onOff := map[bool]string{true: "on", false: "off"}
	if !s.Features.UserXattr {
		o.RedirectDir = map[bool]string{true: "on", false: "nofollow"}[s.Features.RedirectFollow]
		o.Metacopy = onOff[s.Features.Metacopy]
	}
	if s.Features.Verity != odiff.VerityOff {
		o.Verity = s.Features.Verity.String()
	}
	if s.Upper != "" {
		o.Index = onOff[s.Features.Index]
		o.NFSExport = onOff[s.Features.NFSExport]
	}
	return o
}

// mounts returns the mount of a stack, as the overlay snapshotter does: of a single
// layer a bind.
func mounts(s odiff.Stack) []mount.Mount {
	if s.Upper == "" && len(s.Lower) == 1 && len(s.Data) == 0 {
		return bound(s.Lower[0], "ro")
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: strings.Split(mountOptions(s).String(), ",")}}
}

func bound(dir, mode string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{mode, "rbind"}}}
}

// below returns the mount of what is below the upper directory.
func below(s odiff.Stack) []mount.Mount {
	s.Upper, s.Work = "", ""
	return mounts(s)
}
