//go:build linux

package node

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// A container is found by its store's files. Between them and the overlay that is mounted for it,
// a layer may have got another directory under its name: the answer is right or an error, and
// the words of the store change nothing of that.
func TestHold_Stale(t *testing.T) {
	testenv.RequireRoot(t)
	tests := []struct {
		name string
		// spoil makes the names of the layers stale, in the directory dir.
		spoil func(dir string) error
		// refused: that the answer can't be known is right, too.
		refused bool
	}{
		{"nothing", func(string) error { return nil }, false},
		{"the lower layer was moved", func(dir string) error { return os.Rename(dir+"/l1", dir+"/moved") }, true},
		{"the lower layer was replaced", func(dir string) error {
			return errors.Join(os.Rename(dir+"/l1", dir+"/moved"), os.Rename(dir+"/twin", dir+"/l1"))
		}, true},
		{"two lower layers were exchanged", func(dir string) error {
			return errors.Join(os.Rename(dir+"/l1", dir+"/moved"), os.Rename(dir+"/l2", dir+"/l1"), os.Rename(dir+"/moved", dir+"/l2"))
		}, true},
		{"the upper layer was replaced", func(dir string) error {
			return errors.Join(os.Rename(dir+"/u", dir+"/moved"), os.Rename(dir+"/twin", dir+"/u"))
		}, true},
		{"a file system covers the lower layer", func(dir string) error {
			return syscall.Mount("tmpfs", dir+"/l1", "tmpfs", 0, "size=1m")
		}, false},
		{"another layer covers the lower layer", func(dir string) error {
			return syscall.Mount(dir+"/twin", dir+"/l1", "", syscall.MS_BIND, "")
		}, false},
		{"another layer covers the upper layer", func(dir string) error {
			return syscall.Mount(dir+"/twin", dir+"/u", "", syscall.MS_BIND, "")
		}, false},
	}
	handles := testenv.Has(t, testenv.Tmpfs, testenv.LayerHandles) // else some can't be found again
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := testenv.Scratch(t, testenv.Tmpfs)
			testenv.Tree(t, dir, "dir l1", "file l1/a content=a", "file l1/b content=b", "dir l2", "file l2/a content=hidden", "file l2/c content=c",
				"dir twin", "file twin/a content=A", "file twin/d content=d", "dir u", "dir w")
			c := stores.Container{Name: "web", Stack: diff.Stack{Lower: []string{dir + "/l1", dir + "/l2"}, Upper: dir + "/u", Work: dir + "/w"}}
			c.RW.Dir = c.Stack.Upper
			merged := testenv.Mount(t, testenv.Overlay{Lower: c.Stack.Lower, Upper: c.Stack.Upper, Work: c.Stack.Work})
			testenv.Do(t, merged, "unlink b", "write c changed", "create new x")
			want := []string{"D /b", "C /c", "A /new"}
			if err := test.spoil(dir); err != nil {
				t.Fatal(err)
			}
			for _, covered := range []string{"/l1", "/u"} { // it may be no mount point
				t.Cleanup(func() { _ = syscall.Unmount(dir+covered, syscall.MNT_DETACH) })
			}
			overlays, err := overlaysOf(t.Context(), "/")
			if len(overlays) == 0 {
				t.Fatal(err)
			}
			hold(t.Context(), "/", &c, overlays)
			if c.Err != nil {
				if !test.refused && handles {
					t.Error(c.Err)
				}
				return
			}
			if c.Stack.Mountpoint != merged {
				t.Fatalf("answered for the store's directories, which are not the mounted ones: %+v", c.Stack)
			}
			d, err := overlaydiff.Open(t.Context(), c.Stack, overlaydiff.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var got []string
			for change, err := range d.Changes(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, change.String())
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
