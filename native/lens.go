package native

import (
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
)

// lensOf returns how the mount shows the owners in a layer.
func lensOf(s diff.Stack, l layer) (*inode.Lens, error) {
	if ids := s.Owners[l.path]; !ids.IsZero() {
		return &inode.Lens{IDs: ids}, nil
	}
	return nil, nil //nolint:nilnil // as they are stored
}
