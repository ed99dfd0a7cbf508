package diff

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Change is one difference between the old and the new view.
type Change struct {
	Kind Kind   // added, modified or deleted
	What What   // in what the two sides differ; 0 unless Kind is Modify
	Path string // absolute within the view, bytes
	// Entry is the new view's entry, or the old view's of a deleted path.
	Entry Entry
}

// String returns the change as the command prints it: "A /path". A path with
// anything unprintable or not UTF-8 is a double-quoted Go string; no other
// path begins with a quote.
func (c Change) String() string {
	return string(c.Kind.Letter()) + " " + QuotePath(c.Path)
}

// QuotePath returns path as it is if a terminal shows it harmlessly, else as a
// double-quoted Go string ("/a\nb").
func QuotePath(path string) string {
	for i, r := range path {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(path[i:]); n == 1 {
				return strconv.Quote(path)
			}
		}
		if !unicode.IsPrint(r) {
			return strconv.Quote(path)
		}
	}
	return path
}

type jsonChange struct {
	Kind      string   `json:"kind"`
	Path      string   `json:"path"`
	PathBytes []byte   `json:"path_bytes,omitempty"`
	Type      string   `json:"type"`
	What      []string `json:"what"`
	Size      int64    `json:"size"`
}

// MarshalJSON writes
//
//	{"kind":"modify","path":"/a","type":"file","what":["content"],"size":1}
//
// with "path_bytes" (base64) besides if the path is not UTF-8; "path" then has
// U+FFFD for what is not. "what" is empty unless kind is "modify"; "size" is
// the file's size in bytes (of a deleted path: the size it had).
func (c Change) MarshalJSON() ([]byte, error) {
	return marshalLine(jsonChange{
		Kind: c.Kind.String(), Path: c.Path, PathBytes: pathBytes(c.Path), Type: c.Entry.Type.String(),
		What: c.What.Names(), Size: c.Entry.Size,
	})
}

// pathBytes returns a path that is not UTF-8 as bytes, else nil.
func pathBytes(path string) []byte {
	if utf8.ValidString(path) {
		return nil
	}
	return []byte(path)
}

// marshalLine encodes v without the escapes that json.Marshal writes for <, > and &.
func marshalLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON is the inverse of [Change.MarshalJSON]; of the entry it sets
// type and size.
func (c *Change) UnmarshalJSON(data []byte) error {
	var j jsonChange
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	kind, err := ParseKind(j.Kind)
	if err != nil {
		return err
	}
	typ, err := ParseType(j.Type)
	if err != nil {
		return err
	}
	what, err := ParseWhat(j.What)
	if err != nil {
		return err
	}
	if j.PathBytes != nil {
		j.Path = string(j.PathBytes)
	}
	*c = Change{Kind: kind, What: what, Path: j.Path, Entry: Entry{Type: typ, Size: j.Size}}
	return nil
}
