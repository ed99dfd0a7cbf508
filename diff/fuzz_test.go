package diff

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// names that a terminal would obey, or show as others.
var nastyNames = []string{"/a", "/a b", "/a\nb", "/\x1b[2J", "/\u009b31m", "/\u202egpj.exe", "/\xff", "/\ufffd", "/\u200b", "/\u00a0", `/"a"`, "/a\u2028b", "/ü\u0301"}

// FuzzQuotePath holds that what is shown of a name has nothing that a terminal obeys,
// and is still the name.
func FuzzQuotePath(f *testing.F) {
	for _, s := range nastyNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		shown := QuotePath(path)
		if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is shown as %q", path, shown)
		}
		if shown == path {
			return
		}
		if again, err := strconv.Unquote(shown); err != nil || again != path {
			t.Errorf("%q is shown as %s, which is %q, %v", path, shown, again, err)
		}
	})
}

// FuzzChangeJSON holds that a change written as JSON is one line, and the same when it
// is read.
func FuzzChangeJSON(f *testing.F) {
	for i, s := range nastyNames {
		f.Add(s, byte(i), byte(i), uint16(i), int64(i))
	}
	f.Fuzz(func(t *testing.T, path string, kind, typ byte, what uint16, size int64) {
		c := Change{
			Kind: Add + Kind(kind)%(Delete-Add+1), Path: path, What: What(what) & (WhatXattrs<<1 - 1),
			Entry: Entry{Type: File + Type(typ)%(Socket-File+1), Size: size},
		}
		line, err := json.Marshal(c)
		if err != nil || strings.ContainsAny(string(line), "\n\x1b") || !utf8.Valid(line) {
			t.Fatalf("%+v is %q, %v", c, line, err)
		}
		var again Change
		if err := json.Unmarshal(line, &again); err != nil || again != c {
			t.Errorf("%+v is %s, which is %+v, %v", c, line, again, err)
		}
	})
}
