//go:build linux

package stores

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
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

// The freezer says that a container is paused, in both versions of control groups; a process
// is a container's if its group is named by the id.
func TestFrozen(t *testing.T) {
	p, err := openProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	groups, err := p.read("cgroup")
	if err != nil {
		t.Fatal(err)
	}
	node := t.TempDir()
	for line := range strings.Lines(string(groups)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		at := map[string]string{"0": "sys/fs/cgroup" + f[2] + "/cgroup.freeze"}[f[0]]
		if f[1] == "freezer" {
			at = "sys/fs/cgroup/freezer" + f[2] + "/freezer.state"
		}
		if at == "" {
			continue
		}
		for _, state := range []struct {
			word   string
			frozen bool
		}{{"0\n", false}, {"THAWED\n", false}, {map[bool]string{true: "1\n", false: "FROZEN\n"}[f[0] == "0"], true}} {
			testenv.Tree(t, node, dir(filepath.Dir(at)))
			write(t, state.word, node, at)
			if got := p.frozen(node); got != state.frozen {
				t.Errorf("%s has %q: frozen %v", at, state.word, got)
			}
		}
		remove(t, node, "sys")
	}
	if p.frozen(node) {
		t.Error("frozen without control groups")
	}
	for _, c := range []struct {
		id   string
		want bool
	}{{"", false}, {"no-such-container", false}} {
		if got := (&Container{ID: c.id, PID: os.Getpid()}).OwnsProcess(); got != c.want {
			t.Errorf("%q owns this process: %v", c.id, got)
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
