//go:build linux

package node

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// What is mounted below the root of a node, seen from a container, is what a process of the node
// has: there its layers are found, and no container is listed twice.
func TestOverlaysOf(t *testing.T) {
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, dir, "dir l", "dir u", "dir w", "dir node")
	root := filepath.Join(dir, "node")
	mount := func(source, target, fstype string, flags uintptr, data string) {
		t.Helper()
		if err := syscall.Mount(source, target, fstype, flags, data); err != nil {
			t.Fatal(err)
		}
		if flags != syscall.MS_PRIVATE {
			t.Cleanup(func() {
				if err := syscall.Unmount(target, 0); err != nil {
					t.Error(err)
				}
			})
		}
	}
	mount("/", root, "", syscall.MS_BIND, "")
	mount("", root, "", syscall.MS_PRIVATE, "")
	mount("overlay", filepath.Join(root, "tmp"), "overlay", 0, "lowerdir="+dir+"/l,upperdir="+dir+"/u,workdir="+dir+"/w")
	find := func(root string) (found []mountutil.Overlay) {
		list, _ := overlaysOf(t.Context(), root) // the error is about other processes
		for _, o := range list {
			if o.Upper == dir+"/u" {
				found = append(found, o)
			}
		}
		return found
	}
	if got := find("/"); len(got) != 1 || got[0].PID != 0 || got[0].Mountpoint != filepath.Join(root, "tmp") {
		t.Errorf("here: %+v", got)
	}
	got := find(root)
	if len(got) != 1 || got[0].PID == 0 || got[0].Mountpoint != "/tmp" {
		t.Fatalf("on the node: %+v", got)
	}
	if pid := rootProcess(dir); pid != 0 {
		t.Errorf("process %d has its root in a directory of a test", pid)
	}
	if pid := rootProcess(filepath.Join(dir, "no")); pid != 0 {
		t.Errorf("process %d has no root", pid)
	}
	if _, err := os.Stat("/proc/1/root/."); err == nil && got[0].PID != 1 {
		t.Errorf("process %d, not 1", got[0].PID)
	}
}
