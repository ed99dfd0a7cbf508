package layer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// plainTree is what make_tree of testdata/archives/make.sh makes, without attributes.
func plainTree() []string {
	return []string{
		"dir dir mode=0750 uid=3 gid=4", "dir dir/sub", "file file content=hello", "link dir/link file", "symlink dir/symlink -> ../file",
		"file setuid content=x mode=04755 uid=7 gid=8", "fifo pipe mode=0640", "char null 1:3 mode=0600", "file dir/ü content=u",
		"file dir/sub/" + strings.Repeat("long", 40) + " content=l", `file sparse content="start` + strings.Repeat(`\x00`, 300000-5) + `end"`,
	}
}

// fullTree is the same with attributes.
func fullTree() []string {
	const no = 0xffffffff
	list := func(named uint32) string {
		return acl([3]uint32{1, 7, no}, [3]uint32{2, named, 1234}, [3]uint32{4, 5, no}, [3]uint32{16, 7, no}, [3]uint32{32, 5, no})
	}
	tree := plainTree()
	tree[0] += " xattr.trusted.k=value"
	tree[1] += fmt.Sprintf(" xattr.system.posix_acl_default=%q", list(7))
	tree[2] += " xattr.user.k=value"
	tree[5] = fmt.Sprintf("file setuid content=x mode=04775 uid=7 gid=8 xattr.system.posix_acl_access=%q", list(6))
	return append(tree, fmt.Sprintf("file capable content=c xattr.security.capability=%q", capability))
}

// Archives that other programs made, by the commands in testdata/archives/make.sh, are
// the trees that they were made of.
func TestApply_RealArchives(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	trees := map[string]string{"plain": filepath.Join(dir, "plain"), "full": filepath.Join(dir, "full")}
	testenv.Tree(t, trees["plain"], plainTree()...)
	testenv.Tree(t, trees["full"], fullTree()...)
	long := "/dir/sub/" + strings.Repeat("long", 40)
	if err := xattr.LRemove(trees["full"]+long, "system.posix_acl_access"); err != nil { // the archives' is older than the list that it got this from
		t.Fatal(err)
	}
	const (
		fileAlone   = "delete /dir; delete /null; delete /pipe; delete /sparse"
		filesAndDir = "delete /null; delete /pipe; delete /sparse"
	)
	want := map[string]struct{ tree, but string }{
		"gnu.tar.gz": {"plain", ""}, "oldgnu.tar.gz": {"plain", ""}, "incremental.tar.gz": {"plain", ""}, "posix.tar.gz": {"full", ""},
		"sparse-0.0.tar.gz": {"plain", ""}, "sparse-0.1.tar.gz": {"plain", ""}, "sparse-1.0.tar.gz": {"plain", ""},
		"bsdtar-gnu.tar.gz": {"plain", ""}, "bsdtar-pax.tar.gz": {"full", ""},
		"bsdtar-ustar.tgz": {"plain", "modify /dir mode,uid,gid; delete /dir/sub; delete /dir/ü; delete /null; delete /pipe; delete /sparse"},
		"busybox.tar.gz":   {"plain", ""}, "python-gnu.tar.gz": {"plain", ""}, "python-pax.tar.gz": {"plain", ""},
		"zstd.tar.zst": {"plain", fileAlone}, "pzstd.tar.zst": {"plain", fileAlone}, "padded.tar.gz": {"plain", fileAlone},
		// The record of the global header holds for all.
		"global.tar.gz": {"plain", "modify /dir uid; modify /dir/link uid; modify /dir/sub uid; modify " + long + " uid; modify /dir/symlink uid; " +
			"modify /dir/ü uid; modify /file uid; delete /null; delete /pipe; delete /setuid; delete /sparse"},
		// buildah copy gives all to root, and takes attributes of directories and lists off.
		"buildah.tar.gz": {"full", "modify /dir uid,gid,xattrs; modify /dir/sub xattrs; modify /setuid uid,gid,xattrs"},
		"umoci.tar.gz":   {"full", ""}, "skopeo.tar.zst": {"full", ""},
		"estargz.tar.gz": {"plain", filesAndDir + "; add /stargz.index.json"}, "zstd-chunked.tar.zst": {"plain", filesAndDir},
	}
	files, err := filepath.Glob("testdata/archives/*.*z*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(dir, "of-"+name)
		if _, err := apply(t, root, data); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w, known := want[name]
		if !known {
			t.Errorf("%s: nobody says what it is", name)
			w.tree = "full"
		}
		delete(want, name)
		list, err := refdiff.Diff(trees[w.tree], root)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			got = append(got, strings.TrimSpace(c.Kind+" "+c.Path+" "+strings.Join(c.What, ",")))
		}
		if d := cmp.Diff(strings.Split(w.but, "; "), slices.Concat(got, map[bool][]string{true: {""}}[len(got) == 0])); d != "" {
			t.Errorf("%s: differs from the tree that it was made of (-want +got):\n%s", name, d)
		}
		a, errA := os.Stat(filepath.Join(root, "file"))
		b, errB := os.Stat(filepath.Join(root, "dir/link"))
		if errA != nil || errB == nil && !os.SameFile(a, b) {
			t.Errorf("%s: no hard link: %v", name, errA)
		}
	}
	if len(want) > 0 {
		t.Errorf("archives that are not there: %v", want)
	}
}
