package difftest

import "github.com/overlaydiff/overlaydiff/testenv"

var copyUpCases = []testcase{
	{
		name: "nothing done", why: "the mount itself writes to the upper root (5)",
		lower: []string{"file d/f content=x; symlink l -> d"},
	},
	{
		name: "root", why: "the root's metadata is the upper directory's own",
		lower: []string{"file f"}, upper: "dir . mode=700 uid=5 mtime=3 xattr.trusted.k=v",
	},
	{
		name: "write", why: "the parents are unchanged (2)",
		lower: []string{"file a/d/f content=x; file a/g"}, ops: "write a/d/f y", want: "C /a/d/f size,content,mtime",
	},
	{
		name: "open for writing", why: "copied up, and equal (3)",
		lower: []string{"file d/f content=x mtime=1500000000.123456789 xattr.trusted.k=v"}, ops: "open d/f",
	},
	{
		name: "there and back", why: "only ctime differs (4)",
		lower: []string{"file f content=x; dir d; symlink l -> f"},
		ops:   "chmod f 600; chmod f 644; rename f g; rename g f; chmod d 700; chmod d 755; rename l m; rename m l; chown l 1:1; chown l 0:0",
	},
	{
		name: "filled by hand", why: "a mere listing adds origin and impure to it (6)",
		lower: []string{"file d/f content=x; file d/e/g"}, upper: "file d/f content=x; dir d/e mtime=3",
	},
	{
		name: "copy of everything", why: "markers of the copy-up are no attributes of the file",
		lower: []string{"file f content=x xattr.trusted.k=v; dir d mode=1777 xattr.trusted.k=v; symlink l -> f; fifo p; char c 1:3; socket s"},
		ops: "chown f 1:1; chown f 0:0; chown d 1:1; chown d 0:0; chown l 1:1; chown l 0:0; chown p 1:1; chown p 0:0; chown c 1:1; chown c 0:0; " +
			"chown s 1:1; chown s 0:0",
	},
	{
		name: "directory metadata", why: "each alone; the time of a directory is no change (19)",
		lower: []string{"dir acl mode=775; dir mode; dir own; dir time; dir x; dir y xattr.trusted.k=v"},
		ops:   "acl acl 1000:7; chmod mode 700; chown own 5:6; utimes time 5; setxattr x trusted.k=v; removexattr y trusted.k",
		want:  "C /acl xattrs; C /mode mode; C /own uid,gid; C /x xattrs; C /y xattrs",
	},
	{
		name: "file metadata", why: "each alone, size and mtime as they were (20)",
		lower: []string{"file acl mode=674; file cap; file mode; file own; file time; file x; file y xattr.trusted.k=v; file z xattr.trusted.k=v"},
		ops: "acl acl 1000:7; capability cap 400; chmod mode 4755; chown own 0:6; utimes time 1000000000.000000001; setxattr x trusted.k=; " +
			"setxattr y trusted.k=w; removexattr z trusted.k",
		want: "C /acl xattrs; C /cap xattrs; C /mode mode; C /own gid; C /time mtime; C /x xattrs; C /y xattrs; C /z xattrs",
	},
	{
		name: "metadata of the others", why: "links, pipes, sockets and devices have metadata too",
		lower: []string{"symlink l -> x; fifo p; char c 1:3; socket s; block b 7:300"},
		ops:   "chown l 1:2; utimes l 5; chmod p 600; chown c 1:0; utimes s 5; utimes b 6",
		want:  "C /b mtime; C /c uid; C /l uid,gid,mtime; C /p mode; C /s mtime",
	},
	{
		name: "xattrs ignored", why: "they belong to the system, not to the container",
		lower: []string{"file f"}, upper: `file f xattr.security.ima="\x01"`,
	},
	{
		name: "rewritten with size and mtime", why: "equal metadata, other content (21)",
		lower: []string{"file f content=abc; file big size=300000"}, ops: "rewrite f; rewrite big", want: "C /big content; C /f content",
	},
	{
		name: "last byte differs", why: "content is compared to the end",
		lower: []string{`file f size=200000`}, upper: `file f size=199999`, ops: `write f x; utimes f 1000000000`, want: "C /f content",
	},
	{
		name: "sparse", why: "a hole is zeros",
		lower: []string{"file f size=1000000"}, upper: "file f size=1000000; file g size=1000000", want: "A /g",
	},
	{
		name: "truncate and grow", why: "what grows is zeros",
		lower: []string{"file f content=abc; file g content=abc"}, ops: "truncate f 0; truncate g 5000; utimes g 1000000000",
		want: "C /f size,content,mtime; C /g size,content",
	},
	{
		name: "replaced by rename", why: "as editors write: the new inode is compared with the old one at that name",
		lower: []string{"file f content=abc; file g"}, ops: "create t new; rename t f; rename g h", want: "C /f content,mtime; D /g; A /h",
	},
	{
		name: "new directory renamed", why: "the kernel marks it opaque",
		lower: []string{"file d/f"}, ops: "mkdir n; create n/f x; rename n m; mkdir k; rename k d/k", want: "A /d/k; A /m; A /m/f",
	},
	{
		name: "symlinks", why: "dangling ones are entries like others",
		lower: []string{"symlink a -> nowhere; symlink b -> nowhere; symlink loop -> loop"},
		ops:   "symlink new nowhere/at/all; retarget a elsewhere; retarget b NOWHERE; unlink loop; symlink loop2 loop2",
		want:  "C /a target; C /b target; D /loop; A /loop2; A /new",
	},
	{
		name: "special files", why: "each kind made, deleted and changed",
		lower: []string{"dir d; char c 1:3"}, ops: "mknod p fifo; mknod s socket; mknod d/n char:1:3; mknod b block:259:77; unlink c; mknod c char:1:5; utimes c 1000000000",
		want: "A /b; C /c device; A /d/n; A /p; A /s",
	},
	{name: "tmpfile", why: "a file that had no name at first", needs: []testenv.Need{testenv.Tmpfiles}, lower: []string{"dir d"}, ops: "tmpfile d/f xyz; tmpfile g x", want: "A /d/f; A /g"},
}

