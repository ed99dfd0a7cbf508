package testenv

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Need is something that not every kernel does, or not on every file system.
// Whether one does is found out by trying, never by its version: distributions
// take features from newer kernels, and versions lack what older ones had.
type Need string

// What tests need.
const (
	UserXattrs     Need = "user.* attributes"
	UserXattrMarks Need = "userxattr" // overlays whose marks are user.overlay.* attributes
	XattrWhiteouts Need = "xattr whiteouts"
	XattrEscapes   Need = "xattr escapes" // of overlay's own attributes, set through a mount
	DataLayers     Need = "data-only layers"
	Tmpfiles       Need = "files without a name" // O_TMPFILE, on an overlay
	FileSystemIDs  Need = "file system ids"      // that a program may ask for
	LayerHandles   Need = "handles of layers"    // that a mount tells (Linux 6.6)

	// Where kernels take the same layers in two ways: the newer one.
	UnmarkedDirs    Need = "new directories without a mark"         // that hide nothing
	StrictMarks     Need = "errors for marks that are not followed" // even if they lead nowhere
	LooseOrigins    Need = "files with an origin of another type"   // where before 5.15 is an error
	MetacopyHeaders Need = "metacopy headers"                       // so that a value of 1 to 3 bytes is an error
	MappedACLs      Need = "mapped access control lists"            // of id-mapped layers
	Verity          Need = "verity"                                 // its mount option
	PlainDataLayers Need = "data-only layers without metacopy"      // the option

	// What tests find out for themselves: see [Absent].
	IDMaps         Need = "id-mapped layers"
	UsernsOverlays Need = "overlays in a user namespace"
	LayersByFD     Need = "layers by descriptor"               // in the mount API
	Freezers       Need = "a control group with a freezer"     // that this process may make
	ManyLayers     Need = "450 layers with names of 200 bytes" // one by one, in the mount API
)

// probes try a need in an empty directory.
var probes = map[Need]func(tb testing.TB, dir string) error{
	UserXattrs: func(tb testing.TB, dir string) error {
		return xattr.LSet(dir, "user.k", []byte("v"))
	},
	UserXattrMarks: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{Options: "userxattr"}, func(merged string) error {
			d := filepath.Join(merged, "d") // made anew, it must be marked opaque
			return errors.Join(os.RemoveAll(d), os.Mkdir(d, 0o755))
		})
	},
	XattrWhiteouts: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "upper"), "file f xattr.trusted.overlay.whiteout=y")
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			if _, err := os.Lstat(filepath.Join(merged, "f")); err == nil {
				return syscall.EOPNOTSUPP
			}
			return nil
		})
	},
	XattrEscapes: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			return xattr.LSet(filepath.Join(merged, "f"), "trusted.overlay.opaque", []byte("y"))
		})
	},
	DataLayers: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "data"))
		return tryOverlay(tb, dir, Overlay{Data: []string{filepath.Join(dir, "data")}, Options: "metacopy=on"}, nil)
	},
	Tmpfiles: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			return Op{Verb: "tmpfile", Path: "d/t"}.Apply(merged)
		})
	},
	UnmarkedDirs: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			err := os.Mkdir(filepath.Join(merged, "d/new"), 0o755)
			if _, mark := xattr.LGet(filepath.Join(dir, "upper/d/new"), "trusted.overlay.opaque"); err == nil && mark == nil {
				return syscall.EOPNOTSUPP
			}
			return err
		})
	},
	StrictMarks: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "upper"), "dir n xattr.trusted.overlay.redirect=nothing")
		return tryOverlay(tb, dir, Overlay{Options: "redirect_dir=nofollow"}, func(merged string) error {
			if _, err := os.Lstat(filepath.Join(merged, "n")); err == nil {
				return syscall.EOPNOTSUPP
			}
			return nil
		})
	},
	LayerHandles: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			fd, err := sys.OpenDir(merged)
			if err != nil {
				return err
			}
			defer sys.Close(fd)
			_, err = sys.FIDAt(fd, "")
			return err
		})
	},
	LooseOrigins: func(tb testing.TB, dir string) error {
		upper := filepath.Join(dir, "upper")
		Tree(tb, upper, "file n")
		return tryOverlay(tb, dir, Overlay{}, func(merged string) error {
			if err := Mistype(filepath.Join(merged, "d"), filepath.Join(upper, "d"), filepath.Join(upper, "n")); err != nil {
				tb.Error(err)
			}
			_, err := os.Lstat(filepath.Join(merged, "n"))
			return err
		})
	},
	MetacopyHeaders: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "upper"), "file f xattr.trusted.overlay.metacopy=x")
		return tryOverlay(tb, dir, Overlay{Options: "metacopy=on"}, func(merged string) error {
			if _, err := os.Lstat(filepath.Join(merged, "f")); err == nil {
				return syscall.EOPNOTSUPP
			}
			return nil
		})
	},
	IDMaps: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "lower"))
		mapped, err := TryIDMapped(tb, filepath.Join(dir, "lower"), "0:100000:65536")
		if err != nil {
			return err
		}
		return tryOverlay(tb, dir, Overlay{Lower: []string{mapped}}, nil)
	},
	MappedACLs: func(tb testing.TB, dir string) error {
		f := filepath.Join(dir, "lower", "f")
		Tree(tb, filepath.Dir(f), "file f")
		err := doACL(f, "1000:7")
		if err != nil {
			return err
		}
		mapped, err := TryIDMapped(tb, filepath.Dir(f), "0:100000:65536")
		if err != nil {
			return err
		}
		stored, err := xattr.LGet(f, "system.posix_acl_access")
		if err != nil {
			return err
		}
		shown, err := xattr.LGet(filepath.Join(mapped, "f"), "system.posix_acl_access")
		if err == nil && bytes.Equal(stored, shown) {
			err = syscall.EOPNOTSUPP
		}
		return err
	},
	Verity: func(tb testing.TB, dir string) error {
		return tryOverlay(tb, dir, Overlay{Options: "metacopy=on,verity=on"}, nil)
	},
	PlainDataLayers: func(tb testing.TB, dir string) error {
		Tree(tb, filepath.Join(dir, "data"))
		return tryOverlay(tb, dir, Overlay{Data: []string{filepath.Join(dir, "data")}, Options: "metacopy=off"}, nil)
	},
	FileSystemIDs: func(tb testing.TB, dir string) error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, ok := sys.FileSystemID(int(f.Fd())); !ok {
			return syscall.EOPNOTSUPP
		}
		return nil
	},
}

