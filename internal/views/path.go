package views

import "slices"

// Path is what a walk keeps of the path of a directory that waits: with a whole one
// at each level, memory would follow the square of a tree's depth. nil is the root.
type Path struct {
	above *Path
	name  string
}

// Child returns the path of the directory name in p.
func (p *Path) Child(name string) *Path { return &Path{p, name} }

// String returns the path as such, "/" or one without a trailing slash.
func (p *Path) String() string {
	if p == nil {
		return "/"
	}
	n := 0
	for q := p; q != nil; q = q.above {
		n += 1 + len(q.name)
	}
	b := slices.Grow([]byte(nil), n)[:n]
	for q := p; q != nil; q = q.above {
		n -= copy(b[n-len(q.name):], q.name) + 1
		b[n] = '/'
	}
	return string(b)
}
