package overlaydiff

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// busy changes what it can below root until stop is called.
func busy(t *testing.T, root string) (stop func()) {
	t.Helper()
	var end atomic.Bool
	var wait sync.WaitGroup
	path := func(name string) string { return filepath.Join(root, name) }
	big := make([]byte, 300_000)
	for _, work := range []func(i int){
		func(i int) { _ = os.WriteFile(path("d/grows"), big[:i*7919%len(big)], 0o644) },
		func(i int) { _ = os.Truncate(path("large"), int64(i)*104_729%900_000) },
		func(i int) {
			_ = os.WriteFile(path("tmp"), big[:i%5], 0o600)
			_ = os.Rename(path("tmp"), path("d/replaced"))
			_ = os.Link(path("d/replaced"), path("d/link"))
			_ = os.Remove(path("d/link"))
		},
		func(int) {
			_ = os.Mkdir(path("comes"), 0o755)
			_ = os.WriteFile(path("comes/f"), big[:10], 0o644)
			_ = os.RemoveAll(path("comes"))
			_ = os.Symlink("x", path("comes"))
			_ = os.Remove(path("comes"))
		},
	} {
		wait.Go(func() {
			for i := 0; !end.Load(); i++ {
				work(i)
			}
		})
	}
	stop = func() { end.Store(true); wait.Wait() }
	t.Cleanup(stop)
	return stop
}

// While a program writes in the overlay the archives are right: each can be read
// to its end, what was left alone is in it as it is, and nothing is left behind.
func TestExport_Races(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, filepath.Join(dir, "lower"), "file d/grows size=100", "file large size=900000", "file d/replaced", "file quiet content=old")
	upper := filepath.Join(dir, "upper")
	testenv.Tree(t, upper)
	merged := testenv.Mount(t, testenv.Overlay{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: upper, Work: filepath.Join(dir, "work"), Options: "redirect_dir=on,metacopy=on",
	})
	testenv.Do(t, merged, "write quiet new", "create d/quiet 1234", "link d/quiet quiet2")
	for _, engine := range []Choice{Native, Naive} {
		before := testenv.TakeInventory()
		d, err := Open(t.Context(), diff.Stack{
			Lower: []string{filepath.Join(dir, "lower")}, Upper: upper, Features: diff.Features{RedirectFollow: true, Metacopy: true},
		}, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		stop := busy(t, merged)
		layers := 0
		for start := time.Now(); time.Since(start) < 700*time.Millisecond || d.Raced() == 0 && time.Since(start) < 20*time.Second; layers++ {
			var b bytes.Buffer
			if _, err := d.Export(t.Context(), &b, layer.ExportOptions{}); err != nil {
				t.Fatalf("%s: %v", engine, err)
			}
			readQuiet(t, &b)
		}
		if d.Raced() == 0 {
			t.Errorf("%s: no race in %d layers", engine, layers)
		}
		d.opts.Strict = true
		var race *diff.RaceError
		for range 1000 {
			if _, err = d.Export(t.Context(), io.Discard, layer.ExportOptions{}); err != nil {
				break
			}
		}
		if !errors.As(err, &race) {
			t.Errorf("%s, strict: %v", engine, err)
		}
		stop()
		t.Logf("%s: %d layers, %d races", engine, layers, d.Raced())
		if err := errors.Join(d.Close(), before.Leaks()); err != nil {
			t.Error(err)
		}
	}
}

// readQuiet reads an archive to its end and checks what nobody changes.
func readQuiet(t *testing.T, r io.Reader) {
	t.Helper()
	got := map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil || int64(len(content)) != h.Size {
			t.Fatalf("%s: %d bytes of %d, %v", h.Name, len(content), h.Size, err)
		}
		if strings.Contains(h.Name, "quiet") {
			got[h.Name] = string(content) + h.Linkname
		}
	}
	if got["quiet"] != "oldnew" || got["d/quiet"] != "1234" || got["quiet2"] != "d/quiet" {
		t.Fatalf("of what nobody changes the archive has %q", got)
	}
}

// A writer that fails, or a context that ends, stops an export at once and leaves
// nothing behind.
func TestExport_Stops(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	upper := filepath.Join(dir, "upper")
	testenv.Tree(t, filepath.Join(dir, "lower"))
	var lines []string
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		lines = append(lines, "file "+name+" size=200000", "file d"+name+"/f content=x")
	}
	testenv.Tree(t, upper, lines...)
	d, err := Open(t.Context(), diff.Stack{Lower: []string{filepath.Join(dir, "lower")}, Upper: upper}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for n := range 50 {
		before := testenv.TakeInventory()
		w := &failing{after: n * 100_000}
		if _, err := d.Export(t.Context(), w, layer.ExportOptions{}); !errors.Is(err, errFull) {
			t.Errorf("a writer that fails after %d bytes: %v", w.after, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if _, err := d.Export(ctx, &failing{after: 1 << 30, cancel: cancel, cancelAfter: n * 100_000}, layer.ExportOptions{Compression: layer.Gzip}); err != nil && !errors.Is(err, errStop) {
			t.Errorf("cancelled after %d bytes: %v", n*100_000, err)
		}
		cancel(nil)
		if err := before.Leaks(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.ExportFile(t.Context(), filepath.Join(dir, "file.tar"), layer.ExportOptions{SkipReserved: true}); err != nil {
		t.Error(err)
	}
	testenv.Tree(t, upper, "file zz/.wh.x")
	if _, err := d.ExportFile(t.Context(), filepath.Join(dir, "bad.tar"), layer.ExportOptions{}); err == nil {
		t.Error("a reserved name was exported")
	}
	left, err := os.ReadDir(dir)
	for _, e := range left {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "bad.tar" {
			t.Errorf("%s was left behind", e.Name())
		}
	}
	if err != nil {
		t.Error(err)
	}
}

var (
	errFull = errors.New("full")
	errStop = errors.New("stop")
)

// failing is a writer that fails, or cancels, after some bytes.
type failing struct {
	n, after    int
	cancel      context.CancelCauseFunc
	cancelAfter int
}

func (f *failing) Write(b []byte) (int, error) {
	f.n += len(b)
	if f.cancel != nil && f.n > f.cancelAfter {
		f.cancel(errStop)
	}
	if f.n > f.after {
		return 0, errFull
	}
	return len(b), nil
}
