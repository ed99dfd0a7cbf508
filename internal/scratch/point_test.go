package scratch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A mount point whose maker was killed is removed by whoever makes the next one, unless it is
// in use, or holds something: what is mounted there.
func TestNewPoint_Leftovers(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, path := range []string{"overlaydiff-mount-killed/merged", "overlaydiff-mount-early", "overlaydiff-mount-full/merged/file", "overlaydiff-other/merged"} {
		if err := os.MkdirAll(filepath.Join(tmp, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	used, err := NewPoint()
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPoint()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(filepath.Dir(used.Path)), filepath.Base(filepath.Dir(p.Path)), "overlaydiff-mount-full", "overlaydiff-other"}
	names := func() (list []string) {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	if got := names(); len(got) != len(want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	for _, p := range []*Point{used, p} {
		if info, err := os.Stat(filepath.Dir(p.Path)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v %v", info, err)
		}
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff([]string{"overlaydiff-mount-full", "overlaydiff-other"}, names()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// What somebody put into a mount point is not removed with it.
func TestPoint_Remove(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p, err := NewPoint()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.Path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
