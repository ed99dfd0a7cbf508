package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// dirEnv makes the test's binary a worker, and names a directory for what it says.
const dirEnv = "OVERLAYDIFF_TEST_WORKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirEnv); dir != "" {
		if err := Serve(os.NewFile(3, "parent"), fake{dir}); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		_ = os.WriteFile(filepath.Join(dir, "ended"), nil, 0o600)
		return
	}
	testenv.Main(m)
}

// fake does what the media type says.
type fake struct{ dir string }

func (f fake) Compare(ctx context.Context, _, _ []mount.Mount, opts ...diff.Opt) (ocispec.Descriptor, error) {
	var c diff.Config
	for _, opt := range opts {
		if err := opt(&c); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return f.do(ctx, c.MediaType, c.Reference)
}

func (f fake) Apply(ctx context.Context, desc ocispec.Descriptor, _ []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return f.do(ctx, desc.MediaType, "")
}

func (f fake) do(ctx context.Context, what, ref string) (ocispec.Descriptor, error) {
	switch what {
	case "hang":
		_ = os.WriteFile(filepath.Join(f.dir, "hanging"), nil, 0o600)
		<-ctx.Done()
		_ = os.WriteFile(filepath.Join(f.dir, "cancelled"), nil, 0o600)
		return ocispec.Descriptor{}, ctx.Err()
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "refuse":
		return ocispec.Descriptor{}, fmt.Errorf("not this: %w", errdefs.ErrNotImplemented)
	case "busy":
		return ocispec.Descriptor{}, fmt.Errorf("locked: %w", errdefs.ErrUnavailable)
	}
	ns, _ := namespaces.Namespace(ctx)
	lease, _ := leases.FromContext(ctx)
	return ocispec.Descriptor{MediaType: "done", Annotations: map[string]string{"namespace": ns, "lease": lease, "ref": ref, "pid": fmt.Sprint(os.Getpid())}}, nil
}

// newParent returns a parent, what it has released, and the directory of its workers.
func newParent(t *testing.T) (p *Parent, released func() []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	var mu sync.Mutex
	var refs []string
	p = New(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), dirEnv+"="+dir)
		cmd.Stderr = os.Stderr
		return cmd
	}, func(_ context.Context, ref string) error {
		mu.Lock()
		defer mu.Unlock()
		refs = append(refs, ref)
		return nil
	})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return refs
	}, dir
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not come", filepath.Base(path))
}

func compare(ctx context.Context, p *Parent, what, ref string) (ocispec.Descriptor, error) {
	return p.Compare(ctx, nil, nil, diff.WithMediaType(what), diff.WithReference(ref))
}

func TestCompare(t *testing.T) {
	p, released, _ := newParent(t)
	ctx := leases.WithLease(namespaces.WithNamespace(t.Context(), "ns"), "mine")
	got, err := compare(ctx, p, "work", "ref")
	if err != nil {
		t.Fatal(err)
	}
	if a := got.Annotations; a["namespace"] != "ns" || a["lease"] != "mine" || a["ref"] != "ref" {
		t.Errorf("the worker was called with %v", a)
	}
	again, err := compare(ctx, p, "work", "")
	if err != nil || again.Annotations["pid"] != got.Annotations["pid"] || again.Annotations["ref"] == "" {
		t.Errorf("the next call was done by %v, error %v; want the same process, and a reference", again.Annotations, err)
	}
	if _, err := compare(ctx, p, "refuse", ""); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "not this") {
		t.Errorf("error %v, want the worker's", err)
	}
	if len(released()) > 0 {
		t.Errorf("released %v, with a worker that lives", released())
	}
}

func TestCompare_killed(t *testing.T) {
	p, released, _ := newParent(t)
	first, err := compare(t.Context(), p, "work", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compare(t.Context(), p, "die", "mine"); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("error %v, want ErrNotImplemented, and how the worker ended", err)
	}
	if got := released(); len(got) != 1 || got[0] != "mine" {
		t.Errorf("released %q, want the upload that was under way", got)
	}
	next, err := compare(t.Context(), p, "work", "")
	if err != nil || next.Annotations["pid"] == first.Annotations["pid"] {
		t.Errorf("after it: %v, error %v; want a new worker", next.Annotations, err)
	}
	if _, err := p.Apply(t.Context(), ocispec.Descriptor{MediaType: "die"}, nil); !errdefs.IsUnavailable(err) {
		t.Errorf("apply: error %v, want ErrUnavailable: there may be half a layer", err)
	}
	if _, err := p.Apply(t.Context(), ocispec.Descriptor{MediaType: "work"}, nil); err != nil {
		t.Error(err)
	}
}

// TestCompare_unavailable: that the worker says so does not mean that it ended.
func TestCompare_unavailable(t *testing.T) {
	p, released, _ := newParent(t)
	if _, err := compare(t.Context(), p, "busy", "ref"); !errdefs.IsUnavailable(err) {
		t.Errorf("error %v, want the worker's", err)
	}
	if len(released()) > 0 {
		t.Errorf("released %v", released())
	}
}

func TestCompare_cancelled(t *testing.T) {
	p, released, dir := newParent(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		waitFor(t, filepath.Join(dir, "hanging"))
		cancel()
	}()
	if _, err := compare(ctx, p, "hang", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	waitFor(t, filepath.Join(dir, "cancelled"))
	if _, err := compare(t.Context(), p, "work", ""); err != nil {
		t.Error(err)
	}
	if len(released()) > 0 {
		t.Errorf("released %v: that is the worker's business", released())
	}
}

func TestClose(t *testing.T) {
	p, released, dir := newParent(t)
	result := make(chan error)
	go func() {
		_, err := compare(t.Context(), p, "hang", "ref")
		result <- err
	}()
	waitFor(t, filepath.Join(dir, "hanging"))
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errdefs.IsNotImplemented(err) {
		t.Errorf("what was under way: error %v, want ErrNotImplemented", err)
	}
	waitFor(t, filepath.Join(dir, "cancelled"))
	waitFor(t, filepath.Join(dir, "ended"))
	if got := released(); len(got) != 1 {
		t.Errorf("released %q", got)
	}
	if _, err := compare(t.Context(), p, "work", ""); !errdefs.IsNotImplemented(err) {
		t.Errorf("a call after it: error %v, want ErrNotImplemented", err)
	}
}

func TestCompare_noWorker(t *testing.T) {
	p := New(func() *exec.Cmd { return exec.Command("/missing") }, nil)
	if _, err := compare(t.Context(), p, "work", ""); !errdefs.IsNotImplemented(err) {
		t.Errorf("error %v, want ErrNotImplemented", err)
	}
}
