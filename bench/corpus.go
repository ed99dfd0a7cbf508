package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// filesPerDir is how many entries that are no directories each directory has.
const filesPerDir = 10

// emptyAbove is the image size from which files have no content: a page of
// memory for each would be too much on tmpfs.
const emptyAbove = 200_000

// topDirs is how many directories an image has at its top.
const topDirs = 20

// corpus is an image made from a seed: the same in every run.
type corpus struct {
	Scenario
	dirs  []string // relative, parents first
	files int      // entries that are no directories
}

func newCorpus(s Scenario) *corpus {
	// So many directories that they and what is in them are Image entries.
	n := max(1, (s.Image+filesPerDir)/(filesPerDir+1))
	c := &corpus{Scenario: s, dirs: make([]string, n), files: s.Image - n}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range c.dirs {
		parent := ""
		switch {
		case s.Depth > 0 && i%s.Depth > 0: // chains
			parent = c.dirs[i-1]
		case s.Depth == 0 && i >= topDirs:
			parent = c.dirs[r.IntN(i)]
		}
		c.dirs[i] = filepath.Join(parent, fmt.Sprintf("d%05d", i))
	}
	return c
}

// file returns the path of a file and the number of its directory.
func (c *corpus) file(i int) (path string, dir int) {
	dir = i % len(c.dirs)
	return filepath.Join(c.dirs[dir], fmt.Sprintf("f%d", i/len(c.dirs))), dir
}

// kind of a file: 'f' plain, 'l' symbolic link, 'h' hard link of its directory's
// f0. The same for a number always, so that edits know without asking.
func (c *corpus) kind(i int) byte {
	if i < len(c.dirs) {
		return 'f' // f0
	}
	switch h := uint32(i) * 2654435761 >> 16 % 100; {
	case h < 2:
		return 'h'
	case h < 7:
		return 'l'
	}
	return 'f'
}

// make makes the image below root, spread over its layers, and returns them
// topmost first. A directory's files are all in one layer, and its parents in
// each layer that needs them.
func (c *corpus) make(root string) (layers []string, err error) {
	for i := range c.Layers {
		layers = append(layers, filepath.Join(root, fmt.Sprintf("l%d", i)))
		if err := os.Mkdir(layers[i], 0o755); err != nil {
			return nil, err
		}
	}
	for i, dir := range c.dirs {
		if err := os.MkdirAll(filepath.Join(layers[i%c.Layers], dir), 0o755); err != nil {
			return nil, err
		}
	}
	content := []byte(strings.Repeat("0123456789abcdef", 64))
	// Whole seconds, as files have that came out of a layer's tar: some peers
	// then compare contents.
	mtime := time.Unix(1_700_000_000, 0)
	r := rand.New(rand.NewPCG(2, uint64(c.files)))
	for i := range c.files {
		rel, dir := c.file(i)
		path, first := filepath.Join(layers[dir%c.Layers], rel), filepath.Join(layers[dir%c.Layers], c.dirs[dir], "f0")
		switch c.kind(i) {
		case 'h':
			err = os.Link(first, path)
		case 'l':
			err = os.Symlink("f0", path)
		default:
			size := r.IntN(len(content))
			if c.Image > emptyAbove {
				size = 0
			}
			if err = os.WriteFile(path, content[:size], 0o644); err == nil {
				err = os.Chtimes(path, mtime, mtime)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// edit changes the image through a mount, directory by directory, as far as the
// upper directory then has Upper entries: files that are written to, chmod'ed,
// removed and new, and the directories that they are in.
func (c *corpus) edit(merged string) error {
	e := editor{corpus: c, merged: merged, copied: map[string]bool{"": true}, left: c.Upper}
	if c.Features {
		if err := e.rename(len(c.dirs) - 1); err != nil {
			return err
		}
	}
	for dir := range c.dirs[:len(c.dirs)-1] { // the last may have another name now
		for i := dir; i < c.files; i += len(c.dirs) {
			if i < len(c.dirs) || c.kind(i) != 'f' {
				continue // f0 may have links
			}
			if !e.enter(c.dirs[dir]) {
				return e.create()
			}
			if err := e.change(dir, i); err != nil {
				return err
			}
		}
	}
	return e.create()
}

// editor counts what its edits leave in the upper directory.
type editor struct {
	*corpus
	merged string
	copied map[string]bool // directories
	left   int
	seq    int
}

// enter counts the copy-up of a directory and its parents, and reports whether
// there is room for them and one entry more.
func (e *editor) enter(dir string) bool {
	var path []string
	for d := dir; d != "." && !e.copied[d]; d = filepath.Dir(d) {
		path = append(path, d)
	}
	if len(path) >= e.left {
		return false
	}
	for _, d := range path {
		e.copied[d] = true
	}
	e.left -= len(path) + 1
	return true
}

func (e *editor) change(dir, file int) error {
	rel, _ := e.file(file)
	path := filepath.Join(e.merged, rel)
	e.seq++
	switch e.seq % 6 {
	case 0:
		return os.Chmod(path, 0o600)
	case 1:
		return os.Remove(path)
	case 2:
		return os.WriteFile(filepath.Join(e.merged, e.dirs[dir], fmt.Sprintf("new%d", file)), []byte("new"), 0o644)
	default:
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("more")
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	}
}

// rename renames a directory that no other is in: the last one is such. It
// leaves a whiteout and a redirect.
func (e *editor) rename(dir int) error {
	if !e.enter(filepath.Dir(e.dirs[dir])) {
		return nil
	}
	e.left--
	path := filepath.Join(e.merged, e.dirs[dir])
	return os.Rename(path, path+"-renamed")
}

// create makes what is left of the upper directory's entries a new directory:
// there is no room for one more change and its parents, or nothing left to change.
func (e *editor) create() error {
	if e.left == 0 {
		return nil
	}
	dir := filepath.Join(e.merged, "added")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for e.left--; e.left > 0; e.left-- {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d", e.left)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}
