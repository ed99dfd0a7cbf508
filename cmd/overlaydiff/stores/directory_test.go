//go:build linux

package stores

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// A user whom only a name service knows has containers as others do, if the user has
// subordinate ids or is logged in.
func TestUsers_Directory(t *testing.T) {
	root, _ := userNode(t)
	asked := []string{}
	old := ask
	defer func() { ask = old }()
	ask = func(_ string, keys []string) []byte {
		asked = slices.Clone(keys)
		return []byte("u:x:1000:1000::/home/u:/bin/sh\n")
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nv:x:1001:1001::/home/v:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	testenv.Tree(t, root, "dir run", "dir run/user", "dir run/user/0", "dir run/user/1000", "dir run/user/1001", "dir run/user/1002")
	c, found := one(t, root)
	if found != 1 || c.Err != nil || c.Owner != (Owner{UID: 1000, Name: "u"}) {
		t.Errorf("%d found, of %v: %v", found, c.Owner, c.Err)
	}
	if d := cmp.Diff([]string{"u", "1000", "1002"}, asked); d != "" {
		t.Errorf("asked for (-want +got):\n%s", d)
	}
	// Nobody is asked if /etc/passwd has all.
	asked = nil
	root, _ = userNode(t)
	if _, found := one(t, root); found != 1 || asked != nil {
		t.Errorf("%d found, asked for %q", found, asked)
	}
}

// The name services of this machine are not those of another node.
func TestAsk(t *testing.T) {
	if lines := string(ask("/", []string{"root", "no-such-user", "0"})); !strings.HasPrefix(lines, "root:") || strings.Contains(lines, "no-such") {
		t.Errorf("here: %q", lines)
	}
	if lines := ask(t.TempDir(), []string{"root"}); lines != nil {
		t.Errorf("on another node: %q", lines)
	}
	for _, name := range []string{"", "-h", "a b", "a:b", "a\nb", "../a"} {
		if isUserName(name) {
			t.Errorf("%q can be a user", name)
		}
	}
}
