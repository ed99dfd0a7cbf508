package native_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// loop does the operations on the tree at root, again and again, until the test
// ends or stop is called. Those that make no sense at the moment are not done.
func loop(t *testing.T, root string, lines string) (stop func()) {
	t.Helper()
	var ops []testenv.Op
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		op, err := testenv.ParseOp(line)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op)
	}
	var end atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		for !end.Load() {
			for _, op := range ops {
				_ = op.Apply(root)
			}
		}
	})
	stop = func() {
		end.Store(true)
		wait.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// watch asks for changes and usage for a while, and checks that races never
// end a walk nor spoil its order.
func watch(t *testing.T, s diff.Stack, long time.Duration) {
	t.Helper()
	e, err := native.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	walks, found, races := 0, 0, 0
	for start := time.Now(); time.Since(start) < long; walks++ {
		last := "/"
		opts := diff.Options{Workers: 1 + walks%4, OnRace: func(path string) error {
			races++
			if !strings.HasPrefix(path, "/") {
				t.Errorf("a race at %q", path)
			}
			return nil
		}}
		for c, err := range e.Changes(t.Context(), opts) {
			if err != nil {
				t.Fatalf("walk %d: %v", walks, err)
			}
			if diff.ComparePaths(last, c.Path) >= 0 {
				t.Fatalf("%q is followed by %q", last, c.Path)
			}
			last = c.Path
			found++
		}
		if u, err := native.Usage(t.Context(), s, diff.Options{Workers: 1 + walks%4}); err != nil || u.Inodes < 1 {
			t.Fatalf("usage %+v, %v", u, err)
		}
	}
	t.Logf("%d walks, %d changes, %d races", walks, found, races)
	if walks == 0 || found == 0 {
		t.Error("nothing was compared")
	}
	// Strict ends at the first race; without one there is none to end at.
	for c, err := range e.Changes(t.Context(), diff.Options{OnRace: func(path string) error { return &diff.RaceError{Path: path} }}) {
		if race := new(diff.RaceError); err != nil && !errors.As(err, &race) {
			t.Errorf("strict: %v after %q", err, c.Path)
		}
	}
}

// A hostile program that swaps what it can in the upper directory itself.
func TestRaces_Upper(t *testing.T) {
	c := newCanary(t)
	before := testenv.TakeInventory()
	names := "file f content=aaaaaa; file sub/f content=aaaaaa; file g content=aaaaaa"
	var lower, upper []string
	for _, dir := range []string{"s0", "s1", "d0", "d1"} {
		for line := range strings.SplitSeq(names, "; ") {
			lower = append(lower, strings.Replace(line, "file ", "file "+dir+"/", 1))
			upper = append(upper, strings.Replace(line, "file ", "file "+dir+"/", 1))
		}
	}
	upper = append(upper, "symlink l0 -> "+c.path, "symlink l1 -> "+c.path+"/d", "file d0/big size=5000000", "fifo p", "socket s", "char c 1:5")
	lower = append(lower, "file d0/big size=5000000", "file m content=data", "file n/f", "file o/f content=x", "file w content=x")
	o := layers{
		options: "redirect_dir=on,metacopy=on", lower: []string{strings.Join(lower, "; ")}, upper: strings.Join(upper, "; "),
	}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	c.events()

	stops := []func(){
		// Directories and links to the canary change places.
		loop(t, o.stack.Upper, `
			exchange s0 l0
			exchange s1 l1
			exchange l0 s0
			exchange l1 s1
			exchange s0 s1
			exchange s0 s1`),
		loop(t, o.stack.Upper, `
			exchange d0/f p
			exchange d0/f p
			exchange d1/f s
			exchange d1/f s
			exchange d0/g c
			exchange d0/g c
			truncate d0/big 0
			truncate d0/big 5000000
			exchange d0/sub d1/f
			exchange d0/sub d1/f
			rename d0/sub/f d0/sub/h
			rename d0/sub/h d0/sub/f
			rename d0/big d1/big
			rename d1/big d0/big
			rmtree d1/new
			mkdir d1/new
			create d1/new/f x
			todir d1/new/f
			setxattr d1/sub trusted.overlay.opaque=y
			removexattr d1/sub trusted.overlay.opaque
			setxattr d1/sub trusted.overlay.redirect=/d0/sub
			removexattr d1/sub trusted.overlay.redirect
			create t data
			setxattr t trusted.overlay.redirect=/m
			setxattr t trusted.overlay.metacopy=
			rename t d1/meta
			create t data
			rename t d1/meta
			mknod w char:0:0
			unlink w
			create w x
			unlink w`),
	}
	watch(t, o.stack, 3*time.Second)
	for _, stop := range stops {
		stop()
	}
	c.untouched(t)
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}

// A container that goes on working while it is read.
func TestRaces_Mounted(t *testing.T) {
	for _, options := range []string{"redirect_dir=on,metacopy=on", "index=on"} {
		t.Run(options, func(t *testing.T) {
			before := testenv.TakeInventory()
			var lower []string
			for i := range 20 {
				lower = append(lower, fmt.Sprintf("file d%d/f content=x; file d%d/sub/f content=data; file f%d content=data; link g%d f%d", i, i, i, i, i))
			}
			o := layers{options: options, lower: []string{strings.Join(lower, "; "), "file d1/low; file d2/low"}}.make(t, testenv.Scratch(t, testenv.Tmpfs))
			merged := testenv.Mount(t, testenv.Overlay{Lower: o.stack.Lower, Upper: o.stack.Upper, Work: o.stack.Work, Options: options})
			var ops []string
			for i := range 20 {
				ops = append(ops, strings.NewReplacer("@", fmt.Sprint(i), "#", fmt.Sprint((i+1)%20)).Replace(`
					rename d@ e@
					chmod e@/f 600
					rename e@/sub sub@
					rmtree d#
					rename f@ h@
					exchange h@ g#
					write g@ x
					unlink g#
					mkdir d@
					create d@/new x
					rmtree d@
					rename e@ d@
					rename sub@ d@/sub
					rename h@ f@`))
			}
			stop := loop(t, merged, strings.Join(ops, "\n"))
			watch(t, o.stack, 1500*time.Millisecond)
			stop()
			testenv.Unmount(t, merged)
			v := o.mount(t)
			o.agrees(t, reference(t, v))
			for _, dir := range []string{v.old, v.new} {
				testenv.Unmount(t, dir)
			}
			if err := before.Leaks(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Entries of the index come and go: the kernel removes one with its inode's last name.
func TestRaces_Index(t *testing.T) {
	o := layers{options: "index=on", lower: []string{"file a content=x; link b a"}}.make(t, testenv.Scratch(t, testenv.Tmpfs))
	index := filepath.Join(o.stack.Work, "index")
	var ops []string
	for i := range 40 {
		name := fmt.Sprintf("00fb1e0001%050d", i)
		testenv.Tree(t, index, "file "+name+" xattr.trusted.overlay.nlink=U+1")
		ops = append(ops, "rename "+name+" #0", "rename #0 "+name)
	}
	loop(t, index, strings.Join(ops, "\n"))
	for i := range 2000 {
		e, err := native.Open(t.Context(), o.stack)
		if err != nil {
			t.Fatalf("open %d: %v", i, err)
		}
		e.Close()
	}
}
