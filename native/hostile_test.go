package native_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// canary is a tree outside of all layers that nobody has any business in.
type canary struct {
	path    string
	inotify int
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{path: testenv.Scratch(t, testenv.Tmpfs)}
	testenv.Tree(t, c.path, "file f content=canary", "file d/f content=canary", "file d/sub/f content=canary")
	var err error
	if c.inotify, err = syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(c.inotify) })
	for _, dir := range []string{"", "d", "d/sub"} {
		if _, err := syscall.InotifyAddWatch(c.inotify, filepath.Join(c.path, dir), syscall.IN_OPEN|syscall.IN_ACCESS); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// events returns whether anything in the tree was opened since the last call.
func (c *canary) events() bool {
	n, err := syscall.Read(c.inotify, make([]byte, 1<<16))
	return err == nil && n > 0
}

// untouched fails the test if anything in the tree was opened or listed since
// the last call, and makes sure that it would have been noticed.
func (c *canary) untouched(t *testing.T) {
	t.Helper()
	if c.events() {
		t.Error("something outside of the layers was opened")
	}
	if _, err := os.ReadFile(filepath.Join(c.path, "d/sub/f")); err != nil || !c.events() {
		t.Errorf("the canary is deaf: %v", err)
	}
	if _, err := os.ReadDir(c.path); err != nil || !c.events() {
		t.Errorf("the canary is deaf: %v", err)
	}
}

// Nothing is followed out of a layer, whatever is where a directory is expected.
func TestHostile_NothingOutsideIsRead(t *testing.T) {
	c := newCanary(t)
	link := func(name string) string { return "symlink " + name + " -> " + c.path }
	for _, test := range []testcase{
		{"upper: symlink for a directory", "", layers{lower: []string{"file d/f; file d/sub/f"}, upper: link("d")}, "C /d type"},
		{"lower: symlink for a directory", "", layers{lower: []string{link("d")}, upper: "file d/f; file d/sub/f"}, "C /d type; A /d/f; A /d/sub; A /d/sub/f"},
		{"middle: symlink for a directory", "nothing below it merges", layers{lower: []string{link("d"), "file d/g"}, upper: "file d/f"}, "C /d type; A /d/f"},
		{"bottom: symlink for a directory", "", layers{lower: []string{"file d/g", link("d")}, upper: "file d/f"}, "A /d/f"},
		{"everywhere", "", layers{lower: []string{link("d"), link("d")}, upper: link("d")}, ""},
		{"file for a file", "", layers{lower: []string{"file f content=canary"}, upper: "symlink f -> " + c.path + "/f"}, "C /f type"},
		{"relative", "", layers{lower: []string{"file d/f"}, upper: "symlink d -> ../../" + filepath.Base(c.path) + "/d"}, "C /d type"},
		{"redirect to a symlink", "", layers{lower: []string{link("l")}, upper: "dir e" + redirect + "l; dir g" + redirect + "/l"}, "A /e; A /g"},
		{"redirect through a symlink", "", layers{lower: []string{link("l"), link("l")}, upper: "dir e" + redirect + "/l/d; dir g" + redirect + "/l/d/sub"}, "A /e; A /g"},
		{
			"metacopy redirect in a lower layer to a symlink", "a file without data is an error, so it is hidden",
			layers{lower: []string{"whiteout m", "file m size=6 xattr.trusted.overlay.metacopy=" + redirect + "/l", link("l")}, options: "metacopy=on"},
			"",
		},
		{"proc", "magic links neither", layers{lower: []string{"symlink l -> /proc/self/root"}, upper: "dir e" + redirect + "/l" + c.path}, "A /e"},
		{"fifo", "nobody waits for its other end", layers{lower: []string{"fifo d; file e/f"}, upper: "file d/f; fifo e"}, "C /d type; A /d/f; C /e type"},
		{"device", "", layers{lower: []string{"char d 1:5; file e/f"}, upper: "file d/f; char e 1:5"}, "C /d type; A /d/f; C /e type"},
		{"redirect to a fifo", "", layers{lower: []string{"fifo p"}, upper: "dir e" + redirect + "p; dir g" + redirect + "/p/x"}, "A /e; A /g"},
		{"redirect to a device", "", layers{lower: []string{"char c 1:5"}, upper: "dir e" + redirect + "c; dir g" + redirect + "/c/x"}, "A /e; A /g"},
		{"redirect to a file", "", layers{lower: []string{"file f"}, upper: "dir e" + redirect + "f; dir g" + redirect + "/f/x"}, "A /e; A /g"},
		{"redirect to a whiteout", "", layers{lower: []string{"whiteout w", "file w/f"}, upper: "dir e" + redirect + "w; dir g" + redirect + "/w"}, "A /e; A /g"},
		{
			"special files with content", "compared by their inodes, never opened",
			layers{lower: []string{"fifo p; char c 1:5; block b 7:99; socket s"}, upper: "fifo p; char c 1:5; block b 7:99; socket s"},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.make(t, testenv.Scratch(t, testenv.Tmpfs)).check(t, lines(test.want)...)
			c.untouched(t)
		})
	}
}

