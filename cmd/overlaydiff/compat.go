package main

import (
	"iter"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// withParents adds, as docker diff does, the directories above each change as
// changed, the root excepted, where they are not changes themselves.
func withParents(changes iter.Seq2[diff.Change, error]) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
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
				if last == dir || strings.HasPrefix(last, dir+"/") {
					continue // it was listed
				}
				if !yield(diff.Change{Kind: diff.Modify, Path: dir, Entry: diff.Entry{Type: diff.Dir}}, nil) {
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
