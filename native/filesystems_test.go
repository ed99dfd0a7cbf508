package native_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Layers on several file systems in one stack.
func TestFileSystems_Mixed(t *testing.T) {
	all := testenv.FileSystems()
	if len(all) < 4 {
		t.Skip("OVERLAYDIFF_FS leaves out some")
	}
	for _, options := range []string{"", "redirect_dir=on,metacopy=on", "index=on", "userxattr", "xino=on"} {
		t.Run(options, func(t *testing.T) {
			if options == "userxattr" {
				testenv.Needs(t, testenv.Ext4, testenv.UserXattrMarks)
			}
			o := layers{options: options, upper: ""}.make(t, testenv.Scratch(t, testenv.Ext4))
			for i, fs := range []testenv.FS{testenv.XFS, testenv.Btrfs, testenv.Tmpfs} {
				if options == "index=on" {
					testenv.Needs(t, fs, testenv.FileSystemIDs)
				}
				dir := testenv.Scratch(t, fs)
				o.stack.Lower = append(o.stack.Lower, dir)
				testenv.Tree(t, dir,
					fmt.Sprintf("file own%d content=x", i), fmt.Sprintf("file d/own%d content=x", i), fmt.Sprintf("file d/all content=%d", i),
					fmt.Sprintf("file links/a%d content=x", i), fmt.Sprintf("link links/b%d links/a%d", i, i), fmt.Sprintf("file t%d/x/f", i),
					"symlink l -> own0", "file d/equal content=x", "file meta content=data")
			}
			v := o.mount(t)
			testenv.Do(t, v.new,
				"write own0 y", "unlink own1", "open own2", "chmod d/all 600", "rmtree t0", "mkdir t0", "todir t1", "create t1/new x",
				"write links/a0 y", "write links/b1 y", "unlink links/b1", "open d/equal", "retarget l own1", "rewrite meta")
			if strings.Contains(options, "redirect") {
				testenv.Do(t, v.new, "rename t2 moved", "rename d/own1 renamed", "chmod renamed 600")
			}
			want := reference(t, v)
			if len(want) < 8 {
				t.Errorf("only %q", want)
			}
			o.agrees(t, want)
		})
	}
}