// The same where the name is swapped for a link after it was seen is in
// TestRaces.

var long = strings.Repeat("x", 255)

// Redirects that the kernel accepts, however odd.
func TestHostile_Redirects(t *testing.T) {
	run(t, []testcase{
		{"to itself", "", layers{lower: []string{"file a/f"}, upper: "dir a" + redirect + "a"}, ""},
		{"to itself, absolute", "", layers{lower: []string{"file a/f"}, upper: "dir a" + redirect + "/a"}, ""},
		{"loop in the upper", "each is resolved below: they change places", layers{lower: []string{"file a/x; file b/y"}, upper: "dir a" + redirect + "b; dir b" + redirect + "a"}, "D /a/x; A /a/y; A /b/x; D /b/y"},
		{
			"loop in a lower layer", "",
			layers{lower: []string{"dir a" + redirect + "b; dir b" + redirect + "/a", "file a/x; file b/y"}, upper: "file a/z"},
			"A /a/z",
		},
		{
			"loop through layers", "a is b is a again",
			layers{lower: []string{"dir b" + redirect + "a", "dir a" + redirect + "b", "file b/y"}, upper: "dir a" + redirect + "b; whiteout b"},
			"D /b",
		},
		{"to its own child", "", layers{lower: []string{"file a/a/f"}, upper: "dir a" + redirect + "/a/a; whiteout a/a"}, "D /a/a; A /a/f"},
		{"into its own parent", "", layers{lower: []string{"file p/f"}, upper: "dir n/c/p" + redirect + "/p; whiteout p"}, "A /n; A /n/c; A /n/c/p; A /n/c/p/f; D /p"},
		{"missing", "", layers{lower: []string{"dir d"}, upper: "dir e" + redirect + "nothing; dir g" + redirect + "/d/nothing"}, "A /e; A /g"},
		{"the longest name", "", layers{lower: []string{"file " + long + "/f"}, upper: "dir e" + redirect + long + "; whiteout " + long}, "A /e; A /e/f; D /" + long},
		{"a name that can't be", "nothing has it", layers{lower: []string{"file d/f"}, upper: "dir e" + redirect + long + "x; dir g" + redirect + "/d/x" + long}, "A /e; A /g"},
		{"longer than any path", "", layers{lower: []string{"file d/f"}, upper: "dir e" + redirect + strings.Repeat("/"+long, 40)}, "A /e"},
		{"as long as an attribute can be", "", layers{lower: []string{"file d/f"}, upper: "dir e" + redirect + strings.Repeat("/d", 1<<15)}, "A /e"},
		{"cut at a NUL", "", layers{lower: []string{"file d/f"}, upper: "dir e" + redirect + `"d\x00/../.."; whiteout d`}, "D /d; A /e; A /e/f"},
		{"newline, blank and bytes", "", layers{lower: []string{`file "a\n b\xff/f"`}, upper: "dir e" + redirect + `"a\n b\xff"; whiteout "a\n b\xff"`}, "D /a\n b\xff; A /e; A /e/f"},
		{"on a file that is not metacopy", "a leftover, ignored, be it malformed", layers{lower: []string{"file d/f; file f"}, upper: "file f" + redirect + "..; file g" + redirect + "; file h" + redirect + "/d/f"}, "A /g; A /h"},
		{"on what is not a directory", "", layers{lower: []string{"file f"}, upper: "symlink l -> f" + redirect + ".; fifo p" + redirect + "; char c 1:3" + redirect + "/"}, "A /c; A /l; A /p"},
		{"on an opaque directory", "not read", layers{lower: []string{"file d/f"}, upper: "dir d xattr.trusted.overlay.opaque=y" + redirect + ".."}, "D /d/f"},
		{"in the lowest layer", "not read", layers{lower: []string{"file d/f", "dir d" + redirect + "..; dir e" + redirect}, upper: "file d/g"}, "A /d/g"},
		{"on the roots", "not read", layers{lower: []string{"dir ." + redirect + "..; file f"}, upper: "dir ." + redirect + "../..; file g"}, "A /g"},
		{
			"behind an opaque component", "deeper layers count again only through an absolute redirect there",
			layers{lower: []string{"dir o xattr.trusted.overlay.opaque=y; dir o/p; dir o/q" + redirect + "/r", "file o/p/f; file r/f"}, upper: "dir e" + redirect + "/o/p; dir g" + redirect + "/o/q; whiteout o; whiteout r"},
			"A /e; A /g; A /g/f; D /o; D /r",
		},
		{
			"metacopy redirects in a loop", "",
			layers{options: "metacopy=on", lower: []string{"file a content=aa; file b content=bb"}, upper: "file a size=2 xattr.trusted.overlay.metacopy=" + redirect + "b; file b size=2 xattr.trusted.overlay.metacopy=" + redirect + "/a"},
			"C /a content; C /b content",
		},
		{
			"metacopy redirect to itself", "", layers{options: "metacopy=on", lower: []string{"file a content=aa"}, upper: "file a size=2 xattr.trusted.overlay.metacopy=" + redirect + "/a"}, "",
		},
	}, nil)
}

