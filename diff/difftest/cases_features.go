package difftest

import "github.com/overlaydiff/overlaydiff/testenv"

const follow = "redirect_dir=on"

var redirectCases = []testcase{
	{
		name: "features: redirect_dir", why: "switched on, not used (9)", options: follow,
		lower: []string{"file d/f content=x"}, ops: "mkdir new; create new/f x; write d/f y", want: "C /d/f size,content,mtime; A /new; A /new/f",
	},
	{
		name: "redirect: renamed directory", why: "the whole tree is at the new name (26)", options: follow,
		lower: []string{"file d/f content=x; file d/sub/g; symlink d/l -> f"}, ops: "rename d e",
		want: "D /d; A /e; A /e/f; A /e/l; A /e/sub; A /e/sub/g",
	},
	{
		name: "redirect: there and back", why: "a redirect to itself (27)", options: follow,
		lower: []string{"file d/f content=x"}, ops: "rename d e; rename e d",
	},
	{
		name: "redirect: exchanged", why: "no whiteout exists (28)", options: follow,
		lower: []string{"file a/x; file a/both content=1; file b/y; file b/both content=2"}, ops: "exchange a b",
		want: "C /a/both content; D /a/x; A /a/y; C /b/both content; A /b/x; D /b/y",
	},
	{
		name: "redirect: renamed and deleted from", why: "the whiteout has no lower at its own path (29)", options: follow,
		lower: []string{"file d/f; file d/g"}, ops: "rename d e; unlink e/f", want: "D /d; A /e; A /e/g",
	},
	{
		name: "redirect: composed", why: "absolute redirects name the path in the lower layers (30)", options: follow,
		lower: []string{"file d/sub/x; file d/y"}, ops: "rename d/sub out; rename d e", want: "D /d; A /e; A /e/y; A /out; A /out/x",
	},
	{
		name: "redirect: over a deleted directory", why: "no opaque marker says that the old content is gone (31)", options: follow,
		lower: []string{"file a/x; file b/y"}, ops: "rmtree b; rename a b", want: "D /a; A /b/x; D /b/y",
	},
	{
		name: "redirect: below its own old name", why: "it breaks out of an opaque parent (32)", options: follow,
		lower: []string{"file a/f"}, ops: "rename a t; mkdir a; rename t a/sub", want: "D /a/f; A /a/sub; A /a/sub/f",
	},
	{
		name: "redirect: in a lower layer", why: "compare with the lower view, not with a path in a layer (33)",
		lower: []string{"whiteout d; dir e xattr.trusted.overlay.redirect=d", "file d/f; file d/g"}, ops: "write e/f x", want: "C /e/f size,content,mtime",
	},
	{
		name: "redirect: chained", why: "one delete, one add (34)", options: follow,
		lower: []string{"whiteout d; dir e xattr.trusted.overlay.redirect=d", "file d/f; file d/g"}, ops: "rename e h", want: "D /e; A /h; A /h/f; A /h/g",
	},
	{
		name: "redirect: through a symlink", why: "not followed: nothing there (54)", options: follow,
		lower: []string{"file d/sub/f; symlink l -> d"}, upper: "dir e xattr.trusted.overlay.redirect=/l/sub", want: "A /e",
	},
	{
		name: "redirect: hard links moved", why: "an inode counts once, also where it is shown at two new names", options: follow + ",index=off",
		lower: []string{"file d/a content=abc; link d/b d/a"}, ops: "rename d e", want: "D /d; A /e; A /e/a; A /e/b",
	},
	{
		name: "redirect: directory on, content changed", why: "the old name is taken by a new directory", options: follow,
		lower: []string{"file d/f content=x; file d/g"}, ops: "rename d e; write e/f y; mkdir d; create d/f x; utimes d/f 1000000000; chmod d 700",
		want: "C /d mode; D /d/g; A /e; A /e/f; A /e/g",
	},
	{
		name: "redirect: empty", why: "invalid (55)", options: follow, fails: true,
		lower: []string{"file d/f"}, upper: "dir e xattr.trusted.overlay.redirect=",
	},
	{
		name: "redirect: upwards", why: "nothing outside the layer is read (55)", options: follow, fails: true,
		lower: []string{"file d/f"}, upper: "dir e xattr.trusted.overlay.redirect=..",
	},
	{
		name: "redirect: absolute and upwards", why: "nothing outside the layer is read (55)", options: follow, fails: true,
		lower: []string{"file d/f"}, upper: "dir e xattr.trusted.overlay.redirect=/../d",
	},
	{
		name: "redirect: relative path", why: "only one component is valid (55)", options: follow, fails: true,
		lower: []string{"file d/f"}, upper: "dir e xattr.trusted.overlay.redirect=d/f",
	},
}

