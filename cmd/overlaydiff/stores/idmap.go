//go:build linux

package stores

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// idRange is a range of ids as containers/storage writes it down.
type idRange struct {
	Container uint32 `json:"container_id"`
	Host      uint32 `json:"host_id"`
	Size      uint32 `json:"size"`
}

// idRanges are the ids of a container or of a layer as containers/storage writes them down.
type idRanges struct {
	UIDMap []idRange `json:"uidmap"`
	GIDMap []idRange `json:"gidmap"`
}

// ids returns the map. One that maps every id to itself is none.
func (r idRanges) ids() diff.IDMap {
	convert := func(from []idRange) (to []diff.IDRange) {
		for _, m := range from {
			to = append(to, diff.IDRange(m))
		}
		return withoutIdentity(to)
	}
	return diff.IDMap{Users: convert(r.UIDMap), Groups: convert(r.GIDMap)}
}

func withoutIdentity(ranges []diff.IDRange) []diff.IDRange {
	for _, r := range ranges {
		if r.Container != r.Host {
			return ranges
		}
	}
	return nil
}

// maxRanges bounds what each owner is looked up in: the kernel's bound (340,
// UID_GID_MAP_MAX_EXTENTS, since 4.15), for a container's map and its user's.
const maxRanges = 2 * 340

func checkIDs(ids diff.IDMap) error {
	if n := max(len(ids.Users), len(ids.Groups)); n > maxRanges {
		return fmt.Errorf("read the ids of a container: it has %d ranges, the kernel allows 340: mend the store", n)
	}
	return nil
}

// nested returns the host's ids of a container whose own are ids of a user namespace.
func nested(container, namespace diff.IDMap) diff.IDMap {
	return diff.IDMap{
		Users: nestedRanges(container.Users, namespace.Users), Groups: nestedRanges(container.Groups, namespace.Groups),
	}
}

func nestedRanges(inner, outer []diff.IDRange) (ranges []diff.IDRange) {
	if len(inner) == 0 {
		return outer
	}
	for _, i := range inner {
		for _, o := range outer {
			first := max(i.Host, o.Container)
			last := min(uint64(i.Host)+uint64(i.Size), uint64(o.Container)+uint64(o.Size))
			if uint64(first) < last {
				ranges = append(ranges, diff.IDRange{
					Container: i.Container + first - i.Host, Host: o.Host + first - o.Container, Size: uint32(last - uint64(first)),
				})
			}
		}
	}
	return ranges
}

// subIDs returns the ids that the user namespaces of a user have, as newuidmap gives them:
// 0 is the user, and from 1 on are those of /etc/subuid and /etc/subgid below root. Without
// an entry there it has 0 alone. Podman and rootless Docker make their namespaces so.
func subIDs(root string, uid, gid uint32) (diff.IDMap, error) {
	names, err := userNames(root, uid)
	if err != nil {
		return diff.IDMap{}, err
	}
	of := func(file string, own uint32) ([]diff.IDRange, error) {
		ranges := []diff.IDRange{{Container: 0, Host: own, Size: 1}}
		subordinate, err := subRanges(eyesOf(root), filepath.Join(root, file), names)
		next := uint32(1)
		for _, r := range subordinate {
			ranges = append(ranges, diff.IDRange{Container: next, Host: r.Host, Size: r.Size})
			next += r.Size
		}
		return ranges, err
	}
	users, err := of("/etc/subuid", uid)
	if err != nil {
		return diff.IDMap{}, err
	}
	groups, err := of("/etc/subgid", gid)
	return diff.IDMap{Users: users, Groups: groups}, err
}

// userIDs returns the ids of the user whose store this is, zero if there is no node to look
// them up.
func (s Store) userIDs(m mounter) (diff.IDMap, error) {
	if s.Node == "" || inUserNamespace() {
		return diff.IDMap{}, nil
	}
	return subIDs(s.Node, m.uid, m.gid)
}

