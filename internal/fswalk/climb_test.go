package fswalk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A walk that comes back from the depth goes up by "..", not down from the root
// again: the names that led down may even be gone.
func TestPoolClimbs(t *testing.T) {
	const depth, limit = 100, 4
	for _, step := range []int{1, 5} {
		root := t.TempDir()
		pool := NewPool(limit)
		chain := makeChain(t, pool, root, depth)
		if err := os.Rename(filepath.Join(root, "d"), filepath.Join(root, "renamed")); err != nil {
			t.Fatal(err)
		}
		for i := depth; i > step; i -= step {
			if _, err := chain[i].List(t.Context()); err != nil {
				t.Fatalf("up by %d, level %d: %v", step, i, err)
			}
		}
		pool.Close()
	}
}

// Where ".." leads elsewhere, because somebody moved the directory, it is not
// taken for the parent.
func TestPoolClimbs_Moved(t *testing.T) {
	root := t.TempDir()
	pool := NewPool(1)
	defer pool.Close()
	chain := makeChain(t, pool, root, 50)
	deepest := filepath.Join(root, strings.Repeat("d/", 49))
	if err := errors.Join(os.Mkdir(filepath.Join(root, "o"), 0o755), os.Rename(filepath.Join(deepest, "d"), filepath.Join(root, "o/d"))); err != nil {
		t.Fatal(err)
	}
	if list, err := chain[50].List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("the directory that was moved, which is still open: %v, %v", list, err)
	}
	if list, err := chain[49].List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("where it was: %v, %v", list, err)
	}
	if list, err := chain[48].List(t.Context()); err != nil || len(list) != 1 || list[0].Name != "d" {
		t.Errorf("two above where it was: %v, %v", list, err)
	}
}

// makeChain makes depth directories d in one another and returns them, the root
// first. All but the last few are closed.
func makeChain(t *testing.T, pool *Pool, root string, depth int) []*Dir {
	t.Helper()
	chain := []*Dir{openRoot(t, pool, root)}
	for i := range depth {
		if err := chain[i].Use(func(fd int) error { return syscall.Mkdirat(fd, "d", 0o755) }); err != nil {
			t.Fatal(err)
		}
		chain = append(chain, child(t, chain[i], "d"))
	}
	if _, err := chain[depth].List(t.Context()); err != nil {
		t.Fatal(err)
	}
	return chain
}
