package native

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// rules is what the running kernel makes of marks that others take differently.
// What is in a layer is what a mount on this kernel shows of it.
type rules struct {
	xattrWhiteouts bool // an empty file with the attribute is a whiteout (6.7, bc8df7a3dc03)
	escapes        bool // attributes of its own can be stored escaped (6.7, dad02fad84cb)
	headers        bool // a metacopy attribute of 1 to 3 bytes is an error (6.6, bf07089081a0)
	// strict: a redirect or metacopy mark that the mount does not follow is an
	// error even if it leads nowhere (6.16, "ovl: make redirect/metacopy rejection consistent").
	strict bool
}

// running finds out, once: only another kernel has other rules. It is called when
// such a mark is met, which is rare.
var running = sync.OnceValue(func() rules {
	r, err := tryRules()
	if err != nil {
		return rulesOf(sys.KernelRelease()) // not allowed to mount: nothing better is known
	}
	return r
})

// tryRules mounts overlays over a tmpfs, where nobody sees them.
func tryRules() (r rules, err error) {
	prefix, option := "trusted.overlay.", ""
	switch err := sys.TryTrusted(); {
	case errors.Is(err, fs.ErrPermission):
		prefix, option = "user.overlay.", ",userxattr"
	case err != nil:
		return r, err
	}
	err = mountutil.InOwnNamespace("find out the kernel's rules", func() error {
		dir := os.TempDir() // any directory: what is mounted on it covers it for nobody else
		if err := syscall.Mount("overlaydiff", dir, "tmpfs", 0, "size=64k"); err != nil {
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
	for _, d := range []string{"a/redirected", "b", "w", "m"} {
		if err := os.MkdirAll(filepath.Join(t.dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"a/whiteout", "a/escaped", "a/short", "b/whiteout", "b/short"} {
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
	return nil
}

func (t trial) rules() (r rules, err error) {
	m := filepath.Join(t.dir, "m")
	options := "lowerdir=" + filepath.Join(t.dir, "b") + ",upperdir=" + filepath.Join(t.dir, "a") + ",workdir=" + filepath.Join(t.dir, "w") + t.option
	seen := func(name string) error { _, err := os.Lstat(filepath.Join(m, name)); return err }

	if t.option == "" { // userxattr says that by itself
		options += ",redirect_dir=nofollow"
	}
	if err := syscall.Mount("overlaydiff", m, "overlay", syscall.MS_RDONLY, options); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, syscall.Unmount(m, syscall.MNT_DETACH)) }()
	r.xattrWhiteouts = errors.Is(seen("whiteout"), os.ErrNotExist)
	r.strict = errors.Is(seen("redirected"), os.ErrPermission)
	r.headers = errors.Is(seen("short"), syscall.EIO)
	var value [1]byte
	n, _ := syscall.Getxattr(filepath.Join(m, "escaped"), t.prefix+"k", value[:])
	r.escapes = n == 1
	return r, nil
}

// rulesOf are those of a release.
func rulesOf(major, minor int) rules {
	since := func(a, b int) bool { return major > a || major == a && minor >= b }
	return rules{xattrWhiteouts: since(6, 7), escapes: since(6, 7), headers: since(6, 6), strict: since(6, 16)}
}

// visible is what the mount shows of an attribute, see
// [whiteout.Namespace.Visible].
func (r *resolver) visible(name string) (string, bool) {
	shown, ok := r.marks.Visible(name)
	if ok && strings.HasPrefix(name, r.marks.Prefix) && !running().escapes {
		return "", false
	}
	return shown, ok
}
