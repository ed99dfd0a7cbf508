package diff

import "slices"

// IDRange says that the Size user or group ids of a container from Container on are
// the host's from Host on, as a line of /proc/PID/uid_map does.
type IDRange struct {
	Container, Host, Size uint32 // first id inside, first id outside, number of ids
}

// IDMap maps user and group ids of a container to those of the host. Without ranges
// every id is its own.
//
// Of an id-mapped layer, the container's ids are those stored in its directory, and
// the host's are those that the mount shows (MOUNT_ATTR_IDMAP, Linux 5.12; layers of
// an overlay, 5.19).
type IDMap struct {
	Users, Groups []IDRange // which do not overlap
}

// IsZero reports whether m has no ranges, so that every id is its own.
func (m IDMap) IsZero() bool { return len(m.Users)+len(m.Groups) == 0 }

// Equal reports whether both have the same ranges in the same order.
func (m IDMap) Equal(o IDMap) bool {
	return slices.Equal(m.Users, o.Users) && slices.Equal(m.Groups, o.Groups)
}

// ToHost returns the host's ids of an owner. ok is false if one of them has no
// mapping. For such an owner a mount shows the overflow id of the kernel, 65534 unless
// kernel.overflowuid and kernel.overflowgid say otherwise.
func (m IDMap) ToHost(uid, gid uint32) (hostUID, hostGID uint32, ok bool) {
	hostUID, okUser := HostID(m.Users, uid)
	hostGID, okGroup := HostID(m.Groups, gid)
	return hostUID, hostGID, okUser && okGroup
}

// Inverse maps the host's ids to those of the container.
func (m IDMap) Inverse() IDMap {
	return IDMap{Users: inverse(m.Users), Groups: inverse(m.Groups)}
}

func inverse(ranges []IDRange) []IDRange {
	var swapped []IDRange
	for _, r := range ranges {
		swapped = append(swapped, IDRange{Container: r.Host, Host: r.Container, Size: r.Size})
	}
	return swapped
}

// noID is INVALID_UID, which the kernel gives to nobody.
const noID = 1<<32 - 1

// HostID returns the host's id of a container's; false: it has none. Without ranges
// every id is its own.
func HostID(ranges []IDRange, id uint32) (uint32, bool) {
	if id == noID {
		return 0, false
	}
	for _, r := range ranges {
		if id < r.Container || id-r.Container >= r.Size {
			continue
		}
		if host := uint64(r.Host) + uint64(id-r.Container); host < noID {
			return uint32(host), true
		}
	}
	return id, len(ranges) == 0
}
