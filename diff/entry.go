package diff

// Time is a moment as inodes record it: seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Inode identifies an inode within one view: two entries of a view with equal
// Inodes are hard links of each other. It means nothing across views or engines.
type Inode struct {
	Dev, Ino uint64
}

// Entry is what one view shows at a path, as far as a stat call tells.
type Entry struct {
	Type   Type
	Mode   uint32 // permission bits with setuid, setgid and sticky: st_mode & 07777
	UID    uint32
	GID    uint32
	Rdev   uint64 // device number, only of character and block devices
	Size   int64  // bytes; 0 for directories, whose size says nothing
	Mtime  Time
	Inode  Inode
	Nlinks uint32 // link count; may count names that the view does not show
}

// Parts compares what a stat call does not tell, at a system call's price or
// more. [Compare] asks for a part only where the two entries have it and only
// if it matters.
type Parts interface {
	// SameTarget compares the targets of two symbolic links.
	SameTarget() (bool, error)
	// SameXattrs compares the extended attributes that the views show, without
	// those for which [IgnoresXattr] is true.
	SameXattrs() (bool, error)
	// SameContent compares the content of two regular files of equal size.
	SameContent() (bool, error)
}

// Compare is the one definition of "changed": it returns in what the entries
// at one path of the old and the new view differ; 0 means unchanged. An error
// is the first that parts returned.
//
// Access and change times, inode numbers, link counts, and a directory's size
// and modification time are not compared.
func Compare(from, to *Entry, parts Parts) (What, error) {
	if from.Type != to.Type {
		return WhatType, nil
	}
	w := compareStat(from, to)
	same := true
	var err error
	switch from.Type {
	case Symlink:
		same, err = parts.SameTarget()
		w |= when(!same, WhatTarget)
	case File:
		if w&WhatSize == 0 {
			same, err = parts.SameContent()
		} else {
			same = false
		}
		w |= when(!same, WhatContent)
	}
	if err != nil {
		return 0, err
	}
	same, err = parts.SameXattrs()
	if err != nil {
		return 0, err
	}
	return w | when(!same, WhatXattrs), nil
}

func compareStat(from, to *Entry) What {
	w := when(from.Mode != to.Mode && from.Type != Symlink, WhatMode) |
		when(from.UID != to.UID, WhatUID) |
		when(from.GID != to.GID, WhatGID) |
		when(from.Mtime != to.Mtime && from.Type != Dir, WhatMtime)
	switch from.Type {
	case File:
		w |= when(from.Size != to.Size, WhatSize)
	case Char, Block:
		w |= when(from.Rdev != to.Rdev, WhatDevice)
	}
	return w
}

func when(cond bool, w What) What {
	if cond {
		return w
	}
	return 0
}

// IgnoresXattr reports whether an extended attribute never counts as a change.
// A security module chooses security.selinux anew when overlayfs copies a file
// up, and security.ima and security.evm are bound to the inode: they differ
// where nobody changed anything.
func IgnoresXattr(name string) bool {
	switch name {
	case "security.selinux", "security.ima", "security.evm":
		return true
	}
	return false
}
