package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Files writes files into an archive as the kernel unpacks it into its first
// file system: cpio's format newc. Names are paths in the guest; of two files of
// one name the first stays. The first error stays too, and [Pack] returns it.
type Files struct {
	w      *bufio.Writer
	inode  int
	offset int
	have   map[string]bool
	err    error
}

// Pack makes an archive of what fill adds. The kernel takes several, one after
// the other.
func Pack(file string, fill func(*Files)) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	a := &Files{w: bufio.NewWriterSize(f, 1<<20), have: map[string]bool{}}
	fill(a)
	a.header("TRAILER!!!", 0, 0, 0, 0)
	a.pad(512)
	return errors.Join(a.err, a.w.Flush(), f.Close())
}

func (a *Files) fail(err error) { a.err = errors.Join(a.err, err) }
func (a *Files) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
		a.offset += len(b)
	}
}

func (a *Files) pad(to int) { a.write(make([]byte, (to-a.offset%to)%to)) }

func (a *Files) header(name string, mode, size, major, minor int) {
	a.inode++
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(name)+1, 0, name))
	a.pad(4)
}

// entry adds an entry and the directories above it, unless it is there.
func (a *Files) entry(name string, mode int, content []byte) {
	name = strings.Trim(name, "/")
	if name == "" || name == "." || a.have[name] {
		return
	}
	a.Dir(path.Dir(name))
	a.have[name] = true
	a.header(name, mode, len(content), 0, 0)
	a.write(content)
	a.pad(4)
}

// Dir adds a directory, and those above it.
func (a *Files) Dir(name string) { a.entry(name, 0o040755, nil) }

// Link adds a symbolic link.
func (a *Files) Link(name, target string) { a.entry(name, 0o120777, []byte(target)) }

// Data adds a file of this content.
func (a *Files) Data(name string, b []byte, perm fs.FileMode) { a.entry(name, 0o100000|int(perm), b) }

func (a *Files) charDevice(name string, major, minor int) {
	a.Dir(path.Dir(name))
	a.header(strings.Trim(name, "/"), 0o020600, 0, major, minor)
}

// Copy adds a file of this machine.
func (a *Files) Copy(name, source string) {
	b, err := os.ReadFile(source)
	info, serr := os.Stat(source)
	if err := errors.Join(err, serr); err != nil {
		a.fail(err)
		return
	}
	a.Data(name, b, info.Mode().Perm())
}

// Tree adds a directory with all that is in it, if there is one.
func (a *Files) Tree(name, source string) {
	err := filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if p == source && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		to := name + strings.TrimPrefix(p, source)
		switch {
		case d.IsDir():
			a.Dir(to)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.Link(to, target)
		case d.Type().IsRegular():
			a.Copy(to, p)
		default:
			return fmt.Errorf("pack %s: neither a file nor a directory nor a link", p)
		}
		return nil
	})
	if err != nil {
		a.fail(err)
	}
}

// Program adds an executable and the libraries that ldd names, those by their
// own paths.
func (a *Files) Program(name, source string) {
	a.Copy(name, source)
	list, err := exec.Command("ldd", source).Output()
	if err != nil {
		return // it needs none: it is static, or a script
	}
	for word := range strings.FieldsSeq(string(list)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		a.Copy(word, word)
		if path.Base(word) == "libc.so.6" { // it opens this one when a thread ends
			if gcc := path.Join(path.Dir(word), "libgcc_s.so.1"); exists(gcc) {
				a.Copy(gcc, gcc)
			}
		}
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
