package native_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// What kernels do in two ways. In each test the first part holds on all of them:
// the engine sees what the mount shows. Then comes the newer way, where the
// kernel has it, and what was before, where not: what the matrix knows of a
// series (testenv/vm/matrix/expect.go) says which of them that is.

// twoWays runs the part of a test that is for this kernel.
func twoWays(t *testing.T, fs testenv.FS, need testenv.Need, newer, older func(t *testing.T)) {
	t.Helper()
	t.Run("newer", func(t *testing.T) {
		testenv.Needs(t, fs, need)
		newer(t)
	})
	if !testenv.Has(t, fs, need) {
		t.Run("older", older)
	}
}

// marked reports whether a file of a layer has the mark.
func marked(path, mark string) bool {
	_, err := xattr.LGet(path, "trusted.overlay."+mark)
	return err == nil
}

// Before 5.15 the kernel marked every new directory in one of the lower layers'
// as opaque; later only where something is below to hide, or the layers may be
// changed while they are not mounted.
func TestKernels_OpaqueNewDirectories(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{lower: []string{"file d/old; file gone/old"}}.make(t, testenv.Scratch(t, fs))
		v := o.mount(t)
		testenv.Do(t, v.new, "mkdir d/new", "create d/new/f x", "mkdir d/new/in", "rmtree gone", "mkdir gone", "create gone/new x")
		o.checkMounted(t, v, "A /d/new", "A /d/new/f", "A /d/new/in", "A /gone/new", "D /gone/old")
		upper := o.stack.Upper
		if !marked(upper+"/gone", "opaque") || marked(upper+"/d", "opaque") || marked(upper+"/d/new/in", "opaque") {
			t.Error("what hides something is not marked, or what hides nothing is")
		}
		wantDirs := int64(1)
		if marked(upper+"/d/new", "opaque") {
			wantDirs = 2
		}
		if u := usage(t, upper, diff.Features{}); u.OpaqueDirs != wantDirs {
			t.Errorf("usage: %d opaque directories, want %d", u.OpaqueDirs, wantDirs)
		}
		twoWays(t, fs, testenv.UnmarkedDirs,
			func(t *testing.T) {
				if wantDirs != 1 {
					t.Error("a new directory is marked opaque")
				}
			},
			func(t *testing.T) {
				if wantDirs != 2 {
					t.Error("a new directory is not marked opaque")
				}
			})
	})
}

// Before 6.7 an empty file with the whiteout attribute is a file.
func TestKernels_XattrWhiteouts(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{
			lower: []string{"dir d" + opaque + "x; file d/low" + xwhite, "file d/low; file d/up; file e/f; file top"},
			upper: "dir d" + opaque + "x; file d/up" + xwhite + "; file top" + xwhite + "; file own" + xwhite,
		}.make(t, testenv.Scratch(t, fs))
		o.checkShown(t)
		twoWays(t, fs, testenv.XattrWhiteouts,
			func(t *testing.T) { o.agrees(t, []string{"D /d/up", "D /top"}) },
			func(t *testing.T) { o.agrees(t, []string{"A /own"}) })
		want := int64(0)
		if testenv.Has(t, fs, testenv.XattrWhiteouts) {
			want = 3
		}
		if u := usage(t, o.stack.Upper, diff.Features{}); u.Whiteouts != want {
			t.Errorf("usage: %d whiteouts, want %d", u.Whiteouts, want)
		}
	})
}

// Before 6.7 attributes with the overlay's prefix are hidden, escaped or not.
func TestKernels_EscapedMarks(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{
			lower: []string{"file d/f; file w"},
			upper: "dir d xattr.trusted.overlay.overlay.opaque=y; file w xattr.trusted.overlay.overlay.whiteout=y; file n xattr.trusted.overlay.overlay.k=v",
		}.make(t, testenv.Scratch(t, fs))
		o.checkShown(t)
		twoWays(t, fs, testenv.XattrEscapes,
			func(t *testing.T) { o.agrees(t, []string{"C /d xattrs", "A /n", "C /w xattrs"}) },
			func(t *testing.T) { o.agrees(t, []string{"A /n"}) })
	})
}

// Since 6.16 a redirect that the mount does not follow is an error, even if
// nothing is where it leads, or below the directory that has it.
func TestKernels_NotFollowed(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{
			options: "redirect_dir=nofollow", lower: []string{"file d/f"}, upper: "dir e" + redirect + "nothing; file e/g",
		}.make(t, testenv.Scratch(t, fs))
		o.checkShown(t)
		twoWays(t, fs, testenv.StrictMarks,
			func(t *testing.T) {
				if got, err := o.changes(t, 1); !errors.Is(err, syscall.EPERM) {
					t.Errorf("changes %q, error %v, want EPERM", got, err)
				}
			},
			func(t *testing.T) { o.agrees(t, []string{"A /e", "A /e/g"}) })

		// One that leads somewhere was always an error, and so was one of a lower
		// layer, wherever it leads.
		for _, l := range []layers{
			{lower: []string{"file d/f"}, upper: "dir e" + redirect + "d"},
			{lower: []string{"dir e" + redirect + "nothing", "file d/f"}, upper: "dir e"},
		} {
			l.options = "redirect_dir=nofollow"
			o := l.make(t, testenv.Scratch(t, fs))
			o.checkShown(t)
			if got, err := o.changes(t, 1); !errors.Is(err, syscall.EPERM) {
				t.Errorf("%q: changes %q, error %v, want EPERM", l.lower, got, err)
			}
		}
	})
}

