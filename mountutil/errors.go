//go:build linux

package mountutil

import (
	"fmt"
	"io/fs"

	"github.com/overlaydiff/overlaydiff/diff"
)

// OptionError says that a mount option is malformed, given twice, in conflict
// with another one, or unknown: the fault is in the option string, nothing
// was tried.
type OptionError struct {
	Option string // the option's name: "redirect_dir"
	Reason string // what is wrong with it, and what to write instead
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("parse mount option %s: %s", diff.QuotePath(e.Option), e.Reason)
}

// NotOverlayError says that what is mounted at a path, or is the root of a process, is no
// overlay.
type NotOverlayError struct {
	Mount string // the path or the process
	Type  string // of the file system that is mounted there
}

func (e *NotOverlayError) Error() string {
	return fmt.Sprintf("find the overlay at %s: it is on %s, not an overlay: name a mount point that findmnt -t overlay lists", e.Mount, diff.QuotePath(e.Type))
}

// LayerError says that a directory is not, or can't be shown to be, the layer of a mounted
// overlay that the mount table names. The stack that comes with it has the upper directory
// if that was found: enough for its usage.
type LayerError struct {
	Mount string // the overlay: where it is mounted, or of which process it is the root
	Kind  string // "upper", "lower" or "data-only lower"
	Path  string // where the mount table, or the search, leads
	// Evidence is an entry, by its path in the overlay, that is not what the directory has;
	// "/" is the root, "" none.
	Evidence string
	// Refuted: the directory is not the layer. Else the layers together do not explain what
	// the mount shows, and of this one nothing is known.
	Refuted bool
	// Err is why the directory can't be looked at; nil if it was.
	Err error
}

func (e *LayerError) Error() string {
	layer := "the " + e.Kind + " layer " + diff.QuotePath(e.Path)
	reason := layer + " is not the directory that is mounted: "
	switch {
	case isDescriptor(e.Path):
		reason = layer + " was a descriptor of the process that mounted it, and nothing that the mount shows leads to the directory"
	case e.Err != nil:
		reason = layer + " can't be found (" + e.Err.Error() + "): it is gone, that is moved, removed or unmounted since, or in another mount namespace"
	case !e.Refuted && e.Evidence == "":
		reason = layer + " can't be told from another one: several were moved since"
	case !e.Refuted:
		reason = "the mount shows " + diff.QuotePath(e.Evidence) + ", which no layer has; maybe " + layer + " was replaced, moved or covered since"
	case e.Evidence == "" || e.Evidence == "/":
		reason += "it was replaced, moved or covered since"
	default:
		reason += "the mount shows another " + diff.QuotePath(e.Evidence) + ", so it was replaced, moved or covered since"
	}
	return "find the layers of " + e.Mount + ": " + reason + "; name the layers yourself, by where they are now"
}

// Unwrap returns Err.
func (e *LayerError) Unwrap() error { return e.Err }

// OwnersError says that a mounted overlay shows other owners than the stack's maps make of
// those stored in a layer: the layer is id-mapped, or mapped in another way. The stack that
// comes with it is complete but for its Owners.
type OwnersError struct {
	Mount string // as of [LayerError]
	Layer string // its path in the stack
	// Path is an entry, by its path in the overlay. The layer has it with one owner, the
	// mount shows another.
	Path               string
	UID, GID           uint32
	ShownUID, ShownGID uint32
	// Copied: the entry was copied up, so that somebody may have changed the owner, and the
	// mount shows nothing that still is in the layer.
	Copied bool
}

func (e *OwnersError) Error() string {
	if e.Copied {
		return fmt.Sprintf("find the owners in the layers of %s: %s has the owner %d:%d in %s, and %d:%d in the mount: it was changed, or the layer is id-mapped, and nothing tells which; name the container, or say how the layer is mapped, or that it is not",
			e.Mount, diff.QuotePath(e.Path), e.UID, e.GID, diff.QuotePath(e.Layer), e.ShownUID, e.ShownGID)
	}
	return fmt.Sprintf("find the owners in the layers of %s: %s has the owner %d:%d in %s, and %d:%d in the mount: the layer is id-mapped, and how is not known; name the container, or say how it is",
		e.Mount, diff.QuotePath(e.Path), e.UID, e.GID, diff.QuotePath(e.Layer), e.ShownUID, e.ShownGID)
}

// pathError returns a *fs.PathError and the remedy in one line, whatever bytes
// the path has.
func pathError(op, path string, err error, remedy string) error {
	return fmt.Errorf("%w; %s", &fs.PathError{Op: op, Path: diff.QuotePath(path), Err: err}, remedy)
}

// and returns both errors, of which either may be nil, in one line.
func and(err, cleanup error) error {
	switch {
	case cleanup == nil:
		return err
	case err == nil:
		return cleanup
	}
	return fmt.Errorf("%w; and %w", err, cleanup)
}