// refusal is a stack that has no answer: the kernel's lookup of /e fails in one
// of the views, and so does the engine, with the same error and the mark to
// blame.
type refusal struct {
	name string
	layers
	blame string // "redirect of lower1/e"
	errno syscall.Errno
}

func (r refusal) check(t *testing.T) {
	fs := r.fs()
	testenv.Needs(t, fs, r.needs()...)
	dir := testenv.Scratch(t, fs)
	o := r.make(t, dir)
	prefix := "trusted.overlay."
	if o.stack.Features.UserXattr {
		prefix = "user.overlay."
	}
	for _, workers := range []int{1, 4} {
		_, err := o.changes(t, workers)
		var me *native.MarkError
		if !errors.As(err, &me) {
			t.Errorf("%d workers: error %v, want a MarkError", workers, err)
			continue
		}
		blame := strings.TrimPrefix(me.Xattr, prefix) + " of " + strings.TrimPrefix(me.Path, dir+"/")
		if blame != r.blame || !errors.Is(err, r.errno) {
			t.Errorf("%d workers: %s: %v; want %s: %v", workers, blame, me.Err, r.blame, r.errno)
		}
		if me.Reason == "" || !strings.Contains(err.Error(), me.Reason) || !strings.Contains(err.Error(), " /e:") {
			t.Errorf("the message %q does not say what is wrong, or where", err)
		}
	}
	v := o.mount(t)
	_, inNew := os.Lstat(filepath.Join(v.new, "e"))
	_, inOld := os.Lstat(filepath.Join(v.old, "e"))
	if !errors.Is(inNew, r.errno) && !errors.Is(inOld, r.errno) {
		t.Errorf("the expectation is wrong on this kernel: %v and %v, want %v", inOld, inNew, r.errno)
	}
}

