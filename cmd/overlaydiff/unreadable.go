package main

import (
	"encoding/json"
	"fmt"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
)

// unreadables are the paths at which a view has no answer. A command that goes on
// beside them shows them, and fails in the end.
type unreadables struct {
	n     int64
	known map[string]bool // a second walk passes the same paths
	first *diff.UnreadableError
	show  func(*diff.UnreadableError) error // nil: they are counted
}

func (u *unreadables) add(e *diff.UnreadableError) error {
	if u.known[e.Path] {
		return nil
	}
	if u.known == nil {
		u.known = map[string]bool{}
	}
	u.known[e.Path] = true
	if u.n++; u.n == 1 {
		u.first = e
	}
	if u.show == nil {
		return nil
	}
	return u.show(e)
}

// err is the error of an answer that lacks paths, nil if it lacks none.
func (u *unreadables) err() error {
	if u.n == 0 {
		return nil
	}
	return fmt.Errorf("%s: the answer lacks what is there and below; the first: %w; explain says more of a path",
		human.Plural(u.n, "path can't be read", "paths can't be read"), u.first)
}

// lineOf returns e as a line of a list: its String or MarshalJSON counts, not that it
// is an error.
func lineOf(e *diff.UnreadableError) any {
	return struct {
		fmt.Stringer
		json.Marshaler
	}{e, e}
}
