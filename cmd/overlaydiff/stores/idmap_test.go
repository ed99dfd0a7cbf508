//go:build linux

package stores

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func ranges(n ...uint32) (list []diff.IDRange) {
	for i := 0; i < len(n); i += 3 {
		list = append(list, diff.IDRange{Container: n[i], Host: n[i+1], Size: n[i+2]})
	}
	return list
}

func TestSubIDs(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root,
		file("etc/passwd", "root:x:0:0::/:\nann:x:1000:1000::/home/ann:\n"),
		file("etc/subuid", "bob:1:5\nann:100000:65536\n1000:300000:10\n"), file("etc/subgid", "ann:200000:65536\n"))
	got, err := subIDs(root, 1000, 1001)
	want := diff.IDMap{Users: ranges(0, 1000, 1, 1, 100000, 65536, 65537, 300000, 10), Groups: ranges(0, 1001, 1, 1, 200000, 65536)}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got := nested(diff.IDMap{Users: ranges(0, 1, 10, 10, 0, 1, 11, 65530, 100)}, got).Users; !cmp.Equal(got, ranges(0, 100000, 10, 10, 1000, 1, 11, 165529, 7, 18, 300000, 10)) {
		t.Errorf("nested: %v", got)
	}
	got, err = subIDs(t.TempDir(), 5, 6)
	if d := cmp.Diff(diff.IDMap{Users: ranges(0, 5, 1), Groups: ranges(0, 6, 1)}, got); d != "" || err != nil {
		t.Errorf("without files: %v (-want +got):\n%s", err, d)
	}
	write(t, "ann:many:65536\n", root, "etc/subuid")
	if got, err := subIDs(root, 1000, 1001); err == nil {
		t.Errorf("damaged: %v", got)
	}
}

func TestRemapIDs(t *testing.T) {
	root := t.TempDir()
	testenv.Tree(t, root, file("etc/subuid", "ann:1000:5\ndockremap:300000:10\ndockremap:100000:65536\n"), file("etc/subgid", "dockremap:200000:65536\n"))
	got, err := remapIDs(root, "/var/lib/docker/100000.200000")
	want := diff.IDMap{Users: ranges(0, 100000, 65536, 65536, 300000, 10), Groups: ranges(0, 200000, 65536)}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := remapIDs(root, "/var/lib/docker/1.200000"); err == nil {
		t.Errorf("another user's: %v", got)
	}
}

func TestLabelIDs(t *testing.T) {
	got, err := labelIDs(map[string]string{"containerd.io/snapshot/uidmapping": "0:100000:1,1:200000:65535", "containerd.io/snapshot/gidmapping": "0:0:4294967295"})
	if d := cmp.Diff(diff.IDMap{Users: ranges(0, 100000, 1, 1, 200000, 65535)}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := labelIDs(map[string]string{"containerd.io/snapshot/uidmapping": "0:1"}); err == nil {
		t.Errorf("damaged: %v", got)
	}
}