// image makes an image of the directory and mounts it. make gets the image's
// path and the directory's.
func image(t *testing.T, fs, dir string, make ...string) string {
	t.Helper()
	testenv.RequireRoot(t)
	if _, err := exec.LookPath(make[0]); err != nil {
		missing(t, fmt.Sprintf("needs %s to make a file system: %v", make[0], err))
	}
	file, point := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for i, arg := range make {
		make[i] = strings.NewReplacer("IMAGE", file, "DIR", dir).Replace(arg)
	}
	command(t, make...)
	mount(t, point, "mount", "-t", fs, "-o", "loop,ro", file, point)
	return point
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// mount mounts something at point with a command until the test ends.
func mount(t *testing.T, point string, args ...string) {
	t.Helper()
	command(t, args...)
	t.Cleanup(func() {
		if err := syscall.Unmount(point, 0); err != nil {
			t.Errorf("unmount %s: %v", point, err)
		}
	})
}

// Lower layers in read-only images, as image-based container stores have them.
func TestFileSystems_Images(t *testing.T) {
	for name, make := range map[string][]string{
		"erofs":    {"mkfs.erofs", "-T1000000000", "IMAGE", "DIR"},
		"squashfs": {"mksquashfs", "DIR", "IMAGE", "-no-progress", "-quiet"},
	} {
		t.Run(name, func(t *testing.T) {
			source := testenv.Scratch(t, testenv.Ext4) // it has user.* attributes on every kernel
			testenv.Tree(t, source,
				"file f content=data xattr.user.k=v", "file d/f content=x", "file d/g content=x", "file d/sub/f", "symlink l -> f", "fifo p",
				"char c 1:3", "file big size=300000", "file links/a content=x", "link links/b links/a", "dir o"+opaque+"y", "file o/f", "whiteout w", "file e/f")
			testenv.Do(t, source, "write big x")
			testenv.Do(t, source, "utimes big 1000000000", "utimes f 1000000000.000000001")
			for _, options := range []string{"", "redirect_dir=on,metacopy=on", "index=on"} {
				if options == "index=on" && name == "squashfs" {
					continue // it has no UUID: index is off, the kernel says
				}
				t.Run(options, func(t *testing.T) {
					if options == "index=on" {
						testenv.Needs(t, testenv.Ext4, testenv.FileSystemIDs)
					}
					lower := image(t, name, source, append([]string(nil), make...)...)
					o := layers{options: options, lower: []string{"file e/g"}}.make(t, testenv.Scratch(t, testenv.Ext4))
					below := filepath.Join(t.TempDir(), "below")
					testenv.Tree(t, below, "file o/hidden", "file w", "file low")
					o.stack.Lower = append(o.stack.Lower, lower, below)
					v := o.mount(t)
					want := []string{"C /big content", "C /d/f mode", "D /d/sub", "C /e/f size,content,mtime", "C /f xattrs", "D /l", "A /links/c", "C /o/f mode", "A /w"}
					testenv.Do(t, v.new, "rewrite big", "chmod d/f 600", "open d/g", "rmtree d/sub", "write e/f x", "setxattr f user.k=w",
						"unlink l", "link links/a links/c", "chmod o/f 600", "create w x", "chmod p 600", "chmod p 644")
					o.checkMounted(t, v, want...)
				})
			}
		})
	}
}

// With the index, inodes are told apart by file system and handle: inode
// numbers of several file systems collide. Two fresh ones give their first
// files the same numbers, and btrfs the same handles.
func TestFileSystems_IndexColliding(t *testing.T) {
	testenv.RequireRoot(t)
	volume := map[string]func(t *testing.T, point string){
		"tmpfs": func(t *testing.T, point string) {
			mount(t, point, "mount", "-t", "tmpfs", "-o", "nodev,mode=755", "overlaydiff", point)
		},
		"btrfs": func(t *testing.T, point string) {
			file := filepath.Join(testenv.Scratch(t, testenv.Tmpfs), "image")
			if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
				missing(t, "needs mkfs.btrfs: "+err.Error())
			}
			command(t, "truncate", "-s", "128M", file)
			command(t, "mkfs.btrfs", "-q", "-K", file)
			mount(t, point, "mount", "-t", "btrfs", "-o", "loop,nodev", file, point)
		},
	}
	for name, make := range volume {
		t.Run(name, func(t *testing.T) {
			testenv.Needs(t, testenv.FS(name), testenv.FileSystemIDs)
			o := layers{options: "index=on"}.make(t, testenv.Scratch(t, testenv.Ext4))
			var inos []uint64
			for i := range 2 {
				point := t.TempDir()
				make(t, point)
				lower := filepath.Join(point, "lower")
				testenv.Tree(t, lower,
					fmt.Sprintf("file a%d content=%d", i, i), fmt.Sprintf("link b%d a%d", i, i), fmt.Sprintf("link d/c%d a%d", i, i), fmt.Sprintf("file single%d content=%d", i, i))
				o.stack.Lower = append(o.stack.Lower, lower)
				st, err := os.Stat(filepath.Join(lower, fmt.Sprint("a", i)))
				if err != nil {
					t.Fatal(err)
				}
				inos = append(inos, st.Sys().(*syscall.Stat_t).Ino)
			}
			if inos[0] != inos[1] {
				t.Fatalf("inodes %d: they don't collide", inos)
			}
			v := o.mount(t)
			testenv.Do(t, v.new, "write b0 x", "chmod single0 600")
			o.checkMounted(t, v, "C /a0 size,content,mtime", "C /b0 size,content,mtime", "C /d/c0 size,content,mtime", "C /single0 mode")
			testenv.Do(t, v.new, "chmod d/c1 600", "unlink d/c1")
			o.checkMounted(t, v, "C /a0 size,content,mtime", "C /a1 mode", "C /b0 size,content,mtime", "C /b1 mode", "C /d/c0 size,content,mtime", "D /d/c1", "C /single0 mode")
		})
	}
}

