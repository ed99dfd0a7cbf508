package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
)

func TestComparePaths(t *testing.T) {
	ordered := []string{
		"/", "/a", "/a/b", "/a/b/c", "/a/b-", "/a/c", "/a\x01", "/a b", "/a-b", "/a.b", "/a/", "/ab", "/b", "/\xff",
	}
	ordered = slices.DeleteFunc(ordered, func(s string) bool { return s == "/a/" })
	for i, a := range ordered {
		for j, b := range ordered {
			got := ComparePaths(a, b)
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got != want {
				t.Errorf("%q, %q: got %d, want %d", a, b, got, want)
			}
		}
	}
}

// The order is that of the components, compared bytewise one by one.
func FuzzComparePaths(f *testing.F) {
	f.Add("/a/b", "/a-b")
	f.Add("/a", "/a/b")
	f.Fuzz(func(t *testing.T, a, b string) {
		want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		if got := ComparePaths(a, b); got != want {
			t.Errorf("%q, %q: got %d, want %d", a, b, got, want)
		}
	})
}

func TestNamesRoundTrip(t *testing.T) {
	for k := Add; k <= Delete; k++ {
		if got, err := ParseKind(k.String()); got != k || err != nil {
			t.Errorf("%v: got %v, %v", k, got, err)
		}
	}
	for typ := File; typ <= Socket; typ++ {
		if got, err := ParseType(typ.String()); got != typ || err != nil {
			t.Errorf("%v: got %v, %v", typ, got, err)
		}
	}
	for w := range WhatXattrs << 1 {
		if got, err := ParseWhat(w.Names()); got != w || err != nil {
			t.Errorf("%v: got %v, %v", w, got, err)
		}
	}
	for v := VerityOff; v <= VerityRequire; v++ {
		if got, err := ParseVerity(v.String()); got != v || err != nil {
			t.Errorf("%v: got %v, %v", v, got, err)
		}
	}
	if _, err := ParseVerity("perhaps"); err == nil {
		t.Error("perhaps is a verity mode")
	}
	for _, zero := range []fmt.Stringer{Kind(0), Type(0), Kind(200), Type(200)} {
		if _, err := ParseKind(zero.String()); err == nil {
			t.Errorf("%v is a kind", zero)
		}
		if _, err := ParseType(zero.String()); err == nil {
			t.Errorf("%v is a type", zero)
		}
	}
	if _, err := ParseWhat([]string{"mode", "mood"}); err == nil {
		t.Error("mood is a difference")
	}
}

