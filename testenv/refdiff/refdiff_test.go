package refdiff_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var tests = []struct {
	name, why string
	old, new  []string
	want      []string // change, type, size
	size      int64
}{
	{
		name: "equal", why: "the root and a directory's mtime are no changes",
		old: []string{"dir . mode=700", "dir d mtime=1", "file d/f content=x"},
		new: []string{"dir d mtime=2", "file d/f content=x"},
	},
	{
		name: "add and delete", why: "an added tree in full, a removed one by its root",
		old:  []string{"file gone/a/b content=x", "file f content=abc"},
		new:  []string{"file came/a/b content=xy", "symlink came/l -> somewhere"},
		want: []string{"A /came dir 0", "A /came/a dir 0", "A /came/a/b file 2", "A /came/l symlink 9", "D /f file 3", "D /gone dir 0"},
		size: 11,
	},
	{
		name: "path order", why: "the separator sorts first",
		new:  []string{"file a/b", "file a-b", `file "a\x01"`, "file a.b"},
		want: []string{"A /a dir 0", "A /a/b file 0", "A /a\x01 file 0", "A /a-b file 0", "A /a.b file 0"},
	},
	{
		name: "type changes", why: "one modify; children of a new directory are adds",
		old:  []string{"dir d/x", "file d/x/y", "file f", "file g"},
		new:  []string{"file d content=1", "file f/n content=22", "symlink g -> d"},
		want: []string{"C /d type file 1", "C /f type dir 0", "A /f/n file 2", "C /g type symlink 1"},
		size: 4,
	},
	{
		name: "what", why: "each thing alone",
		old: []string{
			"dir d", "file content content=a", "file gid", "file mode", "file mtime", "file size content=a",
			"file uid", "file xattr xattr.trusted.k=v", "symlink target -> a", "char dev 1:3", "symlink l -> a", "file empty",
		},
		new: []string{
			"dir d mode=700 xattr.trusted.k=v", "file content content=b", "file gid gid=1", "file mode mode=4644", "file mtime mtime=1000000000.000000001",
			"file size content=ab", "file uid uid=1", "file xattr xattr.trusted.k=w", "symlink target -> b", "char dev 1:5", "symlink l -> a uid=1 mtime=2", "file empty xattr.trusted.e=",
		},
		want: []string{
			"C /content content file 1", "C /d mode,xattrs dir 0", "C /dev device char 0", "C /empty xattrs file 0",
			"C /gid gid file 0", "C /l uid,mtime symlink 1", "C /mode mode file 0", "C /mtime mtime file 0",
			"C /size size,content file 2", "C /target target symlink 1", "C /uid uid file 0", "C /xattr xattrs file 0",
		},
		size: 5,
	},
	{
		name: "ignored xattrs", why: "they are the system's",
		old: []string{"file f"}, new: []string{`file f xattr.security.ima="\x01"`},
	},
	{
		name: "hard links", why: "an inode counts once",
		old: []string{"file f content=abc"}, new: []string{"file f content=abc", "link g f", "link h f"},
		want: []string{"A /g file 3", "A /h file 3"}, size: 3,
	},
}

func TestDiff(t *testing.T) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := testenv.Scratch(t, testenv.Tmpfs)
			testenv.Tree(t, dir+"/old", test.old...)
			testenv.Tree(t, dir+"/new", test.new...)
			changes, err := refdiff.Diff(dir+"/old", dir+"/new")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, fmt.Sprintf("%s %s %d", c, c.Type, c.Size))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes, because %s (-want +got):\n%s", test.why, diff)
			}
			size, err := refdiff.Size(dir+"/old", dir+"/new")
			if err != nil || size != test.size {
				t.Errorf("size = %d, %v; want %d", size, err, test.size)
			}
		})
	}
	if _, err := refdiff.Diff(t.TempDir(), "/nonexistent/overlaydiff"); err == nil {
		t.Error("a tree that is not there gives no error")
	}
}
