package testenv

import (
	"maps"
	"path"
	"strings"
)

// model is the tree that a random case has made so far, as far as its next
// operations depend on it. It has no symbolic links in the middle of paths and
// no file system's limits; what it gets wrong is a refused operation, no more.
type model struct {
	nodes map[string]*inode // by path; hard links share theirs
	layer int
	// redirects: directories of lower layers can be renamed.
	redirects bool
	// linkable are the kinds of which hard links are made. With an index whose
	// marks are user attributes, which only files can have, the kernel gives up
	// on a lower symbolic link or device with two names half-way through its
	// copy-up: its index entry stays, both names then show one inode with a link
	// count of 1, and the layers can't be mounted again (ENODATA; seen on 6.18).
	linkable string
}

type inode struct {
	kind    byte // d, f, l(ink), s(pecial), or w: a whiteout in the bottom layer
	layer   int  // in which it was made
	content string
	mtime   string // "": the time of an operation
	xattrs  map[string]bool
}

func newModel(options string) *model {
	m := &model{
		nodes:     map[string]*inode{},
		redirects: strings.Contains(options, "redirect_dir=on") || strings.Contains(options, "metacopy=on"),
		linkable:  "fls",
	}
	if strings.Contains(options, "userxattr") && strings.Contains(options, "index=on") {
		m.linkable = "f"
	}
	return m
}

// next begins the next layer: what whiteouts stood for is gone.
func (m *model) next() {
	m.layer++
	maps.DeleteFunc(m.nodes, func(_ string, n *inode) bool { return n.kind == 'w' })
}

func (m *model) is(p string, kinds string) bool {
	n := m.nodes[p]
	return n != nil && strings.IndexByte(kinds, n.kind) >= 0
}

// free reports whether something can be made at a path.
func (m *model) free(p string) bool {
	return p != "." && m.nodes[p] == nil && (path.Dir(p) == "." || m.is(path.Dir(p), "d"))
}

func (m *model) empty(dir string) bool {
	for p := range m.nodes {
		if below(p, dir) {
			return false
		}
	}
	return true
}

func (m *model) links(p string) (n int) {
	for _, other := range m.nodes {
		if other == m.nodes[p] {
			n++
		}
	}
	return n
}

// movable reports whether the kernel would rename it: a directory of which a
// lower layer has a part, only with redirects.
func (m *model) movable(p string) bool {
	return !m.is(p, "d") || m.redirects || m.nodes[p].layer == m.layer
}

func below(p, dir string) bool { return strings.HasPrefix(p, dir+"/") }

// apply does an operation to the model and reports whether it is possible.
func (m *model) apply(o Op) bool {
	switch o.Verb {
	case "create", "tmpfile", "symlink", "mkdir", "mknod":
		return m.make(o)
	case "link", "rename", "exchange":
		return m.twoNames(o)
	case "unlink", "rmdir", "rmtree", "todir", "tofile", "retarget":
		return m.replace(o)
	default:
		return m.change(o)
	}
}

func (m *model) make(o Op) bool {
	n := &inode{layer: m.layer, content: o.Arg, xattrs: map[string]bool{}}
	switch o.Verb {
	case "create":
		if m.is(o.Path, "f") {
			m.nodes[o.Path].content, m.nodes[o.Path].mtime = o.Arg, ""
			return true
		}
		n.kind = 'f'
	case "tmpfile":
		n.kind = 'f'
	case "symlink":
		n.kind = 'l'
	case "mkdir":
		n.kind = 'd'
	case "mknod":
		n.kind = 's'
		if o.Arg == "char:0:0" {
			n.kind = 'w'
		}
	}
	if !m.free(o.Path) || n.kind == 'w' && m.layer > 0 {
		return false
	}
	m.nodes[o.Path] = n
	return true
}

func (m *model) twoNames(o Op) bool {
	from, to := m.nodes[o.Path], m.nodes[o.Arg]
	switch {
	case from == nil || below(o.Arg, o.Path) || below(o.Path, o.Arg):
		return false
	case o.Verb == "link":
		if from.kind == 'd' || !m.free(o.Arg) {
			return false
		}
		m.nodes[o.Arg] = from
	case o.Verb == "rename" && to == nil:
		if !m.free(o.Arg) || !m.movable(o.Path) {
			return false
		}
		m.move(o.Path, o.Arg)
	case o.Verb == "rename":
		isDir := to.kind == 'd'
		if from == to {
			return true // two names of one file: nothing happens
		}
		if isDir != (from.kind == 'd') || isDir && !m.empty(o.Arg) || !m.movable(o.Path) {
			return false
		}
		m.move(o.Path, o.Arg)
	default:
		if to == nil || !m.movable(o.Path) || !m.movable(o.Arg) {
			return false
		}
		const aside = "\x00"
		m.move(o.Path, aside)
		m.move(o.Arg, o.Path)
		m.move(aside, o.Arg)
	}
	return true
}

func (m *model) replace(o Op) bool {
	n := m.nodes[o.Path]
	if n == nil {
		return false
	}
	fresh := &inode{layer: m.layer, content: o.Arg, xattrs: map[string]bool{}}
	switch o.Verb {
	case "unlink":
		if n.kind == 'd' {
			return false
		}
		fresh = nil
	case "rmdir", "rmtree":
		if n.kind != 'd' || o.Verb == "rmdir" && !m.empty(o.Path) {
			return false
		}
		fresh = nil
	case "todir":
		fresh.kind = 'd'
	case "tofile":
		fresh.kind = 'f'
	case "retarget":
		if n.kind != 'l' {
			return false
		}
		fresh.kind, fresh.mtime = 'l', n.mtime
	}
	m.remove(o.Path)
	if fresh != nil {
		m.nodes[o.Path] = fresh
	}
	return true
}

func (m *model) change(o Op) bool {
	n := m.nodes[o.Path]
	if n == nil {
		return false
	}
	name, _, _ := strings.Cut(o.Arg, "=")
	switch o.Verb {
	case "write", "truncate", "rewrite", "open", "capability":
		if n.kind != 'f' {
			return false
		}
		switch o.Verb {
		case "write":
			n.content, n.mtime = n.content+o.Arg, ""
		case "truncate", "rewrite": // the content is not followed any further
			n.content, n.mtime = "?", ""
		}
	case "chmod":
		return n.kind != 'l'
	case "acl":
		return n.kind == 'd' || n.kind != 'l' && !strings.HasPrefix(o.Arg, "default:")
	case "setxattr":
		if strings.HasPrefix(name, "user.") && !strings.ContainsRune("df", rune(n.kind)) {
			return false
		}
		// In the bottom layer overlay's own attributes are not yet escaped ones.
		if m.layer > 0 || !strings.Contains(name, ".overlay.") {
			n.xattrs[name] = true
		}
	case "removexattr":
		if !n.xattrs[name] {
			return false
		}
		delete(n.xattrs, name)
	case "utimes":
		n.mtime = o.Arg
	}
	return true
}

func (m *model) remove(root string) {
	maps.DeleteFunc(m.nodes, func(p string, _ *inode) bool { return p == root || below(p, root) })
}

func (m *model) move(from, to string) {
	moved := map[string]*inode{}
	for p, n := range m.nodes {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			moved[to+rest] = n
		}
	}
	m.remove(from)
	m.remove(to)
	maps.Copy(m.nodes, moved)
}
