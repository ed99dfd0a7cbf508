package layer

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for name, want := range map[string]string{
		"a": "a", "a/b": "a/b", "./a": "a", "a/": "a", "/a": "a", "//a//b//": "a/b", "a/./b": "a/b", "a/../b": "b",
		"": "", ".": "", "/": "", "./": "", "a/..": "", "...": "...", "a/..b": "a/..b", "a\nb": "a\nb", "\xff": "\xff",
	} {
		if got, err := clean(name); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"..", "../a", "a/../..", "/..", "./../a", "a\x00b", strings.Repeat("x", 256), "a/" + strings.Repeat("x", 256)} {
		if got, err := clean(name); err == nil {
			t.Errorf("%q is taken for %q", name, got)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "/a/../../b", "./.wh..wh..opq", "a//b/", "\x00", strings.Repeat("../", 50), strings.Repeat("x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		path, err := clean(name)
		if err != nil {
			return
		}
		if again, err := clean(path); err != nil || again != path {
			t.Errorf("%q becomes %q, which becomes %q, %v", name, path, again, err)
		}
		if path == "" {
			return
		}
		for _, n := range strings.Split(path, "/") {
			if n == "" || n == "." || n == ".." || len(n) > maxName || strings.Contains(n, "\x00") {
				t.Errorf("%q becomes %q", name, path)
			}
		}
		if dir, base := split(path); base == "" || strings.Contains(base, "/") || join(dir, base) != path {
			t.Errorf("%q is split into %q and %q", path, dir, base)
		}
	})
}

func TestRoleOf(t *testing.T) {
	for path, want := range map[string]struct {
		role role
		name string
	}{
		"a": {ordinary, ""}, "a/wh.b": {ordinary, ""}, ".whb": {ordinary, ""}, "a.wh.b": {ordinary, ""}, "": {ordinary, ""},
		".wh.a": {whiteoutName, "a"}, "d/.wh.a": {whiteoutName, "a"}, ".wh..a": {whiteoutName, ".a"}, ".wh..wh": {whiteoutName, ".wh"},
		".wh....": {whiteoutName, "..."}, ".wh. ": {whiteoutName, " "},
		".wh..wh..opq": {opaqueName, ""}, "a/b/.wh..wh..opq": {opaqueName, ""},
		".wh..wh.": {metaName, ""}, ".wh..wh..opq2": {metaName, ""}, ".wh..wh.plnk/a": {metaName, ""}, ".wh..wh.plnk/.wh.a": {metaName, ""},
		".wh.": {}, ".wh..": {}, ".wh...": {}, "d/.wh.": {}, ".wh.a/b": {}, "d/.wh.a/b": {},
	} {
		role, name, err := roleOf(path)
		if role != want.role || name != want.name || (err == nil) != (want.role != 0) {
			t.Errorf("%q: got %d %q, %v", path, role, name, err)
		}
	}
}

func FuzzWhiteoutName(f *testing.F) {
	for _, s := range []string{".wh.a", ".wh.", ".wh..", ".wh...", ".wh..wh..opq", "a/.wh.b", ".wh.a/b", ".wh..wh.x/../y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, unsafeName string) {
		path, err := clean(unsafeName)
		if err != nil {
			return
		}
		role, name, err := roleOf(path)
		switch {
		case err != nil:
			return
		case role == whiteoutName:
			_, base := split(path)
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || whiteoutPrefix+name != base {
				t.Errorf("%q removes %q", unsafeName, name)
			}
		case role == ordinary:
			for _, n := range strings.Split(path, "/") {
				if strings.HasPrefix(n, whiteoutPrefix) {
					t.Errorf("%q is put there with the reserved name %q", unsafeName, n)
				}
			}
		case name != "":
			t.Errorf("%q removes %q", unsafeName, name)
		}
	})
}
