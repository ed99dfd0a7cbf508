package diff

// CopyUps tells which files an upper directory holds whole although the content
// is that of the lower layers: they were copied up to change their metadata, or
// nothing at all. Bytes are what need not be there: the files' sizes, every inode
// once.
type CopyUps struct {
	// Unchanged are equal to what is below in everything.
	Unchanged      int64 `json:"unchanged"`
	UnchangedBytes int64 `json:"unchanged_bytes"`
	// MetadataOnly differ in metadata only: with metacopy=on, their content would
	// not have been copied.
	MetadataOnly      int64 `json:"metadata_only"`
	MetadataOnlyBytes int64 `json:"metadata_only_bytes"`
}

// Bytes is how much smaller the upper directory could be.
func (c CopyUps) Bytes() int64 { return c.UnchangedBytes + c.MetadataOnlyBytes }
