package native_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// blob is a line of a lower layer: a file whose content is in a data-only layer.
func blob(name, path string) string {
	return "file " + name + " size=4" + metacopy + redirect + path + "; "
}

func TestDataOnly(t *testing.T) {
	const on = "metacopy=on"
	run(t, []testcase{
		{
			"several layers", "the first that has the path wins", layers{
				on,
				[]string{blob("f", "/b/1") + blob("g", "/b/2")},
				[]string{"dir b", "file b/1 content=data", "file b/1 content=DATA; file b/2 content=data"},
				"file f content=data; file g content=DATA",
			}, "C /g content",
		},
		{
			"the same blob", "at another name, and over another file", layers{
				on,
				[]string{blob("f", "/b/1") + blob("g", "/b/1") + blob("h", "/b/1") + blob("i", "/b/2")},
				[]string{"file b/1 content=data; file b/2 content=tada"},
				"file f size=4 mode=600" + metacopy + "; whiteout g; file h size=4" + metacopy + redirect + "g; whiteout i",
			}, "C /f mode; D /g; D /i",
		},
		{
			"deep and odd", "", layers{
				on, []string{blob("f", `"/b b/\xff/c,d:e"`)}, []string{`file "b b/\xff/c,d:e" content=data`}, "file f content=tada",
			}, "C /f content",
		},
		{
			"upwards, within", "the regular layers are not asked", layers{
				on, []string{blob("f", "/b/../c/./1")}, []string{"file c/1 content=data; dir b"}, "file f content=tada",
			}, "C /f content",
		},
		{
			"marks of a data-only layer", "mean nothing", layers{
				on, []string{blob("f", "/b/1")}, []string{"dir b" + opaque + "y" + redirect + "..; file b/1 content=data" + redirect + "/x"}, "file f content=tada",
			}, "C /f content",
		},
		{
			"names of a data-only layer", "are not seen", layers{
				on, []string{"file f"}, []string{"file g; whiteout f"}, "file g",
			}, "A /g",
		},
		{
			"two regular layers", "the blob is asked for when those were", layers{
				on,
				[]string{blob("f", "/b/1") + blob("r", "/f"), "file f content=tada"},
				[]string{"file b/1 content=data"},
				"file f content=data; file r content=tada",
			}, "",
		},
		{
			"regular layer first", "what a lower layer has at the path goes before", layers{
				on, []string{blob("f", "/q"), "file q content=abcd"}, []string{"file q content=data"}, "file f content=abcd; whiteout q",
			}, "D /q",
		},
		{
			"a symlink on the way in a regular layer", "does not end the search for the blob", layers{
				on, []string{blob("f", "/l/1"), "file x"}, []string{"file l/1 content=data"}, "file f content=data",
			}, "",
		},
		{
			"metacopy=off, one lower layer", "since 6.16 the last hop needs no option", layers{
				"metacopy=off", []string{blob("f", "/b/1") + blob("g", "/b/1")}, []string{"file b/1 content=data"}, "file f content=tada",
			}, "C /f content",
		},
		{
			"userxattr, one lower layer", "", layers{
				"userxattr", []string{strings.ReplaceAll(blob("f", "/b/1")+blob("g", "/b/1"), "trusted.", "user.")}, []string{"file b/1 content=data"}, "file f content=tada",
			}, "C /f content",
		},
	}, nil)

	t.Run("not needed", func(t *testing.T) { // the reference would read it
		testenv.Needs(t, testenv.Tmpfs, testenv.DataLayers) // else the stack could not exist
		layers{
			on,
			[]string{blob("f", "/no") + blob("g", "/no") + blob("h", "/no") + blob("i", "/no")},
			[]string{"dir b"},
			"file f size=4 mode=600" + metacopy + "; whiteout g; file h size=5; dir i",
		}.make(t, testenv.Scratch(t, testenv.Tmpfs)).agrees(t, []string{"C /f mode", "D /g", "C /h size,content", "C /i type"})
	})
}

// A file whose blob can't be had is there, and fails when it is read.
func TestDataOnly_Missing(t *testing.T) {
	testenv.Needs(t, testenv.Tmpfs, testenv.DataLayers)
	outside := newCanary(t)
	for _, c := range []struct {
		name, path, tree string
		errno            syscall.Errno
	}{
		{"nothing", "/b/1", "dir b", syscall.ENOENT},
		{"symlink", "/b/1", "symlink b/1 -> x; file b/x content=data", syscall.ENOENT},
		{"symlink outside", "/b/1", "symlink b/1 -> " + outside.path + "/f", syscall.ENOENT},
		{"symlink on the way", "/l/1", "symlink l -> b; file b/1 content=data", syscall.ELOOP},
		{"symlink outside on the way", "/l/f", "symlink l -> " + outside.path, syscall.ELOOP},
		{"directory", "/b", "dir b", syscall.ENOENT},
		{"fifo", "/b", "fifo b", syscall.ENOENT},
		{"device", "/b", "char b 1:5", syscall.ENOENT},
		{"through a file", "/b/1", "file b", syscall.ENOTDIR},
		{"leading out", "/../lower1/real", "file b", syscall.EXDEV},
		{"leading out later", "/b/../../lower1/real", "dir b", syscall.EXDEV},
		{"upwards through a file", "/b/../c", "file b; file c content=data", syscall.ENOTDIR},
		{"upwards through nothing", "/no/../c", "file c content=data", syscall.ENOENT},
		{"upwards through a symlink", "/l/../c", "symlink l -> " + outside.path + "; file c content=data", syscall.ELOOP},
		{"name too long", "/" + long + "x", "file c content=data", syscall.ENAMETOOLONG},
		{"path too long", strings.Repeat("/b/..", 1000) + "/c", "dir b; file c content=data", syscall.ENAMETOOLONG},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := testenv.Scratch(t, testenv.Tmpfs)
			o := layers{
				options: "metacopy=on", lower: []string{blob("f", c.path) + "file real content=data"}, data: []string{c.tree}, upper: "file f content=data",
			}.make(t, dir)
			got, err := o.changes(t, 1)
			var me *native.MarkError
			if !errors.As(err, &me) || len(got) > 0 || me.Path != dir+"/lower1/f" || me.Xattr != "trusted.overlay.redirect" || !errors.Is(err, c.errno) {
				t.Errorf("error %v, changes %q; want a MarkError: %v", err, got, c.errno)
			}
			outside.untouched(t)

			v := o.mount(t)
			if _, err := os.Lstat(filepath.Join(v.old, "f")); err != nil {
				t.Errorf("the expectation is wrong on this kernel: %v", err)
			}
			if _, err := os.ReadFile(filepath.Join(v.old, "f")); !errors.Is(err, c.errno) {
				t.Errorf("the expectation is wrong on this kernel: %v, want %v", err, c.errno)
			}
			outside.untouched(t)
			// Only who needs the content fails.
			testenv.Do(t, o.stack.Upper, "write f x", "utimes f 5")
			o.agrees(t, []string{"C /f size,content,mtime"})
		})
	}
}
