package diff

import "fmt"

// Waste is what the layers hold at a path although the new view does not need it.
type Waste struct {
	Kind WasteKind // why it is not needed
	Path string    // absolute within the view, bytes
	What What      // in what a metadata-only copy differs, else 0
	// Bytes are the files' sizes, every inode once: 0 at a further name of one. Of
	// a deleted directory they are those of all that was in it.
	Bytes int64
}

// WasteKind says why something is not needed. The zero value is invalid.
type WasteKind uint8

// The kinds of waste.
const (
	_ WasteKind = iota
	// Unchanged: the upper directory has a file that is equal to what is below in
	// everything. It was copied up because somebody opened it for writing.
	Unchanged
	// MetadataOnly: the upper directory has a file whole that differs in metadata
	// only. With metacopy=on, its content would not have been copied.
	MetadataOnly
	// Deleted: the new view no longer has it, the lower layers keep it. So with a
	// directory that something else took the place of.
	Deleted
)

var wasteNames = [...]string{Unchanged: "unchanged", MetadataOnly: "metadata_only", Deleted: "deleted"}

// String returns "unchanged", "metadata_only" or "deleted".
func (k WasteKind) String() string {
	if k == 0 || int(k) >= len(wasteNames) {
		return fmt.Sprintf("WasteKind(%d)", uint8(k))
	}
	return wasteNames[k]
}

// CopyUps sums up the waste in an upper directory: the files that it holds whole
// although their content is that of the lower layers.
type CopyUps struct {
	Unchanged         int64 `json:"unchanged"`           // files that are equal to what is below
	UnchangedBytes    int64 `json:"unchanged_bytes"`     // their sizes
	MetadataOnly      int64 `json:"metadata_only"`       // files that differ in metadata alone
	MetadataOnlyBytes int64 `json:"metadata_only_bytes"` // their sizes
}

// Bytes is how much smaller the upper directory could be.
func (c CopyUps) Bytes() int64 { return c.UnchangedBytes + c.MetadataOnlyBytes }