// userNames returns what a user is called in /etc/subuid: by number, or by name.
func userNames(root string, uid uint32) ([]string, error) {
	number := strconv.FormatUint(uint64(uid), 10)
	names := []string{number}
	passwd, err := eyesOf(root).readFile(filepath.Join(root, "/etc/passwd"), maxObject)
	for line := range strings.Lines(string(passwd)) {
		if p := strings.Split(line, ":"); len(p) == 7 && p[2] == number {
			names = append(names, p[0])
		}
	}
	return names, unlessMissing(err)
}

// subRanges returns the ranges of subordinate ids that a file gives to one of the names, in
// its order.
func subRanges(e eyes, path string, names []string) (ranges []diff.IDRange, err error) {
	text, err := e.readFile(path, maxObject)
	for line := range strings.Lines(string(text)) {
		p := strings.Split(strings.TrimSpace(line), ":")
		if len(p) != 3 || !slices.Contains(names, p[0]) {
			continue
		}
		first, errFirst := strconv.ParseUint(p[1], 10, 32)
		size, errSize := strconv.ParseUint(p[2], 10, 32)
		if err := cmp.Or(errFirst, errSize); err != nil {
			return nil, fmt.Errorf("read %s: the line %q: %w", diff.QuotePath(path), short(strings.TrimSpace(line)), err)
		}
		ranges = append(ranges, diff.IDRange{Host: uint32(first), Size: uint32(size)})
	}
	return ranges, unlessMissing(err)
}

// remapIDs returns the ids of the containers of a Docker daemon with userns-remap, whose
// data-root ends in the host's ids of their root, UID.GID: all ranges of the user whose
// first one begins there (moby, LoadIdentityMapping).
func remapIDs(root, dataRoot string) (diff.IDMap, error) {
	uid, gid, _ := strings.Cut(filepath.Base(dataRoot), ".")
	e := eyesOf(root)
	of := func(file, first string) ([]diff.IDRange, error) {
		path := filepath.Join(root, file)
		text, err := e.readFile(path, maxObject)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			p := strings.Split(strings.TrimSpace(line), ":")
			if len(p) != 3 {
				continue
			}
			subordinate, err := subRanges(e, path, p[:1])
			if err != nil {
				return nil, err
			}
			slices.SortStableFunc(subordinate, func(a, b diff.IDRange) int { return cmp.Compare(a.Host, b.Host) })
			if len(subordinate) == 0 || strconv.FormatUint(uint64(subordinate[0].Host), 10) != first {
				continue
			}
			next := uint32(0)
			for i := range subordinate {
				subordinate[i].Container = next
				next += subordinate[i].Size
			}
			return subordinate, nil
		}
		return nil, fmt.Errorf("find the ids of the containers of %s in %s: no user has the ids from %s on: %w", diff.QuotePath(dataRoot), diff.QuotePath(path), first, fs.ErrNotExist)
	}
	users, err := of("/etc/subuid", uid)
	if err != nil {
		return diff.IDMap{}, err
	}
	groups, err := of("/etc/subgid", gid)
	return diff.IDMap{Users: users, Groups: groups}, err
}

// labelIDs returns the map in the labels of a snapshot of containerd: lists of
// CONTAINER:HOST:SIZE, separated by commas (core/snapshots, LabelSnapshotUIDMapping).
func labelIDs(labels map[string]string) (ids diff.IDMap, err error) {
	parse := func(text string) ([]diff.IDRange, error) {
		if text == "" {
			return nil, nil
		}
		ranges, err := mountutil.ParseIDMap(text)
		return withoutIdentity(ranges), err
	}
	users, errUsers := parse(labels["containerd.io/snapshot/uidmapping"])
	groups, errGroups := parse(labels["containerd.io/snapshot/gidmapping"])
	return diff.IDMap{Users: users, Groups: groups}, errors.Join(errUsers, errGroups)
}
