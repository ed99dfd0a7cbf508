// Package kernel knows what the running kernel's overlayfs makes of marks that other releases
// take differently. It finds out by mounting overlays where nobody sees them, since
// distributions carry changes to older releases; where it may not mount, it goes by the release.
package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// Rules is what a kernel makes of marks. What is in a layer is what a mount shows of it.
type Rules struct {
	XattrWhiteouts bool // an empty file with the attribute is a whiteout (6.7, bc8df7a3dc03)
	Escapes        bool // attributes of its own can be stored escaped (6.7, dad02fad84cb)
	Headers        bool // a metacopy attribute of 1 to 3 bytes is an error (6.6, bf07089081a0)
	// StrictMarks: a redirect or metacopy mark that the mount does not follow is an
	// error even if it leads nowhere (6.16, "ovl: make redirect/metacopy rejection consistent").
	StrictMarks bool
	// StrictOrigins: a file whose origin is an inode of another type is an error. Since 5.15
	// its origin is unknown (ffb24e3c6578).
	StrictOrigins bool
}

// StrictOrigins returns the rule of that name. It takes no mounts on
// releases that are newer than the rule.
func StrictOrigins() bool { return mayBeStrict() && Running().StrictOrigins }

// mayBeStrict reports whether this release can have strict origins. Distributions made
// older kernels lenient, and no newer one strict.
var mayBeStrict = sync.OnceValue(func() bool {
	major, minor := sys.KernelRelease()
	return rulesOf(major, minor).StrictOrigins
})

// Running returns the rules of the running kernel. It finds them out once: only another
// kernel has other ones. It is safe for concurrent use.
func Running() Rules { return running() }

var running = sync.OnceValue(func() Rules {
	r, err := tryRules()
	if err != nil {
		return rulesOf(sys.KernelRelease()) // not allowed to mount: nothing better is known
	}
	return r
})

// tryRules mounts overlays over a tmpfs, where nobody sees them.
func tryRules() (r Rules, err error) {
	prefix, option := "trusted.overlay.", ""
	switch err := sys.TryTrusted(); {
	case errors.Is(err, fs.ErrPermission):
		prefix, option = "user.overlay.", ",userxattr"
	case err != nil:
		return r, err
	}
	err = mounting.InOwnNamespace("find out the kernel's rules", func() error {
		dir := os.TempDir() // any directory: what is mounted on it covers it for nobody else
		if err := mounting.Mount("tmpfs", dir, 0, "size=64k"); err != nil {
			return err
		}
		t := trial{dir: dir, prefix: prefix, option: option}
		if err := t.fill(); err != nil {
			return err
		}
		r, err = t.rules()
		return err
	})
	return r, err
}

// trial is an upper layer, a, over a lower one, b, and what is seen of them.
type trial struct{ dir, prefix, option string }

func (t trial) fill() error {
	for _, d := range []string{"a/redirected", "b/origin", "w", "m"} {
		if err := os.MkdirAll(filepath.Join(t.dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"a/whiteout", "a/escaped", "a/short", "a/mistyped", "b/whiteout", "b/short"} {
		if err := os.WriteFile(filepath.Join(t.dir, f), nil, 0o600); err != nil {
			return err
		}
	}
	for _, x := range [][3]string{
		{"a/whiteout", "whiteout", "y"},
		{"a/escaped", "overlay.k", "y"},
		{"a/short", "metacopy", "x"},
		{"a/redirected", "redirect", "nowhere"},
	} {
		if err := syscall.Setxattr(filepath.Join(t.dir, x[0]), t.prefix+x[1], []byte(x[2]), 0); err != nil {
			return err
		}
	}
	if !mayBeStrict() {
		return nil
	}
	return t.mounted(0, t.mistype)
}

// mistype has a directory copied up and gives its origin mark to a file.
func (t trial) mistype(merged string) error {
	if err := os.Chmod(filepath.Join(merged, "origin"), 0o700); err != nil {
		return err
	}
	var origin [256]byte
	n, err := syscall.Getxattr(filepath.Join(t.dir, "a/origin"), t.prefix+"origin", origin[:])
	if err != nil {
		return err
	}
	return syscall.Setxattr(filepath.Join(t.dir, "a/mistyped"), t.prefix+"origin", origin[:n], 0)
}

// mounted calls what on the mount.
func (t trial) mounted(flags uintptr, what func(merged string) error) (err error) {
	m := filepath.Join(t.dir, "m")
	options := "lowerdir=" + filepath.Join(t.dir, "b") + ",upperdir=" + filepath.Join(t.dir, "a") + ",workdir=" + filepath.Join(t.dir, "w") + t.option
	if t.option == "" { // userxattr says that by itself
		options += ",redirect_dir=nofollow"
	}
	if err := mounting.Mount("overlay", m, flags, options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mounting.Detach(m)) }()
	return what(m)
}

func (t trial) rules() (r Rules, err error) {
	err = t.mounted(syscall.MS_RDONLY, func(m string) error { r = t.look(m); return nil })
	return r, err
}

// look looks at the mount.
func (t trial) look(m string) (r Rules) {
	seen := func(name string) error { _, err := os.Lstat(filepath.Join(m, name)); return err }
	r.XattrWhiteouts = errors.Is(seen("whiteout"), os.ErrNotExist)
	r.StrictMarks = errors.Is(seen("redirected"), os.ErrPermission)
	r.Headers = errors.Is(seen("short"), syscall.EIO)
	r.StrictOrigins = errors.Is(seen("mistyped"), syscall.EIO)
	var value [1]byte
	n, _ := syscall.Getxattr(filepath.Join(m, "escaped"), t.prefix+"k", value[:])
	r.Escapes = n == 1
	return r
}

// rulesOf are those of a release.
func rulesOf(major, minor int) Rules {
	from := func(a, b int) bool { return since(major, minor, a, b) }
	return Rules{
		XattrWhiteouts: from(6, 7), Escapes: from(6, 7), Headers: from(6, 6),
		StrictMarks: from(6, 16), StrictOrigins: !from(5, 15),
	}
}

// since reports whether a release is the second one or newer.
func since(major, minor, a, b int) bool { return major > a || major == a && minor >= b }

// MapsACLs reports whether getxattr maps the ids in access control lists on id-mapped mounts,
// since Linux 6.2 (vfs_get_acl, 4f353ba4a9da). It goes by the release: to try it takes a file
// system that can be mounted with an id mapping, and tmpfs can't before 6.3.
var MapsACLs = sync.OnceValue(func() bool {
	major, minor := sys.KernelRelease()
	return since(major, minor, 6, 2)
})
