package layer

import (
	"encoding/binary"
	"fmt"
)

// IDMap says that the Size user or group ids of a container from Container on are
// the host's from Host on, as a line of /proc/PID/uid_map does.
type IDMap struct {
	Container, Host, Size uint32
}

// idMapping maps ids one way. Without lines every id is its own.
type idMapping struct {
	name  string // "user" or "group", for errors
	lines []idLine
}

type idLine struct{ from, to, size uint32 }

func toHost(name string, maps []IDMap) idMapping {
	m := idMapping{name: name}
	for _, l := range maps {
		m.lines = append(m.lines, idLine{l.Container, l.Host, l.Size})
	}
	return m
}

func toContainer(name string, maps []IDMap) idMapping {
	m := idMapping{name: name}
	for _, l := range maps {
		m.lines = append(m.lines, idLine{l.Host, l.Container, l.Size})
	}
	return m
}

// noID is what the kernel calls no id: chown would leave the owner as it is.
const noID = 1<<32 - 1

// of returns the other side's id.
func (m idMapping) of(id int64) (uint32, error) {
	if id < 0 || id >= noID {
		return 0, fmt.Errorf("%d is no %s id", id, m.name)
	}
	for _, l := range m.lines {
		if first := int64(l.from); id >= first && id < first+int64(l.size) {
			if mapped := int64(l.to) + id - first; mapped < noID {
				return uint32(mapped), nil
			}
		}
	}
	if len(m.lines) == 0 {
		return uint32(id), nil
	}
	return 0, fmt.Errorf("%s id %d has no mapping: map it, or choose one that has it", m.name, id)
}

// idMappings maps all ids of an inode one way.
type idMappings struct{ users, groups idMapping }

func (m idMappings) identity() bool { return len(m.users.lines)+len(m.groups.lines) == 0 }

// Extended attributes that have ids in them.
const (
	aclAccess    = "system.posix_acl_access"
	aclDefault   = "system.posix_acl_default"
	capabilities = "security.capability"
)

// xattr maps the ids in the value of an extended attribute. It returns the value
// itself if there are none.
func (m idMappings) xattr(name string, value []byte) ([]byte, error) {
	if m.identity() {
		return value, nil
	}
	switch name {
	case aclAccess, aclDefault:
		return m.acl(value)
	case capabilities:
		return m.capability(value)
	}
	return value, nil
}

// Entries of struct posix_acl_xattr_header and _entry (include/uapi/linux).
const (
	aclHeader  = 4
	aclEntry   = 8
	aclVersion = 2
	aclUser    = 0x02
	aclGroup   = 0x08
)

func (m idMappings) acl(value []byte) ([]byte, error) {
	if len(value) < aclHeader || (len(value)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(value) != aclVersion {
		return nil, fmt.Errorf("a value of %d bytes is no access control list", len(value))
	}
	mapped := append([]byte{}, value...)
	for e := mapped[aclHeader:]; len(e) > 0; e = e[aclEntry:] {
		var ids idMapping
		switch binary.LittleEndian.Uint16(e) {
		case aclUser:
			ids = m.users
		case aclGroup:
			ids = m.groups
		default:
			continue
		}
		id, err := ids.of(int64(binary.LittleEndian.Uint32(e[4:])))
		if err != nil {
			return nil, err
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
func (m idMappings) capability(value []byte) ([]byte, error) {
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
	id, err := m.users.of(root)
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
