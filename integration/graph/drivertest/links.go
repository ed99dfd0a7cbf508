package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// checkLinks compares which names of two layers' views are links of each other: those
// of want must be those of got, to which the archive of a diff was applied. A file that
// was copied up without a change lost its links, which is no change: names that are not
// in the archive may have more of them.
func (s suite) checkLinks(got, want string, archive []byte) {
	s.Helper()
	var has, should map[string]string
	s.show(got, func(dir string) { has = s.links(dir) })
	s.show(want, func(dir string) { should = s.links(dir) })
	for name, first := range should {
		if has[name] == "" || has[name] != has[first] {
			s.Errorf("%s: %q is a link of %q no more", got, name, first)
		}
	}
	carried := map[string]string{} // a name in the archive of each inode
	for _, h := range s.headers(archive) {
		name := "/" + path.Clean(h.Name)
		if has[name] == "" {
			continue
		}
		if other, ok := carried[has[name]]; ok && (should[name] == "" || should[name] != should[other]) {
			s.Errorf("%s: %q is a link of %q, and was none", got, name, other)
		}
		carried[has[name]] = name
	}
}

// headers returns the entries of an archive.
func (s suite) headers(archive []byte) (list []*tar.Header) {
	s.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		s.must(err)
		list = append(list, h)
	}
}

// links maps the names of inodes with several names to the first of them.
func (s suite) links(dir string) map[string]string {
	s.Helper()
	type inode struct{ dev, ino uint64 }
	first, links := map[inode]string{}, map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // overlayfs lists whiteouts of a directory that hides nothing
		}
		if err != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			return err
		}
		name, id := strings.TrimPrefix(path, dir), inode{st.Dev, st.Ino}
		if other, ok := first[id]; ok {
			links[other], links[name] = other, other
			return nil
		}
		first[id] = name
		return nil
	})
	s.must(err)
	return links
}
