package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/xattr"
)

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                               nil,
		"  dir\ta  ":                     {"dir", "a"},
		`file "a b" content="x \"y\"\n"`: {"file", "a b", "content=x \"y\"\n"},
		`file \ "\xff"`:                  {"file", `\`, "\xff"},
		`f ""`:                           {"f", ""},
	} {
		got, err := words(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("words(%q) = %q, %v; want %q", line, got, err, want)
		}
		var quoted []string
		for _, w := range got {
			quoted = append(quoted, quote(w))
		}
		if again, err := words(strings.Join(quoted, " ")); err != nil || !slices.Equal(again, got) {
			t.Errorf("words of %q = %q, %v; want %q", quoted, again, err, got)
		}
	}
	for _, line := range []string{`a "b`, `a "b"c`} {
		if got, err := words(line); err == nil {
			t.Errorf("words(%q) = %q, want an error", line, got)
		}
	}
}

// show describes all entries below root, one line each.
func show(t *testing.T, root string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, mode, err := lstat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%q %o %d:%d %d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch {
		case mode.IsRegular():
			line += fmt.Sprintf(" %q", must(os.ReadFile(path)))
		case mode&os.ModeSymlink != 0:
			line += " -> " + must(os.Readlink(path))
		case mode&os.ModeDevice != 0:
			line += fmt.Sprintf(" %x", st.Rdev)
		}
		names := must(xattr.LList(path))
		slices.Sort(names)
		for _, name := range names {
			line += fmt.Sprintf(" %s=%q", name, must(xattr.LGet(path, name)))
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestTree(t *testing.T) {
	root := Scratch(t, Ext4)                  // it has user.* attributes on every kernel
	defer syscall.Umask(syscall.Umask(0o077)) // no matter
	Tree(t, root, `
		# a comment
		dir . mode=0700 uid=3
		dir a/b mode=01755 mtime=7
		file a/b/f content="x y" mode=4711 uid=1 gid=2 mtime=1700000000.5 xattr.user.k="v\x00" xattr.security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		file a/hole size=5 content=x`,
		`symlink a/l -> "to where" uid=9`,
		`link a/g a/hole`,
		`char "\xff" 1:300 mode=600`, `block "b k" 0:0`, `fifo p mtime=-1.25`, `socket s`,
		`whiteout .w xattr.trusted.overlay.k=`,
		`dir a uid=7 xattr.trusted.overlay.opaque=y`)
	want := []string{
		`"." 40700 3:0 1000000000.000000000`,
		`".w" 20000 0:0 1000000000.000000000 0 trusted.overlay.k=""`,
		`"a" 40755 7:0 1000000000.000000000 trusted.overlay.opaque="y"`,
		`"a/b" 41755 0:0 7.000000000`,
		`"a/b/f" 104711 1:2 1700000000.500000000 "x y" ` +
			`security.capability="\x01\x00\x00\x02\x00\x04` + strings.Repeat(`\x00`, 14) + `" user.k="v\x00"`,
		`"a/g" 100644 0:0 1000000000.000000000 "x\x00\x00\x00\x00"`,
		`"a/hole" 100644 0:0 1000000000.000000000 "x\x00\x00\x00\x00"`,
		`"a/l" 120777 9:0 1000000000.000000000 -> to where`,
		`"b k" 60644 0:0 1000000000.000000000 0`,
		`"p" 10644 0:0 -1.250000000`,
		`"s" 140644 0:0 1000000000.000000000`,
		`"\xff" 20600 0:0 1000000000.000000000 10012c`,
	}
	if diff := cmp.Diff(want, show(t, root)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestTree_Errors(t *testing.T) {
	for line, want := range map[string]string{
		"dir":                       "want a kind and a path",
		"directory a":               "want a kind and a path",
		"file a colour=1":           "unknown attribute",
		"file a content":            "not key=value",
		"symlink a ->":              "one more word",
		"char a 1":                  "no device number",
		`file "a`:                   "unfinished string",
		"file a mode=9":             "invalid syntax",
		"file a mtime=1.0000000001": "finer than a nanosecond",
		"file a\nfile a":            "exists",
		"link b a":                  "no such file",
	} {
		if err := MakeTree(t.TempDir(), line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("MakeTree(%q): %v, want %q", line, err, want)
		}
	}
}