// Before 5.15 a file whose origin is of another type is an error.
func TestKernels_OriginOfAnotherType(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{lower: []string{"dir d; dir e"}, upper: "file e/f; symlink s -> x"}.make(t, testenv.Scratch(t, fs))
		merged := testenv.Mount(t, testenv.Overlay{Lower: o.stack.Lower, Upper: o.stack.Upper, Work: o.stack.Work})
		for _, name := range []string{"e/f", "s"} {
			if err := testenv.Mistype(filepath.Join(merged, "d"), filepath.Join(o.stack.Upper, "d"), filepath.Join(o.stack.Upper, name)); err != nil {
				t.Fatal(err)
			}
		}
		testenv.Unmount(t, merged)
		o.checkShown(t)
		twoWays(t, fs, testenv.LooseOrigins,
			func(t *testing.T) { o.agrees(t, []string{"C /d mode", "A /e/f", "A /s"}) },
			func(t *testing.T) {
				if got, err := o.changes(t, 1); !errors.Is(err, syscall.EIO) {
					t.Errorf("changes %q, error %v, want EIO", got, err)
				}
			})
	})
}

// Since 6.6 the metacopy attribute is empty or has a header of four bytes; what
// is shorter was taken for empty before.
func TestKernels_MetacopyHeaders(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for _, value := range []string{`"\x00"`, `"\x00\x04"`, "xyz"} {
			o := layers{
				options: "metacopy=on", lower: []string{"file e content=data"}, upper: "file e size=4 mode=600" + metacopy + value,
			}.make(t, testenv.Scratch(t, fs))
			o.checkShown(t)
			twoWays(t, fs, testenv.MetacopyHeaders,
				func(t *testing.T) {
					if got, err := o.changes(t, 1); !errors.Is(err, syscall.EIO) {
						t.Errorf("changes %q, error %v, want EIO", got, err)
					}
				},
				func(t *testing.T) { o.agrees(t, []string{"C /e mode"}) })
		}
	})
}

// Before 5.11 there is no userxattr, and marks of its kind are data.
func TestKernels_UserXattr(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.UserXattrs)
		dir := testenv.Scratch(t, fs)
		tree := layers{lower: []string{"file d/f; file g"}, upper: "dir d xattr.user.overlay.opaque=y; whiteout g"}
		tree.make(t, filepath.Join(dir, "trusted")).check(t, "C /d xattrs", "D /g")
		tree.options = "userxattr"
		o := tree.make(t, filepath.Join(dir, "user"))
		twoWays(t, fs, testenv.UserXattrMarks,
			func(t *testing.T) { o.check(t, "D /d/f", "D /g") },
			func(t *testing.T) { // layers of another machine, say: they can still be read
				o.agrees(t, []string{"D /d/f", "D /g"})
				if err := syscall.Mount("overlay", o.stack.Work, "overlay", 0, "lowerdir="+o.stack.Lower[0]+":"+o.stack.Upper+",userxattr"); err != syscall.EINVAL {
					t.Errorf("mount: %v, want EINVAL", err)
					_ = syscall.Unmount(o.stack.Work, syscall.MNT_DETACH)
				}
			})
	})
}

// Before 6.16 data-only layers take metacopy=on.
func TestKernels_PlainDataLayers(t *testing.T) {
	o := layers{lower: []string{blob("f", "/b/1")}, data: []string{"file b/1 content=data"}, upper: "file f content=data"}
	testenv.Needs(t, testenv.Tmpfs, testenv.DataLayers)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	o.options = "metacopy=on"
	o.make(t, filepath.Join(dir, "on")).check(t)
	o.options = "metacopy=off"
	s := o.make(t, filepath.Join(dir, "off"))
	twoWays(t, testenv.Tmpfs, testenv.PlainDataLayers,
		func(t *testing.T) { s.check(t) },
		func(t *testing.T) {
			point := t.TempDir()
			err := syscall.Mount("overlay", point, "overlay", 0, "lowerdir="+s.stack.Lower[0]+"::"+s.stack.Data[0]+",metacopy=off")
			if !errors.Is(err, os.ErrInvalid) && err != syscall.EINVAL {
				t.Errorf("mount: %v, want EINVAL", err)
				_ = syscall.Unmount(point, syscall.MNT_DETACH)
			}
		})
}
