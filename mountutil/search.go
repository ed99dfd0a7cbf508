//go:build linux

package mountutil

import (
	"bytes"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/overlaydiff/overlaydiff/diff"
)

// search is one kind of ways that may lead from a word to its directory.
type search struct {
	// plain: they are what the word says.
	plain bool
	// named: they are what the word says, or said. An unproven directory counts there, and
	// nowhere else.
	named bool
	ways  iter.Seq[way]
}

// searches returns the ways from the likeliest on.
func (r *resolver) searches(q quest) []search {
	list := []search{
		{named: true, ways: r.relocated(q.word)}, {ways: r.stripped(q.word)},
		{named: true, ways: r.covered(q.word)}, {ways: q.handles},
	}
	if q.elsewhere {
		return list
	}
	return append([]search{{plain: true, named: true, ways: r.plain(q.word)}}, list...)
}

// pids returns in whose mount namespaces, and below whose roots, words are followed: the
// caller's, where runtimes mount for a container, and that of the process.
func (r *resolver) pids() []int {
	if r.pid != 0 {
		return []int{0, r.pid}
	}
	return []int{0}
}

// plain yields where the word leads, from each directory that a relative one may belong to.
func (r *resolver) plain(w word) iter.Seq[way] {
	return func(yield func(way) bool) {
		for _, path := range r.spellings(w) {
			for _, pid := range r.pids() {
				if !isDescriptor(path) && !yield(way{pid: pid, path: path}) {
					return
				}
			}
		}
	}
}

// spellings returns the absolute paths that a word can mean.
func (r *resolver) spellings(w word) []string {
	var list []string
	for _, path := range slices.Compact([]string{w.path, w.literal}) {
		if filepath.IsAbs(path) {
			list = append(list, path)
			continue
		}
		for _, base := range r.bases {
			list = append(list, diff.Join(base, path)) // not cleaned: ".." may follow a symlink
		}
	}
	return list
}

// isDescriptor reports whether a name means something only in the process that mounted.
func isDescriptor(path string) bool {
	for _, prefix := range []string{"/proc/self/", "/proc/thread-self/", "/dev/fd/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// relativeBases returns the directories from which relative words may lead on. Container
// engines change into the directory of all layers to get a long list into one page of
// options: containerd, whose upper directory is below it, and Docker and Podman, whose
// mount points are and which give no absolute path.
func (r *resolver) relativeBases() []string {
	p := r.parser
	all := slices.Concat(p.Lower, p.Data, []string{p.Upper, p.Work})
	if !slices.ContainsFunc(all, func(path string) bool { return path != "" && !filepath.IsAbs(path) }) {
		return nil
	}
	var bases []string
	for _, path := range slices.Concat([]string{p.Upper, p.Work}, p.Lower, r.mountpoints(), []string{r.info.Mountpoint}) {
		for dir := path; filepath.IsAbs(dir) && dir != "/"; {
			dir = filepath.Dir(dir)
			if !slices.Contains(bases, dir) {
				bases = append(bases, dir)
			}
		}
	}
	return bases
}

// relocation is how a word led to a directory elsewhere.
type relocation struct {
	from, to string // what the path began with, and what is in its place
	way      way
}

// relocate keeps how a directory was found, since the others are likely to be found alike.
func (r *resolver) relocate(w word, found way) {
	if !filepath.IsAbs(w.path) { // from which directory: the next word is tried there first
		for i, base := range r.bases {
			if diff.Join(base, w.path) == found.path && i > 0 {
				r.bases = append([]string{base}, slices.Delete(r.bases, i, i+1)...)
				break
			}
		}
	}
	if w.path == found.path && found.uncover == 0 {
		return
	}
	from, to := w.path, found.path
	for from != "" && to != "" && filepath.Base(from) == filepath.Base(to) && from != "/" && to != "/" {
		from, to = strings.TrimSuffix(filepath.Dir(from), "/"), strings.TrimSuffix(filepath.Dir(to), "/")
		if from == "." {
			from = ""
		}
	}
	if one := (relocation{from, to, found}); !slices.Contains(r.moved, one) {
		r.moved = append(r.moved, one)
	}
}

// relocated yields where the word leads if it is mapped as another one was.
func (r *resolver) relocated(w word) iter.Seq[way] {
	return func(yield func(way) bool) {
		for _, as := range r.moved {
			rest, ok := strings.CutPrefix(w.path, as.from)
			if !ok || rest != "" && !strings.HasPrefix(rest, "/") && as.from != "" {
				continue
			}
			to := way{pid: as.way.pid, path: diff.Join(as.to, strings.TrimPrefix(rest, "/")), uncover: as.way.uncover}
			if !yield(to) {
				return
			}
		}
	}
}

// stripped yields where the word leads if the directory tree that it began in is mounted
// elsewhere by now: without its first names, as after switch_root or pivot_root into
// /sysroot, and below each mount point, as below /rom where the old root went; or below a
// directory above the mount point, the root of the process that mounted.
func (r *resolver) stripped(w word) iter.Seq[way] {
	return func(yield func(way) bool) {
		if !filepath.IsAbs(w.path) || isDescriptor(w.path) {
			return
		}
		for _, pid := range r.pids() {
			prefixes := append([]string{""}, r.prefixes(pid)...)
			rest := w.path
			for {
				for _, prefix := range prefixes {
					path := filepath.Clean(prefix + "/" + rest)
					if path != w.path && !yield(way{pid: pid, path: path}) {
						return
					}
				}
				_, rest, _ = strings.Cut(strings.TrimPrefix(rest, "/"), "/")
				if rest == "" { // of its name, nothing would be left
					break
				}
				rest = "/" + rest
			}
		}
	}
}

// mostPrefixes bounds how many mount points are tried.
const mostPrefixes = 256

// prefixes returns the mount points that a process sees (0: this one), and the directories
// above that of the overlay.
func (r *resolver) prefixes(pid int) []string {
	var list []string
	for dir := filepath.Dir(r.info.Mountpoint); dir != "/" && filepath.IsAbs(dir); dir = filepath.Dir(dir) {
		list = append(list, dir)
	}
	table := ownTable()
	if pid != 0 {
		table = "/proc/" + strconv.Itoa(pid) + "/mountinfo"
	}
	infos, _ := readTable(table, func(line []byte) bool { return !bytes.Contains(line, []byte(" - proc ")) })
	for _, m := range infos {
		if m.Mountpoint != "/" && len(list) < mostPrefixes && !slices.Contains(list, m.Mountpoint) {
			list = append(list, m.Mountpoint)
		}
	}
	return list
}

// covered yields where the word leads below what is mounted over it.
func (r *resolver) covered(w word) iter.Seq[way] {
	return func(yield func(way) bool) {
		for _, path := range r.spellings(w) {
			for _, pid := range r.pids() {
				if !isDescriptor(path) && !below(pid, path, yield) {
					return
				}
			}
		}
	}
}

// below yields the ways to what mounts cover at a path, and reports whether yield wants more.
func below(pid int, path string, yield func(way) bool) bool {
	for n := range covers(pid, path) {
		if !yield(way{pid: pid, path: path, uncover: n + 1}) {
			return false
		}
	}
	return true
}
