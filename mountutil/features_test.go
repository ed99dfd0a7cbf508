package mountutil

import (
	"syscall"
	"testing"
)

// A parameter that can't be read is not one that the kernel doesn't have: without the
// option, a view of files with metacopy marks would have none of their content.
func TestReadDefaults_Unreadable(t *testing.T) {
	for errno, want := range map[syscall.Errno]Param{syscall.ENOENT: Absent, syscall.EACCES: Absent, syscall.EIO: Off, syscall.EMFILE: Off} {
		if got := readDefaults(func(name string) (string, error) { return "", errno }).Metacopy; got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}
