//go:build linux

package differ

import (
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	odiff "github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Options of a Differ. The zero value is right for most callers.
type Options struct {
	// Xattrs says which extended attributes layers carry; "" means all, where
	// containerd's own differ has security.capability alone.
	Xattrs layer.Xattrs
	// OnCompare, unless nil, is told of each layer that was made.
	OnCompare func(Compared)
}

// Compared says what a comparison found.
type Compared struct {
	Engine, Reason string // which engine read the layers, and why
	Exported       layer.Exported
	Raced          int64 // entries that vanished or changed while they were read
}

// Differ compares and applies snapshots. It is safe for concurrent use.
type Differ struct {
	store  content.Store
	leases leases.Manager
	opts   Options
}

var (
	_ diff.Comparer = (*Differ)(nil)
	_ diff.Applier  = (*Differ)(nil)
)

// New returns a differ that reads layers from a content store and writes them
// there. What it writes for a caller without a lease it protects for an hour with
// one of its own; lm nil: it does not.
func New(store content.Store, lm leases.Manager, opts Options) *Differ {
	return &Differ{store: store, leases: lm, opts: opts}
}

// decline returns an error that has containerd ask its next differ.
func decline(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errdefs.ErrNotImplemented)
}

// declineUnsupported makes errors about what this machine or the engines can't do
// such that the next differ is asked, and leaves others as they are.
func declineUnsupported(err error) error {
	var option *mountutil.OptionError
	if errors.Is(err, odiff.ErrUnsupported) || errors.As(err, &option) {
		return decline("%v", err)
	}
	return err
}
