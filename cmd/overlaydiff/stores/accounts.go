//go:build linux

package stores

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Owner says whose a store is, and what is in it. The zero value is root, of which no
// user can take the place.
type Owner struct {
	UID uint32
	// Name is the user's in /etc/passwd, "" if it has none.
	Name string
}

// String returns the user's name, or else the number.
func (o Owner) String() string {
	switch {
	case o.UID == 0:
		return "root"
	case o.Name != "":
		return o.Name
	}
	return strconv.FormatUint(uint64(o.UID), 10)
}

// is reports whether that is how the owner is called.
func (o Owner) is(name string) bool {
	return name == o.String() || name == strconv.FormatUint(uint64(o.UID), 10)
}

// Owners returns a function that says who has an id on the node whose root is mounted at
// root. What can't be read of /etc/passwd is left out.
func Owners(root string) func(uid uint32) Owner {
	a, _ := readAccounts(eyesOf(root))
	return a.owner
}

// eyesOf returns the eyes for what is root's on a node.
func eyesOf(root string) eyes {
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	return eyes{node: root}
}

// accounts are the users of a node.
type accounts struct {
	homes []home
	names map[uint32]string
	sub   map[uint32][]subRange
}

// home is a user's home directory.
type home struct {
	dir string
	uid uint32
}

type subRange struct{ first, count uint64 }

// readAccounts reads /etc/passwd and /etc/subuid of the node. A node without has no
// users.
func readAccounts(e eyes) (*accounts, error) {
	a := &accounts{names: map[uint32]string{}, sub: map[uint32][]subRange{}}
	passwd, err := e.readFile(filepath.Join(e.node, "etc/passwd"), maxObject)
	ids := map[string]uint32{}
	a.add(passwd, ids)
	subuid, _ := e.readFile(filepath.Join(e.node, "etc/subuid"), maxObject)
	if missing := a.missing(e, subuid, ids); len(missing) > 0 {
		a.add(ask(e.node, missing), ids)
	}
	for line := range strings.Lines(string(subuid)) {
		p := strings.Split(strings.TrimSpace(line), ":")
		if len(p) != 3 {
			continue
		}
		uid, ok := ids[p[0]]
		if !ok {
			uid, ok = parseUID(p[0])
		}
		first, errFirst := strconv.ParseUint(p[1], 10, 32)
		count, errCount := strconv.ParseUint(p[2], 10, 32)
		if ok && uid != 0 && first > 0 && errFirst == nil && errCount == nil {
			a.sub[uid] = append(a.sub[uid], subRange{first, count})
		}
	}
	return a, unlessMissing(err)
}

// add adds the users of lines of passwd(5), by their names to ids as well.
func (a *accounts) add(passwd []byte, ids map[string]uint32) {
	for line := range strings.Lines(string(passwd)) {
		p := strings.Split(line, ":")
		if len(p) != 7 {
			continue
		}
		uid, ok := parseUID(p[2])
		if !ok {
			continue
		}
		if _, known := ids[p[0]]; !known {
			ids[p[0]] = uid
		}
		if _, known := a.names[uid]; !known {
			a.names[uid] = p[0]
		}
		if h := (home{p[5], uid}); filepath.IsAbs(h.dir) && uid != 0 && !a.hasHome(h) {
			a.homes = append(a.homes, h)
		}
	}
}

func (a *accounts) hasHome(h home) bool {
	for _, known := range a.homes {
		if known == h {
			return true
		}
	}
	return false
}

func parseUID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// subordinate reports whether an id is one of those that a user's containers have.
func (a *accounts) subordinate(user, uid uint32) bool {
	if a == nil {
		return false
	}
	for _, r := range a.sub[user] {
		if id := uint64(uid); id >= r.first && id-r.first < r.count {
			return true
		}
	}
	return false
}

// has reports whether a user has that id.
func (a *accounts) has(uid uint32) bool {
	if a == nil {
		return false
	}
	_, ok := a.names[uid]
	return ok
}

func (a *accounts) owner(uid uint32) Owner {
	if uid == 0 {
		return Owner{}
	}
	if uid == server {
		return Owner{UID: uid, Name: "unknown"}
	}
	o := Owner{UID: uid}
	if a != nil {
		o.Name = a.names[uid]
	}
	return o
}
