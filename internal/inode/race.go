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
	return !isRefused(err) && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, ErrSwapped))
}

// Refused is an error with which overlayfs refuses to look up a name, whatever
// its errno otherwise means.
type Refused struct{ Err error }

func (r Refused) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r Refused) Unwrap() error { return r.Err }

func isRefused(err error) bool { return err != nil && errors.As(err, new(Refused)) }

// Unreadable reports whether err is the fault of one name, so that a walk can go on
// beside it: overlayfs refuses it, or the file system can't read its inode.
func Unreadable(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.EUCLEAN, syscall.EBADMSG} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return isRefused(err)
}

// Found is what a walk finds: a change, the path of an entry that vanished while it
// was read, or a path that can't be read.
type Found struct {
	Change     diff.Change
	Raced      bool                  // only Change.Path counts
	Unreadable *diff.UnreadableError // nothing else counts
	Carried    *Carried              // nil unless it may be carried elsewhere
}

// Changes is the stream of changes in what a walk finds; races and unreadable paths
// go to opts.
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

// settled is what a walk finds without races and unreadable paths, which go to opts.
// An error is the last element.
func settled(opts diff.Options, found iter.Seq2[Found, error]) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for f, err := range found {
			if err == nil && (f.Raced || f.Unreadable != nil) {
				if err = f.settle(opts); err == nil {
					continue
				}
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// settle passes what is no change to opts.
func (f *Found) settle(opts diff.Options) error {
	switch {
	case f.Unreadable != nil && opts.OnUnreadable != nil:
		return opts.OnUnreadable(f.Unreadable)
	case f.Unreadable != nil:
		return f.Unreadable
	case opts.OnRace != nil:
		return opts.OnRace(f.Change.Path)
	}
	return nil
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
	Raced   bool
	made    int
	refused int
}

// Again reports whether what gave err, which may be nil, is to be read once more, a
// few times at most: because something vanished, or was refused. If the former is
// still the error then, the entry changes faster than it can be read. A refusal may
// come from half of an entry and half of what took its place meanwhile, so that it
// counts only if it stays.
func (a *Attempt) Again(err error) bool {
	if isRefused(err) {
		a.refused++
		return a.refused < tries
	}
	a.Raced = a.Raced || a.refused > 0
	a.made++
	if err == nil || !Vanished(err) {
		return false
	}
	a.Raced = true
	return a.made < tries
}

// Report adds to out what was found at path in the end: a change or what is carried
// without one, and the node to descend to, if any. Errors that are the fault of this
// path alone, because it vanished or can't be read, are added to out as well; others
// are returned.
func Report[N any](out *fswalk.Items[N, Found], path string, raced bool, change *diff.Change, carried *Carried, child *N, err error) error {
	if err != nil && !Vanished(err) {
		return Fail(out, path, err)
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

// Fail adds to out that path can't be read, if err is the fault of this path alone;
// else it returns err. Without the root there is nothing to go on with.
func Fail[N any](out *fswalk.Items[N, Found], path string, err error) error {
	if !Unreadable(err) || path == "/" {
		return err
	}
	out.Value(Found{Unreadable: &diff.UnreadableError{Path: path, Err: err}, Change: diff.Change{Path: path}})
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
