package diff

import (
	"fmt"
	"os"
)

// Stack describes an overlay: its layer directories and what its mount options
// make of their markers. It is a description only; whether the directories
// exist is found out by whoever opens them.
type Stack struct {
	// Lower has the lower layers, topmost first.
	Lower []string
	// Data has the data-only lower layers (what follows "::"), first searched first.
	Data []string
	// Upper is the upper directory, Work the work directory. A read-only
	// overlay has neither.
	Upper, Work string
	// Features tells how the markers in the layers are to be read.
	Features Features
	// Mountpoint is a path at which the overlay is mounted now, "" if that is
	// not known.
	Mountpoint string
	// Owners says, by path of a layer directory, how the mount maps the owners that are
	// stored there: the layer is an id-mapped mount. Directories without an entry are
	// shown as they are at their path. nil: nobody said how the layers are mapped.
	Owners map[string]IDMap
	// Container says what the container's ids are on the host; zero: they are the
	// same, or it is not known.
	Container IDMap
	// TurnedOff has the mount options that the kernel would turn off, or has turned
	// off, because of these layers, each with the reason.
	TurnedOff []string
	// Unknown has the mount options that overlaydiff does not know: they may
	// change the meaning of the layers.
	Unknown []string
	// Unproven has those layers of a mounted overlay of which it could not be proven that
	// they are the mounted ones: they are empty, or nothing of them is visible. What can be
	// proven wrong is an error when the stack is made. nil for a stack that is not of a mount.
	Unproven []string
	// Opener opens the directories of this stack. nil: they are opened by their paths, in
	// the mount namespace of the calling thread.
	Opener Opener
}

// Proven reports whether the stack is that of a mounted overlay and each of its layers was
// proven to be the mounted one.
func (s Stack) Proven() bool { return s.Mountpoint != "" && len(s.Unproven) == 0 }

// Opener opens the directories of a stack where a path alone does not lead to them, or
// must not be believed: a directory that is covered by a later mount, that belongs to
// another mount namespace, or that another user may exchange. It is safe for concurrent
// use, and it holds nothing that must be closed.
type Opener interface {
	// Open opens a directory of the stack, which is named by its path there, with O_PATH.
	// The caller closes the file. It fails if the directory is no longer the one that was
	// found when the stack was made.
	Open(path string) (*os.File, error)
}

// Features are the overlayfs features that decide how a layer is read. What
// they say holds whatever the layers contain: on a mount without userxattr a
// user.overlay.* attribute is a container's own data and marks nothing.
type Features struct {
	UserXattr      bool // markers are user.overlay.* instead of trusted.overlay.*
	RedirectFollow bool // redirects are followed (redirect_dir=on or follow)
	Metacopy       bool // metacopy files are resolved
	Index          bool // hard links of lower files are tied together by the index in the work directory
	NFSExport      bool // every copied-up inode is indexed and checked against its origin
	// UUIDOff: file handles in the index and in origins have no file system in them
	// (uuid=off). Otherwise those without one count, too.
	UUIDOff bool
	Verity  Verity
	// Fuse: fuse-overlayfs reads the layers, not the kernel. Its marks and its
	// stand-ins for owner and mode count, and none of the other features do.
	Fuse bool
}

// Verity says whether the data of metacopy files must have the fs-verity digest
// that the metacopy file names (Linux 6.6). It matters when content is read.
type Verity uint8

// The modes. Here the zero value is valid, because it is what a mount without
// the option has.
const (
	VerityOff     Verity = iota // digests are not looked at
	VerityOn                    // data must match a digest that is there
	VerityRequire               // there must be a digest, too
)

// String returns "off", "on" or "require", as the mount option has it.
func (v Verity) String() string {
	switch v {
	case VerityOn:
		return "on"
	case VerityRequire:
		return "require"
	default:
		return "off"
	}
}

// ParseVerity is the inverse of [Verity.String]; "" is off.
func ParseVerity(s string) (Verity, error) {
	for _, v := range []Verity{VerityOff, VerityOn, VerityRequire} {
		if s == v.String() || s == "" {
			return v, nil
		}
	}
	return 0, fmt.Errorf("unknown verity mode %q", s)
}
