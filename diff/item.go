package diff

import (
	"context"
	"errors"
	"iter"
)

// Carrier is an engine whose changes can be carried elsewhere, as a layer.
type Carrier interface {
	Engine
	// Carry calls use with what there is to carry, in path order. What use ranges
	// over is as of [Engine.Changes]; every range is a new walk. Payloads are valid
	// until use returns, after the range statement as well.
	Carry(ctx context.Context, opts Options, want Want, use func(iter.Seq2[Item, error]) error) error
}

// Want says what is to be carried beside the changes.
type Want struct {
	// Opaque asks for all of the new view's entries below a directory which hides
	// the old view's: those that are not changed, too.
	Opaque bool
	// Links asks, instead of all changes, for the names which these inodes of the
	// new view have and which are no changes.
	Links map[Inode]struct{}
	// Lower asks to look for them also where the upper layer has nothing.
	Lower bool
	// Parted asks, beside the changes, for entries that did not change although the
	// old view has another inode there, if either inode has several names: the two
	// views may have other names linked to each other.
	Parted bool
}

// Item is a change, or an entry of the new view that did not change and may have
// to be carried with changes.
type Item struct {
	// Change has Kind 0 for what did not change: directories with changes below
	// (and others: whatever was descended to), and what [Want] asks for. Of such a
	// directory Entry may be zero; [Payload.Again] has it.
	Change
	// Opaque: a directory that shows nothing of the old view's directory of that
	// path, so that all that there is in it comes from the upper layer. Said by
	// the native engine only.
	Opaque bool
	// Lower: the inode is a lower layer's, so names of it may be where the upper
	// layer has nothing. Said by the native engine only.
	Lower bool
	// Uncounted: the inode may have more names than Entry.Nlinks says, in directories
	// that only lower layers have (index=on). Said by the native engine only.
	Uncounted bool
	// Was is the old view's inode of what is no directory and did not change, and
	// WasLinks its link count. If the new view has that inode, too, Was is what the
	// new view's Entry.Inode is there.
	Was      Inode
	WasLinks uint32
	// Payload reads the new view's entry; nil if deleted.
	Payload Payload
	// Old reads the old view's entry: of a directory that was and is one and of
	// which extended attributes changed, else nil.
	Old Payload
}

// Payload reads what an entry holds. It is safe for concurrent use. Errors of what
// vanished or became something else meanwhile match [ErrRaced].
type Payload interface {
	// Again reads the entry anew, if need be with another inode that took its
	// place, and returns what a stat call tells of it and what reads the rest.
	Again() (Entry, Payload, error)
	// Open opens the content of a regular file for reading. The caller closes the
	// descriptor.
	Open() (OpenFile, error)
	// Target returns the target of a symbolic link.
	Target() (string, error)
	// Xattrs returns the extended attributes that the view shows, in the order of
	// their names, without those for which [IgnoresXattr] is true.
	Xattrs() ([]Xattr, error)
	// Attributes returns in letters, as lsattr(1) does, which of the attributes i, a and
	// d the file has: those that cost hardly anything to know.
	Attributes() (string, error)
}

// OpenFile is a regular file that is open for reading.
type OpenFile struct {
	FD     int   // open for reading
	Size   int64 // bytes, as it was when it was opened
	Sparse bool  // less is allocated: there are holes
}

// Xattr is an extended attribute as a view shows it.
type Xattr struct {
	Name  string // with its namespace, as "user.mime_type"
	Value []byte // may be empty
}

// ErrRaced is matched by errors which say that something vanished or changed
// while it was read.
var ErrRaced = errors.New("it vanished or changed while it was read")
