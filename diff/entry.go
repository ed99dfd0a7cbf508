package diff

// Time is a moment as inodes record it: seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64  // since 1970, negative before
	Nsec uint32 // 0 to 999,999,999
}

// Inode identifies an inode within one view: two entries of a view with equal
// Inodes are hard links of each other. It means nothing across views or engines.
type Inode struct {
	Dev, Ino uint64 // as st_dev and st_ino
}

// Entry is what one view shows at a path, as far as a stat call tells.
type Entry struct {
	Type   Type   // of the file
	Mode   uint32 // permission bits with setuid, setgid and sticky: st_mode & 07777
	UID    uint32 // as the view shows it
	GID    uint32 // as the view shows it
	Rdev   uint64 // device number, only of character and block devices
	Size   int64  // bytes; 0 for directories, whose size says nothing
	Mtime  Time   // when the content was changed last
	Inode  Inode  // which entries of one view share if they are hard links
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
// and modification time are not compared. kinds is [Options.Kinds].
func Compare(from, to *Entry, parts Parts, kinds bool) (What, error) {
	if from.Type != to.Type {
		return WhatType, nil
	}
	w := compareStat(from, to)
	if kinds && w != 0 && from.Type != Dir {
		return w, nil
	}
	var err error
	var same bool
	switch {
	case from.Type == Symlink:
		same, err = parts.SameTarget()
		w |= when(!same, WhatTarget)
	case w&WhatSize != 0:
		w |= WhatContent
	case from.Type == File:
		same, err = parts.SameContent()
		w |= when(!same, WhatContent)
	}
	if err != nil {
		return 0, err
	}
	if same, err = parts.SameXattrs(); err != nil {
		return 0, err
	}
	return w | when(!same, WhatXattrs), nil
}

func compareStat(from, to *Entry) What {
	isDevice := from.Type == Char || from.Type == Block
	return when(from.Mode != to.Mode && from.Type != Symlink, WhatMode) |
		when(from.UID != to.UID, WhatUID) |
		when(from.GID != to.GID, WhatGID) |
		when(from.Rdev != to.Rdev && isDevice, WhatDevice) |
		when(from.Size != to.Size && from.Type == File, WhatSize) |
		when(from.Mtime != to.Mtime && from.Type != Dir, WhatMtime)
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
// where nobody changed anything. XFS shows ACLs twice; they are compared by the
// name that they have everywhere.
func IgnoresXattr(name string) bool {
	switch name {
	case "security.selinux", "security.ima", "security.evm", "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT":
		return true
	}
	return false
}
