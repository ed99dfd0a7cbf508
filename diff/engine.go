package diff

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Engine compares the two views that it was opened on.
type Engine interface {
	// Name returns "native" or "naive".
	Name() string
	// Changes returns the changes in path order. An error is the last element.
	// Every range over the sequence is a new walk; breaking off stops it, and
	// no goroutine or descriptor of the walk outlives the range statement.
	Changes(ctx context.Context, opts Options) iter.Seq2[Change, error]
	// Close frees the directories that the engine holds open.
	Close() error
}

// Content says when the contents of two files are read to compare them. Files of
// different sizes are never read.
type Content string

const (
	// ContentAuto, which "" means too: unless it is proven that they are one
	// inode, unmodified, or have their data in the same blocks. No change is
	// missed.
	ContentAuto Content = "auto"
	// ContentAlways: also if proven, which is how proofs are checked. One and the
	// same inode is not compared with itself.
	ContentAlways Content = "always"
	// ContentNever: equal metadata, modification time to the nanosecond included,
	// is taken for equal content. What was rewritten in the same size and had its
	// time set back is missed; so is what differs besides, in that the change
	// does not say that the content does.
	ContentNever Content = "never"
)

// Options of one walk. The zero value is right for most callers.
type Options struct {
	// Workers is how many goroutines read directories; 0 means one a CPU.
	// Neither the answer nor its order depends on it.
	Workers int
	// Content says when contents are read; "" means [ContentAuto].
	Content Content
	// Kinds leaves [Change.What] incomplete: of what is no directory and differs in
	// what a stat call tells, nothing more is compared, so its content is not read.
	// It is for who asks only which paths changed and how.
	Kinds bool
	// OnRace is called, in path order and from the ranging goroutine, with
	// each path that vanished or changed its type while it was read. Returning
	// an error ends the walk with it. A nil OnRace ignores races.
	OnRace func(path string) error
	// OnUnreadable is called, in path order and from the ranging goroutine, for
	// each path at which a view has an error instead of an answer. The walk goes
	// on beside it and reports nothing of what is below. Returning an error ends
	// the walk with it. If OnUnreadable is nil, the walk ends with the first
	// [UnreadableError].
	OnUnreadable func(*UnreadableError) error
}

// ErrUnsupported is matched, with [errors.Is], by errors which say that an
// engine or this machine can't answer for a stack. They also match
// [errors.ErrUnsupported].
var ErrUnsupported = fmt.Errorf("not supported here: %w", errors.ErrUnsupported)

// UnsupportedError says what can't be done, and why.
type UnsupportedError struct {
	Op     string // what was to be done: "read the layers natively"
	Reason string // why it can't be, and the remedy where there is one
	Err    error  // the refusal behind it, if there was one: a [syscall.Errno]
}

func (e *UnsupportedError) Error() string { return e.Op + ": " + e.Reason }

// Unwrap returns Err.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Is makes the error match [ErrUnsupported] and [errors.ErrUnsupported].
func (e *UnsupportedError) Is(target error) bool {
	return target == ErrUnsupported || target == errors.ErrUnsupported
}

// UnreadableError reports a path at which one of the views has an error and no
// answer: overlayfs refuses to look the name up (EIO, ESTALE, ELOOP, or the error
// of a malformed mark), or the file system below can't read it.
type UnreadableError struct {
	Path string // in the views
	Err  error  // names the reason; matches the [syscall.Errno] that the mount fails with
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("read %s: %v", QuotePath(e.Path), e.Err)
}

// Unwrap returns Err.
func (e *UnreadableError) Unwrap() error { return e.Err }

// String returns the path as lists of changes show it: "E /path", quoted as of
// [Change.String].
func (e *UnreadableError) String() string { return "E " + QuotePath(e.Path) }

// MarshalJSON writes
//
//	{"kind":"unreadable","path":"/a","error":"…: input/output error"}
//
// with "path_bytes" as of [Change.MarshalJSON].
func (e *UnreadableError) MarshalJSON() ([]byte, error) {
	return marshalLine(struct {
		Kind      string `json:"kind"`
		Path      string `json:"path"`
		PathBytes []byte `json:"path_bytes,omitempty"`
		Error     string `json:"error"`
	}{"unreadable", e.Path, pathBytes(e.Path), e.Err.Error()})
}

// RaceError says that a path vanished or changed while it was read, where the
// caller asked for that to be an error.
type RaceError struct{ Path string }

func (e *RaceError) Error() string {
	return fmt.Sprintf("read %s: it changed while it was read; stop or freeze what writes there and try again", QuotePath(e.Path))
}

// Is makes the error match [ErrRaced].
func (e *RaceError) Is(target error) bool { return target == ErrRaced }
