package peers

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestCheck holds that a layer that is wrong in one thing is called wrong.
func TestCheck(t *testing.T) {
	testenv.RequireRoot(t)
	lower, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
	testenv.Tree(t, lower, "file d/f content=old", "file g", "file h", "dir e")
	s := &bench.Scene{Old: lower, Scratch: t.TempDir()}
	s.Stack.Lower, s.Stack.Upper, s.Stack.Work = []string{lower}, upper, work
	s.Stack.Mountpoint = mountOverlay(t, s.Stack, "")
	testenv.Do(t, s.Stack.Mountpoint, "write d/f new", "unlink g", "setxattr e trusted.k=v")
	task := Layers()[0]
	ours := bench.Ask(t.Context(), task.Right(), s)

	header := func(name string, mode int64) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}
	}
	for _, test := range []struct {
		why    string
		change func(h *tar.Header) bool // false leaves an entry out
		more   *tar.Header
		want   string
	}{
		{why: "nothing", want: "right"},
		{why: "an entry is missing", change: func(h *tar.Header) bool { return h.Name != "d/f" }, want: "wrong: misses /d/f"},
		{why: "a whiteout is missing", change: func(h *tar.Header) bool { return h.Name != ".wh.g" }, want: "wrong: misses /g"},
		{why: "another mode", change: func(h *tar.Header) bool { h.Mode ^= 0o4; return true }, want: "wrong: invents /d; mistakes /d/f and 1 more"},
		{why: "no attributes", change: func(h *tar.Header) bool { *h = *bare(h); return true }, want: "wrong: mistakes /e"},
		{why: "a file that is none", more: header("n", 0o644), want: "wrong: invents /n"},
		{why: "a whiteout too many", more: header(".wh.h", 0), want: "wrong: invents /h"},
		{why: "a whiteout of overlayfs", change: func(h *tar.Header) bool {
			if h.Name == ".wh.g" {
				h.Typeflag, h.Name = tar.TypeChar, "g"
			}
			return true
		}, want: "wrong: mistakes /g"},
		{why: "an opaque root", more: header(".wh..wh..opq", 0), want: "wrong: invents /h"},
	} {
		var layer bytes.Buffer
		rewrite(t, s, &layer, test.change, test.more)
		e := exporter{write: func(_ context.Context, _ *bench.Scene, w io.Writer) error {
			_, err := w.Write(layer.Bytes())
			return err
		}}
		theirs := bench.Ask(t.Context(), bench.Subject{Run: encodings[0].run(e)}, s)
		if got := task.Compare(ours, theirs).String(); got != test.want {
			t.Errorf("%s: %s, want %s", test.why, got, test.want)
		}
	}
}

// bare is an entry without attributes.
func bare(h *tar.Header) *tar.Header {
	return &tar.Header{Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode, ModTime: h.ModTime}
}

// rewrite is umoci's layer, which has all attributes, changed.
func rewrite(t *testing.T, s *bench.Scene, to io.Writer, change func(h *tar.Header) bool, more *tar.Header) {
	t.Helper()
	var layer bytes.Buffer
	if err := umociLayer(t.Context(), s, &layer); err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(to)
	put := func(h *tar.Header, r io.Reader) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
	}
	if more != nil {
		put(more, &bytes.Reader{})
	}
	for r := tar.NewReader(&layer); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if change == nil || change(h) {
			put(h, r)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
