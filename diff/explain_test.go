package diff

import (
	"encoding/json"
	"testing"
)

func TestCleanPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", ".": "/", "//./": "/", "a": "/a", "/a": "/a", "a/b/": "/a/b", "/a//b": "/a/b", "./a/./b": "/a/b",
		"/..a/b..": "/..a/b..", "/...": "/...", "a\xff\n": "/a\xff\n",
		"": "", "..": "", "/a/..": "", "/../a": "", "a\x00": "",
	} {
		got, err := CleanPath(path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestEntry_JSON(t *testing.T) {
	for _, test := range []struct {
		entry Entry
		want  string
	}{
		{
			Entry{Type: File, Mode: 0o4644, UID: 1, GID: 2, Size: 3, Mtime: Time{Sec: -1, Nsec: 5e8}, Nlinks: 2},
			`{"type":"file","mode":"4644","uid":1,"gid":2,"size":3,"mtime":"1969-12-31T23:59:59.5Z","links":2}`,
		},
		{ // 0x12345 and 0x678 as the kernel splits them
			Entry{Type: Block, Rdev: 0x12000<<32 | 0x345<<8 | 0x600<<12 | 0x78},
			`{"type":"block","mode":"0000","uid":0,"gid":0,"size":0,"mtime":"1970-01-01T00:00:00Z","links":0,"device":"74565:1656"}`,
		},
	} {
		if b, err := json.Marshal(test.entry); string(b) != test.want || err != nil {
			t.Errorf("%s, %v; want %s", b, err, test.want)
		}
	}
}
