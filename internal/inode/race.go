package inode

import (
	"errors"
	"fmt"
	"iter"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
)

// ErrSwapped says that another inode took the place of the one that stat saw.
var ErrSwapped = fswalk.ErrSwapped

// Vanished reports whether err says that an inode which was seen is no longer
// there, or another is in its place.
func Vanished(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, ErrSwapped)
}

// Found is what a walk finds: a change, or the path of an entry that vanished
// while it was read.
type Found struct {
	Change  diff.Change
	Raced   bool     // only Change.Path counts
	Carried *Carried // nil unless it may be carried elsewhere
}

// Changes is the stream of changes in what a walk finds; races go to opts.
// walk is called anew each time the stream is ranged over, with a pool that
// lives until then.
func Changes(opts diff.Options, walk func(*fswalk.Pool) iter.Seq2[Found, error]) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		pool := fswalk.NewPool(0)
		defer pool.Close()
		for f, err := range settled(opts, walk(pool)) {
			if !yield(f.Change, err) {
				return
			}
		}
	}
}

// settled is what a walk finds without races, which go to opts. An error is the
// last element.
func settled(opts diff.Options, found iter.Seq2[Found, error]) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for f, err := range found {
			if err == nil && f.Raced {
				if opts.OnRace == nil {
					continue
				}
				if err = opts.OnRace(f.Change.Path); err == nil {
					continue
				}
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// tries is how often an entry is read anew that changes while it is read.
const tries = 3

// Attempt counts the attempts to read something that may change meanwhile:
//
//	for again := true; again; again = a.Again(err) {
//		… err = read …
//	}
type Attempt struct {
	// Raced is whether something vanished.
	Raced bool
	made  int
}

// Again reports whether what gave err, which may be nil, is to be read once more:
// because something vanished, a few times at most. If that is still the error
// then, the entry changes faster than it can be read.
func (a *Attempt) Again(err error) bool {
	a.made++
	if err == nil || !Vanished(err) {
		return false
	}
	a.Raced = true
	return a.made < tries
}

// Report adds to out what was found at path in the end: a change or what is carried
// without one, and the node to descend to, if any. An error that says that something
// vanished is none.
func Report[N any](out *fswalk.Items[N, Found], path string, raced bool, change *diff.Change, carried *Carried, child *N, err error) error {
	if err != nil && !Vanished(err) {
		return err
	}
	if raced {
		out.Value(Race(path))
	}
	if err != nil {
		return nil
	}
	if carried != nil {
		change.Path = path
	}
	if change.Kind != 0 || carried != nil {
		out.Weigh(len(path) / LongPath)
		out.Value(Found{Change: *change, Carried: carried})
	}
	if child != nil {
		out.Child(*child)
	}
	return nil
}

// LongPath is how long a path may be without counting for more than the rest of what
// is found.
const LongPath = 256

// Race is what is found at a path that vanished while it was read.
func Race(path string) Found { return Found{Raced: true, Change: diff.Change{Path: path}} }

// Settle is what op on a single path returns after its attempts, of which err is
// the last error: what was too fast to be read is a [diff.RaceError].
func Settle(op, path string, raced bool, err error, opts diff.Options) error {
	switch {
	case err != nil && !Vanished(err):
		return fmt.Errorf("%s %s: %w", op, diff.QuotePath(path), err)
	case err != nil:
		return &diff.RaceError{Path: path}
	case raced && opts.OnRace != nil:
		return opts.OnRace(path)
	}
	return nil
}
