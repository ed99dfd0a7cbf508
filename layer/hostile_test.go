package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// brief describes a tree in a few words: a/ a/f=content l->target c:1:3.
func brief(tb testing.TB, root string) string {
	tb.Helper()
	var words []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case d.IsDir():
			name += "/"
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(b) > 0 {
				name += "=" + string(b)
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			name += "->" + target
		case info.Mode()&fs.ModeNamedPipe != 0:
			name += "|"
		default:
			name += fmt.Sprintf(":%d:%d", st.Rdev>>8, st.Rdev&0xff)
		}
		words = append(words, name)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Join(words, " ")
}

// hostile is a layer that tries something. OUT in it is a directory outside of the
// tree.
type hostile struct {
	name    string
	below   string  // lines of a tree that is there; none: the layer is the first
	entries []entry // or
	raw     func(t *testing.T) []byte
	overlay bool
	fails   string // what the error says; empty if it is applied
	want    string // as brief; of one that fails: what is left, where something was there
	why     string
}

// pax is an entry with records that package tar would not write.
func pax(t *testing.T, records string, e entry) []byte {
	t.Helper()
	b := archive(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: "PAX", Mode: 0o644}, records})
	b = b[:len(b)-1024]
	b[156] = tar.TypeXHeader
	checksum(b[:512])
	e.Format = tar.FormatUSTAR
	return append(b, plain(t, e)...)
}

