package whiteout

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestVisible(t *testing.T) {
	for _, test := range []struct {
		user       bool
		name, want string // want "": hidden
	}{
		{false, "trusted.overlay.opaque", ""},
		{false, "trusted.overlay.anything", ""},
		{false, "trusted.overlay.", ""},
		{false, "trusted.overlay.overlay.opaque", "trusted.overlay.opaque"},
		{false, "trusted.overlay.overlay.overlay.opaque", "trusted.overlay.overlay.opaque"},
		{false, "trusted.overlayopaque", "trusted.overlayopaque"},
		{false, "trusted.other", "trusted.other"},
		{false, "user.overlay.opaque", "user.overlay.opaque"}, // a program's own data
		{true, "user.overlay.opaque", ""},
		{true, "user.overlay.overlay.opaque", "user.overlay.opaque"},
		{true, "trusted.overlay.opaque", "trusted.overlay.opaque"},
		{true, "security.capability", "security.capability"},
	} {
		got, ok := NamespaceOf(diff.Features{UserXattr: test.user}).Visible(test.name)
		if ok != (test.want != "") || got != test.want {
			t.Errorf("userxattr %v: %s: got %q, %v; want %q", test.user, test.name, got, ok, test.want)
		}
	}
}

func TestIsOpaque(t *testing.T) {
	for value, want := range map[string]bool{"y": true, "x": false, "Y": false, "yes": false, "y\x00": false, "": false, "n": false} {
		if IsOpaque([]byte(value)) != want {
			t.Errorf("%q: got %v", value, !want)
		}
	}
}

func TestParseRedirect(t *testing.T) {
	for value, want := range map[string]string{ // want "": EINVAL
		"a": "a", "/a": "/a", "/a/b c": "/a/b c", "a\x00/b": "a", "..": "..", "/../etc": "/../etc", " ": " ",
		"": "", "/": "", "//": "", "a/b": "", "a/": "", "/a/": "", "/a//b": "", "../..": "", "\x00a": ".", "\x00": ".",
	} {
		got, err := ParseRedirect([]byte(value))
		if got != want || (want == "") != errors.Is(err, syscall.EINVAL) {
			t.Errorf("%q: got %q, %v; want %q", value, got, err, want)
		}
	}
}

