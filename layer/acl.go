package layer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/internal/idmap"
)

// accessList is a POSIX access control list (acl(5)).
type accessList []aclItem

type aclItem struct {
	tag, perm uint16
	id        uint32
	name      string // of a user or group whose id the list does not have
}

// Tags of entries (include/uapi/linux/posix_acl.h), beside idmap.ACLUser and idmap.ACLGroup.
const (
	aclUserObj  = 0x01
	aclGroupObj = 0x04
	aclMask     = 0x10
	aclOther    = 0x20
	noACLID     = 0xffffffff
)

var aclTags = map[string]uint16{
	"user": aclUserObj, "u": aclUserObj, "group": aclGroupObj, "g": aclGroupObj,
	"mask": aclMask, "m": aclMask, "other": aclOther, "o": aclOther,
}

// parseACL reads a list in a text form: tag:name:rwx, parted by commas or newlines. GNU
// tar --acls writes names, or numbers of users without one; libarchive and star add
// the number, as a fourth field.
func parseACL(text string) (accessList, error) {
	var list accessList
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		part, _, _ = strings.Cut(part, "#")
		part = strings.TrimPrefix(strings.TrimSpace(part), "default:")
		if part == "" {
			continue
		}
		item, err := parseACLItem(strings.Split(part, ":"))
		if err != nil {
			return nil, fmt.Errorf("%s in it: %w", quote(part), err)
		}
		list = append(list, item)
	}
	return list.complete()
}

func parseACLItem(fields []string) (item aclItem, err error) {
	item.tag, item.id = aclTags[fields[0]], noACLID
	if item.tag == 0 {
		return item, errors.New("an unknown kind of entry")
	}
	if len(fields) == 2 && item.tag >= aclMask { // mask:rwx
		fields = []string{fields[0], "", fields[1]}
	}
	if len(fields) < 3 || len(fields) > 4 {
		return item, errors.New("not tag:name:permissions")
	}
	for _, c := range fields[2] {
		bit, ok := map[rune]uint16{'r': 4, 'w': 2, 'x': 1, '-': 0}[c]
		if !ok {
			return item, errors.New("no permissions")
		}
		item.perm |= bit
	}
	if fields[1] == "" {
		return item, nil
	}
	switch item.tag {
	case aclUserObj:
		item.tag = idmap.ACLUser
	case aclGroupObj:
		item.tag = idmap.ACLGroup
	default:
		return item, errors.New("it can't have a name")
	}
	for _, number := range slices.Backward(fields) {
		if id, err := strconv.ParseUint(number, 10, 32); err == nil && id != noACLID {
			item.id = uint32(id)
			return item, nil
		}
	}
	item.name = fields[1]
	return item, nil
}

// complete puts a list in the kernel's order and adds the mask that it implies
// (acl_calc_mask(3)).
func (l accessList) complete() (accessList, error) {
	seen, mask := map[uint16]int{}, uint16(0)
	for _, item := range l {
		seen[item.tag]++
		if item.tag&(idmap.ACLUser|idmap.ACLGroup|aclGroupObj) != 0 {
			mask |= item.perm
		}
	}
	if seen[aclUserObj] != 1 || seen[aclGroupObj] != 1 || seen[aclOther] != 1 || seen[aclMask] > 1 {
		return nil, errors.New("it must have one entry each for the owner, the group and others")
	}
	if seen[aclMask] == 0 && seen[idmap.ACLUser]+seen[idmap.ACLGroup] > 0 {
		l = append(l, aclItem{tag: aclMask, perm: mask, id: noACLID})
	}
	slices.SortStableFunc(l, func(a, b aclItem) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	return l, nil
}

// decodeACL reads the value of an attribute.
func decodeACL(value []byte) (l accessList, ok bool) {
	if len(value) < idmap.ACLHeader || (len(value)-idmap.ACLHeader)%idmap.ACLEntry != 0 || binary.LittleEndian.Uint32(value) != idmap.ACLVersion {
		return nil, false
	}
	for e := value[idmap.ACLHeader:]; len(e) > 0; e = e[idmap.ACLEntry:] {
		l = append(l, aclItem{tag: binary.LittleEndian.Uint16(e), perm: binary.LittleEndian.Uint16(e[2:]) & 7, id: binary.LittleEndian.Uint32(e[4:])})
	}
	l, err := l.complete()
	return l, err == nil
}

// encode makes the value of an attribute.
func (l accessList) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, idmap.ACLVersion)
	for _, item := range l {
		b = binary.LittleEndian.AppendUint16(b, item.tag)
		b = binary.LittleEndian.AppendUint16(b, item.perm)
		b = binary.LittleEndian.AppendUint32(b, item.id)
	}
	return b
}

// without leaves out the named entries for which gone is true, so that nobody may do
// more than before: who loses an entry of a user is judged by the groups or as one of
// the others, who loses one of a group as one of the others. So those lose what the
// entry did not grant.
func (l accessList) without(gone func(aclItem) bool) (accessList, bool) {
	left, mask := slices.Clone(l), l.mask()
	some := false
	for _, lost := range l {
		if lost.tag != idmap.ACLUser && lost.tag != idmap.ACLGroup || !gone(lost) {
			continue
		}
		some = true
		for i, item := range left {
			if item.tag == aclOther || lost.tag == idmap.ACLUser && item.tag&(idmap.ACLGroup|aclGroupObj) != 0 {
				left[i].perm &= lost.perm & mask
			}
		}
	}
	left = slices.DeleteFunc(left, func(item aclItem) bool {
		return (item.tag == idmap.ACLUser || item.tag == idmap.ACLGroup) && gone(item)
	})
	return left, some
}

func (l accessList) mask() uint16 {
	for _, item := range l {
		if item.tag == aclMask {
			return item.perm
		}
	}
	return 7
}

// minimal returns the permission bits that say all that the list says, if there are
// such: it has no named entries.
func (l accessList) minimal() (bits uint32, ok bool) {
	for _, item := range l {
		switch item.tag {
		case aclUserObj:
			bits |= uint32(item.perm) << 6
		case aclGroupObj:
			bits |= uint32(item.perm&l.mask()) << 3
		case aclOther:
			bits |= uint32(item.perm)
		case idmap.ACLUser, idmap.ACLGroup:
			return 0, false
		}
	}
	return bits, true
}