// plain is an archive without PAX records.
func plain(t *testing.T, e entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := e.Header
	h.Size, h.ModTime = int64(len(e.content)), stamp
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(e.content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// record is one PAX record.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(fmt.Sprint(n))+len(key)+len(value)+3 {
		n = len(fmt.Sprint(n)) + len(key) + len(value) + 3
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

func checksum(header []byte) {
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header[:512] {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// patched changes the header of an archive with one entry.
func patched(e entry, off int, field string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		b := plain(t, e)
		copy(b[off:], field)
		checksum(b)
		return b
	}
}

func withRecord(key, value string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte { return pax(t, record(key, value), reg("f", "x")) }
}

var traversal = []hostile{
	{name: "dotdot", entries: []entry{reg("../x", "")}, fails: "leads out of the tree"},
	{name: "dotdot in the middle", entries: []entry{reg("a/../../x", "")}, fails: "leads out of the tree"},
	{name: "dotdot that stays", entries: []entry{reg("a/../x", "y")}, want: "x=y", why: "a is not made"},
	{name: "many dotdots", entries: []entry{reg(strings.Repeat("../", 60)+"OUT/x", "")}, fails: "leads out of the tree"},
	{name: "absolute", entries: []entry{reg("/OUT/x", "y"), reg("//x", "z")}, want: "OUT x=z", why: "relative to the root"},
	{name: "absolute and dotdot", entries: []entry{reg("/../x", "")}, fails: "leads out of the tree"},
	{name: "dot and dotdot", entries: []entry{reg("./../x", "")}, fails: "leads out of the tree"},
	{name: "only dotdot", entries: []entry{dirEntry("..")}, fails: "leads out of the tree"},
	{name: "dots", entries: []entry{reg("./././a/./b", "y"), reg(".../x", "")}, want: ".../ .../x a/ a/b=y"},
	{name: "root as a file", entries: []entry{reg("a/..", "")}, fails: "the root can only be a directory"},
	{name: "root as a symlink", entries: []entry{symlink("./", "OUT")}, fails: "the root can only be a directory"},
	{name: "root as a hard link", entries: []entry{hardlink(".", "a")}, fails: "the root can only be a directory"},
	{name: "no name", raw: patched(reg("x", ""), 0, "\x00"), fails: "the root can only be a directory"},
	{name: "NUL in a PAX name", raw: withRecord("path", "a\x00/../../x"), fails: "no layer"},
	{name: "name of 256 bytes", entries: []entry{reg(strings.Repeat("x", 256), "")}, fails: "has 256 bytes"},
	{name: "path of 20,000 bytes", entries: []entry{reg(strings.Repeat("d/", 10_000)+"f", "")}, fails: "too long"},
	{name: "path that links make too long", entries: []entry{symlink("l", strings.Repeat("l2/", 1000)), symlink("l2", strings.Repeat("l/", 1000)), reg("l/f", "")}, fails: "too many levels"},
	{name: "name of 255 bytes", entries: []entry{reg(strings.Repeat("x", 255), "")}, want: strings.Repeat("x", 255)},
}

var links = []hostile{
	{name: "symlink out, absolute", entries: []entry{symlink("a", "OUT"), reg("a/x", "y")}, want: "IN a->OUT", why: "the directory is made inside"},
	{name: "symlink out, relative", entries: []entry{symlink("a", "../../../../../../../../OUT"), reg("a/f", "y")}, want: "IN a->../../../../../../../../OUT"},
	{name: "symlink out from below", below: "symlink a -> OUT", entries: []entry{reg("a/f", "y"), reg("a/d/f", "y")}, want: "IN a->OUT"},
	{name: "symlink to the directory above", entries: []entry{symlink("a", ".."), reg("a/x", "y")}, want: "a->.. x=y", why: ".. of the root is the root"},
	{name: "symlink to itself", entries: []entry{symlink("a", "a"), reg("a/x", "y")}, fails: "too many levels"},
	{name: "symlinks in a circle", entries: []entry{symlink("a", "b"), symlink("b", "/a"), dirEntry("b/c"), reg("a/x", "y")}, fails: "too many levels"},
	{name: "chain of symlinks", entries: []entry{symlink("a", "b/.."), symlink("b", "OUT/d"), reg("a/f", "y")}, want: "IN a->b/.. b->OUT/d", why: "b leads nowhere inside, so a does; both are made"},
	{name: "symlink to a directory inside", entries: []entry{dirEntry("run"), symlink("var/run", "/run"), reg("var/run/x", "y")}, want: "run/ run/x=y var/ var/run->/run"},
	{name: "symlink to what comes later", entries: []entry{symlink("var/run", "../run"), reg("var/run/x", "y"), dirEntry("run")}, want: "run/ run/x=y var/ var/run->../run"},
	{name: "symlink, then its name as a directory", entries: []entry{symlink("a", "OUT"), dirEntry("a"), reg("a/f", "y")}, want: "a/ a/f=y"},
	{name: "symlink, then its name as a file", entries: []entry{symlink("a", "OUT/f"), reg("a", "y")}, want: "a=y"},
	{name: "symlink from below, then its name as a file", below: "symlink a -> OUT/f", entries: []entry{reg("a", "y")}, want: "a=y"},
	{name: "directory, then a symlink in its place, then an entry below", entries: []entry{reg("a/old", ""), symlink("a", "OUT"), reg("a/f", "y")}, want: "IN a->OUT"},
	{name: "file, then an entry below", entries: []entry{reg("a", "y"), reg("a/b", "")}, fails: "no directory"},
	{name: "file, then a directory", entries: []entry{reg("a", "y"), dirEntry("a"), reg("a/b", "z")}, want: "a/ a/b=z"},
	{name: "full directory, then a file", entries: []entry{reg("a/b/c/d", "y"), reg("a/b/e", "y"), reg("a", "z")}, want: "a=z"},
	{name: "empty target", raw: patched(symlink("a", "x"), 157, "\x00"), fails: "symlink /a"},
	{name: "target too long", entries: []entry{symlink("a", strings.Repeat("x", 5000))}, fails: "symlink /a"},

	{name: "hard link out", entries: []entry{hardlink("a", "../../../../etc/passwd")}, fails: "leads out of the tree"},
	{name: "hard link, absolute", entries: []entry{hardlink("a", "OUT/f")}, fails: "not in the tree"},
	{name: "hard link through a symlink", entries: []entry{symlink("s", "OUT"), hardlink("a", "s/f")}, fails: "not in the tree"},
	{name: "hard link to a symlink", entries: []entry{symlink("s", "OUT/f"), hardlink("a", "s"), reg("a/f", "")}, want: "IN a->OUT/f s->OUT/f", why: "a is the link itself; inside its target is made a directory"},
	{name: "hard link to a symlink, replaced", entries: []entry{symlink("s", "OUT/f"), hardlink("a", "s"), reg("a", "y")}, want: "a=y s->OUT/f"},
	{name: "hard link to itself", entries: []entry{hardlink("a", "a")}, fails: "not in the tree"},
	{name: "hard link of a file to itself", entries: []entry{reg("a", "y"), hardlink("a", "./a")}, want: "a=y"},
	{name: "hard link to a later entry", entries: []entry{hardlink("a", "b"), reg("b", "")}, fails: "not in the tree"},
	{name: "hard link to a directory", entries: []entry{dirEntry("d"), hardlink("a", "d")}, fails: "is a directory"},
	{name: "hard link to the root", entries: []entry{hardlink("a", "/")}, fails: "is a directory"},
	{name: "hard link in the place of a directory above its target", entries: []entry{reg("d/f", "y"), hardlink("d", "d/f")}, fails: "no such file", why: "the directory goes first, and the target with it"},
	{name: "hard link below a file", entries: []entry{reg("a", "y"), hardlink("b", "a/c")}, fails: "not a directory"},
	{name: "content through a hard link", entries: []entry{reg("a", "y"), hardlink("b", "a"), reg("b", "z")}, want: "a=y b=z", why: "entries replace, they don't write into what is there"},
}

var whiteouts = []hostile{
	{name: "of nothing", entries: []entry{reg(".wh.", "")}, fails: "removes nothing"},
	{name: "of dot", entries: []entry{reg("a/.wh..", "")}, fails: "removes nothing"},
	{name: "of dotdot", below: "file f", entries: []entry{reg(".wh...", "")}, fails: "removes nothing", want: "f"},
	{name: "of dotdot in a directory", below: "file a/f", entries: []entry{reg("a/.wh...", "")}, fails: "removes nothing", want: "a/ a/f"},
	{name: "meta prefix alone", below: "file f", entries: []entry{reg(".wh..wh.", "")}, want: "f"},
	{name: "meta directory", below: "file f", entries: []entry{dirEntry(".wh..wh.plnk"), reg(".wh..wh.plnk/1.2", "x"), reg(".wh..wh.aufs", "")}, want: "f"},
	{name: "with a slash", below: "dir a; file a/f", entries: []entry{dirEntry(".wh.a/")}, want: ""},
	{name: "with entries below", below: "file a/f", entries: []entry{reg(".wh.a/f", "")}, fails: "no entries below", want: "a/ a/f"},
	{name: "with dotdot after", below: "file f", entries: []entry{reg(".wh.a/../g", "y")}, want: "f g=y"},
	{name: "of the root", below: "file f", entries: []entry{reg("a/../.wh..", "")}, fails: "removes nothing", want: "f"},
	{name: "of a symlink", below: "symlink a -> OUT", entries: []entry{reg(".wh.a", "")}, want: ""},
	{name: "through a symlink", below: "symlink a -> OUT", entries: []entry{reg("a/.wh.f", "")}, want: "a->OUT"},
	{name: "through a symlink inside", below: "symlink a -> d; file d/f; file d/g", entries: []entry{reg("a/.wh.f", "")}, want: "a->d d/ d/g"},
	{name: "of a tree with symlinks out", below: "symlink a/l -> OUT; symlink a/d/l -> OUT/d; file a/d/f", entries: []entry{reg(".wh.a", "")}, want: ""},
	{name: "opaque as a directory", below: "file a/f", entries: []entry{dirEntry("a/.wh..wh..opq")}, want: "a/"},
	{name: "opaque as a symlink", below: "file a/f", entries: []entry{symlink("a/.wh..wh..opq", "OUT")}, want: "a/"},
	{name: "opaque through a symlink", below: "symlink a -> OUT", entries: []entry{reg("a/.wh..wh..opq", "")}, want: "a->OUT"},
	{name: "opaque root", below: "file a/f; file g", entries: []entry{reg("new/f", ""), reg(".wh..wh..opq", "")}, want: "new/ new/f"},
	{name: "below a file", below: "file a", entries: []entry{reg("a/.wh.f", ""), reg("a/.wh..wh..opq", "")}, want: "a"},
	{name: "below nothing", below: "file b", entries: []entry{reg("a/.wh.f", ""), reg("c/.wh..wh..opq", "")}, want: "b"},
	{name: "as the target of a hard link", overlay: true, entries: []entry{reg(".wh.f", ""), hardlink("g", "f")}, fails: "is a whiteout"},
	{name: "through a symlink, overlay", overlay: true, entries: []entry{symlink("a", "OUT"), reg("a/.wh.f", "")}, want: "IN a->OUT", why: "the whiteout is made inside"},
}

var forgeries = []hostile{
	{name: "device 0:0", entries: []entry{device("a", 0, 0)}, fails: "is a whiteout"},
	{name: "device 0:0, overlay", overlay: true, entries: []entry{device("a", 0, 0)}, fails: "is a whiteout"},
	{name: "device numbers", entries: []entry{device("a", 1<<12, 0)}, fails: "no device number"},
	{name: "negative device numbers", raw: patched(device("a", 1, 1), 329, "\xff\xff\xff\xff\xff\xff\xff\xff"), fails: "no device number"},
	{name: "device", entries: []entry{device("a", 1, 3)}, want: "a:1:3"},
	{name: "opaque mark, overlay", overlay: true, entries: []entry{dirEntry("a").xattr("trusted.overlay.opaque", "y")}, want: "a/", why: "TestApply_Escapes looks closer"},
	{name: "opaque mark", entries: []entry{dirEntry("a").xattr("trusted.overlay.opaque", "y")}, fails: "is a mark of overlayfs"},
	{name: "redirect", entries: []entry{dirEntry("a").xattr("trusted.overlay.redirect", "/etc")}, fails: "is a mark of overlayfs"},
	{name: "metacopy", entries: []entry{reg("a", "").xattr("trusted.overlay.metacopy", "")}, fails: "is a mark of overlayfs"},
	{name: "xattr without a name", raw: withRecord("SCHILY.xattr.", "x"), want: "f=x", why: "no file system of Linux can hold it"},
	{name: "xattr without a class", raw: withRecord("SCHILY.xattr.x", "x"), want: "f=x", why: "no file system of Linux can hold it"},
	{name: "xattr name with NUL", raw: withRecord("SCHILY.xattr.user.a\x00b", "x"), fails: "no layer"},
	{name: "xattr name too long", raw: withRecord("SCHILY.xattr.user."+strings.Repeat("x", 251), "x"), want: "f=x", why: "no file system of Linux can hold it"},
	{name: "xattr name too long once escaped", overlay: true, raw: withRecord("SCHILY.xattr.trusted.overlay."+strings.Repeat("x", 235), "x"), fails: "setxattr"},
	{name: "xattr value too long", raw: withRecord("SCHILY.xattr.user.x", strings.Repeat("x", 64<<10+1)), fails: "setxattr"},
	{name: "no access control list", raw: withRecord("SCHILY.xattr.system.posix_acl_access", "x"), fails: "setxattr"},
	{name: "no capability", raw: withRecord("SCHILY.xattr.security.capability", "x"), fails: "setxattr"},
	{name: "huge PAX record", raw: withRecord("comment", strings.Repeat("x", 2<<20)), fails: "header field too long"},
	{name: "owner too large", raw: withRecord("uid", "4294967295"), fails: "no user id"},
	{name: "negative owner", raw: withRecord("gid", "-1"), fails: "no group id"},
	{name: "negative size", raw: patched(reg("a", ""), 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), fails: "no layer"},
	{name: "overflowing size", raw: patched(reg("a", ""), 124, "\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"), fails: "no layer"},
	{name: "size of more than there is", raw: patched(reg("a", "x"), 124, "00000007777\x00"), fails: "cut off"},
	{name: "huge size", raw: patched(reg("a", "x"), 124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), fails: "ntry a"},
	{name: "link with content", raw: patched(hardlink("a", "b"), 124, "00000001000\x00"), fails: "not in the tree"},
	{name: "unknown type", raw: patched(reg("a", ""), 156, "Z"), fails: "are none of a layer's"},
	{name: "sparse map past the size", raw: sparse("5\n10\n"), fails: "cut off"},
	{name: "sparse map that runs backwards", raw: sparse("2\n100\n1\n5\n1\n"), fails: "no layer"},
	{name: "sparse map that overflows", raw: sparse("1\n9223372036854775807\n1\n"), fails: "no layer"},
	{name: "nothing", raw: func(*testing.T) []byte { return nil }, want: "", why: "docker save writes layers of 0 bytes"},
	{name: "no tar", raw: func(*testing.T) []byte { return bytes.Repeat([]byte("x"), 4096) }, fails: "this is no layer"},
	{name: "xz", raw: func(*testing.T) []byte { return []byte("\xfd7zXZ\x00 and so on") }, fails: "compressed with xz"},
	{name: "damaged gzip", raw: func(*testing.T) []byte { return []byte("\x1f\x8b\x08\x00damaged") }, fails: ""},
	{name: "unknown global header", raw: patched(reg("a", ""), 156, "g"), want: "", why: "means nothing"},
	{name: "mode 0 after the children", entries: []entry{reg("d/f", "y"), dirEntry("d").mode(0)}, want: "d/ d/f=y"},
	{name: "child before its parent", entries: []entry{reg("a/b/c", "y"), dirEntry("a/b"), dirEntry("a")}, want: "a/ a/b/ a/b/c=y"},
	{name: "the same file often", entries: []entry{reg("a", "1"), reg("a", "2"), reg("a", "3")}, want: "a=3"},
	{name: "the same directory often", entries: []entry{dirEntry("a"), reg("a/f", "y"), dirEntry("a")}, want: "a/ a/f=y"},
}

// sparse is an archive in GNU's format 1.0 with a map of its own.
func sparse(table string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		content := table + strings.Repeat("\x00", 512-len(table)) + strings.Repeat("x", 512)
		return pax(t, record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+
			record("GNU.sparse.name", "f")+record("GNU.sparse.realsize", "2000"), reg("f", content))
	}
}

// Whatever a layer says, nothing outside of the tree changes, and the tree is what
// is right or an error says why not.
func TestApply_Hostile(t *testing.T) {
	testenv.RequireRoot(t)
	for group, cases := range map[string][]hostile{"traversal": traversal, "links": links, "whiteouts": whiteouts, "forgeries": forgeries} {
		t.Run(group, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.try(t) })
			}
		})
	}
}

