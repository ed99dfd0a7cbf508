package difftest

import (
	"fmt"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// Numbers in brackets are those of the trap scenarios in the description of
// overlayfs's on-disk format that this project keeps.

var whiteoutCases = []testcase{
	{
		name: "unlink", why: "the simple case (1)",
		lower: []string{"file f; file g; file d/h"}, ops: "unlink f; unlink d/h", want: "D /d/h; D /f",
	},
	{
		name: "unlink many", why: "whiteouts share an inode and are no hard links (16)",
		lower: []string{"file a; file b; file c; dir d; symlink e -> a"},
		ops:   "unlink a; unlink b; unlink c; rmtree d; unlink e; create n xyz", want: "D /a; D /b; D /c; D /d; D /e; A /n",
	},
	{
		name: "rmtree", why: "one delete, at the root of the tree",
		lower: []string{"file d/a/b/c; file d/e"}, ops: "rmtree d", want: "D /d",
	},
	{
		name: "whiteout by hand", why: "mode, owner and xattrs of a whiteout say nothing (17)",
		lower: []string{"file f; file g"}, upper: "whiteout f mode=644 uid=7 xattr.trusted.k=v; whiteout g", want: "D /f; D /g",
	},
	{
		name: "whiteout without lower", why: "it hides nothing (10)",
		lower: []string{"dir d"}, upper: "whiteout gone; whiteout d/gone; dir new; file new/f", want: "A /new; A /new/f",
	},
	{
		name: "whiteout in a new directory", why: "readdir lists it, nothing is there",
		lower: []string{"dir d"}, upper: "whiteout new/gone; file new/f", want: "A /new; A /new/f", ghosts: true,
	},
	{
		name: "whiteout in an opaque directory", why: "deleted once, not twice (11)",
		lower: []string{"file d/f; file d/g"}, upper: "dir d xattr.trusted.overlay.opaque=y; whiteout d/f",
		want: "D /d/f; D /d/g", ghosts: true,
	},
	{
		name: "not whiteouts", why: "a block device 0:0 and a char device 0:1 are devices (18)",
		lower: []string{"file b; file c; block d 0:0"}, upper: "block b 0:0; char c 0:1; char n 1:3; block d 0:1",
		want: "C /b type; C /c type; C /d device; A /n",
	},
	{
		name: "xattr whiteout in upper", why: "lookup honours it without any marker (48)", needs: []testenv.Need{testenv.XattrWhiteouts},
		lower: []string{"file f content=x; file g"}, upper: "file f xattr.trusted.overlay.whiteout=y; file n xattr.trusted.overlay.whiteout=",
		want: "D /f", ghosts: true,
	},
	{
		name: "xattr whiteout that is none", why: "only an empty file is one", needs: []testenv.Need{testenv.XattrWhiteouts},
		lower: []string{"file f content=x"}, upper: "file f content=y xattr.trusted.overlay.whiteout=y", want: "C /f content",
	},
	{
		name: "xattr whiteouts in lower", why: "part of the lower view", needs: []testenv.Need{testenv.XattrWhiteouts},
		lower: []string{"dir d xattr.trusted.overlay.opaque=x; file d/f xattr.trusted.overlay.whiteout=", "file d/f content=x; file d/g"},
		ops:   "create d/f y; write d/g z", want: "A /d/f; C /d/g size,content,mtime",
	},
}

var opaqueCases = []testcase{
	{
		name: "recreated directory", why: "opaque: what was there is deleted (7)",
		lower: []string{"file d/old; file d/sub/x; file d/both content=1"},
		ops:   "rmtree d; mkdir d; create d/n x; create d/both 2; utimes d/both 1000000000", want: "C /d/both content; A /d/n; D /d/old; D /d/sub",
	},
	{
		name: "recreated equal", why: "an opaque directory may hold just what was there",
		lower: []string{"file d/f content=x; symlink d/l -> f mtime=7"},
		ops:   "rmtree d; mkdir d; create d/f x; utimes d/f 1000000000; symlink d/l f; utimes d/l 7",
	},
	{
		name: "new directory", why: "no marker with plain options, and none is needed (8)",
		lower: []string{"dir d"}, ops: "mkdir new; create new/f x; mkdir d/e 700", want: "A /d/e; A /new; A /new/f",
	},
	{
		name: "new opaque directory", why: "opaque without lower deletes nothing (9)",
		lower: []string{"file f"}, upper: "dir new xattr.trusted.overlay.opaque=y; file new/f", want: "A /new; A /new/f",
	},
	{
		name: "below an opaque directory", why: "directories below it don't merge either",
		lower: []string{"file d/e/f; file d/e/g"}, upper: "dir d xattr.trusted.overlay.opaque=y; file d/e/f", want: "D /d/e/g",
	},
	{
		name: "opaque over a file", why: "there is nothing to hide",
		lower: []string{"file d; symlink l -> d"}, upper: "dir d xattr.trusted.overlay.opaque=y; file d/f; dir l", want: "C /d type; A /d/f; C /l type",
	},
	{
		name: "opaque on roots", why: "never read there (51)",
		lower: []string{"dir . xattr.trusted.overlay.opaque=y; file a", "file a content=x; file b"},
		upper: "dir . xattr.trusted.overlay.opaque=y; file n", ops: "write b x", want: "C /b size,content,mtime; A /n",
	},
	{
		name: "opaque x", why: "x marks xattr whiteouts, it hides nothing (50)",
		lower: []string{"file d/f"}, upper: "dir d xattr.trusted.overlay.opaque=x",
	},
	{
		name: "opaque of other values", why: "only exactly y counts (52)",
		lower: []string{"file a/f; file b/f; file c/f; file d/f; file e/f"},
		upper: `dir a xattr.trusted.overlay.opaque=Y; dir b xattr.trusted.overlay.opaque=yes; dir c xattr.trusted.overlay.opaque="y\x00"; ` +
			`dir d xattr.trusted.overlay.opaque=; dir e xattr.trusted.overlay.opaque=n`,
	},
	{
		name: "opaque on a file", why: "ignored there",
		lower: []string{"file f content=x"}, upper: "file f content=x xattr.trusted.overlay.opaque=y",
	},
}

var typeCases = []testcase{
	{
		name: "type changes", why: "one modify each (12)",
		lower: []string{"file f1; file d1/x; file f2; symlink l -> f1; fifo p; file s; char c 1:3"},
		ops: "todir f1; create f1/n x; tofile d1 y; unlink f2; symlink f2 f1; unlink l; mkdir l; tofile p z; unlink s; mknod s socket; " +
			"unlink c; mknod c block:1:3",
		want: "C /c type; C /d1 type; C /f1 type; A /f1/n; C /f2 type; C /l type; C /p type; C /s type",
	},
	{
		name: "symlink to a directory becomes a directory", why: "the lower link must not be followed (13)",
		lower: []string{"file target/f; file target/g; symlink d -> target"}, ops: "todir d; create d/f x", want: "C /d type; A /d/f",
	},
	{
		name: "directory becomes a symlink to what it was", why: "the link must not be followed",
		lower: []string{"file d/f; file e/f"}, ops: "rmtree d; symlink d e", want: "C /d type",
	},
}

var stackCases = []testcase{
	{
		name: "added over a whiteout in the middle", why: "the lower view has nothing there",
		lower: []string{"whiteout d; whiteout f", "file d/x; file f"}, ops: "mkdir d; create d/n x; create f y", want: "A /d; A /d/n; A /f",
	},
	{
		name: "whiteout below a directory in the middle", why: "the middle whiteout stops the merge (68)",
		lower: []string{"file d/new", "whiteout d", "file d/old"}, upper: "file d/n", want: "A /d/n",
	},
	{
		name: "unmarked directories merge", why: "whatever was intended (68)",
		lower: []string{"file d/new", "dir d", "file d/old"}, ops: "unlink d/old; unlink d/new", want: "D /d/new; D /d/old",
	},
	{
		name: "whiteout in the lowest layer", why: "the lower view lacks it",
		lower: []string{"dir d", "whiteout w; whiteout v; whiteout d/w"}, upper: "file w; whiteout v", want: "A /w",
	},
	{
		name: "opaque in the middle", why: "what is below it is not in the old view either",
		lower: []string{"dir d xattr.trusted.overlay.opaque=y; file d/a", "file d/b; file d/a content=old"},
		ops:   "write d/a x; create d/b y", want: "C /d/a size,content,mtime; A /d/b",
	},
	{
		name: "file between directories", why: "the lowest directory does not merge (53)",
		lower: []string{"file x", "file x/f"}, upper: "file x/n", want: "C /x type; A /x/n",
	},
	{
		name: "file between directories, lower only", why: "the lowest directory does not merge with the topmost",
		lower: []string{"file x/a", "file x", "file x/b; file x/a content=old"}, ops: "write x/a z; create x/b z", want: "C /x/a size,content,mtime; A /x/b",
	},
	{
		name: "symlink between directories", why: "it ends the merge as any file does",
		lower: []string{"file x/a", "symlink x -> y", "file x/b; file y/c"}, ops: "unlink x/a", want: "D /x/a",
	},
	{
		name: "file shadows file", why: "the topmost counts",
		lower: []string{"file f content=1", "file f content=22", "file f content=333"}, upper: "file f content=22", want: "C /f size,content",
	},
	{
		name: "directory metadata of the topmost", why: "a merged directory has the attributes of its top layer",
		lower: []string{"dir d mode=711", "file d/f"}, upper: "dir d mode=755", want: "C /d mode",
	},
	deepCase(100),
}

// deepCase has a stack of n layers; each adds a file and hides the one before.
func deepCase(n int) testcase {
	c := testcase{
		name: fmt.Sprintf("%d layers", n), why: "more than images have",
		ops:  fmt.Sprintf("write d/f%d x; unlink all/f1; create d/f1 x", n),
		want: fmt.Sprintf("D /all/f1; A /d/f1; C /d/f%d size,content,mtime", n),
	}
	for i := n; i > 0; i-- {
		layer := []string{fmt.Sprintf("file d/f%d", i), fmt.Sprintf("file all/f%d", i)}
		if i > 1 {
			layer = append(layer, fmt.Sprintf("whiteout d/f%d", i-1))
		}
		c.lower = append(c.lower, strings.Join(layer, "; "))
	}
	return c
}

var nameCases = []testcase{
	{
		name: "path order", why: "the separator sorts before every other byte",
		lower: []string{`file a/b; file a-b; file "a b"; file "a\x01"; file a.b; file a/b-c; file a/b.d`},
		upper: "file a/c",
		ops:   `unlink a/b; unlink a-b; unlink "a b"; unlink "a\x01"; unlink a.b; unlink a/b-c; unlink a/b.d`,
		want:  `D /a/b; D /a/b-c; D /a/b.d; A /a/c; D "/a\x01"; D /a b; D /a-b; D /a.b`,
	},
	{
		name: "path order across layers", why: "entries of all layers in one order",
		lower: []string{"dir a; file a/z", "file a-b", "file a/y; file a.b"}, upper: "file a/x; file a!; file a0; dir a-c; file a-c/d",
		ops:  "unlink a-b; unlink a.b; unlink a/z; write a/y w",
		want: "A /a/x; C /a/y size,content,mtime; D /a/z; A /a!; D /a-b; A /a-c; A /a-c/d; D /a.b; A /a0",
	},
	{
		name: "odd names", why: "names are bytes",
		lower: []string{`file "\xff"; file x,y; file x:y; file \ content=1; file "a\nb"; file #1; file é; file "\xc3"`},
		ops: `unlink "\xff"; write x,y z; chmod x:y 600; rewrite \; create "\xfe" x; unlink "a\nb"; mkdir "\"" ; create "\"/ " x; ` +
			`unlink é; rename "\xc3" "\xc3\x28"`,
		want: `A /"; A /"/ ; C /\ content; D "/a\nb"; C /x,y size,content,mtime; C /x:y mode; D "/\xc3"; A "/\xc3("; D /é; A "/\xfe"; D "/\xff"`,
	},
	{
		name: "odd layer paths", why: "with what separates layers and options (67)", odd: true,
		lower: []string{"file a; whiteout c", "file b; file c"}, ops: "unlink a; write b x", want: "D /a; C /b size,content,mtime",
	},
	{
		name: "reserved names of other formats", why: "to overlayfs .wh.f is a name (22)",
		lower: []string{"file d/f; file f"}, ops: "create .wh.f x; create d/.wh.f x; create d/.wh..wh..opq x; unlink f",
		want: "A /.wh.f; A /d/.wh..wh..opq; A /d/.wh.f; D /f",
	},
	{
		name: "long names", why: "255 bytes, the longest that there are",
		lower: []string{"file " + strings.Repeat("n", 255)}, ops: "write " + strings.Repeat("n", 255) + " x; create " + strings.Repeat("m", 255) + " x",
		want: "A /" + strings.Repeat("m", 255) + "; C /" + strings.Repeat("n", 255) + " size,content,mtime",
	},
	{
		name: "deep path", why: "deeper than a path may be long when layers' own paths come before it",
		lower: []string{"file " + strings.Repeat("d/", 120) + "f"}, ops: "unlink " + strings.Repeat("d/", 120) + "f",
		want: "D /" + strings.Repeat("d/", 120) + "f",
	},
}
