package layer

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"syscall"
)

// leftOut counts what of a layer is not in the tree, by name. It is safe for
// concurrent use.
type leftOut struct {
	mu    sync.Mutex
	total int64
	names map[string]int64
}

// mostNames bounds the names that are told apart: a layer can have any number.
// otherNames has the rest.
const (
	mostNames  = 100
	otherNames = "others"
)

func (l *leftOut) out(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if l.names == nil {
		l.names = map[string]int64{}
	}
	if _, there := l.names[name]; !there && len(l.names) >= mostNames {
		name = otherNames
	}
	l.names[name]++
}

// may reports whether an attribute that could not be set may be left out, and notes
// it: the file system has no such attributes, or the kernel has them for files and
// directories only (user.*, xattr(7)). Without others programs could do more than
// the layer says.
func (l *leftOut) may(name string, err error) bool {
	user := strings.HasPrefix(name, "user.")
	refused := errors.Is(err, syscall.EOPNOTSUPP) && (user || strings.HasPrefix(name, "trusted.")) || user && errors.Is(err, syscall.EPERM)
	if l == nil || !refused {
		return false
	}
	l.out(name)
	return true
}

// counts returns what was left out.
func (l *leftOut) counts() (total int64, names map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, maps.Clone(l.names)
}
