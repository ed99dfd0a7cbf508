package sys

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// KnowsOwner reports whether an owner and group that stat tells are those. In a user
// namespace all that have no id there look alike, as the overflow ids; where the
// namespace has these for somebody, too, nobody can tell.
func KnowsOwner(uid, gid uint32) bool { return !LacksID("uid", uid) && !LacksID("gid", gid) }

// LacksID reports whether an id that stat tells stands for ids which this user namespace
// lacks, and for no others. kind is "uid" or "gid".
func LacksID(kind string, id uint32) bool {
	o, ok := overflow()[kind]
	return ok && o.unmapped && id == o.id
}

// OverflowID returns the id that the kernel shows for one without a mapping. kind is "uid"
// or "gid".
func OverflowID(kind string) uint32 {
	if o, ok := overflow()[kind]; ok {
		return o.id
	}
	return 65534 // DEFAULT_OVERFLOWUID and DEFAULT_OVERFLOWGID
}

type overflowID struct {
	id       uint32
	unmapped bool // the namespace maps it to nobody
}

// overflow has the ids that stand for those without a mapping.
var overflow = sync.OnceValue(func() map[string]overflowID {
	ids := map[string]overflowID{}
	for _, kind := range []string{"uid", "gid"} {
		text, err := os.ReadFile("/proc/sys/kernel/overflow" + kind)
		var o overflowID
		if err == nil {
			_, err = fmt.Sscan(string(text), &o.id)
		}
		if err != nil {
			continue
		}
		table, err := os.ReadFile("/proc/self/" + kind + "_map")
		o.unmapped = err == nil && !mapped(string(table), o.id)
		ids[kind] = o
	}
	return ids
})

// mapped reports whether a uid_map or gid_map has an id of the namespace. One that
// can't be read has all.
func mapped(table string, id uint32) bool {
	for line := range strings.Lines(table) {
		var inside, outside, size uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return true
		}
		if uint64(id) >= inside && uint64(id) < inside+size {
			return true
		}
	}
	return false
}

// SeesTrusted reports whether this process can read trusted.* extended attributes,
// see [TryTrusted].
func SeesTrusted() bool { return TryTrusted() == nil }

// TryTrusted returns nil if this process can read trusted.* extended attributes, EPERM
// if it can't, and another error if that could not be told. Without CAP_SYS_ADMIN in
// the initial user namespace they look as if they weren't there, so that must be known
// before their absence means anything. It is found out by setting one on a memory file.
func TryTrusted() error {
	err := Retry(func() error {
		fd, err := unix.MemfdCreate("overlaydiff", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		defer Close(fd)
		return unix.Fsetxattr(fd, "trusted.overlaydiff", []byte{'y'}, 0)
	})
	switch err {
	case nil, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSPC, unix.EIO:
		return err
	}
	return unix.EPERM // or what filters and old kernels say instead
}
