package diff

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Explanation tells why one path is, or is not, in the diff. What it has of
// layers only an engine that reads layers can tell; the others leave Layers empty.
//
// Its JSON is documented in docs/explain.md.
type Explanation struct {
	Path string `json:"path"` // absolute within the view
	// Change is what the diff lists for the path. Of a path that went with a
	// directory above it, that is the change of the directory; nil: nothing.
	Change *Change `json:"change"`
	// Old and New are what the views show at the path; nil: nothing.
	Old *Entry `json:"old"`
	New *Entry `json:"new"`
	// NotDir is what stands above the path in the views and is no directory;
	// nil if there is no such thing.
	NotDir *NotDir `json:"not_dir,omitempty"`
	// Differences are those that Change.What names, or would name if the root
	// could be a change. Ignored are others, which are never a change.
	Differences []Difference `json:"differences"`
	Ignored     []Difference `json:"ignored"`
	// Layers are the layers of the stack, topmost first.
	Layers []LayerAt `json:"layers"`
	// Owners says whose ids all these are: "container" or "host".
	Owners string `json:"owners"`
	// Unmapped are the host's ids, of those that would be here, which the container has no
	// id for: it sees them as the overflow id, 65534, and so it is here.
	Unmapped []uint32 `json:"unmapped,omitempty"`
}

// NotDir is something that is no directory. Symbolic links are not followed.
type NotDir struct {
	Path   string `json:"path"`             // of it, absolute within the view
	Type   Type   `json:"type"`             // of it: not a directory
	Target string `json:"target,omitempty"` // of a symbolic link, see [Difference]
}

// Difference is one thing in which the old and the new view differ at a path. The
// values are for people and harmless to print: whatever is odd in them is quoted,
// what is long is cut off. Of content there are none.
type Difference struct {
	What string `json:"what"`           // a name of [What], or "links" for the link count
	Name string `json:"name,omitempty"` // of an extended attribute, as the view shows it
	Old  string `json:"old,omitempty"`  // in the old view
	New  string `json:"new,omitempty"`  // in the new view
}

// LayerKind says what a layer is to the stack.
type LayerKind string

// The kinds of layer.
const (
	LayerUpper LayerKind = "upper"
	LayerLower LayerKind = "lower"
	LayerData  LayerKind = "data"  // data-only
	LayerIndex LayerKind = "index" // the inode index, which stands in for lower layers
)

// LayerAt is what one layer has at a path, as the lookups of both views met it.
type LayerAt struct {
	Kind   LayerKind `json:"kind"`             // upper, lower, data-only, or the index
	Number int       `json:"number,omitempty"` // of lower and data-only layers: 1 is asked first
	Dir    string    `json:"dir"`              // as the stack names it
	// Old and New are for the two views; nil: the view has nothing to do with
	// the layer.
	Old *Place `json:"old"`
	New *Place `json:"new"`
	// Marks are those that were read on the way to the path, from the root down.
	Marks []Mark `json:"marks,omitempty"`
}

// Place is where a lookup in a layer ended.
type Place struct {
	// At is the path within the layer: another one than was asked for if
	// something above it ended the search, or a redirect leads elsewhere.
	At   string   `json:"at"`
	Has  Presence `json:"has"`
	Seen *Entry   `json:"entry,omitempty"` // what is there; nil: nothing, or a whiteout
	// HiddenBy ended the search before this layer was asked. At is then where
	// the layer would have been asked, and what is there counts for nothing.
	HiddenBy *Hider `json:"hidden_by,omitempty"`

	Metadata bool `json:"metadata"` // the view shows the metadata of what is here
	Content  bool `json:"content"`  // … the content of this file
	Merged   bool `json:"merged"`   // … what is in this directory
}

// Hider is what hides the layers below it at a path.
type Hider struct {
	Kind   LayerKind `json:"kind"`             // of the layer that hides them
	Number int       `json:"number,omitempty"` // as of [LayerAt]
	At     string    `json:"at"`               // path within the layer
	Has    Presence  `json:"has"`              // what is there
}

// Presence says what is at a place: a whiteout, an entry by its type, or nothing.
type Presence string

// What can be at a place, beside the names of [Type].
const (
	Nothing         Presence = "nothing"
	Whiteout        Presence = "whiteout"         // a character device 0:0
	XattrWhiteout   Presence = "xattr whiteout"   // an empty file with the attribute
	OpaqueDirectory Presence = "opaque directory" // it hides what lower layers have
	MetacopyFile    Presence = "metacopy file"    // its content is in a lower layer
)

// Mark is an extended attribute of overlayfs.
type Mark struct {
	At    string `json:"at"`    // path within the layer
	Xattr string `json:"xattr"` // its name
	Value string `json:"value"` // quoted where it is not plain text
}

// MarshalJSON writes
//
//	{"type":"file","mode":"0644","uid":0,"gid":0,"size":1,"mtime":"2001-09-09T01:46:40Z","links":1}
//
// with "device":"MAJOR:MINOR" besides for devices.
func (e Entry) MarshalJSON() ([]byte, error) {
	j := struct {
		Type   string `json:"type"`
		Mode   string `json:"mode"`
		UID    uint32 `json:"uid"`
		GID    uint32 `json:"gid"`
		Size   int64  `json:"size"`
		Mtime  string `json:"mtime"`
		Links  uint32 `json:"links"`
		Device string `json:"device,omitempty"`
	}{e.Type.String(), fmt.Sprintf("%04o", e.Mode), e.UID, e.GID, e.Size, e.Mtime.String(), e.Nlinks, ""}
	if e.Type == Char || e.Type == Block {
		j.Device = e.Device()
	}
	return json.Marshal(j)
}

// String returns the time as RFC 3339 has it, in UTC, with its nanoseconds.
func (t Time) String() string {
	return time.Unix(t.Sec, int64(t.Nsec)).UTC().Format(time.RFC3339Nano)
}

// Device returns the device number as MAJOR:MINOR.
func (e Entry) Device() string {
	major := e.Rdev>>8&0xfff | e.Rdev>>32&^0xfff
	minor := e.Rdev&0xff | e.Rdev>>12&^0xff
	return fmt.Sprintf("%d:%d", major, uint32(minor))
}

// MarshalText writes the name of the type.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// CleanPath returns a path as a view has it: absolute, with a slash between
// components and no other. A path without a leading slash is taken as absolute.
//
// A component ".." is an error: what it leads to depends on symbolic links, which
// are not followed here. So are an empty path and a NUL byte.
func CleanPath(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty; / is the root")
	}
	clean := []byte{}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == ".":
		case name == "..":
			return "", fmt.Errorf("the path %s has a component ..; name it as the view has it, from its root on", QuotePath(path))
		case strings.Contains(name, "\x00"):
			return "", fmt.Errorf("the path %s has a NUL byte, which no name has", QuotePath(path))
		default:
			clean = append(append(clean, '/'), name...)
		}
	}
	if len(clean) == 0 {
		return "/", nil
	}
	return string(clean), nil
}
