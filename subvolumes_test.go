package overlaydiff

import (
	"os/exec"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestSubvolumes: subvolumes of btrfs have the same inode numbers, so files with
// one number in the listings of both views may be two.
func TestSubvolumes(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Btrfs)
	testenv.Tree(t, dir, "dir l", "dir u", "dir w")
	for _, layer := range []string{"l", "u"} {
		volume := dir + "/" + layer + "/d"
		if out, err := exec.Command("btrfs", "subvolume", "create", volume).CombinedOutput(); err != nil {
			t.Fatalf("btrfs: %v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("btrfs", "subvolume", "delete", volume).CombinedOutput(); err != nil {
				t.Errorf("btrfs: %v: %s", err, out)
			}
		})
		testenv.Tree(t, volume, "file f content="+layer)
	}
	s := diff.Stack{Lower: []string{dir + "/l"}, Upper: dir + "/u", Work: dir + "/w"}
	for _, engine := range []Choice{Native, Naive} {
		d, err := Open(t.Context(), s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for c, err := range d.Changes(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c.String())
		}
		if len(got) != 1 || got[0] != "C /d/f" {
			t.Errorf("%s: got %q, want the file that has another content", engine, got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