func TestChangeJSON(t *testing.T) {
	for _, test := range []struct {
		change Change
		want   string
	}{
		{
			Change{Kind: Modify, What: WhatMode | WhatContent, Path: "/a", Entry: Entry{Type: File, Size: 3}},
			`{"kind":"modify","path":"/a","type":"file","what":["mode","content"],"size":3}`,
		},
		{
			Change{Kind: Delete, Path: "/a\xffb", Entry: Entry{Type: Dir}},
			"{\"kind\":\"delete\",\"path\":\"/a\ufffdb\",\"path_bytes\":\"L2H/Yg==\",\"type\":\"dir\",\"what\":[],\"size\":0}",
		},
	} {
		got, err := json.Marshal(test.change)
		if err != nil || strings.ReplaceAll(string(got), `\ufffd`, "\ufffd") != test.want {
			t.Errorf("got %s, %v\nwant %s", got, err, test.want)
		}
		var back Change
		if err := json.Unmarshal(got, &back); err != nil || back != test.change {
			t.Errorf("back: got %+v, %v", back, err)
		}
	}
	for _, bad := range []string{`{}`, `{"kind":"add"}`, `{"kind":"add","type":"file","what":["?"]}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), new(Change)); err == nil {
			t.Errorf("%s was taken for a change", bad)
		}
	}
}

func TestChangeString(t *testing.T) {
	for path, want := range map[string]string{
		"/a b":         `C /a b`,
		"/ä":           `C /ä`,
		`/"\`:          `C /"\`,
		"/a\nb":        `C "/a\nb"`,
		"/\x1b[31m":    `C "/\x1b[31m"`,
		"/\xff":        `C "/\xff"`,
		"/\u202eabc":   `C "/\u202eabc"`,
		"/\ufffd":      "C /\ufffd",
		"/tab\there":   `C "/tab\there"`,
		"/nul is none": `C /nul is none`,
	} {
		if got := (Change{Kind: Modify, Path: path}).String(); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

// asked is a Parts that records what was asked for.
type asked struct {
	names                   []string
	target, xattrs, content bool
	err                     error
}

func (a *asked) SameTarget() (bool, error)  { return a.answer("target", a.target) }
func (a *asked) SameXattrs() (bool, error)  { return a.answer("xattrs", a.xattrs) }
func (a *asked) SameContent() (bool, error) { return a.answer("content", a.content) }

func (a *asked) answer(name string, same bool) (bool, error) {
	a.names = append(a.names, name)
	return same, a.err
}

func TestCompare(t *testing.T) {
	base := func(typ Type) Entry {
		return Entry{Type: typ, Mode: 0o644, UID: 1, GID: 2, Rdev: 3, Size: 4, Mtime: Time{5, 6}, Inode: Inode{7, 8}, Nlinks: 9}
	}
	for _, test := range []struct {
		why  string
		typ  Type
		edit func(e *Entry)
		want What
		asks string
	}{
		{"equal file", File, func(*Entry) {}, 0, "content xattrs"},
		{"equal directory", Dir, func(*Entry) {}, 0, "xattrs"},
		{"equal link", Symlink, func(*Entry) {}, 0, "target xattrs"},
		{"inode and link count say nothing", File, func(e *Entry) { e.Inode.Ino, e.Nlinks = 0, 0 }, 0, "content xattrs"},
		{"another type says all", File, func(e *Entry) { e.Type, e.Mode, e.Size = Dir, 0, 0 }, WhatType, ""},
		{"other size, other content", File, func(e *Entry) { e.Size++ }, WhatSize | WhatContent, "xattrs"},
		{"mode", File, func(e *Entry) { e.Mode = 0o4644 }, WhatMode, "content xattrs"},
		{"ids", Fifo, func(e *Entry) { e.UID, e.GID = 0, 0 }, WhatUID | WhatGID, "xattrs"},
		{"a nanosecond", File, func(e *Entry) { e.Mtime.Nsec++ }, WhatMtime, "content xattrs"},
		{"a directory's time and size don't count", Dir, func(e *Entry) { e.Mtime.Sec++; e.Size++ }, 0, "xattrs"},
		{"a link's mode doesn't count", Symlink, func(e *Entry) { e.Mode = 0o777 }, 0, "target xattrs"},
		{"device number of a device", Block, func(e *Entry) { e.Rdev++ }, WhatDevice, "xattrs"},
		{"and of nothing else", Socket, func(e *Entry) { e.Rdev++; e.Size++ }, 0, "xattrs"},
	} {
		from, to := base(test.typ), base(test.typ)
		test.edit(&to)
		parts := &asked{target: true, xattrs: true, content: true}
		got, err := Compare(&from, &to, parts, false)
		if err != nil || got != test.want || strings.Join(parts.names, " ") != test.asks {
			t.Errorf("%s: got %q, %v, asked for %q", test.why, got, err, parts.names)
		}
		parts = &asked{target: true, xattrs: true, content: true}
		if test.want != 0 {
			test.asks = "" // what stat told is enough
		}
		got, err = Compare(&from, &to, parts, true)
		if err != nil || got != test.want&^WhatContent || strings.Join(parts.names, " ") != test.asks {
			t.Errorf("%s, only the kind: got %q, %v, asked for %q", test.why, got, err, parts.names)
		}
	}
	dir, chmodded := base(Dir), base(Dir)
	chmodded.Mode = 0o700
	if got, err := Compare(&dir, &chmodded, &asked{}, true); err != nil || got != WhatMode|WhatXattrs {
		t.Errorf("a directory, only the kind: %q, %v", got, err)
	}
	file, link := base(File), base(Symlink)
	if got, err := Compare(&file, &file, &asked{}, false); err != nil || got != WhatContent|WhatXattrs {
		t.Errorf("a file whose parts differ: %q, %v", got, err)
	}
	if got, err := Compare(&link, &link, &asked{xattrs: true}, false); err != nil || got != WhatTarget {
		t.Errorf("a link whose target differs: %q, %v", got, err)
	}
	boom := errors.New("boom")
	for _, e := range []*Entry{&file, &link} {
		if _, err := Compare(e, e, &asked{err: boom, target: true, content: true, xattrs: true}, false); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	}
}

// listed is an engine that says what it was given.
type listed []Change

func (listed) Name() string { return "listed" }
func (listed) Close() error { return nil }
func (l listed) Changes(context.Context, Options) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, c := range l {
			var err error
			if c.Kind == 0 {
				err = errors.New("boom")
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func TestSize(t *testing.T) {
	file := func(kind Kind, size int64, ino uint64, links uint32) Change {
		return Change{Kind: kind, Entry: Entry{Type: File, Size: size, Inode: Inode{1, ino}, Nlinks: links}}
	}
	changes := listed{
		file(Add, 1, 1, 1), file(Modify, 10, 2, 1), file(Delete, 100, 3, 1),
		file(Add, 1000, 4, 2), file(Add, 1000, 4, 2), // two names of one inode
		{Kind: Add, Entry: Entry{Type: Symlink, Size: 10000, Inode: Inode{1, 5}, Nlinks: 1}},
		{Kind: Add, Entry: Entry{Type: Dir, Inode: Inode{1, 6}, Nlinks: 2}},
	}
	if n, err := Size(t.Context(), changes, Options{}); n != 11011 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := Size(t.Context(), append(changes, Change{}), Options{}); err == nil {
		t.Error("the error got lost")
	}
}

func TestErrorsMatch(t *testing.T) {
	err := fmt.Errorf("so: %w", &UnsupportedError{Op: "do", Reason: "no"})
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, context.Canceled) {
		t.Errorf("%v matches wrongly", err)
	}
}
