package naive

import (
	"bytes"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestPageCache: comparing large files leaves the page cache as it was, also
// through an overlay, whose files have their pages beneath.
func TestPageCache(t *testing.T) {
	testenv.RequireRoot(t)
	if !slices.Contains(testenv.FileSystems(), testenv.Ext4) {
		t.Skip("needs ext4: tmpfs is nothing but cache")
	}
	const size, part = 40<<20 + 12345, 8 << 20
	dir := testenv.Scratch(t, testenv.Ext4)
	testenv.Tree(t, dir, "dir old", "dir new", "dir lower", "dir upper", "dir work")
	content := bytes.Repeat([]byte("overlaydiff"), size/11+1)[:size]
	for _, name := range []string{"old", "new", "upper"} {
		if err := os.WriteFile(dir+"/"+name+"/big", content, 0o644); err != nil {
			t.Fatal(err)
		}
		testenv.Do(t, dir, "utimes "+name+"/big 1000000000")
	}
	rewrite(t, dir+"/new/big", size-1) // so that all is read
	syscall.Sync()                     // what is dirty is not dropped
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work"})
	for _, test := range []struct {
		why, root, file string
		old, new        int64 // how much is cached before
		differs         bool
	}{
		{why: "nothing is cached", root: dir + "/new", file: dir + "/new/big", differs: true},
		{why: "one is", root: dir + "/new", file: dir + "/new/big", new: size, differs: true},
		{why: "the other is", root: dir + "/new", file: dir + "/new/big", old: size, differs: true},
		{why: "both are", root: dir + "/new", file: dir + "/new/big", old: size, new: size, differs: true},
		{why: "some is", root: dir + "/new", file: dir + "/new/big", old: part, differs: true},
		{why: "overlay", root: merged, file: dir + "/upper/big"},
		{why: "overlay, cached", root: merged, file: dir + "/upper/big", new: size},
	} {
		oldFile := dir + "/old/big"
		oldBefore, newBefore := cache(t, oldFile, test.old), cache(t, test.file, test.new)
		got := changes(t, Open(tree(t, dir+"/old"), tree(t, test.root), ProofNone), diff.ContentAlways)
		if (len(got) > 0) != test.differs {
			t.Errorf("%s: %q", test.why, got)
		}
		for file, before := range map[string]int64{oldFile: oldBefore, test.file: newBefore} {
			if after := cached(t, file); after < before-slack || after > before+slack {
				t.Errorf("%s: %d bytes of %s were cached, now %d", test.why, before, file, after)
			}
		}
	}
}

// slack is what mincore may be wrong by: of a large folio of ext4 that is up to date
// in part, it says that nothing is there (seen on 6.18).
const slack = 512 << 10

// cache has the first bytes of a file in the page cache and nothing else of it,
// as far as can be told, and returns how much there is.
func cache(t *testing.T, file string, first int64) int64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := sys.Evict(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, f, first); err != nil {
		t.Fatal(err)
	}
	n := cached(t, file)
	if n < first-slack || n > first+slack {
		t.Fatalf("%d bytes of %s are cached instead of %d", n, file, first)
	}
	return n
}

func cached(t *testing.T, file string) int64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	n, err := sys.Resident(int(f.Fd()), info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return n
}
