package diff

import (
	"fmt"
	"strings"
)

// Kind says what happened to a path. The zero value is invalid.
type Kind uint8

// The kinds of change.
const (
	_      Kind = iota
	Add         // in the new view only
	Modify      // in both views, and something differs
	Delete      // in the old view only
)

var kindNames = [...]string{Add: "add", Modify: "modify", Delete: "delete"}

// String returns "add", "modify" or "delete".
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Letter returns the letter that docker diff uses: 'A', 'C' or 'D'.
func (k Kind) Letter() byte {
	switch k {
	case Add:
		return 'A'
	case Modify:
		return 'C'
	case Delete:
		return 'D'
	default:
		return '?'
	}
}

// ParseKind is the inverse of [Kind.String].
func ParseKind(s string) (Kind, error) {
	for k := Add; k <= Delete; k++ {
		if kindNames[k] == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("unknown kind of change %q", s)
}

// Type is the type of an entry. The zero value is invalid.
type Type uint8

// The types of entries.
const (
	_ Type = iota
	File
	Dir
	Symlink
	Char
	Block
	Fifo
	Socket
)

var typeNames = [...]string{
	File: "file", Dir: "dir", Symlink: "symlink", Char: "char",
	Block: "block", Fifo: "fifo", Socket: "socket",
}

// String returns "file", "dir", "symlink", "char", "block", "fifo" or "socket".
func (t Type) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("Type(%d)", uint8(t))
	}
	return typeNames[t]
}

// ParseType is the inverse of [Type.String].
func ParseType(s string) (Type, error) {
	for t := File; t <= Socket; t++ {
		if typeNames[t] == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown type of entry %q", s)
}

// What is the set of things in which the two sides of a modified entry differ.
type What uint16

// The things that can differ.
const (
	WhatType       What = 1 << iota // one is, say, a file and the other a symlink; nothing else is said then
	WhatMode                        // permission bits, setuid, setgid, sticky
	WhatUID                         // owner
	WhatGID                         // group
	WhatDevice                      // device number of a character or block device
	WhatSize                        // size of a regular file
	WhatContent                     // content of a regular file
	WhatTarget                      // target of a symbolic link
	WhatMtime                       // modification time to the nanosecond, never of a directory
	WhatXattrs                      // any extended attribute that the view shows, ACLs and capabilities included
	WhatAttributes                  // attributes of the file (chattr(1)); never of a change, layers lack them
)

var whatNames = [...]string{"type", "mode", "uid", "gid", "device", "size", "content", "target", "mtime", "xattrs", "attributes"}

// Names returns the names of the members, in the order of the constants.
func (w What) Names() []string {
	names := []string{}
	for i, name := range whatNames {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names joined by commas.
func (w What) String() string { return strings.Join(w.Names(), ",") }

// ParseWhat is the inverse of [What.Names].
func ParseWhat(names []string) (What, error) {
	var w What
next:
	for _, name := range names {
		for i, known := range whatNames {
			if name == known {
				w |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("unknown difference %q", name)
	}
	return w, nil
}
