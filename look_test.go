package overlaydiff

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// saw is what somebody sees at a path, as text.
func saw(t *testing.T, s *diff.Seen) string {
	t.Helper()
	if s == nil {
		return "nothing"
	}
	text := s.Type.String()
	switch s.Type {
	case diff.File:
		f, err := s.Payload.Open()
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(f.FD), "file")
		defer file.Close()
		content, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		text += " " + string(content)
	case diff.Symlink:
		target, err := s.Payload.Target()
		if err != nil {
			t.Fatal(err)
		}
		text += " " + target
	}
	xattrs, err := s.Payload.Xattrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xattrs {
		text += " " + x.Name + "=" + string(x.Value)
	}
	if e, again, err := s.Payload.Again(); err != nil || e != s.Entry || again == nil {
		t.Errorf("again: %+v, %v; it was %+v", e, err, s.Entry)
	}
	return text
}

func TestLook(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{
		Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Features: diff.Features{RedirectFollow: true, Metacopy: true},
	}
	testenv.Tree(t, s.Lower[0], "file a content=old", "file dir/f content=moved", "file gone content=x", "file meta content=data", "symlink l -> a", "file sub/f content=x")
	s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work, Options: "redirect_dir=on,metacopy=on"})
	testenv.Do(t, s.Mountpoint, "write a new", "setxattr a trusted.x=1", "rename dir moved", "unlink gone", "chmod meta 0600", "retarget l b", "rmtree sub", "create sub file")
	want := []string{
		"/: dir, dir", "/a: file old, file oldnew trusted.x=1", "/dir: dir, nothing", "/dir/f: file moved, nothing", "/moved/f: nothing, file moved",
		"/gone: file x, nothing", "/meta: file data, file data", "/l: symlink a, symlink b", "/sub: dir, file file", "/sub/f: file x, nothing",
		"/l/x: nothing, nothing", "/no/such: nothing, nothing",
	}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range want {
			path, _, _ := strings.Cut(line, ":")
			err := d.Look(t.Context(), path, func(from, to *diff.Seen) error {
				got = append(got, path+": "+saw(t, from)+", "+saw(t, to))
				return nil
			})
			if err != nil {
				t.Errorf("%s: %s: %v", engine, path, err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", engine, d)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
