package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/native"
)

// Choice says which engine answers.
type Choice string

// The choices. The zero value means Auto.
const (
	Auto   Choice = "auto"   // native if it is sure to be right, else naive
	Native Choice = "native" // native or an error
	Naive  Choice = "naive"
)

// Owners says whose user and group ids are written and told.
type Owners string

// The choices. The zero value means OwnersContainer.
const (
	// OwnersContainer: the container's ids, 0 for its root, where the stack knows them
	// ([diff.Stack.Container]), else the host's.
	OwnersContainer Owners = "container"
	OwnersHost      Owners = "host" // as a program outside of the container sees them
)

// Options of a diff. The zero value is right for most callers.
type Options struct {
	Engine Choice // "" is Auto
	// Strict makes an entry that vanishes or changes while it is read an
	// error, a [diff.RaceError]. Else it is counted, see [Diff.Raced].
	Strict bool
	// OnUnreadable is called with each path at which a view has an error instead of
	// an answer, see [diff.Options]: the answer then lacks what is there and below.
	// nil makes the first one the error of the walk, and so does Strict. A layer that
	// lacks something is never made: exports and verifications always fail.
	OnUnreadable func(*diff.UnreadableError) error
	// Content says when the contents of files are read; "" means
	// [diff.ContentAuto], which never misses a change.
	Content diff.Content
	// Kinds leaves [diff.Change.What] incomplete, see [diff.Options]: for who asks
	// only which paths changed.
	Kinds bool
	// Snapshots tells [OpenTrees] that both trees are snapshots of one file
	// system (of a block device, or of btrfs), that the new one was made from the
	// old, and that the old one was not written since. Then nothing is read of
	// files whose inode shows that it was not changed since the split: same
	// number, metadata and change time.
	Snapshots bool
	// Workers is how many goroutines read directories; 0 means one a CPU.
	Workers int
	// Owners says whose ids Export, Verify and Explain write; "" means
	// [OwnersContainer]. The entries of Changes always have the host's.
	Owners Owners
}

// Diff is an opened comparison of an old and a new view. It is safe for
// concurrent use, except for Close.
type Diff struct {
	engine     engine
	reason     string
	opts       Options
	raced      atomic.Int64
	unreadable atomic.Int64

	stack          diff.Stack // of an overlay
	oldDir, newDir string     // of two trees, else ""
}

// Open opens the two views of an overlay: its lower layers, and the upper over
// them.
//
// An error that matches [diff.ErrUnsupported] says what this machine, or this
// process's privileges, can't do.
func Open(ctx context.Context, s diff.Stack, opts Options) (*Diff, error) {
	switch opts.Engine {
	case Auto, "":
	case Naive:
		return openNaive(ctx, s, opts, "asked for")
	case Native:
		e, err := native.Open(ctx, s)
		if err != nil {
			return nil, err
		}
		return newDiff(e, opts, "asked for").of(s), nil
	default:
		return nil, fmt.Errorf("choose an engine: %q is none; say auto, native or naive", opts.Engine)
	}
	e, nativeErr := native.Open(ctx, s)
	if nativeErr == nil {
		return newDiff(e, opts, "it reads every overlayfs feature that is in use here").of(s), nil
	}
	var no *diff.UnsupportedError
	if !errors.As(nativeErr, &no) {
		return nil, nativeErr
	}
	d, err := openNaive(ctx, s, opts, "native can't: "+no.Reason)
	if errors.Is(err, diff.ErrUnsupported) {
		return nil, fmt.Errorf("%w; nor can the naive engine: %w", nativeErr, err)
	}
	return d, err
}

// OpenTrees opens a comparison of two directory trees, which may be anything: it
// is always the naive engine that compares them. With Options.Snapshots, the
// error matches [diff.ErrUnsupported] if their file systems don't say that they
// are copies of one.
func OpenTrees(ctx context.Context, oldDir, newDir string, opts Options) (*Diff, error) {
	if opts.Engine == Native {
		return nil, &diff.UnsupportedError{
			Op:     "compare two trees natively",
			Reason: "only an overlay has an upper directory to read; use the naive engine, or name the overlay's layers",
		}
	}
	e, err := trees(ctx, oldDir, newDir, opts.Snapshots)
	if err != nil {
		return nil, err
	}
	d := newDiff(e, opts, "two trees")
	if opts.Snapshots {
		d.reason = "two snapshots"
	}
	d.oldDir, d.newDir = oldDir, newDir
	return d, nil
}

// of says what d is a diff of.
func (d *Diff) of(s diff.Stack) *Diff {
	d.stack = s
	if len(s.TurnedOff) > 0 {
		d.reason += "; a mount would have " + strings.Join(s.TurnedOff, ", ")
	}
	return d
}

func newDiff(e engine, opts Options, reason string) *Diff {
	return &Diff{engine: e, opts: opts, reason: reason}
}

// Engine returns the name of the engine that answers: "native" or "naive".
func (d *Diff) Engine() string { return d.engine.Name() }

// Reason says why that engine answers.
func (d *Diff) Reason() string { return d.reason }

