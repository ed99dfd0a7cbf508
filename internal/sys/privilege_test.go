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
