package sys_test

import (
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// The kernel's own marks say which UUID a file system has.
func TestMayHaveID(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		want, err := testenv.FileSystemUUID(dir)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := sys.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(fd)
		got, known := sys.FileSystemID(fd)
		mayHave, sure := sys.MayHaveID(fd)
		if sure != known {
			t.Errorf("sure: %v, known: %v", sure, known)
		}
		if known && got != want {
			t.Errorf("its UUID is %x, want %x", got, want)
		}
		other := want
		other[3]++
		for uuid, right := range map[[16]byte]bool{want: true, other: false, {}: false} {
			may := mayHave(uuid)
			if !right && uuid == other && fs == testenv.Tmpfs && !known { // 5.10: nothing tells
				continue
			}
			if may != right {
				t.Errorf("%x may be it: %v, want %v", uuid, may, right)
			}
		}
		if _, err := testenv.FileSystemUUID(dir + "/none"); err == nil {
			t.Error("the UUID of no directory")
		}
	})
}
