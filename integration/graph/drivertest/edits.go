package drivertest

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// edits are changes of each kind, in two layers over a base. Every changed file has
// another modification time, by which the stock drivers know it.
func (s suite) edits() {
	s.Helper()
	s.create("base", "", func(dir string) {
		testenv.Tree(s, dir,
			"file etc/a content=old mtime=1000000000.123456789", "file etc/b content=b", "link etc/c etc/b",
			"file usr/lib/x content=x", "file usr/lib/y size=70000", "dir usr/share/doc", "file usr/share/doc/y",
			"symlink l -> etc/a", "dir was/dir", "file was/dir/f", "file was/file", "file deep/a/b/c/d/f", "file same", "char dev/null 1:3")
	})
	s.create("middle", "base", func(dir string) {
		testenv.Do(s, dir, "unlink usr/lib/x", "create usr/lib/z z", "rmtree deep/a/b/c", "link etc/c etc/e")
	})
	s.create("top", "middle", func(dir string) {
		testenv.Do(s, dir,
			"write etc/a new", "utimes etc/a 1234567890.987654321", "chmod etc/b 600", "link etc/e etc/d",
			"acl etc/d 1000:6", "write etc/d more", "rmtree usr/share", "mkdir usr/share 755", "create usr/share/z zz",
			"rename usr/lib/y usr/lib/moved", "unlink l", "create n 1", "link n m", "mkdir empty 711",
			"todir was/file", "create was/file/f f", "tofile was/dir f", "mkdir deep/a/b/c 700", "create deep/a/b/c/g g",
			"create with-attributes a", "acl with-attributes 7:4", "setxattr with-attributes user.k=v",
			"capability with-attributes 2000", "utimes with-attributes 1000000001.000000001",
			"open same", "mknod pipe fifo", "chown dev/null 12:34", "symlink s nowhere")
	})
}

// pairs are the questions: over the parent, over what is below that, over nothing.
var pairs = [][2]string{{"top", "middle"}, {"top", "base"}, {"top", ""}, {"middle", "base"}, {"base", ""}}

func testEdits(s suite) {
	s.edits()
	for _, p := range pairs {
		id, parent := p[0], p[1]
		s.checkChanges(id, parent)
		s.checkSize(id, parent)
		s.replay(id, parent, parent)
		want, err := s.Stock(id, parent)
		s.must(err)
		slices.SortFunc(want, func(a, b string) int { return diff.ComparePaths(a[2:], b[2:]) })
		got, err := s.Changes(id, parent)
		s.must(err)
		if d := cmp.Diff(want, got); d != "" {
			s.Errorf("changes from %q to %q (-stock +driver):\n%s", parent, id, d)
		}
	}
	s.replay("top", "base", "middle") // over a layer that has some of it already
}
