package native_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// mountFuse mounts layers by fuse-overlayfs.
func mountFuse(t *testing.T, options string) string {
	t.Helper()
	point := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "fuse-overlayfs", "-o", options, point).CombinedOutput()
	if err != nil {
		t.Fatalf("fuse-overlayfs -o %s: %v: %s", options, err, out)
	}
	t.Cleanup(func() { unmountFuse(t, point) })
	return point
}

func unmountFuse(t *testing.T, point string) {
	t.Helper()
	if err := syscall.Unmount(point, 0); err != nil && err != syscall.EINVAL { // EINVAL: it was before
		t.Error(err)
	}
}

// The layers of fuse-overlayfs are read as it shows them, with owners and modes in the files'
// own inodes or, as it is mounted with xattr_permissions, in attributes.
func TestFuseOverlayfs(t *testing.T) {
	testenv.RequireRoot(t)
	if _, err := exec.LookPath("fuse-overlayfs"); err != nil {
		missing(t, "needs fuse-overlayfs: "+err.Error())
	}
	for _, options := range []string{"noacl", "noacl,xattr_permissions=1", "noacl,xattr_permissions=2"} {
		t.Run(options, func(t *testing.T) {
			dir := testenv.Scratch(t, testenv.Ext4)
			lower, lower2, upper, work := dir+"/lower", dir+"/lower2", dir+"/upper", dir+"/work"
			testenv.Tree(t, lower,
				"file d/gone", "file d/kept content=x", "file e/f", "dir e/g", "file mode content=x", "file owner content=x", "file same content=x", "dir r", "file r/f", "symlink l -> x",
				"file x/hidden", "file x/shown")
			// As a user without privileges marks what is deleted.
			testenv.Tree(t, lower2, "file x/.wh.hidden", "file y/.wh..wh..opq", "file y/new")
			testenv.Tree(t, lower, "file y/old")
			testenv.Tree(t, upper)
			testenv.Tree(t, work)
			layers := "lowerdir=" + lower2 + ":" + lower
			before := mountFuse(t, layers+",noacl")
			merged := mountFuse(t, layers+",upperdir="+upper+",workdir="+work+","+options)
			testenv.Do(t, merged,
				"unlink d/gone", "rmtree e", "chmod mode 600", "create new x", "mkdir newdir", "create newdir/f x", "open same", "rmtree r", "mkdir r", "create r/g x", "create x/hidden again",
				"unlink x/shown")
			if err := os.Chown(filepath.Join(merged, "owner"), 7, 8); err != nil {
				t.Fatal(err)
			}
			unmountFuse(t, merged) // so that it forgets what the layers do not say
			merged = mountFuse(t, layers+",upperdir="+upper+",workdir="+work+","+options)
			want, err := refdiff.Diff(before, merged)
			if err != nil {
				t.Fatal(err)
			}
			stack := diff.Stack{Lower: []string{lower2, lower}, Upper: upper, Features: diff.Features{Fuse: true}}
			e, err := native.Open(t.Context(), stack)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			var got []refdiff.Change
			for c, err := range e.Changes(t.Context(), diff.Options{}) {
				if err != nil {
					t.Fatal(err)
				}
				one := refdiff.Change{Kind: c.Kind.String(), Path: c.Path, Type: c.Entry.Type.String(), Size: c.Entry.Size}
				if c.What != 0 {
					one.What = c.What.Names()
				}
				got = append(got, one)
				checkShown(t, merged, c)
			}
			// Of its own attributes, it shows one that it uses only in this mode.
			for i := range want {
				want[i].What = slices.DeleteFunc(want[i].What, func(what string) bool { return what == "xattrs" && strings.HasSuffix(options, "=1") })
			}
			want = slices.DeleteFunc(want, func(c refdiff.Change) bool { return c.Kind == "modify" && len(c.What) == 0 })
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-mount +native):\n%s", d)
			}
			if !slices.ContainsFunc(got, func(c refdiff.Change) bool { return c.Path == "/mode" && slices.Equal(c.What, []string{"mode"}) }) {
				t.Errorf("the mode is not changed: %v", got)
			}
		})
	}
}

// checkShown compares an entry with what the mount shows.
func checkShown(t *testing.T, merged string, c diff.Change) {
	t.Helper()
	if c.Kind == diff.Delete {
		return
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(merged+c.Path, &st); err != nil {
		t.Error(err)
		return
	}
	if c.Entry.Type != diff.Symlink && c.Entry.Mode != st.Mode&0o7777 || c.Entry.UID != st.Uid || c.Entry.GID != st.Gid {
		t.Errorf("%s: %o %d:%d, the mount shows %o %d:%d", c, c.Entry.Mode, c.Entry.UID, c.Entry.GID, st.Mode&0o7777, st.Uid, st.Gid)
	}
}
