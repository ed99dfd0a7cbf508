package oddtar

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Archive is an archive and what is odd about it.
type Archive struct {
	Data []byte
	// Tags say what is odd: of the whole, under "", and of the paths of entries.
	Tags map[string][]string
}

// maker makes one archive.
type maker struct {
	*rand.Rand
	out     Archive
	dialect Dialect
	paths   []string // of what is no directory
	dirs    []string
	kinds   map[string]byte
	made    map[string]inode
}

// inode is what the first header of an inode says.
type inode struct {
	header
	records []string
}

// Random makes the archive of a seed.
func Random(seed uint64) Archive {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 7)), kinds: map[string]byte{}, made: map[string]inode{}, dirs: []string{""}}
	m.out.Tags = map[string][]string{}
	m.dialect = Dialect(m.IntN(len(dialects)))
	m.tag("", m.dialect.String())
	if m.dialect == GNU && m.odd(8) {
		m.tag("", "label")
		h := header{name: "a label", kind: 'V', mtime: 1e9}
		m.add(h.encode(GNU))
	}
	for range 2 + m.IntN(10) {
		if m.dialect.extended() && m.odd(12) {
			m.globalHeader()
		}
		m.entry()
	}
	m.end()
	return m.out
}

func (m *maker) add(b []byte) { m.out.Data = append(m.out.Data, b...) }

func (m *maker) tag(path, tag string) {
	if !slices.Contains(m.out.Tags[path], tag) {
		m.out.Tags[path] = append(m.out.Tags[path], tag)
	}
}

// odd is true once in so many times.
func (m *maker) odd(n int) bool { return m.IntN(n) == 0 }

func (m *maker) end() {
	zeros := 2
	switch m.IntN(6) {
	case 0:
		zeros = 20
		m.tag("", "padded")
	case 1:
		if m.odd(8) {
			zeros = 0
			m.tag("", "no end")
		}
	}
	m.add(make([]byte, zeros*blockSize))
}

// path returns where an entry goes: a new name, or one that is there.
func (m *maker) path() string {
	if len(m.paths) > 0 && m.odd(8) {
		p := m.paths[m.IntN(len(m.paths))]
		m.tag(p, "again")
		return p
	}
	dir := m.dirs[m.IntN(len(m.dirs))]
	name := fmt.Sprintf("%c%d", 'a'+rune(m.IntN(4)), len(m.kinds))
	switch m.IntN(14) {
	case 0:
		name += strings.Repeat("x", 80+m.IntN(60))
	case 1:
		name += "\xff\x01 "
	case 2:
		name += "ü"
	case 3:
		m.tag(joined(dir, "p"+name), "no parent")
		name = "p" + name + "/" + name
	}
	p := joined(dir, name)
	if m.dialect == V7 && len(p) > 90 || m.dialect == Ustar && len(p) > 90 && !splits(p) {
		p = fmt.Sprintf("s%d", len(m.kinds))
	}
	return p
}

// splits reports whether the two fields of a ustar header hold a path, with a little
// besides.
func splits(path string) bool {
	i := strings.LastIndexByte(path, '/')
	return i > 0 && i < 140 && len(path)-i < 90
}

func joined(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (m *maker) globalHeader() {
	var records []string
	switch m.IntN(3) {
	case 0:
		m.tag("", "global comment")
		m.tag("", "global")
		records = []string{record("comment", "what git archive writes")}
	case 1:
		m.tag("", "global times")
		m.tag("", "global")
		records = []string{record("mtime", "777.25")}
	default:
		m.tag("", "global owner")
		m.tag("", "global")
		records = []string{record("uid", "4242"), record("gid", "4243")}
	}
	m.add(extendedHeader('g', records))
}

// entry adds one entry.
func (m *maker) entry() {
	path := m.path()
	h := header{name: path, mode: int64(m.IntN(0o1000)), uid: int64(m.IntN(3000)), gid: int64(m.IntN(3000)), mtime: int64(m.IntN(2e9)), kind: '0'}
	if m.odd(10) {
		h.mode |= int64(1+m.IntN(7)) << 9
	}
	h.numbers = []digits{nulEnded, nulEnded, nulEnded, spaceEnded, padded, full}[m.IntN(6)]
	if h.numbers != nulEnded {
		m.tag(path, "numbers")
	}
	if m.dialect == GNU && m.odd(6) {
		h.numbers = binary256
		m.tag(path, "base-256")
	}
	if m.odd(12) {
		h.signedSum = true
		m.tag(path, "signed sum")
	}
	var records []string
	if (m.dialect == GNU || m.dialect.extended()) && m.odd(8) {
		m.large(&h, &records, path)
	}
	m.typed(h, records, path)
}

// large gives an entry numbers that don't fit.
func (m *maker) large(h *header, records *[]string, path string) {
	m.tag(path, "large numbers")
	m.tag("", "large numbers")
	uid, mtime := int64(3_000_000+m.IntN(1e9)), -int64(m.IntN(1e9))
	if m.odd(2) {
		mtime = 1<<33 + int64(m.IntN(1e9))
	}
	if m.dialect == GNU {
		h.uid, h.mtime = uid, mtime
		return
	}
	*records = append(*records, record("uid", fmt.Sprint(uid)), record("mtime", fmt.Sprintf("%d.%d", mtime, 1+m.IntN(9))))
	if mtime < 0 {
		m.tag(path, "negative fraction")
	}
}

// records are those of an extended header that is no necessity.
func (m *maker) records(path string) (list []string) {
	if m.odd(4) {
		list = append(list, record("mtime", fmt.Sprintf("%d.%09d", m.IntN(2e9), m.IntN(1e9))))
	}
	if m.odd(8) {
		list = append(list, record("atime", fmt.Sprintf("%d.5", m.IntN(2e9))), record("ctime", "5"))
	}
	if m.odd(8) {
		m.tag(path, "xattr")
		list = append(list, record("SCHILY.xattr.trusted.k", "v\x00w"))
	}
	if m.odd(20) {
		m.tag(path, "apple")
		list = append(list, record("SCHILY.xattr.com.apple.provenance", "\x01\x02"), record("LIBARCHIVE.xattr.com.apple.provenance", "AQI"))
	}
	if m.odd(12) {
		m.tag(path, "capability")
		m.tag("", "capability")
		list = append(list, record("SCHILY.xattr.security.capability", capability()))
	}
	if m.odd(16) {
		m.tag(path, "text acl")
		m.tag("", "text acl")
		list = append(list, record("SCHILY.acl.access", "user::rw-,user:1234:r--,group::r--,mask::r--,other::---"))
	}
	if m.odd(16) {
		list = append(list, record("hdrcharset", "BINARY"), record("comment", "nothing"), record("SCHILY.dev", "7"), record("SCHILY.ino", "8"), record("SCHILY.nlink", "1"))
	}
	if m.odd(24) {
		list = append(list, record("uname", "whoever"), record("gname", "whatever"))
	}
	m.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}
