package difftest

import "github.com/overlaydiff/overlaydiff/testenv"

var indexCases = []testcase{
	{
		name: "features: index", why: "switched on, used by no link (9)", options: "index=on",
		lower: []string{"file d/f content=x"}, ops: "mkdir new; create new/f x; write d/f y", want: "C /d/f size,content,mtime; A /new; A /new/f",
	},
	{
		name: "index: written through one name", why: "the other name, which the upper directory lacks, shows it too (42)", options: "index=on", mayRefuse: true,
		lower: []string{"file A content=x; link d/B A; file C"}, ops: "write A y", want: "C /A size,content,mtime; C /d/B size,content,mtime",
	},
	{
		name: "index: more names than the upper layer's link count", why: "in a layer they are links of one file", options: "index=on", mayRefuse: true,
		lower: []string{"file a; dir Z; link Z/b a; link Z/a a; dir Z/Z; link Z/x a; link Z/Z/c a"}, ops: "chmod Z/Z/c 4711",
		want: "C /Z/Z/c mode; C /Z/a mode; C /Z/b mode; C /Z/x mode; C /a mode",
	},
	{
		name: "index: written and unlinked", why: "the change is in the work directory only (43)", options: "index=on", mayRefuse: true,
		lower: []string{"file A content=x; link B A"}, ops: "write A y; unlink A", want: "D /A; C /B size,content,mtime",
	},
	{
		name: "index: linked devices", why: "an index entry that is a char device, but not 0:0, is no whiteout (42, 46)", options: "index=on", mayRefuse: true,
		lower: []string{"char A 1:3; link B A"}, ops: "chmod A 600", want: "C /A mode; C /B mode",
	},
	{
		name: "index: linked fifos and symlinks", why: "every kind but directories can be indexed", options: "index=on", mayRefuse: true,
		lower: []string{"fifo A; link B A; symlink l -> x; link m l"}, ops: "chmod A 600; utimes l 5", want: "C /A mode; C /B mode; C /l mtime; C /m mtime",
	},
	{
		name: "index: unlinked", why: "an index copy exists, and is equal (44)", options: "index=on", mayRefuse: true,
		lower: []string{"file A content=x; link B A"}, ops: "unlink A", want: "D /A",
	},
	{
		name: "index: new name", why: "a third name, and a rename: nothing else changes", options: "index=on", mayRefuse: true,
		lower: []string{"file A content=x; link B A; file f"}, ops: "link B C; link f g; rename f h", want: "A /C; D /f; A /g; A /h",
	},
	{
		name: "index: replaced", why: "the old inode is another one", options: "index=on", mayRefuse: true,
		lower: []string{"file A content=x; link B A"}, ops: "chmod A 600; chmod A 644; create t new; rename t A", want: "C /A size,content,mtime",
	},
}

var nfsExportCases = []testcase{
	{
		name: "nfs_export: no hard links", why: "every inode has a second name in the index (45, 46)", options: "nfs_export=on", mayRefuse: true,
		lower: []string{"file f content=x; file g; file d/h; file i"}, ops: "write f y; chmod g 600; rmtree d; unlink i", want: "D /d; C /f size,content,mtime; C /g mode; D /i",
	},
}

var userxattrCases = []testcase{
	{
		name: "userxattr: recreated directory", why: "opaque is a user attribute here (23)", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks},
		lower: []string{"file d/old; file d/sub/x"}, ops: "rmtree d; mkdir d; create d/n x", want: "A /d/n; D /d/old; D /d/sub",
	},
	{
		name: "userxattr: opaque by hand", why: "only y is opaque, also here", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks},
		lower: []string{"file d/f; file e/f"}, upper: "dir d xattr.user.overlay.opaque=y; dir e xattr.user.overlay.opaque=x", want: "D /d/f",
	},
	{
		name: "userxattr: trusted markers are data", why: "only one kind of marker counts in a mount", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks},
		lower: []string{"file d/f; file g"}, upper: "dir d xattr.trusted.overlay.opaque=y; file g xattr.trusted.overlay.whiteout=y",
		want: "C /d xattrs; C /g xattrs",
	},
	{
		name: "userxattr: changes", why: "copied up without an origin where user attributes can't be", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks},
		lower: []string{"file f content=x; file g; dir d; symlink l -> f; file h"},
		ops:   "open f; chmod g 600; unlink h; setxattr d user.k=v; chown l 1:1; mknod p fifo", want: "C /d xattrs; C /g mode; D /h; C /l uid,gid; A /p",
	},
	{
		name: "userxattr: linked symlink", why: "no origin on symlinks: the number of a cached inode is not that of its other name", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks},
		lower: []string{"symlink l -> xyz; dir d"}, ops: "link l d/m; utimes l 5", want: "A /d/m; C /l mtime",
	},
	{
		name: "userxattr: xattr whiteout", why: "by its user attribute", options: "userxattr", needs: []testenv.Need{testenv.UserXattrMarks, testenv.XattrWhiteouts},
		lower: []string{"file f content=x"}, upper: "file f xattr.user.overlay.whiteout=", want: "D /f", ghosts: true,
	},
	{
		name: "trusted: user markers are data", why: "a container may write them, and they mark nothing (24)", needs: []testenv.Need{testenv.UserXattrs},
		lower: []string{"file d/f; file g; file h content=x"}, upper: "file g xattr.user.overlay.whiteout=y",
		ops: "setxattr d user.overlay.opaque=y; setxattr h user.overlay.metacopy=", want: "C /d xattrs; C /g xattrs; C /h xattrs",
	},
}

var nestedCases = []testcase{
	{
		name: "escaped xattr whiteout", why: "an empty file with a nested overlay's attribute (49)", needs: []testenv.Need{testenv.XattrEscapes},
		lower: []string{"file f"}, upper: "file f xattr.trusted.overlay.overlay.whiteout=y; file g xattr.trusted.overlay.overlay.whiteout=y",
		want: "C /f xattrs; A /g",
	},
	{
		name: "trusted: marker set by the container", why: "it is stored escaped and seen as it was set", needs: []testenv.Need{testenv.XattrEscapes},
		lower: []string{"file d/f; file e/g xattr.trusted.overlay.overlay.redirect=x"},
		ops:   "setxattr d trusted.overlay.opaque=y; removexattr e/g trusted.overlay.redirect", want: "C /d xattrs; C /e/g xattrs",
	},
	{
		name: "escaped opaque", why: "a directory with a nested overlay's marker merges as any other", needs: []testenv.Need{testenv.XattrEscapes},
		lower: []string{"file d/f"}, upper: "dir d xattr.trusted.overlay.overlay.opaque=y; file d/g", want: "C /d xattrs; A /d/g",
	},
	{
		name: "escaped twice", why: "each level of nesting adds one escape, and only one is undone", needs: []testenv.Need{testenv.XattrEscapes},
		lower: []string{"file f; dir d xattr.trusted.overlay.overlay.overlay.opaque=y"}, upper: "file f xattr.trusted.overlay.overlay.overlay.metacopy=",
		ops: "removexattr d trusted.overlay.overlay.opaque", want: "C /d xattrs; C /f xattrs",
	},
}

var plainOptionCases = []testcase{
	{
		name: "features: xino and volatile", why: "no trace in the layers", options: "xino=on,volatile",
		lower: []string{"file d/f content=x; file g"}, ops: "mkdir new; write d/f y; unlink g", want: "C /d/f size,content,mtime; D /g; A /new",
	},
}
