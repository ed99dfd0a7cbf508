package overlaydiff

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// What Foresee refuses the kernel refuses, with the same errno; and the reverse.
func TestForesee_Refused(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for name, test := range map[string]struct {
			options string // of D, the scratch directory, and O, one on another file system
			made    string
			errno   syscall.Errno
		}{
			"right":                   {"lowerdir=D/l,upperdir=D/u,workdir=D/w", "", 0},
			"upper inside a lower":    {"lowerdir=D,upperdir=D/u,workdir=D/w", "", 0},
			"a lower twice":           {"lowerdir=D/l:D/l,upperdir=D/u,workdir=D/w", "", syscall.ELOOP},
			"upper is a lower":        {"lowerdir=D/u,upperdir=D/u,workdir=D/w", "", syscall.ELOOP},
			"work is a lower":         {"lowerdir=D/w,upperdir=D/u,workdir=D/w", "", syscall.ELOOP},
			"lower inside a lower":    {"lowerdir=D/l:D/l/a/b,upperdir=D/u,workdir=D/w", "l/a/b", syscall.ELOOP},
			"lower inside the upper":  {"lowerdir=D/u/a,upperdir=D/u,workdir=D/w", "u/a", syscall.ELOOP},
			"lower inside the work":   {"lowerdir=D/w/a,upperdir=D/u,workdir=D/w", "w/a", syscall.ELOOP},
			"work inside the upper":   {"lowerdir=D/l,upperdir=D/u,workdir=D/u/w", "u/w", syscall.EINVAL},
			"upper inside the work":   {"lowerdir=D/l,upperdir=D/w/u,workdir=D/w", "w/u", syscall.EINVAL},
			"upper is the work":       {"lowerdir=D/l,upperdir=D/u,workdir=D/u", "", syscall.EINVAL},
			"work on another mount":   {"lowerdir=D/l,upperdir=D/u,workdir=O", "", syscall.EINVAL},
			"a volatile mount's mark": {"lowerdir=D/l,upperdir=D/u,workdir=D/w", "w/work/incompat/volatile/dirty", syscall.EINVAL},
			"an unknown feature":      {"lowerdir=D/l,upperdir=D/u,workdir=D/w", "w/work/incompat/x", syscall.EINVAL},
		} {
			t.Run(name, func(t *testing.T) {
				dir, other := testenv.Scratch(t, fs), testenv.Scratch(t, testenv.Tmpfs)
				if fs == testenv.Tmpfs {
					other = testenv.Scratch(t, testenv.Ext4)
				}
				for _, d := range []string{"l", "u", "w", "m", test.made} {
					if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				options := strings.NewReplacer("=D", "="+dir, ":D", ":"+dir, "=O", "="+other).Replace(test.options)
				s, err := mountutil.StackOfOptions(options)
				if err != nil {
					t.Fatal(err)
				}
				_, err = mountutil.Foresee(t.Context(), s)
				var refused *mountutil.LayersError
				if (test.errno != 0) != errors.As(err, &refused) || test.errno == 0 && err != nil || test.errno != 0 && !errors.Is(err, test.errno) {
					t.Errorf("foreseen: %v; want %v", err, test.errno)
				}
				kernel := syscall.Mount("overlay", filepath.Join(dir, "m"), "overlay", 0, options)
				testenv.Unmount(t, filepath.Join(dir, "m"))
				if test.errno != 0 && kernel != test.errno || test.errno == 0 && kernel != nil {
					t.Errorf("the kernel: %v; want %v", kernel, test.errno)
				}
			})
		}
	})
}

// The mark of a volatile overlay that is mounted is not left over.
func TestForesee_VolatileMounted(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	testenv.Tree(t, filepath.Join(dir, "l"), "file f")
	s := diff.Stack{Lower: []string{filepath.Join(dir, "l")}, Upper: filepath.Join(dir, "u"), Work: filepath.Join(dir, "u.work")}
	merged := testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Options: "volatile"})
	if _, err := mountutil.Foresee(t.Context(), s); err != nil {
		t.Errorf("while it is mounted: %v", err)
	}
	testenv.Unmount(t, merged)
	if _, err := mountutil.Foresee(t.Context(), s); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("after it was unmounted: %v", err)
	}
}

// Options that the kernel turns off are those which the mount table lacks then.
func TestForesee_TurnedOff(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	for _, d := range []string{"a", "b", "u", "w", "m", "o"} {
		testenv.Tree(t, filepath.Join(dir, d))
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mount("overlay", at("o"), "overlay", 0, "lowerdir="+at("a")+":"+at("b")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { testenv.Unmount(t, at("o")) })
	for lower, off := range map[string]bool{at("a"): false, at("o"): true} {
		options := "lowerdir=" + lower + ",upperdir=" + at("u") + ",workdir=" + at("w") + ",index=on,nfs_export=on"
		s, err := mountutil.StackOfOptions(options)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = mountutil.Foresee(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("overlay", at("m"), "overlay", 0, options); err != nil {
			t.Fatal(err)
		}
		mounted, err := mountutil.StackOfMount(t.Context(), at("m"))
		testenv.Unmount(t, at("m"))
		if err != nil || mounted.Features != s.Features || s.Features.Index == off || (len(s.TurnedOff) > 0) != off {
			t.Errorf("%s: foreseen %+v, %q; mounted %+v, %v", lower, s.Features, s.TurnedOff, mounted.Features, err)
		}
		for _, d := range []string{"u", "w"} { // the next one is another overlay
			if err := os.RemoveAll(at(d)); err != nil {
				t.Fatal(err)
			}
			testenv.Tree(t, at(d))
		}
	}
}
