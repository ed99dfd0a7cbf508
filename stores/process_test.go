//go:build linux

package stores

import (
	"os"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

const hostRoot = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"

func TestRuns(t *testing.T) {
	overlay := func(point, upper, more string) string {
		return "400 399 0:50 / " + point + " rw,relatime - overlay overlay rw,lowerdir=l/A:l/B,upperdir=" + upper + ",workdir=w" + more + "\n"
	}
	for _, c := range []struct {
		why, table string
		fuse, want bool
	}{
		{"absolute", overlay("/", "/srv/docker/overlay2/"+id("7")+"/diff", ",index=off,metacopy=on"), false, true},
		{"relative, and a mount over another", hostRoot + overlay("/", id("7")+"/diff", ",metacopy=on"), false, true},
		{"another container's", overlay("/", "/srv/docker/overlay2/"+id("8")+"/diff", ""), false, false},
		{"mounted elsewhere only", hostRoot + overlay("/mnt", "/srv/docker/overlay2/"+id("7")+"/diff", ""), false, false},
		{"the host's root", hostRoot, false, false},
		{"fuse", "400 399 0:50 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0\n", true, true},
		{"another fuse", "400 399 0:50 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0\n", false, false},
		{"nothing", "", false, false},
		{"no table", "x - overlay\n/ / / / / - overlay\n", false, false},
	} {
		dir := "/srv/docker/overlay2/" + id("7") + "/diff"
		got := Container{Fuse: c.fuse, RW: Layer{Dir: dir}, Stack: diff.Stack{Upper: dir}}
		if runs := got.runs(c.table, mountutil.Defaults{}); runs != c.want {
			t.Errorf("%s: %v", c.why, runs)
		} else if runs && !c.fuse && !got.Stack.Features.Metacopy {
			t.Errorf("%s: the features are not the mount's: %+v", c.why, got.Stack)
		}
	}
}

func TestSetProcess(t *testing.T) {
	for pid, want := range map[int]State{0: Unknown, -1: Unknown, os.Getpid(): Exited, 1 << 23: Exited} {
		c := Container{RW: Layer{Dir: "/srv/x/diff"}}
		if c.setProcess(pid, Running, mounter{}); c.State != want || c.PID != 0 {
			t.Errorf("process %d: state %q, pid %d; want %q", pid, c.State, c.PID, want)
		}
	}
}

func FuzzRootMount(f *testing.F) {
	f.Add(hostRoot)
	f.Add("400 399 0:50 / / rw - overlay overlay rw,lowerdir=a:b,upperdir=/x/diff,workdir=w")
	f.Fuzz(func(t *testing.T, table string) {
		c := Container{RW: Layer{Dir: "/srv/x/diff"}, Stack: diff.Stack{Upper: "/srv/x/diff"}}
		if c.runs(table, mountutil.Defaults{}) && c.Stack.Upper != "/srv/x/diff" {
			t.Errorf("%+v", c)
		}
	})
}