var metacopyCases = []testcase{
	{
		name: "features: metacopy", why: "switched on, used by no file (9)", options: "metacopy=on",
		lower: []string{"file d/f content=x"}, ops: "mkdir new; create new/f x; write d/f y", want: "C /d/f size,content,mtime; A /new; A /new/f",
	},
	{
		name: "metacopy: metadata", why: "the content is in the lower layer (35)", options: "metacopy=on",
		lower: []string{"file f content=data; file g content=data; file h content=data"}, ops: "chmod f 600; utimes g 5; chown h 1:1; chown h 0:0", want: "C /f mode; C /g mtime",
	},
	{
		name: "metacopy: renamed", why: "a redirect of a file (36)", options: "metacopy=on",
		lower: []string{"file f content=data; file d/g content=more"}, ops: "chmod f 600; rename f h; rename d/g g; link h d/i", want: "D /d/g; A /d/i; D /f; A /g; A /h",
	},
	{
		name: "metacopy: renamed over another", why: "the content of the one, compared with that of the other", options: "metacopy=on",
		lower: []string{"file f content=data; file g content=tada"}, ops: "rename f g", want: "D /f; C /g content",
	},
	{
		name: "metacopy: written after", why: "a leftover redirect is ignored (37)", options: "metacopy=on",
		lower: []string{"file f content=data"}, ops: "chmod f 600; rename f g; write g x; unlink g; create f data; utimes f 1000000000",
	},
	{
		name: "metacopy: a size that lies", why: "what can be read counts, not what the file claims", options: "metacopy=on",
		lower: []string{"file e; file f content=data; file x content=more; file y content=data-and-more"},
		upper: "file e xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=x; whiteout x; " +
			"file f size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=y; whiteout y",
		want: "C /e content; C /f content; D /x; D /y",
	},
	{
		name: "metacopy: much more than it claims", why: "a read goes on to the end of the data", options: "metacopy=on",
		lower: []string{"file y content=data size=150000; file z content=data size=150000"},
		upper: "file f size=5000 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=y; file g size=150000 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=z; whiteout y; whiteout z",
		want:  "A /f; A /g; D /y; D /z",
	},
	{
		name: "metacopy: chain", why: "content of the first layer that has it (38)", options: "metacopy=on",
		lower: []string{"file f size=4 mode=600 xattr.trusted.overlay.metacopy=", "file f size=4 mode=604 xattr.trusted.overlay.metacopy=", "file f content=data"},
		ops:   "chmod f 640", want: "C /f mode",
	},
	{
		name: "metacopy: no data", why: "an error: neither a delete nor zeros (39)", options: "metacopy=on", fails: true,
		lower: []string{"dir d"}, upper: "file f size=4 xattr.trusted.overlay.metacopy=",
	},
}

var dataCases = []testcase{
	{
		name: "data-only layer", why: "the content is in a layer that shows nothing (41)", options: "metacopy=on", needs: []testenv.Need{testenv.DataLayers}, mayRefuse: true,
		lower: []string{"file f size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=/ab/blob; file g size=4 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=/ab/blob"},
		data:  []string{"file other", "file ab/blob content=data"}, ops: "chmod f 600; write g x", want: "C /f mode; C /g size,content,mtime",
	},
}
