package native_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// With the index on, the origin of a metacopy file is checked, unless it is the handle of
// an inode that is gone.
func TestIndex_Origin(t *testing.T) {
	for name, test := range map[string]struct {
		origin string
		errno  syscall.Errno
	}{
		"none":            {"", 0},
		"malformed":       {"garbage", 0},
		"of another file": {"other", syscall.ESTALE},
		"of a lost file":  {"lost", 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := layers{
				options: "metacopy=on,index=on", lower: []string{"file e content=data; file other content=data"}, upper: "file e size=4 mode=600" + metacopy,
			}.make(t, testenv.Scratch(t, testenv.Ext4))
			origin := []byte(test.origin)
			if test.origin == "other" || test.origin == "lost" {
				v := o.mount(t)
				testenv.Do(t, v.new, "chmod other 600", "chmod other 644")
				testenv.Unmount(t, v.new)
				var err error
				if origin, err = xattr.Get(filepath.Join(o.stack.Upper, "other"), "trusted.overlay.origin"); err != nil {
					t.Fatal(err)
				}
				if test.origin == "lost" {
					for _, layer := range []string{o.stack.Lower[0], o.stack.Upper} {
						if err := os.Remove(filepath.Join(layer, "other")); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if test.origin != "" {
				if err := xattr.Set(filepath.Join(o.stack.Upper, "e"), "trusted.overlay.origin", origin); err != nil {
					t.Fatal(err)
				}
			}
			v := o.mount(t)
			_, kerr := os.Lstat(filepath.Join(v.new, "e"))
			got, err := o.changes(t, 1)
			if test.errno == 0 {
				if kerr != nil || err != nil || len(got) != 1 || got[0] != "C /e mode" {
					t.Errorf("mount: %v; engine: %q, %v", kerr, got, err)
				}
				return
			}
			var me *native.MarkError
			if !errors.Is(kerr, test.errno) || !errors.As(err, &me) || !errors.Is(err, test.errno) || me.Xattr != "trusted.overlay.origin" {
				t.Errorf("mount: %v; engine: %q, %v", kerr, got, err)
			}
		})
	}
}

// What is in an index that nobody but the kernel should have written to.
func TestIndex_Hostile(t *testing.T) {
	c := newCanary(t)
	o := layers{
		options: "index=on", lower: []string{"file a content=x; link b a; link d/c a; file x content=1; link y x; symlink l -> " + c.path + "; link m l"},
	}.make(t, testenv.Scratch(t, testenv.Ext4))
	v := o.mount(t)
	testenv.Do(t, v.new, "write a y", "utimes l 5")
	want := []string{"C /a size,content,mtime", "C /b size,content,mtime", "C /d/c size,content,mtime", "C /l mtime", "C /m mtime"}
	o.checkMounted(t, v, want...)
	testenv.Unmount(t, v.new)
	index := filepath.Join(o.stack.Work, "index")
	hex := strings.Repeat("00", 30)
	testenv.Tree(t, index,
		"file garbage", "file ffff", "symlink 00fb -> "+c.path, "dir d", "file #1", "fifo 00fb1d0001"+hex[:50], "file "+hex,
		"file 00fb1e0001"+hex[:50]+" xattr.trusted.overlay.nlink=U+999999999", "whiteout 00fb1f0001"+hex[:52], `file "00fb1d\xff"`)
	o.agrees(t, want)
	c.untouched(t)
	// It is not followed out of the work directory.
	if err := os.Rename(index, index+".old"); err != nil {
		t.Fatal(err)
	}
	testenv.Tree(t, o.stack.Work, "symlink index -> "+c.path)
	if _, err := o.changes(t, 1); err == nil || !strings.Contains(err.Error(), index) {
		t.Errorf("a link for the index: %v", err)
	}
	c.untouched(t)
	// No index is an answer, no work directory is a mistake.
	if err := os.Remove(index); err != nil {
		t.Fatal(err)
	}
	if _, err := o.changes(t, 1); err != nil {
		t.Error(err)
	}
	o.stack.Work += "/none"
	if _, err := o.changes(t, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no work directory: %v", err)
	}
}
