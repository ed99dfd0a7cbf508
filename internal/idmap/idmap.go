package idmap

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
)

// UnmappedError says that an id has no mapping.
type UnmappedError struct {
	Kind string // "user" or "group"
	ID   int64
}

func (e *UnmappedError) Error() string {
	if e.ID < 0 || e.ID >= noID {
		return fmt.Sprintf("%d is no %s id", e.ID, e.Kind)
	}
	return fmt.Sprintf("%s id %d has no mapping", e.Kind, e.ID)
}

// noID is what the kernel calls no id: chown would leave the owner as it is.
const noID = 1<<32 - 1

// User returns the host's user id of a container's, or an [UnmappedError].
func User(m diff.IDMap, id int64) (uint32, error) { return host("user", m.Users, id) }

// Group returns the host's group id of a container's, or an [UnmappedError].
func Group(m diff.IDMap, id int64) (uint32, error) { return host("group", m.Groups, id) }

func host(kind string, ranges []diff.IDRange, id int64) (uint32, error) {
	if id >= 0 && id < noID {
		if mapped, ok := diff.HostID(ranges, uint32(id)); ok {
			return mapped, nil
		}
	}
	return 0, &UnmappedError{kind, id}
}

// Extended attributes that have ids in them.
const (
	ACLAccess    = "system.posix_acl_access"
	ACLDefault   = "system.posix_acl_default"
	Capabilities = "security.capability"
)

// Xattr maps the ids in the value of an extended attribute from the container's to the
// host's. It returns the value itself if there are none. Errors: an [UnmappedError], or
// that the value is malformed.
func Xattr(m diff.IDMap, name string, value []byte) ([]byte, error) {
	if m.IsZero() {
		return value, nil
	}
	switch name {
	case ACLAccess, ACLDefault:
		return acl(m, value, func(err error) (uint32, error) { return 0, err })
	case Capabilities:
		return capability(m, value)
	}
	return value, nil
}

// Shown returns the value of an extended attribute of a layer as an id-mapped mount
// shows it: in an access control list, an id without a mapping is [noID]
// (vfs_posix_acl_to_xattr), and capabilities of a root without one can't be read
// (cap_inode_getsecurity).
func Shown(m diff.IDMap, name string, value []byte) ([]byte, error) {
	if m.IsZero() {
		return value, nil
	}
	switch name {
	case ACLAccess, ACLDefault:
		return acl(m, value, func(error) (uint32, error) { return noID, nil })
	case Capabilities:
		mapped, err := capability(m, value)
		if err != nil {
			return nil, syscall.EOVERFLOW
		}
		return mapped, nil
	}
	return value, nil
}

// Entries of struct posix_acl_xattr_header and _entry (include/uapi/linux).
const (
	ACLHeader  = 4
	ACLEntry   = 8
	ACLVersion = 2
	ACLUser    = 0x02
	ACLGroup   = 0x08
)

func acl(m diff.IDMap, value []byte, unmapped func(error) (uint32, error)) ([]byte, error) {
	if len(value) < ACLHeader || (len(value)-ACLHeader)%ACLEntry != 0 || binary.LittleEndian.Uint32(value) != ACLVersion {
		return nil, fmt.Errorf("a value of %d bytes is no access control list", len(value))
	}
	mapped := append([]byte{}, value...)
	for e := mapped[ACLHeader:]; len(e) > 0; e = e[ACLEntry:] {
		of := User
		switch binary.LittleEndian.Uint16(e) {
		case ACLUser:
		case ACLGroup:
			of = Group
		default:
			continue
		}
		id, err := of(m, int64(binary.LittleEndian.Uint32(e[4:])))
		if err != nil {
			if id, err = unmapped(err); err != nil {
				return nil, err
			}
		}
		binary.LittleEndian.PutUint32(e[4:], id)
	}
	return mapped, nil
}

// Forms of struct vfs_cap_data (include/uapi/linux/capability.h): the third (4.14)
// ends in the id of the root user of the namespace that the capabilities hold in.
const (
	capSize2, capSize3         = 20, 24
	capRevision2, capRevision3 = 0x02000000, 0x03000000
	capRevisionMask            = 0xff000000
)

// capability maps the root id. Capabilities of the second form are those of root
// 0: where that is somebody else, the kernel honours only the third.
func capability(m diff.IDMap, value []byte) ([]byte, error) {
	root := int64(0)
	magic := uint32(0)
	if len(value) >= 4 {
		magic = binary.LittleEndian.Uint32(value)
	}
	switch {
	case magic&capRevisionMask == capRevision2 && len(value) == capSize2:
	case magic&capRevisionMask == capRevision3 && len(value) == capSize3:
		root = int64(binary.LittleEndian.Uint32(value[capSize2:]))
	default:
		return value, nil // the kernel says whether it takes it
	}
	id, err := User(m, root)
	if err != nil {
		return nil, err
	}
	mapped := append([]byte{}, value[:capSize2]...)
	if id == 0 {
		binary.LittleEndian.PutUint32(mapped, magic&^capRevisionMask|capRevision2)
		return mapped, nil
	}
	binary.LittleEndian.PutUint32(mapped, magic&^capRevisionMask|capRevision3)
	return binary.LittleEndian.AppendUint32(mapped, id), nil
}
