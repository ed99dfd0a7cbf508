package drivertest

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// shift is what the container's ids are on the host of testMapped.
const shift = 100_000

// testMapped: what a mapped container owns, its own ids have in the layer, whiteouts too,
// and its host's when the layer is applied.
func testMapped(s suite) {
	s.create("base", "", func(dir string) {
		testenv.Tree(s, dir, "dir d uid=100000 gid=100000", "file d/f uid=100005 gid=100006", "file d/gone uid=100000 gid=100000")
	})
	s.create("top", "base", func(dir string) {
		testenv.Do(s, dir, "chown d/f 100007:100008", "acl d/f 100009:6", "unlink d/gone",
			"create n 1", "chown n 100000:100000", "mkdir e", "chown e 100001:100002")
	})
	want := map[string]string{"d": "0:0", "d/.wh.gone": "0:0", "d/f": "7:8", "e": "1:2", "n": "0:0"}
	got := map[string]string{}
	for _, h := range s.headers(s.archive("top", "base")) {
		got[path.Clean(h.Name)] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
		// An entry of an access control list ends with its id, little-endian.
		if acl := h.PAXRecords["SCHILY.xattr.system.posix_acl_access"]; acl != "" && !strings.Contains(acl, "\x09\x00\x00\x00") {
			s.Errorf("the access control list %q does not name user 9", acl)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("owners in the layer (-want +got):\n%s", d)
	}
	s.replay("top", "base", "base")
	s.replay("base", "", "")

	s.create("odd", "base", func(dir string) { testenv.Do(s, dir, "create n 1", "chown n 3:3") })
	r, err := s.Diff("odd", "base")
	s.must(err)
	if _, err := io.Copy(io.Discard, r); err == nil || !strings.Contains(err.Error(), "/n") {
		s.Errorf("of a file whose owner the container does not have: error %v", err)
	}
	s.must(r.Close())
}