// Subvolumes inside a layer are directories with other device numbers, in
// which inode numbers begin anew.
func TestFileSystems_Subvolumes(t *testing.T) {
	for _, options := range []string{"", "redirect_dir=on,metacopy=on", "index=on"} {
		t.Run(options, func(t *testing.T) {
			dir := testenv.Scratch(t, testenv.Btrfs)
			o := layers{options: options, lower: []string{"file plain/f content=x", "file plain/f"}}.make(t, dir)
			for _, layer := range append([]string{o.stack.Upper}, o.stack.Lower...) {
				for _, sub := range []string{"one", "two", "one/in"} {
					if layer == o.stack.Upper && sub == "two" {
						continue
					}
					command(t, "btrfs", "-q", "subvolume", "create", filepath.Join(layer, sub))
				}
			}
			// The first files of all subvolumes: all have inode 257 or so.
			for _, layer := range o.stack.Lower {
				testenv.Tree(t, layer, "file one/f content=1", "file two/f content=2", "file one/in/f content=3", "file one/g content=x", "link one/h one/g", "file two/t/f")
			}
			testenv.Tree(t, o.stack.Upper, "file one/f content=2", "file one/in/f content=3", "whiteout one/g")
			o.agrees(t, []string{"C /one/f content", "D /one/g"})
			v := o.mount(t)
			// The kernel can't copy up into a subvolume of the upper (EXDEV).
			testenv.Do(t, v.new, "write two/f y", "chmod two/t/f 600", "unlink plain/f")
			want := []string{"C /one/f content", "D /one/g", "D /plain/f", "C /two/f size,content,mtime", "C /two/t/f mode"}
			if strings.Contains(options, "redirect") {
				testenv.Do(t, v.new, "rename two/t moved")
				want = []string{"A /moved", "A /moved/f", "C /one/f content", "D /one/g", "D /plain/f", "C /two/f size,content,mtime", "D /two/t"}
			}
			o.checkMounted(t, v, want...)
		})
	}
}

// What is mounted inside a layer is not part of it.
func TestMountsInside(t *testing.T) {
	c := newCanary(t)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		o := layers{
			lower: []string{"file d/f content=x; file d/g; file e/f content=x; file f content=x; file k", "file d/low; file low/f"},
			upper: "file d/f content=y; file d/new; dir e; file f content=y; file own; file mine/f",
		}.make(t, testenv.Scratch(t, fs))
		for _, path := range []string{"upper/d", "lower1/d", "lower2/low", "upper/mine"} {
			mount(t, filepath.Join(filepath.Dir(o.stack.Upper), path), "mount", "-t", "tmpfs", "overlaydiff", filepath.Join(filepath.Dir(o.stack.Upper), path))
		}
		for _, path := range []string{"lower1/e", "upper/e"} {
			mount(t, filepath.Join(filepath.Dir(o.stack.Upper), path), "mount", "--bind", c.path, filepath.Join(filepath.Dir(o.stack.Upper), path))
		}
		for _, path := range []string{"upper/f", "lower1/f", "lower1/k", "upper/own"} {
			mount(t, filepath.Join(filepath.Dir(o.stack.Upper), path), "mount", "--bind", filepath.Join(c.path, "f"), filepath.Join(filepath.Dir(o.stack.Upper), path))
		}
		testenv.Tree(t, filepath.Join(o.stack.Upper, "d"), "file inside")
		c.events()
		o.check(t, "C /d/f content", "A /d/new", "C /f content", "A /mine", "A /mine/f", "A /own")
		c.untouched(t)
		u, err := native.Usage(t.Context(), o.stack, diff.Options{})
		if u.DiskBytes = 0; err != nil || u != (diff.Usage{Bytes: 2, Inodes: 9}) {
			t.Errorf("usage %+v, %v", u, err)
		}
	})
}