func TestHostile_Refused(t *testing.T) {
	const nofollow = "redirect_dir=nofollow"
	const metacopy = " size=4" + metacopy
	below := "file d/sub/f; file e"
	cases := []refusal{
		{"the second component is at fault", layers{lower: []string{"dir on" + redirect + "d", below}, upper: "dir e" + redirect + "/on/.."}, "redirect of upper/e", syscall.EACCES},
		{"redirect not followed", layers{nofollow, []string{"file d/f"}, nil, "dir e" + redirect + "d"}, "redirect of upper/e", syscall.EPERM},
		{"redirect to nothing not followed", layers{nofollow, []string{"file d/f"}, nil, "dir e" + redirect + "no"}, "redirect of upper/e", syscall.EPERM},
		{"lower redirect not followed", layers{nofollow, []string{"dir e" + redirect + "d", "file d/f"}, nil, "dir e"}, "redirect of lower1/e", syscall.EPERM},
		{"userxattr follows none", layers{"userxattr", []string{"file d/f"}, nil, "dir e xattr.user.overlay.redirect=d"}, "redirect of upper/e", syscall.EPERM},
		{"metacopy not resolved", layers{"metacopy=off", []string{"file e content=data"}, nil, "file e" + metacopy}, "metacopy of upper/e", syscall.EPERM},
		{
			"lower metacopy not resolved, below a file",
			layers{"metacopy=off", []string{"file e" + metacopy, "file e content=data"}, nil, "file e content=tada"},
			"metacopy of lower1/e", syscall.EPERM,
		},
	}
	cases = append(cases, refusal{
		"the blob's directory is in a regular layer, too: the kernel looks no further",
		layers{"metacopy=on", []string{blob("e", "/b/1"), "dir b"}, []string{"file b/1 content=data"}, "file e"},
		"metacopy of lower1/e", syscall.EIO,
	})
	for value, errno := range map[string]syscall.Errno{
		"": syscall.EINVAL, "/": syscall.EINVAL, "//": syscall.EINVAL, "/d/": syscall.EINVAL, "//d": syscall.EINVAL, "/d//sub": syscall.EINVAL,
		"d/sub": syscall.EINVAL, "d/": syscall.EINVAL, "../d": syscall.EINVAL, "../../../../../etc": syscall.EINVAL,
		"..": syscall.EACCES, ".": syscall.EACCES, "/..": syscall.EACCES, "/.": syscall.EACCES, "/../../../etc": syscall.EACCES,
		"/d/..": syscall.EACCES, "/d/../d": syscall.EACCES, "/d/./sub": syscall.EACCES,
		"/\x00d": syscall.EINVAL, "/d/\x00": syscall.EINVAL, "..\x00d": syscall.EACCES, "\x00": syscall.EACCES, "\x00d": syscall.EACCES,
	} {
		quoted := fmt.Sprintf("%q", value)
		cases = append(cases,
			refusal{"upper directory: " + quoted, layers{lower: []string{below}, upper: "dir e" + redirect + quoted}, "redirect of upper/e", errno},
			refusal{"lower directory: " + quoted, layers{lower: []string{"dir e" + redirect + quoted, below}, upper: "file e/g"}, "redirect of lower1/e", errno},
			refusal{"metacopy file: " + quoted, layers{"metacopy=on", []string{below}, nil, "file e" + metacopy + redirect + quoted}, "redirect of upper/e", errno},
			refusal{
				"on the way: " + quoted,
				layers{lower: []string{"dir on" + redirect + quoted + "; dir on/e", below}, upper: "dir e" + redirect + "/on/e"},
				"redirect of lower1/on", errno,
			},
		)
	}
	for n := 1; n <= 3; n++ {
		tree := fmt.Sprintf(`file e size=4 xattr.trusted.overlay.metacopy="%s"`, strings.Repeat(`\x00`, n))
		cases = append(cases, refusal{fmt.Sprintf("metacopy of %d bytes", n), layers{"metacopy=on", []string{"file e content=data"}, nil, tree}, "metacopy of upper/e", syscall.EIO})
	}
	for what, tree := range map[string]string{
		"nothing": "dir d", "directory": "dir e", "symlink": "symlink e -> d", "fifo": "fifo e", "device": "char e 1:5", "whiteout": "whiteout e",
	} {
		cases = append(cases,
			refusal{"data is a " + what, layers{"metacopy=on", []string{tree}, nil, "file e" + metacopy}, "metacopy of upper/e", syscall.EIO},
			refusal{"data below is a " + what, layers{"metacopy=on", []string{"file e" + metacopy, tree}, nil, "file e" + metacopy}, "metacopy of lower1/e", syscall.EIO},
		)
	}
	newer := map[string]testenv.Need{
		"redirect to nothing not followed": testenv.StrictMarks,
		"metacopy of 1 bytes":              testenv.MetacopyHeaders,
		"metacopy of 2 bytes":              testenv.MetacopyHeaders,
		"metacopy of 3 bytes":              testenv.MetacopyHeaders,
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if need := newer[c.name]; need != "" && !testenv.Has(t, testenv.Tmpfs, need) {
				c.make(t, testenv.Scratch(t, testenv.Tmpfs)).checkShown(t) // older kernels answer
				return
			}
			c.check(t)
		})
	}
}

