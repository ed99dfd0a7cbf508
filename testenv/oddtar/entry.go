package oddtar

import (
	"bytes"
	"slices"
	"strings"
)

// typed adds an entry of some type.
func (m *maker) typed(h header, records []string, path string) {
	was := m.kinds[path]
	switch m.IntN(12) {
	case 0, 1:
		m.directory(h, records, path)
		return
	case 2:
		h.kind, h.link = '2', []string{"nowhere", "/abs/olute", "../up", strings.Repeat("long/", 30)}[m.IntN(4)]
		if h.link[0] == '/' || h.link[0] == '.' {
			m.tag("", "link that leads out")
		}
	case 3, 4:
		if len(m.paths) == 0 || was == '5' {
			break
		}
		target := m.paths[m.IntN(len(m.paths))]
		if target == path {
			break
		}
		m.link(h, records, path, target)
		return
	case 5:
		if m.dialect != V7 {
			h.kind = '6'
		}
	case 6:
		if m.dialect != V7 {
			h.kind, h.major, h.minor = []byte{'3', '4'}[m.IntN(2)], int64(1+m.IntN(200)), int64(m.IntN(250))
		}
	case 7, 8:
		if m.dialect == GNU || m.dialect.extended() {
			m.sparse(h, records, path)
			return
		}
	case 9:
		if m.dialect != V7 {
			h.kind = '7'
			m.tag(path, "contiguous")
		}
	}
	if h.kind == '0' && (m.dialect == V7 || m.odd(5)) {
		h.kind = 0
	}
	var content []byte
	if h.kind == '0' || h.kind == 0 || h.kind == '7' {
		content = bytes.Repeat([]byte{'a' + byte(m.IntN(26))}, []int{0, 1, 511, 512, 513, 70_000}[m.IntN(6)])
		h.size = int64(len(content))
	}
	m.replaced(path, h.kind)
	records = m.more(records, path)
	m.made[path] = inode{h, records}
	m.put(h, records, path, content)
}

// more adds records that are no necessity, where there can be records.
func (m *maker) more(records []string, path string) []string {
	if !m.dialect.extended() {
		return nil
	}
	return append(records, m.records(path)...)
}

// link adds one more name of what is at target. Its header repeats what the inode has,
// as all who write archives have it, but for the odd one.
func (m *maker) link(h header, records []string, path, target string) {
	m.tag(path, "link")
	first, known := m.made[target]
	if known && !m.odd(10) {
		first.name, first.size, first.numbers, first.signedSum = h.name, 0, h.numbers, h.signedSum
		h, records = first.header, first.records
	} else {
		m.tag(path, "link says else")
		m.tag("", "link says else")
		records = m.more(records, path)
	}
	h.kind, h.link = '1', target
	if m.odd(10) {
		m.tag(path, "link with size")
		h.size = 77
	}
	m.replaced(path, m.kinds[target])
	m.made[path] = first
	m.put(h, records, path, nil)
}

// replaced notes what is at a path.
func (m *maker) replaced(path string, kind byte) {
	if _, there := m.kinds[path]; !there && kind != '5' {
		m.paths = append(m.paths, path)
	}
	m.kinds[path] = kind
}

func (m *maker) directory(h header, records []string, path string) {
	if was, there := m.kinds[path]; there && was != '5' {
		m.tag(path, "directory for another")
		return // what follows may be links to what is gone
	}
	h.kind, h.name = '5', path+"/"
	if m.dialect == V7 {
		h.kind = 0
		m.tag(path, "v7 directory")
	}
	if m.odd(4) {
		h.name = path
		if m.dialect == V7 {
			h.name += "//"
		}
	}
	if m.dialect == GNU && m.odd(6) {
		h.kind = 'D'
		m.tag(path, "dump directory")
		m.replaced(path, '5')
		m.dirs = append(m.dirs, path)
		content := []byte("Ya\x00Nb\x00\x00")
		h.size = int64(len(content))
		m.put(h, records, path, content)
		return
	}
	m.replaced(path, '5')
	m.dirs = append(m.dirs, path)
	m.put(h, m.more(records, path), path, nil)
}

// sparse adds a sparse file. Its names are short: the formats differ enough.
func (m *maker) sparse(h header, records []string, path string) {
	if len(path) > 90 {
		path = path[:40]
		h.name = path
	}
	if _, there := m.kinds[path]; there {
		return
	}
	m.replaced(path, '0')
	s := randomHole(m.Rand, []int{0, 1, 3, 4, 5, 25, 26, 70}[m.IntN(8)])
	if m.dialect == GNU {
		m.tag(path, "old sparse")
		m.made[path] = inode{h, nil}
		m.add(s.old(h))
		return
	}
	format := m.IntN(3)
	m.tag(path, []string{"sparse 0.0", "sparse 0.1", "sparse 1.0"}[format])
	records = m.more(records, path)
	m.made[path] = inode{h, records}
	m.add(s.pax(format, h, slices.Clone(records)))
}

// put adds an entry, its name where the dialect has room for it.
func (m *maker) put(h header, records []string, path string, content []byte) {
	switch m.IntN(12) {
	case 0:
		h.name = "./" + h.name
	case 1:
		h.name = strings.ReplaceAll(h.name, "/", "//")
	case 2:
		if len(h.name) < 90 {
			h.name = "/" + h.name
			m.tag(path, "absolute")
		}
	}
	switch {
	case m.dialect.extended():
		if len(h.name) > 100 || m.odd(10) {
			records = append(slices.Clone(records), record("path", h.name))
			h.name = h.name[:min(30, len(h.name))]
		}
		if len(h.link) > 100 || h.link != "" && m.odd(10) {
			records = append(slices.Clone(records), record("linkpath", h.link))
			h.link = "x"
		}
	case m.dialect == GNU || m.dialect == BusyBox:
		if len(h.name) > 100 || m.odd(20) {
			m.add(longName('L', h.name))
		}
		if len(h.link) > 100 || h.link != "" && m.odd(20) {
			m.add(longName('K', h.link))
		}
	default:
		m.fit(&h)
	}
	if len(records) > 0 {
		m.add(extendedHeader('x', records))
	}
	m.add(pad(h.encode(m.dialect), content))
}

// fit cuts or splits names for a header that must hold them.
func (m *maker) fit(h *header) {
	if len(h.link) > 100 {
		h.link = h.link[:100]
	}
	if len(h.name) <= 100 {
		return
	}
	if i := strings.LastIndexByte(strings.TrimSuffix(h.name, "/"), '/'); m.dialect == Ustar && i > 0 && i < 155 && len(h.name)-i-1 <= 100 {
		h.prefix, h.name = h.name[:i], h.name[i+1:]
	}
}
