package native_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

const (
	redirect = " xattr.trusted.overlay.redirect="
	metacopy = " xattr.trusted.overlay.metacopy="
	opaque   = " xattr.trusted.overlay.opaque="
	xwhite   = " xattr.trusted.overlay.whiteout=y"
)

// What is a mark and what is data is the mount's decision, not the layers'.
func TestMarks(t *testing.T) {
	run(t, []testcase{
		{
			"user marks on a trusted mount", "a container may set them: they hide nothing",
			layers{
				options: "redirect_dir=on,metacopy=on", lower: []string{"file d/f; file e/f; file f content=data; file g content=data; file h"},
				upper: "dir d xattr.user.overlay.opaque=y; dir e xattr.user.overlay.redirect=d; file f content=tada xattr.user.overlay.metacopy=; " +
					"file g content=data xattr.user.overlay.origin=x; file h xattr.user.overlay.whiteout=y; file n xattr.user.overlay.whiteout=",
			},
			"C /d xattrs; C /e xattrs; C /f content,xattrs; C /g xattrs; C /h xattrs; A /n",
		},
		{
			"trusted marks on a userxattr mount", "",
			layers{
				options: "userxattr", lower: []string{"file d/f; file e/f; file f content=data; file h"},
				upper: "dir d" + opaque + "y; dir e" + redirect + ".." + "; file f content=tada" + metacopy + "; file h" + xwhite,
			},
			"C /d xattrs; C /e xattrs; C /f content,xattrs; C /h xattrs",
		},
		{
			"user marks on a userxattr mount", "",
			layers{
				options: "userxattr", lower: []string{"file d/f; file e/f; file h; file i content=x"},
				upper: "dir d xattr.user.overlay.opaque=y; dir e xattr.user.overlay.opaque=x; file h xattr.user.overlay.whiteout=; whiteout i",
			},
			"D /d/f; D /h; D /i",
		},
		{
			"marks on the roots", "not read there, of whatever layer", layers{
				options: "redirect_dir=on", lower: []string{"dir ." + opaque + "y" + redirect + "d; file a", "dir ." + opaque + "y; file b; file d/f"},
				upper: "dir ." + opaque + "y" + redirect + "/d; file c",
			}, "A /c",
		},
		{
			"opaque=x", "it announces xattr whiteouts and hides nothing", layers{
				lower: []string{"dir d" + opaque + "x; file d/gone" + xwhite, "file d/f; file d/gone; file e/f"},
				upper: "dir d" + opaque + "x; dir e" + opaque + "x; file e/g",
			}, "A /e/g",
		},
		{
			"xattr whiteouts", "in every layer, announced or not; with content it is a file", layers{
				lower: []string{"file m" + xwhite + "; file d/m" + xwhite, "file m; file u; file full; file d/m; file d/u"},
				upper: "file u" + xwhite + "; file d/u" + xwhite + "; file full content=x" + xwhite + "; file none" + xwhite + "; file m",
			}, "D /d/u; C /full size,content; A /m; D /u",
		},
		{
			"xattr whiteout of another type", "only regular files are", layers{
				lower: []string{"file d/f; symlink l -> x; fifo p"}, upper: "dir d" + xwhite + "; symlink l -> x" + xwhite + "; fifo p" + xwhite,
			}, "",
		},
		{
			"whiteouts in the lowest layer", "", layers{
				lower: []string{"file a", "whiteout a; whiteout b; file d" + xwhite + "; file e/f; whiteout e/w"}, upper: "file b; file d/f; whiteout e/f; whiteout e/w",
			}, "A /b; A /d; A /d/f; D /e/f",
		},
		{
			"whiteouts and directories by turns", "a directory merges with nothing below a whiteout", layers{
				lower: []string{"file d/1", "whiteout d", "file d/3", "file d/4"}, upper: "file d/u; file d/3",
			}, "A /d/3; A /d/u",
		},
		{
			"file between directories", "(53)", layers{lower: []string{"file x", "file x/f; file y/f"}, upper: "file x/g; file y/g"}, "C /x type; A /x/g; A /y/g",
		},
		{
			"opaque by turns", "", layers{
				lower: []string{"file d/1", "dir d" + opaque + "y; file d/2", "file d/3"}, upper: "whiteout d/1; whiteout d/3; file d/u",
			}, "D /d/1; A /d/u",
		},
		{
			"escaped marks", "of an overlay inside: ordinary files and attributes", layers{
				lower: []string{"file w; file d/f; file o/f"},
				upper: "file w xattr.trusted.overlay.overlay.whiteout=y; dir d xattr.trusted.overlay.overlay.opaque=y; dir o xattr.trusted.overlay.overlay.overlay.opaque=y",
			}, "C /d xattrs; C /o xattrs; C /w xattrs",
		},
		{
			"escaped and own mark", "two attributes that show as one name are still told apart", layers{
				lower: []string{"file d/f xattr.trusted.overlay.overlay.k=v; file d/g xattr.trusted.overlay.overlay.k=v"},
				upper: "file d/f xattr.trusted.overlay.overlay.k=w xattr.trusted.overlay.k=v; file d/g xattr.trusted.overlay.k=w xattr.trusted.overlay.overlay.k=v",
			}, "C /d/f xattrs",
		},
		{
			"hints alone", "what a mere lookup leaves behind", layers{
				lower: []string{"file d/f content=x; dir e"},
				upper: "dir . xattr.trusted.overlay.uuid=0123456789abcdef xattr.trusted.overlay.impure=y; dir d xattr.trusted.overlay.origin= xattr.trusted.overlay.impure=y; " +
					"file d/f content=x xattr.trusted.overlay.origin= xattr.trusted.overlay.nlink=U+0 xattr.trusted.overlay.protattr=a; dir e xattr.trusted.overlay.protattr=i",
			}, "",
		},
		{
			"nofollow, a redirect below what is new", "with nothing below, it is not read", layers{
				options: "redirect_dir=nofollow", lower: []string{"file d/f"}, upper: "dir n/e" + redirect + "d; dir o" + opaque + "y; dir o/e" + redirect + "/d",
			}, "A /n; A /n/e; A /o; A /o/e",
		},
		{
			"nofollow, a redirect on an opaque directory", "", layers{
				options: "redirect_dir=nofollow", lower: []string{"file d/f"}, upper: "dir d" + opaque + "y" + redirect + "e",
			}, "D /d/f",
		},
		{
			"nofollow, a redirect in the lowest layer", "", layers{
				options: "redirect_dir=nofollow", lower: []string{"file d/f", "dir e" + redirect + "d; dir d" + redirect + "e"}, upper: "file d/g; file e/g",
			}, "A /d/g; A /e/g",
		},
	}, map[string]testenv.Need{
		"user marks on a userxattr mount": testenv.XattrWhiteouts,
		"xattr whiteouts":                 testenv.XattrWhiteouts,
		"whiteouts in the lowest layer":   testenv.XattrWhiteouts,
		"opaque=x":                        testenv.XattrWhiteouts,
		"escaped marks":                   testenv.XattrEscapes,
		"escaped and own mark":            testenv.XattrEscapes,
	})
}