// What a metacopy file says of its size does not hide what it leads to: a read
// through the mount ends where the data ends (seen on 6.18).
func TestHostile_MetacopySize(t *testing.T) {
	o := layers{
		options: "metacopy=on",
		lower:   []string{`file shown size=1; file none; file same content=xy; file evil1 content="\x00evil"; file evil2 content=evil; file evil3 content=evil`},
		upper: "file shown size=1 xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=evil1; whiteout evil1; " +
			"file none xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=evil2; whiteout evil2; " +
			"file other xattr.trusted.overlay.metacopy= xattr.trusted.overlay.redirect=evil3; whiteout evil3; " +
			"file same size=2 xattr.trusted.overlay.metacopy=",
	}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	o.check(t, "D /evil1", "D /evil2", "D /evil3", "C /none content", "A /other", "C /shown content")
}

// k directories that redirect to one are k copies of it. The kernel shows one
// at a time: it has the lower inode cached for the first (ESTALE for others).
func TestHostile_SharedTarget(t *testing.T) {
	o := layers{
		lower: []string{"file d/sub/f"},
		upper: "dir a xattr.trusted.overlay.redirect=d; dir b xattr.trusted.overlay.redirect=/d; dir c/a xattr.trusted.overlay.redirect=/d; file a/own",
	}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	var want []string
	for _, root := range []string{"/a", "/b", "/c/a"} {
		if root == "/c/a" {
			want = append(want, "A /c")
		}
		want = append(want, "A "+root)
		if root == "/a" {
			want = append(want, "A /a/own")
		}
		want = append(want, "A "+root+"/sub", "A "+root+"/sub/f")
	}
	o.agrees(t, want)
	// One after the other, the kernel shows each of them.
	for _, root := range []string{"a", "b", "c/a"} {
		v := o.mount(t)
		if _, err := os.Stat(filepath.Join(v.new, root, "sub/f")); err != nil {
			t.Error(err)
		}
		testenv.Unmount(t, v.new)
	}
}

