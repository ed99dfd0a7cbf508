package diff

import (
	"context"
	"math"
)

// Usage is what an upper directory holds.
type Usage struct {
	// Bytes is the sum of the sizes of all non-directories, every inode once:
	// SizeRw as Docker shows it.
	Bytes int64 `json:"bytes"`
	// LinkedBytes is what Bytes would have in addition if not every inode but every
	// name counted, as it does for iSulad.
	LinkedBytes int64 `json:"linked_bytes"`
	// DiskBytes is what is allocated for all inodes, directories included,
	// every inode once: the same as du -s --block-size=1.
	DiskBytes int64 `json:"disk_bytes"`
	// Inodes is the number of inodes, the directory itself included: the same
	// as du -s --inodes.
	Inodes int64 `json:"inodes"`
	// Whiteouts is the number of names that hide something of a lower layer.
	Whiteouts int64 `json:"whiteouts"`
	// OpaqueDirs is the number of directories marked opaque, the layer's root
	// excepted: a marker there has no effect.
	OpaqueDirs int64 `json:"opaque_dirs"`
	// Raced is the number of entries that vanished while they were read.
	Raced int64 `json:"raced"`
}

// Size returns DiffSize: the bytes of the non-directories that are added or
// modified, as a layer would carry them, every inode once. Symbolic links
// count with the length of their target.
func Size(ctx context.Context, e Engine, opts Options) (int64, error) {
	var total int64
	linked := map[Inode]struct{}{}
	opts.Kinds = true
	for c, err := range e.Changes(ctx, opts) {
		if err != nil {
			return 0, err
		}
		if c.Kind == Delete || c.Entry.Type == Dir {
			continue
		}
		// A link count of 1 proves nothing of what is no file: with userxattr and
		// index=on, overlayfs shows 1 for linked symlinks (Linux 6.18).
		if c.Entry.Nlinks > 1 || c.Entry.Type != File {
			if _, ok := linked[c.Entry.Inode]; ok {
				continue
			}
			linked[c.Entry.Inode] = struct{}{}
		}
		total = AddBytes(total, c.Entry.Size)
	}
	return total, nil
}

// AddBytes returns a+b, or the largest number if that is more: two sparse files are
// enough.
func AddBytes(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Held is what an upper directory has at a path.
type Held struct {
	Path string // absolute within the view
	Dir  bool   // it is a directory
	// Bytes is the size, 0 for a directory; DiskBytes what is allocated; Inodes 1. All
	// are 0 at a further name of an inode.
	Bytes, DiskBytes, Inodes int64
}
