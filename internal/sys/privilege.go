package sys

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// KnowsOwner reports whether an owner and group that stat tells are those. In a user
// namespace all that have no id there look alike, as the overflow ids; where the
// namespace has these for somebody, too, nobody can tell.
func KnowsOwner(uid, gid uint32) bool { return !lacks("uid", uid) && !lacks("gid", gid) }

func lacks(kind string, id uint32) bool {
	unknown, ok := overflow()[kind]
	return ok && id == unknown
}

// overflow has the ids that stand for none and for no others.
var overflow = sync.OnceValue(func() map[string]uint32 {
	ids := map[string]uint32{}
	for _, kind := range []string{"uid", "gid"} {
		text, err := os.ReadFile("/proc/sys/kernel/overflow" + kind)
		var id uint32
		if err == nil {
			_, err = fmt.Sscan(string(text), &id)
		}
		table, mapErr := os.ReadFile("/proc/self/" + kind + "_map")
		if err == nil && mapErr == nil && !mapped(string(table), id) {
			ids[kind] = id
		}
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
	err := eintr(func() syscall.Errno {
		fd, err := unix.MemfdCreate("overlaydiff", unix.MFD_CLOEXEC)
		if err != nil {
			return asErrno(err)
		}
		defer Close(fd)
		return asErrno(unix.Fsetxattr(fd, "trusted.overlaydiff", []byte{'y'}, 0))
	})
	switch err {
	case nil, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSPC, unix.EIO:
		return err
	}
	return unix.EPERM // or what filters and old kernels say instead
}