// Proven reports whether each layer directory was proven to be the one that is mounted, and
// names those of a mounted overlay that could not be: they are empty, or nothing of them is
// visible. A layer that is proven to be another one is an error of [FromMount] and
// [FromProcess]. It is false, without names, where no mount was named, only directories.
func (d *Diff) Proven() (proven bool, unproven []string) {
	return d.stack.Proven(), slices.Clone(d.stack.Unproven)
}

// Raced returns how many entries vanished or changed while they were read, in
// all walks up to now.
func (d *Diff) Raced() int64 { return d.raced.Load() }

// Unreadable returns how many paths Options.OnUnreadable was called with.
func (d *Diff) Unreadable() int64 { return d.unreadable.Load() }

// Changes returns the changes in path order. An error is the last element.
func (d *Diff) Changes(ctx context.Context) iter.Seq2[diff.Change, error] {
	return d.engine.Changes(ctx, d.answerOptions())
}

// Size returns DiffSize in bytes, see [diff.Size].
func (d *Diff) Size(ctx context.Context) (int64, error) {
	return diff.Size(ctx, d.engine, d.answerOptions())
}

// CopyUps sums up which files of the upper directory need not be there whole. With
// [diff.ContentNever] in Options.Content it reads none of them and judges by size
// and modification time. Only the native engine sees the layers: with another, the
// error matches [diff.ErrUnsupported].
func (d *Diff) CopyUps(ctx context.Context) (diff.CopyUps, error) {
	e, err := d.layered()
	if err != nil {
		return diff.CopyUps{}, err
	}
	return e.CopyUps(ctx, d.answerOptions())
}

// Waste returns what the layers hold although the new view does not need it, in
// path order: what CopyUps sums up, and what was deleted and stays in the lower
// layers. An error is the last element. Content and errors are as for CopyUps.
func (d *Diff) Waste(ctx context.Context) iter.Seq2[diff.Waste, error] {
	e, err := d.layered()
	if err != nil {
		return func(yield func(diff.Waste, error) bool) { yield(diff.Waste{}, err) }
	}
	return e.Waste(ctx, d.answerOptions())
}

func (d *Diff) layered() (*native.Engine, error) {
	if e, ok := d.engine.(*native.Engine); ok {
		return e, nil
	}
	return nil, &diff.UnsupportedError{
		Op: "find what is wasted", Reason: "the naive engine sees views and no layers: " + d.reason,
	}
}

// Close frees what the diff holds open.
func (d *Diff) Close() error { return d.engine.Close() }

func (d *Diff) walkOptions() diff.Options {
	return diff.Options{Workers: d.opts.Workers, Content: d.opts.Content, Kinds: d.opts.Kinds, OnRace: func(path string) error {
		d.raced.Add(1)
		return d.opts.onRace(path)
	}}
}

// answerOptions are those of walks whose answer may lack unreadable paths.
func (d *Diff) answerOptions() diff.Options {
	o := d.walkOptions()
	if tell := d.opts.OnUnreadable; tell != nil && !d.opts.Strict {
		o.OnUnreadable = func(u *diff.UnreadableError) error {
			d.unreadable.Add(1)
			return tell(u)
		}
	}
	return o
}

func (o Options) onRace(path string) error {
	if o.Strict {
		return &diff.RaceError{Path: path}
	}
	return nil
}

// Usage returns what the upper directory of s holds; of the stack it needs
// Upper and Features.UserXattr only. It is the fast one: nothing else is read.
// Of the options it heeds Strict and Workers.
func Usage(ctx context.Context, s diff.Stack, opts Options) (diff.Usage, error) {
	return native.Usage(ctx, s, diff.Options{Workers: opts.Workers, OnRace: opts.onRace})
}

// FromMount returns the stack of the overlay that is mounted at path. Each layer is proven
// to be the mounted one, see [mountutil.StackOfMount] for how, and for the errors.
func FromMount(ctx context.Context, path string) (diff.Stack, error) {
	return mountutil.StackOfMount(ctx, path)
}

// FromProcess returns the stack of the overlay that is the root of a process.
func FromProcess(ctx context.Context, pid int) (diff.Stack, error) {
	return mountutil.StackOfProcess(ctx, pid)
}

// FromOptions returns the stack that mount options describe, in the syntax of
// mount(2) with its escapes: "lowerdir=a:b,upperdir=u,workdir=w". Nothing is opened:
// see [Foresee].
func FromOptions(options string) (diff.Stack, error) {
	return mountutil.StackOfOptions(options)
}

// Foresee returns what a mount of a stack that is not mounted would be: without the
// features that the kernel would turn off. What mount(2) would refuse is an error. See
// [mountutil.Foresee].
func Foresee(ctx context.Context, s diff.Stack) (diff.Stack, error) {
	return mountutil.Foresee(ctx, s)
}

// NativeDiff tells whether overlays whose upper directories are in dir, mounted
// with these options ("redirect_dir=on,index=off"; "" for the kernel's defaults),
// can be read natively, with what is special about them as data, and what moby's
// and containers/storage's own functions would decide. [Open] makes the choice
// by itself; this is for drivers that say at their start what they will do.
//
// Overlays are mounted in a scratch directory in dir to find out. Keep a
// [features.Prober] to ask for more than one directory or more than once.
func NativeDiff(ctx context.Context, dir, options string) (features.Native, error) {
	return new(features.Prober).NativeDiff(ctx, dir, options)
}
