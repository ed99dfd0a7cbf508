package floor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestUsage holds the floor to what lstat says name by name.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		d := filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprint(i%3))
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("..f%d", i)), make([]byte, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "1/1/..f1"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var want Total
	seen := map[uint64]bool{}
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if path != dir {
			want.Entries++
		}
		if !seen[st.Ino] {
			want.Inodes++
			want.Disk += st.Blocks * 512
			if !info.IsDir() {
				want.Bytes += st.Size
			}
		}
		seen[st.Ino] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for threads := 1; threads <= 4; threads++ {
		if got, err := Read(dir, threads); got != want || err != nil {
			t.Errorf("%d threads, reading: %+v, %v, want %+v", threads, got, err, want)
		}
		if got, err := Usage(dir, threads); got != want || err != nil {
			t.Errorf("%d threads: %+v, %v, want %+v", threads, got, err, want)
		}
	}
	// The lower layers are looked at and don't count.
	if got, err := Changes(dir, []string{t.TempDir(), dir}, 2); got != want || err != nil {
		t.Errorf("with lower layers: %+v, %v, want %+v", got, err, want)
	}
	if _, err := Usage(filepath.Join(dir, "none"), 1); err == nil {
		t.Error("a directory that is not there: no error")
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err != nil || len(fds) > 20 {
		t.Errorf("%d descriptors are open, %v", len(fds), err)
	}
}
