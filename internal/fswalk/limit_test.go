package fswalk

import (
	"syscall"
	"testing"
)

// Where few descriptors are allowed, a pool keeps few, and fewer when there are
// no more: others of the process need some, too.
func TestPoolLeavesDescriptorsToOthers(t *testing.T) {
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	allow := func(n uint64) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: usual.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer allow(usual.Cur)
	for _, test := range []struct{ allowed, want uint64 }{
		{40, 10}, {1024, 256}, {1 << 14, 256}, {8, 2}, {1, 1},
	} {
		if test.allowed > usual.Max {
			continue
		}
		allow(test.allowed)
		if got := NewPool(0).limit; got != int(test.want) {
			t.Errorf("of %d descriptors a pool keeps %d, want %d", test.allowed, got, test.want)
		}
	}
	allow(usual.Cur)

	// The pool believes that it may have more than there are.
	const depth = 100
	pool := NewPool(depth)
	defer pool.Close()
	d := openRoot(t, pool, t.TempDir())
	allow(uint64(openDescriptors(t)) + 20)
	for i := range depth {
		err := d.Use(func(fd int) error { return syscall.Mkdirat(fd, "d", 0o755) })
		if err != nil {
			t.Fatalf("level %d: %v", i, err)
		}
		d = child(t, d, "d")
	}
	if pool.open > 20 || pool.limit > 20 {
		t.Errorf("%d open, limit %d, where 20 are left", pool.open, pool.limit)
	}
}

// Two walks in the depth don't close each other's directories each time that
// one of them has to go down from the root again.
func TestPoolKeepsWhatIsUsed(t *testing.T) {
	const depth, limit = 300, 8
	root := t.TempDir()
	pool := NewPool(limit)
	defer pool.Close()
	var ends []*Dir
	for _, name := range []string{"a", "b"} {
		d := openRoot(t, pool, root)
		for range depth {
			err := d.Use(func(fd int) error { return syscall.Mkdirat(fd, name, 0o755) })
			if err != nil {
				t.Fatal(err)
			}
			d = child(t, d, name)
		}
		ends = append(ends, d)
	}
	for round := range 3 {
		for _, d := range ends {
			if _, err := d.List(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for i, d := range ends {
			if d.fd < 0 {
				t.Errorf("round %d: directory %d was closed for what led to the other", round, i)
			}
		}
	}
}
