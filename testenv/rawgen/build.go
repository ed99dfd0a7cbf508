package rawgen

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// Builder does the operations of a case. Dirs has the directories by name: U, W, m,
// and those of the layers. What can't be done is left out, as by a shell.
type Builder struct{ Dirs map[string]string }

func (b Builder) path(place string) string {
	layer, rest, _ := strings.Cut(place, "/")
	return b.Dirs[layer] + "/" + rest
}

// Do does the operations, and reports how many could be done.
func (b Builder) Do(ops []Op) (done int) {
	for _, op := range ops {
		if layer, _, _ := strings.Cut(op.At, "/"); op.At != "" && b.Dirs[layer] == "" {
			continue // the layer was left out
		}
		if b.do(op) == nil {
			done++
		}
	}
	return done
}

// past is the modification time of what is made.
var past = time.Unix(1_000_000_000, 0)

func (b Builder) do(op Op) error {
	at := b.path(op.At)
	arg := func(i int) string {
		if i < len(op.Args) {
			return op.Args[i]
		}
		return ""
	}
	number := func(i, base int) int {
		n, _ := strconv.ParseInt(arg(i), base, 32)
		return int(n)
	}
	switch op.Verb {
	case "dir":
		return os.MkdirAll(at, 0o755)
	case "mkdir":
		return os.Mkdir(at, 0o755)
	case "file":
		return errors.Join(write(at, arg(0), syscall.O_TRUNC), os.Chtimes(at, past, past))
	case "mknod":
		return syscall.Mknod(at, syscall.S_IFCHR|0o644, number(0, 10)<<8|number(1, 10))
	case "block":
		return syscall.Mknod(at, syscall.S_IFBLK|0o644, number(0, 10)<<8|number(1, 10))
	case "fifo":
		return syscall.Mkfifo(at, 0o644)
	case "symlink":
		return os.Symlink(arg(0), at)
	case "link":
		return os.Link(b.path(arg(0)), at)
	case "chmod":
		return syscall.Chmod(at, uint32(number(0, 8))) //nolint:gosec // a mode
	case "chown":
		return os.Lchown(at, number(0, 10), number(0, 10))
	case "xattr":
		v, err := hex.DecodeString(strings.TrimPrefix(arg(1), "0x"))
		return errors.Join(err, xattr.LSet(at, arg(0), v))
	case "handle", "upper":
		h, err := b.handle(arg(1), op.Verb == "upper")
		if err != nil {
			return err
		}
		return xattr.LSet(at, arg(0), h)
	case "remove":
		// RemoveAll opens the directory above, and would wait for the other end of a fifo.
		if _, err := os.Lstat(at); err != nil {
			return err
		}
		return os.RemoveAll(at)
	case "write":
		return write(at, arg(0)+"\n", syscall.O_APPEND)
	case "rename":
		return os.Rename(b.path(arg(0)), at)
	}
	return b.index(op, arg)
}

// write writes to a regular file, or makes one.
func write(at, text string, flags int) error {
	if info, err := os.Lstat(at); err == nil && !info.Mode().IsRegular() {
		return syscall.EEXIST
	}
	// Not blocking: what overlayfs said of a name may change when it is opened.
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// index changes the index entry of an inode.
func (b Builder) index(op Op, arg func(int) string) error {
	origin, err := b.handle(arg(0), false)
	if err != nil {
		return err
	}
	dir := b.Dirs["W"] + "/index"
	at := dir + "/" + hex.EncodeToString(origin)
	if op.Verb == "ixnlink" {
		v, err := hex.DecodeString(strings.TrimPrefix(arg(2), "0x"))
		return errors.Join(err, xattr.LSet(at, arg(1), v))
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.RemoveAll(at)); err != nil {
		return err
	}
	switch op.Verb {
	case "ixwhiteout":
		return syscall.Mknod(at, syscall.S_IFCHR, 0)
	case "ixfifo":
		return errors.Join(syscall.Mkfifo(at, 0o644), xattr.LSet(at, arg(1), origin))
	case "ixfile":
		return errors.Join(os.WriteFile(at, []byte("index\n"), 0o644), xattr.LSet(at, arg(1), origin))
	case "ixdir":
		upper, err := b.handle(arg(1), true)
		if err != nil {
			return err
		}
		return errors.Join(os.Mkdir(at, 0o755), xattr.LSet(at, arg(2), upper))
	case "ixlink":
		return errors.Join(os.Link(b.path(arg(1)), at), xattr.LSet(at, arg(2), origin))
	}
	return nil
}

// handle returns the handle of what is at a place, as overlayfs stores it.
func (b Builder) handle(place string, upper bool) ([]byte, error) {
	dir, err := os.OpenFile(filepath.Dir(b.path(place)), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	h, err := sys.HandleAt(int(dir.Fd()), filepath.Base(b.path(place)))
	if err != nil {
		return nil, err
	}
	id, ok := sys.FileSystemID(int(dir.Fd()))
	if !ok {
		// A layer that is a mount may be read-only: what it is a mount of is beside it. Of a
		// file system of which nothing can be learned the kernel has no marks either.
		layer, _, _ := strings.Cut(place, "/")
		id, _ = testenv.FileSystemUUID(filepath.Dir(b.Dirs[layer]))
	}
	flags := byte(0)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		flags = 1 // OVL_FH_FLAG_BIG_ENDIAN: without it, the kernel ignores the handle there
	}
	if upper {
		flags |= 4 // OVL_FH_FLAG_PATH_UPPER
	}
	v := append([]byte{0, 0xfb, byte(21 + len(h.ID)), flags, byte(h.Type)}, id[:]...)
	return append(v, h.ID...), nil
}
