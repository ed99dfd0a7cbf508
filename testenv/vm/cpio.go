package vm

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
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

// Program adds an executable, which is source below a root directory, with the libraries that
// it needs, those by their own paths.
func (a *Files) Program(name, root, source string) {
	a.Copy(name, filepath.Join(root, source))
	a.libraries(root, source)
}

// libraries adds what the dynamic linker loads for a program or a library.
func (a *Files) libraries(root, file string) {
	e, err := elf.Open(filepath.Join(root, file))
	if err != nil {
		return // a script
	}
	defer e.Close()
	var needed []string
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			a.fail(err)
			needed = append(needed, strings.TrimRight(string(b), "\x00"))
		}
	}
	names, err := e.ImportedLibraries()
	if err != nil && len(needed) > 0 {
		a.fail(err)
	}
	if len(needed) > 0 { // the C library opens this one when a thread ends
		names = append(names, "libgcc_s.so.1")
	}
	runpath, _ := e.DynString(elf.DT_RUNPATH)
	for _, library := range names {
		if path := findLibrary(root, library, runpath); path != "" {
			needed = append(needed, path)
		} else if library != "libgcc_s.so.1" {
			a.fail(fmt.Errorf("%s needs %s, which is not below %s", file, library, root))
		}
	}
	for _, path := range needed {
		if !a.have[strings.Trim(path, "/")] {
			a.Copy(path, filepath.Join(root, path))
			a.libraries(root, path)
		}
	}
}

// findLibrary returns the path of a library below a root directory, "" if there is none.
func findLibrary(root, name string, runpath []string) string {
	dirs := slices.Clone(runpath)
	for _, dir := range []string{"/lib", "/usr/lib", "/usr/local/lib"} {
		triplets, _ := filepath.Glob(filepath.Join(root, dir, "*-linux-gnu*"))
		for _, triplet := range triplets {
			dirs = append(dirs, filepath.Join(dir, filepath.Base(triplet)))
		}
		dirs = append(dirs, dir, dir+"64")
	}
	for _, dir := range dirs {
		if path := filepath.Join(dir, name); exists(filepath.Join(root, path)) {
			return path
		}
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