// An overlay whose lower layer is an overlay.
func TestNested(t *testing.T) {
	testenv.Needs(t, testenv.Ext4, testenv.XattrEscapes, testenv.XattrWhiteouts)
	dir := testenv.Scratch(t, testenv.Ext4)
	inner := layers{
		options: "redirect_dir=on,index=off", lower: []string{"file a/f content=x; file b content=x; file c/d/f", "file low/f"},
	}.make(t, filepath.Join(dir, "inner"))
	lower := inner.mount(t).new
	testenv.Do(t, lower,
		"rename a a2", "write b y", "unlink c/d/f", "mkdir w", "create w/x", "create w/gone", "create w/stays",
		// A layer of an overlay that is to be mounted inside this one.
		"setxattr w/gone trusted.overlay.whiteout=y", "setxattr w trusted.overlay.opaque=x", "setxattr c user.overlay.opaque=y")

	// The inner overlay, alone and with a layer below it.
	for name, below := range map[string][]string{"alone": nil, "over another": {"file w/gone; file w/low; file c/d/g"}} {
		t.Run(name, func(t *testing.T) {
			o := layers{lower: below}.make(t, t.TempDir())
			o.stack.Lower = append([]string{lower}, o.stack.Lower...)
			v := o.mount(t)
			testenv.Do(t, v.new, "rename b b2", "write a2/f z", "unlink low/f", "create w/new x", "chmod c 700", "open w/stays")
			want := []string{"C /a2/f size,content,mtime", "D /b", "A /b2", "C /c mode", "D /low/f", "A /w/new"}
			o.checkMounted(t, v, want...)
			if _, err := os.Lstat(filepath.Join(v.new, "w/gone")); !os.IsNotExist(err) {
				t.Errorf("the nested whiteout is none: %v", err)
			}
		})
	}
}

// A stack made through mounts in which attributes are set as a container can.
func TestMarks_SetThroughTheMount(t *testing.T) {
	for _, options := range []string{"", "userxattr", "redirect_dir=on,metacopy=on"} {
		t.Run(options, func(t *testing.T) {
			testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
				testenv.Needs(t, fs, testenv.XattrEscapes) // before, such attributes can't be set
				o := layers{options: options, lower: []string{"file d/f; file e/f; file f content=x; file g content=x; file h"}}.make(t, testenv.Scratch(t, fs))
				v := o.mount(t)
				testenv.Do(t, v.new,
					"setxattr d user.overlay.opaque=y", "setxattr d trusted.overlay.opaque=y", "setxattr e trusted.overlay.overlay.opaque=y",
					"setxattr f trusted.overlay.metacopy=", "setxattr f user.overlay.redirect=/g", "setxattr h user.overlay.whiteout=y",
					"setxattr h trusted.overlay.whiteout=y", "setxattr g trusted.overlay.origin=x", "removexattr g trusted.overlay.origin")
				o.checkMounted(t, v, "C /d xattrs", "C /e xattrs", "C /f xattrs", "C /h xattrs")
			})
		})
	}
}
