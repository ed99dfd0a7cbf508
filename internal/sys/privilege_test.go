package sys

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

// Who has no descriptors left does not learn that privileges are missing.
func TestTryTrusted_NoDescriptors(t *testing.T) {
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	before := TryTrusted()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: usual.Max}); err != nil {
		t.Fatal(err)
	}
	err := TryTrusted()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without descriptors: %v, want EMFILE", err)
	}
	if before != nil && !errors.Is(before, fs.ErrPermission) {
		t.Errorf("with them: %v", before)
	}
}

func TestMapped(t *testing.T) {
	for _, c := range []struct {
		table string
		id    uint32
		want  bool
	}{
		{"         0          0 4294967295\n", 65534, true},
		{"         0      65534          1\n", 65534, false},
		{"0 1000 1\n1 100000 65536\n", 65534, true},
		{"0 1000 1\n1 100000 65533\n", 65534, false},
		{"0 1000 1\n1 100000 65533\n", 0, true},
		{"", 65534, false}, // it has no ids yet
		{"?\n", 65534, true},
	} {
		if got := mapped(c.table, c.id); got != c.want {
			t.Errorf("%q has %d: %t, want %t", c.table, c.id, got, c.want)
		}
	}
	if !KnowsOwner(65534, 65534) { // as long as the tests run where all ids are
		t.Error("user nobody has no id")
	}
}
