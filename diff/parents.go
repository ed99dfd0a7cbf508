package diff

import (
	"iter"
	"strings"
)

// WithParents adds the directories above each change as modified, the root
// excepted, where they are not changes themselves: docker diff lists them, because
// a directory's time changes with what is in it. Changes must come in path order,
// and still do. Of a directory that is not a change itself, What is 0 and Entry has
// the type alone.
func WithParents(changes iter.Seq2[Change, error]) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		last := "/"
		for c, err := range changes {
			if err != nil {
				yield(c, err)
				return
			}
			for i := 1; i < len(c.Path); i++ {
				if c.Path[i] != '/' {
					continue
				}
				dir := c.Path[:i]
				if last == dir || strings.HasPrefix(last, c.Path[:i+1]) {
					continue // it was listed
				}
				if !yield(Change{Kind: Modify, Path: dir, Entry: Entry{Type: Dir}}, nil) {
					return
				}
			}
			last = c.Path
			if !yield(c, nil) {
				return
			}
		}
	}
}
