package native

import (
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// lensOf returns how the mount shows the metadata in a layer.
func lensOf(s diff.Stack, l layer) (*inode.Lens, error) {
	ids := s.Owners[l.path]
	if !s.Features.Fuse {
		if ids.IsZero() {
			return nil, nil //nolint:nilnil // as it is stored
		}
		return &inode.Lens{IDs: ids}, nil
	}
	stand, err := whiteout.OverrideOf(l.tree.FD())
	if err != nil {
		return nil, fmt.Errorf("find out how %s says owners: %w", diff.QuotePath(l.path), err)
	}
	return &inode.Lens{IDs: ids, Visible: stand.Visible, Override: func(dirfd int, name string, st *sys.Stat) error {
		ok, err := stand.Apply(dirfd, name, st)
		if ok && ids.IsZero() {
			// Those are ids as the container has them, all others are the host's.
			st.UID, st.GID = hostOwner(s.Container, st.UID, st.GID)
		}
		return err
	}}, nil
}

func hostOwner(ids diff.IDMap, uid, gid uint32) (hostUID, hostGID uint32) {
	hostUID, ok := diff.HostID(ids.Users, uid)
	if !ok {
		hostUID = sys.OverflowID("uid")
	}
	if hostGID, ok = diff.HostID(ids.Groups, gid); !ok {
		hostGID = sys.OverflowID("gid")
	}
	return hostUID, hostGID
}