func (c *hostile) try(t *testing.T) {
	top := testenv.Scratch(t, testenv.Tmpfs)
	out := filepath.Join(top, "canary")
	testenv.Tree(t, out, "file f content=canary", "file d/f content=canary mtime=7.5", "dir d mode=0751", "symlink l -> f")
	testenv.Tree(t, top, "dir . mtime=3")
	here := func(s string) string { return strings.ReplaceAll(s, "OUT", out) }
	root := filepath.Join(top, "root")
	if c.below != "" {
		testenv.Tree(t, root, strings.Split(here(c.below), "; ")...)
		testenv.Tree(t, top, "dir . mtime=3")
	}
	before := snapshot(t, out)
	data := c.data(t, here)
	out0, err := apply(t, root, data, func(o *layer.ApplyOptions) {
		if c.overlay {
			o.Form = layer.Overlay
		}
	})
	same(t, "outside of the tree", before, snapshot(t, out))
	if left, _ := filepath.Glob(filepath.Join(top, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	switch failed := err != nil; {
	case failed && c.fails == "" && c.name != "damaged gzip":
		t.Fatalf("error %v after %+v; want %q", err, out0, c.want)
	case failed && !strings.Contains(err.Error(), c.fails):
		t.Fatalf("error %v; want one with %q", err, c.fails)
	case !failed && c.fails != "":
		t.Fatalf("applied, to %q; want an error with %q", brief(t, root), c.fails)
	}
	if _, serr := os.Lstat(root); err != nil && c.below == "" {
		if !os.IsNotExist(serr) {
			t.Errorf("a failed layer is there: %v %q", serr, brief(t, root))
		}
		return
	}
	c.compare(t, brief(t, root), here, out)
}

// compare compares with what is wanted. IN stands for the tree that the path OUT
// is inside the root, with whatever is in it.
func (c *hostile) compare(t *testing.T, got string, here func(string) string, out string) {
	t.Helper()
	want := here(strings.TrimPrefix(c.want, "IN "))
	if want == "OUT x=z" || strings.HasPrefix(c.want, "OUT ") || strings.HasPrefix(c.want, "IN ") {
		top := strings.Split(strings.TrimPrefix(out, "/"), "/")[0] + "/"
		var words []string
		inside := 0
		for _, w := range strings.Fields(got) {
			if strings.HasPrefix(w, top) {
				inside++
				continue
			}
			words = append(words, w)
		}
		if inside == 0 {
			t.Errorf("nothing was made inside: %q", got)
		}
		got, want = strings.Join(words, " "), strings.TrimPrefix(want, out+" ")
	}
	if got != want {
		t.Errorf("got %q, want %q (%s)", got, want, c.why)
	}
}

func (c *hostile) data(t *testing.T, here func(string) string) []byte {
	t.Helper()
	if c.raw != nil {
		return c.raw(t)
	}
	entries := append([]entry{}, c.entries...)
	for i := range entries {
		entries[i].Name, entries[i].Linkname = here(entries[i].Name), here(entries[i].Linkname)
	}
	return archive(t, entries...)
}

// A tree of 4,000 levels, whose paths are longer than the kernel takes, is made,
// changed and removed.
func TestApply_Deep(t *testing.T) {
	testenv.RequireRoot(t)
	top := testenv.Scratch(t, testenv.Tmpfs)
	const levels = 4000
	deep := strings.Repeat("d/", levels)
	data := archive(t, reg(deep+"f", "y"), symlink(deep+"l", "/d/d"), reg(deep+"l/g", "z"), hardlink("h", "d/d/g"))
	root := filepath.Join(top, "root")
	mustApply(t, root, data)
	if b, err := os.ReadFile(filepath.Join(root, "h")); err != nil || string(b) != "z" {
		t.Errorf("through the deep tree: %q, %v", b, err)
	}
	mustApply(t, root, archive(t, reg(deep+".wh.f", ""), reg(strings.Repeat("d/", 10)+".wh.d", ""), reg("x", "")))
	if got, want := brief(t, root), brief10(10)+" d/d/g=z h=z x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// The directory of a link stays open while one of many levels is looked for.
	others := []entry{reg(deep+"f", "y")}
	for i := range 40 {
		others = append(others, reg(fmt.Sprintf("other%d/f", i), ""))
	}
	long := filepath.Join(top, "long")
	mustApply(t, long, archive(t, append(others, hardlink("x/y", deep+"f"))...))
	if b, err := os.ReadFile(filepath.Join(long, "x/y")); err != nil || string(b) != "y" {
		t.Errorf("a link to the deep file: %q, %v", b, err)
	}
	var each []entry
	for i := 1; i <= levels; i++ {
		each = append(each, dirEntry(deep[:2*i]).mode(0o700))
	}
	each = append(each, reg("d", "a file instead"))
	mustApply(t, filepath.Join(top, "each"), archive(t, each...))
	if got := brief(t, filepath.Join(top, "each")); got != "d=a file instead" {
		t.Errorf("got %q", got)
	}
}

func brief10(n int) string {
	var words []string
	for i := 1; i <= n; i++ {
		words = append(words, strings.Repeat("d/", i))
	}
	return strings.Join(words, " ")
}