// A redirect bomb: fan directories in each of depth layers that redirect to the
// same one below make fan^depth directories of fan*depth. Nothing keeps a walk
// from that many changes, but it can be broken off, and a small one ends.
func TestHostile_RedirectBomb(t *testing.T) {
	bomb := func(fan, depth int) overlay {
		tree := "dir t"
		for i := range fan {
			tree += fmt.Sprintf("; dir t/%d xattr.trusted.overlay.redirect=/t", i)
		}
		l := layers{upper: strings.ReplaceAll(tree, "dir t", "dir u")}
		for range depth {
			l.lower = append(l.lower, tree)
		}
		// What the upper adds has no old side at its name.
		l.upper = strings.ReplaceAll(l.upper, "redirect=/u", "redirect=/t")
		return l.make(t, testenv.Scratch(t, testenv.Tmpfs))
	}
	// u, and below it fan directories with all that /t of the layers holds: the
	// fan of the topmost layer, with what is below each of them, and so on.
	want := 1
	for i, n := 1, 3; i <= 4; i, n = i+1, 3*n {
		want += n
	}
	got, err := bomb(3, 3).changes(t, 0)
	if err != nil || len(got) != want {
		t.Errorf("%d changes, %v; want %d", len(got), err, want)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	n := 0
	start := time.Now()
	err = each(ctx, bomb(10, 12).stack, diff.Options{}, func(diff.Change) { n++ })
	if !errors.Is(err, context.DeadlineExceeded) || n == 0 {
		t.Errorf("%d changes, error %v; want that the deadline ends it", n, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// Values of all lengths, where a mark is read and where it is data.
func TestHostile_Values(t *testing.T) {
	t.Run("opaque", func(t *testing.T) {
		var lower, upper, want []string
		for i, value := range []string{"y", "", "x", "Y", "n", "1", "yy", "yes", "y\x00", "\x00", "y\n", " y", "\xff", strings.Repeat("y", 1000)} {
			lower = append(lower, fmt.Sprintf("file d%02d/f", i))
			upper = append(upper, fmt.Sprintf("dir d%02d xattr.trusted.overlay.opaque=%q", i, value))
			if value == "y" {
				want = append(want, fmt.Sprintf("D /d%02d/f", i))
			}
		}
		for n := range 80 {
			lower = append(lower, fmt.Sprintf("file n%02d/f", n))
			upper = append(upper, fmt.Sprintf("dir n%02d xattr.trusted.overlay.opaque=%q", n, strings.Repeat("\x00", n)))
		}
		layers{lower: []string{strings.Join(lower, "; ")}, upper: strings.Join(upper, "; ")}.make(t, testenv.Scratch(t, testenv.Tmpfs)).check(t, want...)
	})
	t.Run("metacopy", func(t *testing.T) {
		var lower, upper, want []string
		for n := range 81 {
			if n >= 1 && n <= 3 {
				continue // refused
			}
			lower = append(lower, fmt.Sprintf("file f%02d content=data; file g%02d content=data", n, n))
			for name, b := range map[string]string{"f": "\x00", "g": "\xff"} {
				upper = append(upper, fmt.Sprintf("file %s%02d size=4 mode=600 xattr.trusted.overlay.metacopy=%q", name, n, strings.Repeat(b, n)))
			}
		}
		for _, name := range []string{"f", "g"} {
			for n := range 81 {
				if n == 0 || n > 3 {
					want = append(want, fmt.Sprintf("C /%s%02d mode", name, n))
				}
			}
		}
		layers{options: "metacopy=on", lower: []string{strings.Join(lower, "; ")}, upper: strings.Join(upper, "; ")}.make(t, testenv.Scratch(t, testenv.Tmpfs)).check(t, want...)
	})
	for _, options := range []string{"", "index=on", "metacopy=on,index=on", "nfs_export=on"} {
		t.Run("origin and others,"+options, func(t *testing.T) {
			var lower, upper, want []string
			for _, n := range []int{0, 1, 2, 3, 4, 5, 19, 20, 21, 22, 29, 33, 79} {
				if options == "nfs_export=on" { // whose origin can't be read is not merged
					want = append(want, fmt.Sprintf("D /origin%02d/f", n))
				}
				for _, mark := range []string{"origin", "impure", "nlink", "uuid", "protattr", "whiteouts", "upper", "verity"} {
					lower = append(lower, fmt.Sprintf("file %s%02d/f; file %s%02d/g content=%d", mark, n, mark, n, n))
					for i, value := range []string{strings.Repeat("\xfb", n), "\x00\xfb" + string(rune(n+3)) + strings.Repeat("\x01", n)} {
						if mark == "protattr" {
							value = strings.Repeat("x", n) // the kernel may take letters as inode flags
						}
						entry := fmt.Sprintf("dir %s%02d", mark, n)
						if i == 1 {
							entry = fmt.Sprintf("file %s%02d/g content=%d", mark, n, n)
						}
						upper = append(upper, entry+fmt.Sprintf(" xattr.trusted.overlay.%s=%q", mark, value))
					}
				}
			}
			layers{options: options, lower: []string{strings.Join(lower, "; ")}, upper: strings.Join(upper, "; ")}.make(t, testenv.Scratch(t, testenv.Tmpfs)).check(t, want...)
		})
	}
	t.Run("huge", func(t *testing.T) {
		dir := testenv.Scratch(t, testenv.XFS)
		big := strings.Repeat("v", 1<<16-1)
		o := layers{
			lower: []string{"file same xattr.trusted.v=" + big + "x; file other xattr.trusted.v=" + big + "x; file less xattr.trusted.v=" + big + "x; dir many"},
			upper: "file same xattr.trusted.v=" + big + "x; file other xattr.trusted.v=" + big + "y; file less xattr.trusted.v=" + big + "; dir many",
		}.make(t, dir)
		for i := range 300 { // a list longer than the first guess
			name := fmt.Sprintf("setxattr many trusted.%s%03d=v", strings.Repeat("n", 100), i)
			testenv.Do(t, o.stack.Lower[0], name)
			testenv.Do(t, o.stack.Upper, name)
		}
		o.check(t, "C /less xattrs", "C /other xattrs")
		testenv.Do(t, o.stack.Upper, "setxattr many trusted."+strings.Repeat("n", 100)+"299=w")
		o.agrees(t, []string{"C /less xattrs", "C /many xattrs", "C /other xattrs"})
	})
}
