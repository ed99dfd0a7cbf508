package views

import (
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// tries is how often an entry is read anew that changes while it is read.
const tries = 3

// Retry calls try until what it reads is settled, a few times at most: it tries again if
// something vanished, or was refused. It returns the last error, and in raced whether
// something vanished. If the error still says so, the entry changes faster than it can be
// read. A refusal may come from half of an entry and half of what took its place
// meanwhile, so that it counts only if it stays.
func Retry(try func() error) (raced bool, err error) {
	for made, refused := 0, 0; made < tries && refused < tries; {
		if err = try(); inode.IsRefused(err) {
			refused++
			continue
		}
		raced = raced || refused > 0
		made++
		if err == nil || !inode.Vanished(err) {
			break
		}
		raced = true
	}
	return raced, err
}

// settle returns what op on a single path returns after its attempts, of which err is
// the last error: what was too fast to be read is a [diff.RaceError].
func settle(op, path string, raced bool, err error, opts diff.Options) error {
	switch {
	case err != nil && !inode.Vanished(err):
		return fmt.Errorf("%s %s: %w", op, diff.QuotePath(path), err)
	case err != nil:
		return &diff.RaceError{Path: path}
	case raced && opts.OnRace != nil:
		return opts.OnRace(path)
	}
	return nil
}
