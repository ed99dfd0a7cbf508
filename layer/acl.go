package layer

import (
	"archive/tar"
)

func (a *applier) textACLs(h *tar.Header) ([]attribute, error) { return nil, nil }