func TestCheckMetacopy(t *testing.T) {
	for n := range 80 {
		if err := CheckMetacopy(make([]byte, n)); (err != nil) != (n >= 1 && n <= 3) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestParseDigest(t *testing.T) {
	for value, want := range map[string]string{
		"":                         "0 ",
		"\x00\x04\x00\x00":         "0 ",
		"\x00\x08\x00\x01abcd":     "1 abcd",
		"\x00\x06\x00\x02\x00\xff": "2 \x00\xff",
		"\x01\x08\x00\x01abcd":     "error",  // version
		"\x00\x09\x00\x01abcd":     "error",  // length
		"\x00\x08\x01\x01abcd":     "1 abcd", // the kernel does not look at flags
		"\x00\x08\x00\x00abcd":     "0 ",     // nor at a digest without an algorithm
		"\x00\x04\x00\x01":         "0 ",     // nor at a header alone
		"\x01\x05\x00\x01":         "0 ",
		"\x00\x45\x00\x01" + strings.Repeat("d", 65): "error", // longer than any
		"\x00\x03\x00": "error",
	} {
		algorithm, digest, err := ParseDigest([]byte(value))
		got := fmt.Sprintf("%d %s", algorithm, digest)
		if err != nil {
			got = "error"
		}
		if got != want || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("%q: got %q, %v; want %q", value, got, err, want)
		}
	}
}

func TestParseOrigin(t *testing.T) {
	// From a kernel: trusted.overlay.origin of a file copied up on ext4, Linux 6.18, of a
	// little-endian machine. One of the other byte order sets a flag.
	good := "00fb1d00010102030405060708090a0b0c0d0e0f1011223344aabbccdd"
	value, err := hex.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	value[2] = byte(len(value))
	if bigEndian {
		value[3] |= flagBigEndian
	}
	o, err := ParseOrigin(value)
	if err != nil || o.Handle.Type != 1 || o.FileSystem[0] != 1 || o.FileSystem[15] != 0x10 || len(o.Handle.ID) != 8 {
		t.Errorf("got %+v, %v", o, err)
	}
	if named, err := ParseIndexName(hex.EncodeToString(value)); err != nil || named != o {
		t.Errorf("as an index name: %+v, %v", named, err)
	}
	longer, err := ParseOrigin(append(value[:len(value):len(value)], 0))
	if err != nil || longer != o {
		t.Errorf("with more behind it: %+v, %v", longer, err)
	}
	upper := bytes.Clone(value)
	upper[3] |= flagUpper
	if o.Upper = true; o != must(t, upper) {
		t.Errorf("of the upper layer: %+v", must(t, upper))
	}
	other, unknown := bytes.Clone(value), bytes.Clone(value)
	other[3] ^= flagBigEndian
	unknown[3] |= 8
	for _, bad := range [][]byte{nil, {}, value[:21], value[:5], append([]byte{1}, value[1:]...), other, unknown} {
		if _, err := ParseOrigin(bad); err == nil {
			t.Errorf("%x is no handle", bad)
		}
	}
	for _, bad := range []string{"", "#12", "work", strings.Repeat("0", 58), good[:40]} {
		if _, err := ParseIndexName(bad); err == nil {
			t.Errorf("%q is no index name", bad)
		}
	}
}

func must(t *testing.T, value []byte) Origin {
	t.Helper()
	o, err := ParseOrigin(value)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func FuzzParseOrigin(f *testing.F) {
	f.Add([]byte("\x00\xfb\x19\x00\x01uuiduuiduuiduuidabcd"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOrigin(b)
		if err == nil && len(o.Handle.ID) != int(b[2])-handleHeader {
			t.Errorf("%x: %+v", b, o)
		}
	})
}

func FuzzParseRedirect(f *testing.F) {
	for _, s := range []string{"a", "/a/b", "..", "//", "a\x00b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseRedirect(b)
		if err != nil {
			return
		}
		for i, name := range strings.Split(s, "/") {
			if name == "" && i > 0 || strings.Contains(name, "\x00") {
				t.Errorf("%q has a component %q", s, name)
			}
		}
		if s == "" || s[0] != '/' && strings.Contains(s, "/") {
			t.Errorf("got %q of %q", s, b)
		}
	})
}

func TestIs(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		testenv.Needs(t, fs, testenv.UserXattrs)
		dir := testenv.Scratch(t, fs)
		testenv.Tree(t, dir,
			"whiteout device", "char other 0:1", "block block 0:0",
			"file empty", "file marked xattr.trusted.overlay.whiteout=y", "file markedempty xattr.trusted.overlay.whiteout=",
			"file notempty content=x xattr.trusted.overlay.whiteout=y",
			"dir dir xattr.trusted.overlay.whiteout=y",
		)
		if err := xattr.LSet(filepath.Join(dir, "empty"), "user.overlay.whiteout", []byte("y")); err != nil {
			t.Fatal(err)
		}
		fd, err := sys.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(fd)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			var st sys.Stat
			if err := sys.StatAt(fd, e.Name(), sys.StatAll, &st); err != nil {
				t.Fatal(err)
			}
			for _, user := range []bool{false, true} {
				want := e.Name() == "device" || strings.HasPrefix(e.Name(), "marked") && !user || e.Name() == "empty" && user
				got, err := NamespaceOf(diff.Features{UserXattr: user}).Is(fd, e.Name(), &st)
				if err != nil || got != want {
					t.Errorf("userxattr %v: %s: got %v, %v; want %v", user, e.Name(), got, err, want)
				}
			}
		}
	})
}
