package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// edit is one change that the demo makes. path is absolute within the overlay.
type edit struct {
	verb, path, note string
	do               func(path string) error
}

func (e edit) apply(root string) error { return e.do(filepath.Join(root, e.path)) }

// victims are entries of the lower tree that the demo will change, each for one
// edit. Paths are relative to the tree.
type victims struct {
	files []string // regular files that can be read
	links []string // symbolic links
	dirs  []string // directories that have only some files
}

const (
	wantFiles, wantLinks, wantDirs = 8, 1, 3

	// searchLimit bounds the search for victims in a tree that lacks some kind.
	searchLimit = 100_000
	smallFile   = 1 << 20
	smallDir    = 20
)

// chooseVictims looks for entries that the demo can change.
func chooseVictims(ctx context.Context, lower string) (v victims, err error) {
	seen := 0
	err = filepath.WalkDir(lower, func(path string, e fs.DirEntry, err error) error {
		if seen++; seen > searchLimit || v.full() {
			return fs.SkipAll
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || path == lower {
			return nil //nolint:nilerr // what can't be read is no victim
		}
		rel, err := filepath.Rel(lower, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			if len(v.dirs) < wantDirs && isLeaf(path) {
				v.dirs = append(v.dirs, rel)
				return fs.SkipDir
			}
		case e.Type() == fs.ModeSymlink:
			if len(v.links) < wantLinks {
				v.links = append(v.links, rel)
			}
		default:
			if len(v.files) < wantFiles && isSmallFile(path, e) {
				v.files = append(v.files, rel)
			}
		}
		return nil
	})
	if err == nil && len(v.files) == 0 {
		err = fmt.Errorf("look for something to change in %s: there is no readable file; name another tree with --lower", lower)
	}
	return v, err
}

func (v *victims) full() bool {
	return len(v.files) == wantFiles && len(v.links) == wantLinks && len(v.dirs) == wantDirs
}

// isLeaf reports whether a directory has some small files and nothing else.
func isLeaf(path string) bool {
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) == 0 || len(entries) > smallDir {
		return false
	}
	for _, e := range entries {
		if !isSmallFile(filepath.Join(path, e.Name()), e) {
			return false
		}
	}
	return true
}

func isSmallFile(path string, e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > smallFile {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// copyTo copies the victims into a layer of their own.
func (v *victims) copyTo(lower, layer string) error {
	files := append([]string{}, v.files...)
	for _, dir := range v.dirs {
		entries, err := os.ReadDir(filepath.Join(lower, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	for _, rel := range append(files, v.links...) {
		from, to := filepath.Join(lower, rel), filepath.Join(layer, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		} else {
			err = copyFile(from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hideUnreadable puts whiteouts into a layer for the directories of the lower
// tree that can't be listed, and returns how many there are.
func hideUnreadable(ctx context.Context, lower, layer string) (hidden int, err error) {
	err = filepath.WalkDir(lower, func(path string, _ fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, fs.ErrPermission) || path == lower {
			return err
		}
		rel, err := filepath.Rel(lower, path)
		if err != nil {
			return err
		}
		hidden++
		to := filepath.Join(layer, rel)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), syscall.Mknod(to, syscall.S_IFCHR, 0))
	})
	return hidden, err
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// edits returns what can be done with the victims that were found: changes of
// each kind, and some that are none.
func (v *victims) edits() []edit {
	onFile := []edit{
		{verb: "append to", do: appendTo},
		{verb: "chmod", do: func(p string) error { return os.Chmod(p, 0o4750) }},
		{verb: "set mtime", do: func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1e9, 1)) }},
		{verb: "set xattr", do: func(p string) error { return syscall.Setxattr(p, "user.demo", []byte("1"), 0) }},
		{verb: "delete", do: os.Remove},
		{verb: "rename", note: " to demo-renamed in the same directory", do: func(p string) error { return os.Rename(p, beside(p, "demo-renamed")) }},
		{verb: "link", note: " to demo-linked in the same directory", do: func(p string) error { return os.Link(p, beside(p, "demo-linked")) }},
		{verb: "open", note: " for writing, and write nothing", do: openOnly},
	}
	onDir := []edit{
		{verb: "delete", note: " and what is in it", do: os.RemoveAll},
		{verb: "make anew", note: " with one other file", do: makeAnew},
		{verb: "replace", note: " by a file", do: func(p string) error {
			return errors.Join(os.RemoveAll(p), os.WriteFile(p, []byte("once a directory\n"), 0o644))
		}},
	}
	onLink := []edit{{verb: "retarget", do: func(p string) error {
		return errors.Join(os.Remove(p), os.Symlink("somewhere/else", p))
	}}}
	var edits []edit
	for _, group := range []struct {
		edits   []edit
		victims []string
	}{{onFile, v.files}, {onDir, v.dirs}, {onLink, v.links}} {
		for i, path := range group.victims {
			e := group.edits[i]
			e.path = "/" + path
			edits = append(edits, e)
		}
	}
	return append(edits, edit{verb: "create", path: "/demo-new", note: " with three entries", do: createTree})
}

func beside(path, name string) string { return filepath.Join(filepath.Dir(path), name) }

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("one more line\n")
	return errors.Join(err, f.Close())
}

func openOnly(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func makeAnew(path string) error {
	return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o755),
		os.WriteFile(filepath.Join(path, "demo-only"), []byte("all that is here now\n"), 0o644))
}

func createTree(path string) error {
	return errors.Join(os.Mkdir(path, 0o755),
		os.WriteFile(filepath.Join(path, "a file"), make([]byte, 12345), 0o644),
		os.Symlink("a file", filepath.Join(path, "a link")),
		syscall.Mkfifo(filepath.Join(path, "a fifo"), 0o600))
}
