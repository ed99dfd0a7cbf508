package native_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// usage is Usage with any number of workers, where nothing runs.
func usage(t *testing.T, upper string, f diff.Features) diff.Usage {
	t.Helper()
	var first diff.Usage
	for _, workers := range []int{1, 2, 8} {
		u, err := native.Usage(t.Context(), diff.Stack{Upper: upper, Features: f}, diff.Options{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if workers == 1 {
			first = u
		} else if d := cmp.Diff(first, u); d != "" {
			t.Errorf("usage (-1 worker +%d workers):\n%s", workers, d)
		}
	}
	return first
}

// slowUsage asks du, and counts the rest by paths.
func slowUsage(t *testing.T, upper string, f diff.Features) (u diff.Usage) {
	t.Helper()
	for unit, n := range map[string]*int64{"--block-size=1": &u.DiskBytes, "--inodes": &u.Inodes} {
		out, err := exec.CommandContext(t.Context(), "du", "-s", unit, upper).Output()
		if err == nil {
			*n, err = strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
		}
		if err != nil {
			t.Fatal("du:", err)
		}
	}
	prefix := "trusted.overlay."
	if f.UserXattr {
		prefix = "user.overlay."
	}
	seen := map[uint64]bool{}
	err := filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == upper {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		mark, merr := xattr.LGet(path, prefix+"opaque")
		_, xerr := xattr.LGet(path, prefix+"whiteout")
		switch {
		case d.IsDir():
			if merr == nil && string(mark) == "y" {
				u.OpaqueDirs++
			}
			return nil
		case d.Type() == fs.ModeDevice|fs.ModeCharDevice && st.Rdev == 0,
			d.Type() == 0 && st.Size == 0 && xerr == nil:
			u.Whiteouts++
		}
		if seen[st.Ino] {
			u.LinkedBytes += st.Size
		} else {
			u.Bytes += st.Size
		}
		seen[st.Ino] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What random work leaves in an upper directory, on every file system.
func TestUsage_Random(t *testing.T) {
	seed := rand.Uint64N(1 << 48)
	t.Logf("seed %d", seed)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for i, options := range []string{"", "redirect_dir=on,metacopy=on", "index=on", "userxattr", "", "userxattr"} {
			if options == "userxattr" && !testenv.Has(t, fs, testenv.UserXattrMarks) {
				continue
			}
			c := testenv.Random(seed+uint64(i), options)
			dir := testenv.Scratch(t, fs)
			upper := filepath.Join(dir, "upper")
			merged := testenv.Mount(t, testenv.Overlay{Lower: c.Lowers(t, dir), Upper: upper, Options: options})
			if err := testenv.Attempt(merged, c.Upper()); err != nil {
				t.Fatal(err)
			}
			testenv.Unmount(t, merged)
			syscall.Sync() // what is allocated late is allocated now
			f := featuresOf(t, options)
			whole := usage(t, upper, f)
			if d := cmp.Diff(slowUsage(t, upper, f), whole); d != "" {
				t.Errorf("%q: usage (-du +engine):\n%s\n%s", options, d, c)
			}
			checkHolds(t, upper, f, whole)
		}
	})
}

// An entry costs no allocation, however many a directory has: what grows with
// them is a list of names for every 128 of them.
func TestUsage_Allocations(t *testing.T) {
	upper := testenv.Scratch(t, testenv.Tmpfs)
	const more = 20_000
	allocations := func() float64 {
		return testing.AllocsPerRun(5, func() {
			if _, err := native.Usage(t.Context(), diff.Stack{Upper: upper}, diff.Options{Workers: 1}); err != nil {
				t.Fatal(err)
			}
		})
	}
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			if err := os.WriteFile(filepath.Join(upper, fmt.Sprintf("a-name-of-a-usual-length-%d", i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0, 1000)
	before := allocations()
	fill(1000, 1000+more)
	if each := (allocations() - before) / more; each > 0.15 {
		t.Errorf("%.3f allocations an entry", each)
	}
}

// checkHolds adds up what the upper directory holds, which comes in path order.
func checkHolds(t *testing.T, upper string, f diff.Features, want diff.Usage) {
	t.Helper()
	var bytes, disk int64
	inodes, last := int64(1), "/"
	for h, err := range native.Holds(t.Context(), diff.Stack{Upper: upper, Features: f}, diff.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if diff.ComparePaths(last, h.Path) >= 0 {
			t.Errorf("%q comes after %q", h.Path, last)
		}
		last = h.Path
		bytes, disk, inodes = bytes+h.Bytes, disk+h.DiskBytes, inodes+h.Inodes
	}
	var st syscall.Stat_t
	if err := syscall.Stat(upper, &st); err != nil {
		t.Fatal(err)
	}
	if bytes != want.Bytes || disk+st.Blocks*512 != want.DiskBytes || inodes != want.Inodes {
		t.Errorf("it holds %d bytes, %d on disk, %d inodes; usage is %+v", bytes, disk+st.Blocks*512, inodes, want)
	}
}

func TestUsage_Counts(t *testing.T) {
	for _, test := range []struct {
		name, tree string
		features   diff.Features
		want       diff.Usage // without DiskBytes
	}{
		{"empty", "", diff.Features{}, diff.Usage{Inodes: 1}},
		{"sizes", "file a size=10; file d/b size=1000; symlink l -> 12345; fifo p; dir e", diff.Features{}, diff.Usage{Bytes: 1015, Inodes: 7}},
		{"hard links count once", "file d/a size=10; link a d/a; link e/a a; symlink l -> 12345; link m l; fifo p; link q p", diff.Features{}, diff.Usage{Bytes: 15, LinkedBytes: 25, Inodes: 6}},
		{
			"whiteouts", "whiteout a; whiteout d/b; link c a; char c01 0:1; block b00 0:0; file x" + xwhite + "; file full size=1" + xwhite + "; dir dx" + xwhite + "; symlink lx -> x" + xwhite +
				"; file u xattr.user.overlay.whiteout=", diff.Features{}, diff.Usage{Bytes: 2, Inodes: 11, Whiteouts: 4},
		},
		{
			"opaque", "dir ." + opaque + "y; dir a" + opaque + "y; dir a/b" + opaque + "y; dir c" + opaque + "x; dir d" + opaque + "yy; file f" + opaque + "y; dir u xattr.user.overlay.opaque=y",
			diff.Features{},
			diff.Usage{Inodes: 7, OpaqueDirs: 2},
		},
		{
			"userxattr", "dir . xattr.user.overlay.opaque=y; dir a" + opaque + "y; dir a/b xattr.user.overlay.opaque=y; file x" + xwhite + "; file y xattr.user.overlay.whiteout=; whiteout w",
			diff.Features{UserXattr: true},
			diff.Usage{Inodes: 6, Whiteouts: 2, OpaqueDirs: 1},
		},
		{"metacopy", "file m size=1000" + metacopy, diff.Features{Metacopy: true}, diff.Usage{Bytes: 1000, Inodes: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			// On ext4, which has user.* attributes on every kernel.
			upper := filepath.Join(testenv.Scratch(t, testenv.Ext4), "upper")
			testenv.Tree(t, upper, lines(test.tree)...)
			got := usage(t, upper, test.features)
			got.DiskBytes = 0
			if !testenv.Has(t, testenv.Ext4, testenv.XattrWhiteouts) && strings.Contains(test.tree, "overlay.whiteout=") {
				test.want.Whiteouts-- // the one by attribute is a file
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("usage (-want +got):\n%s", d)
			}
		})
	}
}

// Large directories are measured in parts by several workers; links between
// the parts still count once.
func TestUsage_LargeDirectories(t *testing.T) {
	upper := testenv.Scratch(t, testenv.Tmpfs)
	const n = 3000
	for _, dir := range []string{"", "a", "a/b"} {
		if err := os.MkdirAll(filepath.Join(upper, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			name := filepath.Join(upper, dir, fmt.Sprint("f", i))
			err := error(nil)
			switch {
			case dir == "a" && i%2 == 0:
				err = os.Link(filepath.Join(upper, fmt.Sprint("f", i)), name)
			case i%10 == 5:
				err = syscall.Mknod(name, syscall.S_IFCHR, 0)
			default:
				err = os.WriteFile(name, []byte("x"), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	testenv.Tree(t, upper, "dir a"+opaque+"y", "dir a/b"+opaque+"y")
	want := slowUsage(t, upper, diff.Features{})
	if d := cmp.Diff(want, usage(t, upper, diff.Features{})); d != "" || want.Whiteouts != 3*n/10 || want.OpaqueDirs != 2 {
		t.Errorf("usage (-du +engine):\n%s", d)
	}
}

// churn creates, renames and removes files and directories in dir until the
// test ends or stop is called.
func churn(t *testing.T, dir string) (stop func()) {
	t.Helper()
	var end atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !end.Load(); i = (i + 1) % 500 {
			sub := filepath.Join(dir, fmt.Sprint("d", i%7))
			file := filepath.Join(sub, fmt.Sprint("f", i))
			_ = os.Mkdir(sub, 0o755)
			_ = os.WriteFile(file, nil, 0o644)
			_ = os.Rename(file, filepath.Join(dir, fmt.Sprint("g", i)))
			_ = os.Remove(filepath.Join(dir, fmt.Sprint("g", (i+400)%500)))
			if i%50 == 0 {
				_ = os.RemoveAll(sub)
			}
		}
	}()
	stop = func() {
		end.Store(true)
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func TestUsage_Races(t *testing.T) {
	before := testenv.TakeInventory()
	upper := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{Upper: upper}
	stop := churn(t, upper)
	deadline := time.Now().Add(20 * time.Second)
	seen := 0
	for seen < 20 && time.Now().Before(deadline) {
		var told int64
		u, err := native.Usage(t.Context(), s, diff.Options{OnRace: func(path string) error {
			told++
			if !strings.HasPrefix(path, upper+"/") {
				t.Errorf("a race at %q", path)
			}
			return nil
		}})
		if err != nil || u.Raced != told {
			t.Fatalf("%+v, %v; %d races told", u, err, told)
		}
		seen += int(u.Raced)
	}
	if seen == 0 {
		t.Error("nothing ever vanished")
	}
	// Strict: the first race ends it.
	for time.Now().Before(deadline) {
		_, err := native.Usage(t.Context(), s, diff.Options{OnRace: func(path string) error { return &diff.RaceError{Path: path} }})
		if err == nil {
			continue
		}
		if race := new(diff.RaceError); !errors.As(err, &race) || race.Path == "" {
			t.Errorf("error %v, want a RaceError", err)
		}
		break
	}
	stop()
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
	if u := usage(t, upper, diff.Features{}); u.Raced != 0 {
		t.Errorf("%d races, and nothing runs", u.Raced)
	}
}

func TestUsage_Errors(t *testing.T) {
	upper := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, upper, "file d/e/f", "symlink l -> .")
	before := testenv.TakeInventory()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := native.Usage(cancelled, diff.Stack{Upper: upper}, diff.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for path, want := range map[string]error{
		"": nil, upper + "/none": fs.ErrNotExist, upper + "/d/e/f": syscall.ENOTDIR,
	} {
		_, err := native.Usage(t.Context(), diff.Stack{Upper: path}, diff.Options{})
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), "upper") {
			t.Errorf("%q: error %v, want %v", path, err, want)
		}
	}
	// A link that the caller names is followed; one that is found is not.
	if u := usage(t, upper+"/l", diff.Features{}); u.Inodes != 5 {
		t.Errorf("%+v", u)
	}
	if err := before.Leaks(); err != nil {
		t.Error(err)
	}
}
