package paths

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

const (
	sticky      = syscall.S_ISVTX
	othersWrite = 0o002
	groupWrites = 0o020
)

// Output finds where an output goes, for what a command makes. Of what others put into
// a shared directory such as /tmp it follows no symbolic link and uses no fifo, by the
// kernel's rules for the sysctls fs.protected_symlinks and fs.protected_fifos
// (may_follow_link and may_create_in_sticky in fs/namei.c, Linux 4.19), whatever these
// sysctls are. With mkdir, directories that are missing are made.
func Output(path string, mkdir bool) (*Place, error) {
	if path == "" {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	root, err := sys.OpenDir("/")
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	defer sys.Close(root)
	place, err := Rules{Follow: followOutput, Make: mkdir, Magic: true}.Walk(root, sys.CurrentDir, path)
	if err != nil {
		return nil, err
	}
	if err := mayWrite(place); err != nil {
		place.Close()
		return nil, err
	}
	return place, nil
}

// Planted is the error for what another user put where an output was to go.
type Planted struct {
	What string // "a symbolic link"
	UID  uint32
}

func (e *Planted) Error() string {
	return fmt.Sprintf("it is %s that user %d put into a directory where others may write, too: it is not used; remove it, or name another path", e.What, e.UID)
}

// Is makes the error match [fs.ErrPermission].
func (e *Planted) Is(target error) bool { return target == fs.ErrPermission }

func followOutput(dir, link *sys.Stat) (func(*sys.Stat) error, error) {
	if shared(dir, othersWrite) && !ours(dir, link) {
		return nil, &Planted{What: "a symbolic link", UID: link.UID}
	}
	return nil, nil
}

// mayWrite refuses a fifo, device or socket of another user; a regular file is
// replaced, not written to.
func mayWrite(p *Place) error {
	if p.FD < 0 || p.Magic || p.Stat.Format() == sys.Regular || p.Stat.Format() == sys.Directory {
		return nil
	}
	if shared(p.DirStat(), othersWrite|groupWrites) && !ours(p.DirStat(), &p.Stat) {
		return &fs.PathError{Op: "open", Path: p.Name, Err: &Planted{What: kind(&p.Stat), UID: p.Stat.UID}}
	}
	return nil
}

func kind(st *sys.Stat) string {
	switch st.Format() {
	case sys.Fifo:
		return "a fifo"
	case sys.Sock:
		return "a socket"
	}
	return "a device"
}

// shared reports whether those of who may write to a directory that keeps the files of
// each from the others.
func shared(dir *sys.Stat, who uint32) bool { return dir.Mode&sticky != 0 && dir.Mode&who != 0 }

// ours: the owner of the directory could do all that the owner of the entry can.
func ours(dir, entry *sys.Stat) bool {
	return entry.UID == dir.UID || entry.UID == uint32(os.Geteuid())
}

// MakeOutputDir makes a directory with all that are above it, where they are missing,
// and follows links as [Output] does.
func MakeOutputDir(path string) error {
	place, err := Output(path+"/.", true)
	if err != nil {
		return err
	}
	place.Close()
	return nil
}