var linkCases = []testcase{
	{
		name: "new name of a lower file", why: "the old name is unchanged (14)",
		lower: []string{"file f content=abc"}, ops: "link f g", want: "A /g",
	},
	{
		name: "new names", why: "an inode counts once",
		lower: []string{"dir d"}, ops: "create f abc; link f g; link f d/h; link f d/i; unlink d/i", want: "A /d/h; A /f; A /g",
	},
	{
		name: "lower link broken", why: "without an index the other name keeps the old content (15)",
		options: "index=off", lower: []string{"file A content=x; link B A"}, ops: "write A y", want: "C /A size,content,mtime",
	},
	{
		name: "lower links copied apart", why: "without an index they are two inodes now, and both count",
		options: "index=off", lower: []string{"file A content=x; link B A"}, ops: "chmod A 600; chmod B 600", want: "C /A mode; C /B mode",
	},
	{
		name: "links that a copy-up parted", why: "no change, but another inode has the name", options: "index=off",
		lower: []string{"file a content=x; link b a; file d/c content=y; link d/d d/c; link e/f d/c; file n; link g/n n"}, ops: "open b; open d/d; chmod n 600; chmod n 644",
	},
	{
		name: "links that copy-ups parted everywhere", why: "no name is left with the lower inode", options: "index=off",
		lower: []string{"file a content=x; link b a; link c/d a; symlink l -> x; link m l; fifo p; link q p; socket s; link t s"},
		ops:   "open a; open b; open c/d; chown l 1:1; chown l 0:0; chmod p 600; chmod p 644; chown s 1:1; chown s 0:0",
	},
	{
		name: "links that an index keeps", why: "all names show the copy", options: "index=on",
		lower: []string{"file a content=x; link b a; link e/f a"}, ops: "open b",
	},
	{
		name: "equal files linked", why: "two inodes are one now, with what they had", options: "index=off",
		lower: []string{"file a content=x; file b content=x; file d/c content=x"}, ops: "unlink b; link a b; unlink d/c; link a d/c",
	},
	{
		name: "links changed over", why: "which names belong together is another matter than what is in them", options: "index=off",
		lower: []string{"file a content=x; link b a; file c content=x; link d c; link e/d c"}, ops: "unlink b; link c b; unlink d; link a d",
	},
	{
		name: "links with changed and deleted names", why: "the layer has the others already", options: "index=off",
		lower: []string{"file a content=x; link b a; link c a; link d a; file f content=x; link g f"}, ops: "open a; write b y; unlink c; open f; link f h",
		want: "C /b size,content,mtime; D /c; A /h",
	},
	{
		name: "sockets in the place of others", why: "what they hide is gone, though a layer can't have them",
		lower: []string{"file f content=secret; file d/g content=secret; symlink l -> f; socket s mode=644"},
		ops:   "unlink f; unlink d/g; rmdir d; unlink l; mknod f socket; mknod d socket; mknod l socket; chmod s 600; mknod n socket",
		want:  "C /d type; C /f type; C /l type; A /n; C /s mode",
	},
	{
		name: "third name", why: "the inode is a copy by then, its first name is deleted", options: "index=off",
		lower: []string{"file A content=x; link B A"}, ops: "link A C; unlink B", want: "D /B; A /C",
	},
	{
		name: "linked symlinks and devices", why: "every kind but directories can have several names", options: "index=off",
		lower: []string{"symlink l -> x; char c 1:3"}, ops: "link l m; link c d; mknod p fifo; link p q", want: "A /d; A /m; A /p; A /q",
	},
	{
		name: "replaced by a link to another file", why: "the name is compared, not the inode",
		lower: []string{"file f content=1; file g content=2"}, ops: "unlink f; link g f", want: "C /f content",
	},
}
