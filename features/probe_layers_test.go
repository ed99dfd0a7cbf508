package features

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

// EIO says that a mark can't be written only of a call that would write one.
func TestUnusable(t *testing.T) {
	for op, want := range map[string]bool{"mkdir": true, "unlinkat": true, "readdirnames": false, "openfdat": false} {
		err := unusable(&fs.PathError{Op: op, Path: "d", Err: syscall.EIO})
		var refused *refusal
		if got := errors.As(err, &refused); got != want {
			t.Errorf("%s: a no: %v, want %v: %v", op, got, want, err)
		}
	}
}
