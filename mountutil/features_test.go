package mountutil

import (
	"io/fs"
	"syscall"
	"testing"
	"testing/fstest"
)

// badFS is a directory in which one file can't be read.
type badFS struct {
	fstest.MapFS
	name string
	err  error
}

func (b badFS) ReadFile(name string) ([]byte, error) {
	if name == b.name {
		return nil, &fs.PathError{Op: "read", Path: name, Err: b.err}
	}
	return b.MapFS.ReadFile(name)
}

// A parameter that can't be read is not one that the kernel doesn't have: without the
// option, a view of files with metacopy marks would have none of their content.
func TestReadDefaults_Unreadable(t *testing.T) {
	for errno, want := range map[syscall.Errno]Param{syscall.ENOENT: Absent, syscall.EACCES: Absent, syscall.EIO: Off, syscall.EMFILE: Off} {
		if got := readDefaults(badFS{fstest.MapFS{}, "metacopy", errno}).Metacopy; got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}
