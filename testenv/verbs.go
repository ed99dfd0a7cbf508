package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pkg/xattr"
)

var twoPathVerbs = map[string]bool{"rename": true, "exchange": true, "link": true}

// verbs are called with absolute paths.
var verbs map[string]func(path, arg string) error

func init() { // not an initializer: ParseOp and the verbs know each other
	verbs = map[string]func(path, arg string) error{
		"create": doCreate, "write": doWrite, "rewrite": doRewrite,
		"open":     func(path, _ string) error { return edit(path, os.O_RDWR, func(*os.File) error { return nil }) },
		"truncate": doTruncate, "chmod": doChmod, "chown": doChown,
		"setxattr": doSetxattr, "removexattr": func(path, name string) error { return xattr.LRemove(path, name) },
		"acl": doACL, "capability": doCapability, "utimes": doUtimes,
		"unlink":   func(path, _ string) error { return pathError("unlink", path, syscall.Unlink(path)) },
		"rmdir":    func(path, _ string) error { return pathError("rmdir", path, syscall.Rmdir(path)) },
		"rmtree":   doRmtree,
		"mkdir":    doMkdir,
		"rename":   func(path, to string) error { return linkError("rename", path, to, syscall.Rename(path, to)) },
		"exchange": exchange,
		"link":     os.Link,
		"tmpfile":  doTmpfile, "mknod": doMknod,
		"symlink":  func(path, target string) error { return os.Symlink(target, path) },
		"retarget": doRetarget, "todir": doToDir, "tofile": doToFile,
	}
}

func edit(path string, flags int, do func(*os.File) error) error {
	if _, err := regular("open", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // a fifo may have come there
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func doCreate(path, content string) error {
	if _, err := regular("open", path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return createFile(path, content, 0)
}

func doWrite(path, content string) error {
	return edit(path, os.O_WRONLY|os.O_APPEND, func(f *os.File) error {
		_, err := f.WriteString(content)
		return err
	})
}

// doRewrite inverts the lowest bit of each byte and puts the mtime back.
func doRewrite(path, _ string) error {
	st, err := regular("open", path)
	if err != nil {
		return err
	}
	return errors.Join(edit(path, os.O_RDWR, func(f *os.File) error {
		data, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		for i := range data {
			data[i] ^= 1
		}
		_, err = f.WriteAt(data, 0)
		return err
	}), setTimes(path, st.Mtim))
}

func doTruncate(path, size string) error {
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	return edit(path, os.O_WRONLY, func(f *os.File) error { return f.Truncate(n) })
}

func doChmod(path, octal string) error {
	mode, err := strconv.ParseUint(octal, 8, 12)
	if err != nil {
		return err
	}
	if _, m, err := lstat(path); err != nil || m&fs.ModeSymlink != 0 {
		return errors.Join(err, pathError("chmod", path, syscall.ELOOP))
	}
	return pathError("chmod", path, syscall.Chmod(path, uint32(mode)))
}

func doChown(path, owner string) error {
	var uid, gid int
	if _, err := fmt.Sscanf(owner, "%d:%d", &uid, &gid); err != nil {
		return fmt.Errorf("owner %q: %w", owner, err)
	}
	return os.Lchown(path, uid, gid)
}

func doSetxattr(path, pair string) error {
	name, value, _ := strings.Cut(pair, "=")
	return xattr.LSet(path, name, []byte(value))
}

// doACL writes version 2 of the kernel's format: entries of tag, permissions
// and id. Owner, group and others keep what the mode gives them.
func doACL(path, user string) error {
	var uid, perm uint32
	user, isDefault := strings.CutPrefix(user, "default:")
	if _, err := fmt.Sscanf(user, "%d:%o", &uid, &perm); err != nil {
		return fmt.Errorf("ACL %q: %w", user, err)
	}
	_, mode, err := lstat(path)
	if err != nil {
		return err
	}
	const none = ^uint32(0)
	bits := uint32(mode.Perm())
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{
		{0x01, bits >> 6 & 7, none}, // owner
		{0x02, perm, uid},           // the named user
		{0x04, bits >> 3 & 7, none}, // group
		{0x10, 7, none},             // mask
		{0x20, bits & 7, none},      // others
	} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	if isDefault {
		return xattr.LSet(path, "system.posix_acl_default", acl)
	}
	return xattr.LSet(path, "system.posix_acl_access", acl)
}

func doCapability(path, hex string) error {
	mask, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return err
	}
	const version2, effective = 0x02000000, 1
	capability := binary.LittleEndian.AppendUint32(nil, version2|effective)
	for _, word := range []uint32{uint32(mask), 0, uint32(mask >> 32), 0} { // permitted and inheritable, twice
		capability = binary.LittleEndian.AppendUint32(capability, word)
	}
	return xattr.LSet(path, "security.capability", capability)
}

func doUtimes(path, mtime string) error {
	t, err := parseTime(mtime)
	if err != nil {
		return err
	}
	return setTimes(path, t)
}

func doRmtree(path, _ string) error {
	_, mode, err := lstat(path)
	if err == nil && !mode.IsDir() {
		err = pathError("rmtree", path, syscall.ENOTDIR)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

func doMkdir(path, octal string) error {
	if err := syscall.Mkdir(path, 0o755); err != nil || octal == "" {
		return pathError("mkdir", path, err)
	}
	return doChmod(path, octal)
}

func doTmpfile(path, content string) error {
	fd, err := syscall.Open(filepath.Dir(path), oTmpfile|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return pathError("open", filepath.Dir(path), err)
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.WriteString(content)
	if err == nil {
		err = linkFD(f, path)
	}
	return errors.Join(err, f.Close())
}

func doMknod(path, spec string) error {
	kind, device, _ := strings.Cut(spec, ":")
	return makeSpecial(path, kind, device)
}

func doRetarget(path, target string) error {
	st, mode, err := lstat(path)
	if err == nil && mode&fs.ModeSymlink == 0 {
		err = pathError("retarget", path, syscall.EINVAL)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = os.Symlink(target, path)
	}
	if err != nil {
		return err
	}
	return setTimes(path, st.Mtim)
}

func doToDir(path, _ string) error {
	if _, _, err := lstat(path); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return doMkdir(path, "")
}

func doToFile(path, content string) error {
	if _, _, err := lstat(path); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return createFile(path, content, os.O_EXCL)
}