// tryOverlay mounts an overlay over "file f; file d/f" and tries something on it.
func tryOverlay(tb testing.TB, dir string, o Overlay, try func(merged string) error) error {
	lower := filepath.Join(dir, "lower")
	Tree(tb, lower, "file f", "file d/f")
	if o.Upper = filepath.Join(dir, "upper"); o.Lower == nil {
		o.Lower = []string{lower}
	}
	for _, d := range []string{o.Upper, o.Upper + ".work", filepath.Join(dir, "merged")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	o.Work = o.Upper + ".work"
	merged := filepath.Join(dir, "merged")
	if err := mountOverlay(o, merged); err != nil {
		return err
	}
	defer Unmount(tb, merged)
	if try == nil {
		return nil
	}
	return try(merged)
}

var (
	triedLock sync.Mutex
	tried     = map[string]bool{} // by need and file system
)

// Has tries whether kernel and file system have what is needed.
func Has(tb testing.TB, fs FS, need Need) bool {
	tb.Helper()
	triedLock.Lock()
	defer triedLock.Unlock()
	key := Lacks(need, fs)
	has, known := tried[key]
	if known {
		return has
	}
	err := probes[need](tb, Scratch(tb, fs))
	for _, no := range []error{syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EIO} { // EIO: of a mark that could not be set
		if errors.Is(err, no) {
			tried[key] = false
			return false
		}
	}
	if err != nil {
		tb.Fatalf("try %s: %v", key, err)
	}
	tried[key] = true
	return true
}

// Needs skips the test if what it is about can't exist here. The reason begins
// with "not on this kernel", which tells it from a skip for want of privileges
// or tools: the test of several kernels knows of each which it lacks.
func Needs(tb testing.TB, fs FS, needs ...Need) {
	tb.Helper()
	for _, need := range needs {
		if !Has(tb, fs, need) {
			Absent(tb, fs, need)
		}
	}
}

// Absent skips a test that has found out that it needs what can't exist here.
func Absent(tb testing.TB, fs FS, need Need) {
	tb.Helper()
	tb.Skip(NotHere + Lacks(need, fs))
}

// NotHere begins the reason of a test that is skipped because what it is about
// can't exist on the kernel.
const NotHere = "not on this kernel: "

// Lacks says what is not there, and on which file system; "" is for what depends
// on none.
func Lacks(need Need, fs FS) string {
	if fs == "" {
		return string(need)
	}
	return string(need) + " on " + string(fs)
}
