package features

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// Only what the kernel says when it is asked for a namespace is its answer.
func TestWhyNoUserns(t *testing.T) {
	for op, no := range map[string]bool{"fork/exec": true, "open": false, "pipe2": false} {
		err := whyNoUserns(&os.PathError{Op: op, Path: "/dev/null", Err: syscall.ENOSPC})
		var refused *refusal
		if errors.As(err, &refused) != no || err == nil {
			t.Errorf("%s: %v", op, err)
		}
	}
}
