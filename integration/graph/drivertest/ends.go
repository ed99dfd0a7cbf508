package drivertest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// holdings says what a process may have left: goroutines, descriptors, mounts, and
// files in the temporary directory.
type holdings struct {
	*testenv.Inventory
	mounts string
	files  int
}

func (s suite) holdings() holdings {
	s.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	s.must(err)
	files, err := os.ReadDir(os.TempDir())
	s.must(err)
	return holdings{testenv.TakeInventory(), string(table), len(files)}
}

// checkLeft compares with what there was.
func (s suite) checkLeft(before holdings, after string) {
	s.Helper()
	if err := before.Leaks(); err != nil {
		s.Errorf("%s: %v", after, err)
	}
	if now := s.holdings(); now.mounts != before.mounts || now.files != before.files {
		s.Errorf("%s: %d files in the temporary directory, want %d; mounts\n%s\nwant\n%s", after, now.files, before.files, now.mounts, before.mounts)
	}
}

// testClosed closes streams before their end.
func testClosed(s suite) {
	s.create("base", "", func(dir string) { testenv.Tree(s, dir, "file d/f") })
	s.create("middle", "base", func(dir string) { testenv.Do(s, dir, "create g g") })
	s.create("top", "middle", func(dir string) {
		s.must(os.WriteFile(filepath.Join(dir, "big"), make([]byte, 8<<20), 0o600))
		s.must(os.WriteFile(filepath.Join(dir, "d/f"), []byte("new"), 0o600))
	})
	for _, parent := range []string{"middle", "base", ""} {
		before := s.holdings()
		for _, bytes := range []int64{0, 1, 1 << 20} {
			r, err := s.Diff("top", parent)
			s.must(err)
			_, err = io.CopyN(io.Discard, r, bytes)
			s.must(err)
			s.must(r.Close())
			s.must(r.Close()) // again: what was freed once stays so
		}
		s.checkLeft(before, "closed streams over "+parent)
	}
}

// testErrors asks for what is not there, and applies what is no layer.
func testErrors(s suite) {
	s.create("base", "", func(dir string) { testenv.Tree(s, dir, "file f") })
	before := s.holdings()
	for _, ids := range [][2]string{{"none", ""}, {"none", "base"}, {"base", "none"}} {
		_, err := s.Changes(ids[0], ids[1])
		_, serr := s.DiffSize(ids[0], ids[1])
		_, derr := s.Diff(ids[0], ids[1])
		for _, err := range []error{err, serr, derr} {
			if err == nil || !strings.Contains(err.Error(), "none") {
				s.Errorf("from %q to %q: error %v, which does not say what is missing", ids[1], ids[0], err)
			}
		}
	}
	s.must(s.Create("over", "base"))
	for _, archive := range [][]byte{[]byte("no archive"), s.archive("base", "")[:700]} {
		if _, err := s.ApplyDiff("over", "base", bytes.NewReader(archive)); err == nil {
			s.Errorf("%.10q was applied", archive)
		}
	}
	if got, err := s.Changes("over", "base"); err != nil || len(got) > 0 {
		s.Errorf("after what could not be applied: %q, error %v", got, err)
	}
	s.checkLeft(before, "failures")
}

// testTogether asks one layer for everything at once.
func testTogether(s suite) {
	s.edits()
	archive := s.archive("top", "middle")
	changes, err := s.Changes("top", "middle")
	s.must(err)
	size, err := s.DiffSize("top", "middle")
	s.must(err)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			r, err := s.Diff("top", "middle")
			if err != nil {
				s.Error(err)
				return
			}
			if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, archive) || r.Close() != nil {
				s.Errorf("the layer is another, error %v", err)
			}
		})
		all.Go(func() {
			if again, err := s.Changes("top", "middle"); err != nil || !slices.Equal(again, changes) {
				s.Errorf("the changes are others: %q, error %v", again, err)
			}
		})
		all.Go(func() {
			if again, err := s.DiffSize("top", "middle"); err != nil || again != size {
				s.Errorf("size %d, want %d, error %v", again, size, err)
			}
		})
	}
	all.Wait()
}
