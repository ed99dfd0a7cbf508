package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/idmap"
	"github.com/overlaydiff/overlaydiff/internal/paths"
	"github.com/overlaydiff/overlaydiff/internal/scratch"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// stagePrefix begins the names of the directories beside the target in which layers
// are unpacked.
const stagePrefix = ".overlaydiff-apply-"

// stage is where a layer is unpacked: beside the target if it can be renamed to
// it, else the target itself.
type stage struct {
	target  *paths.Place
	ids     diff.IDMap
	fd      int  // of the tree's root
	fresh   bool // nothing was in it
	touched bool // the caller is about to change something
	parent  *os.File
	scratch *scratch.Dir // nil: in place
}

func openStage(target string, ids diff.IDMap) (*stage, error) {
	s := &stage{fd: -1, ids: ids}
	var err error
	if s.target, err = resolve(target); err != nil {
		return nil, err
	}
	exists := s.target.FD >= 0
	if exists {
		if s.fd, err = s.target.OpenDir(); err != nil {
			return s.orClose(err)
		}
		if s.fresh, err = isEmpty(s.fd); err != nil || !s.fresh {
			return s.orClose(err)
		}
	}
	s.fresh = true
	if s.parent, err = s.openParent(); err != nil {
		return s.inPlace(exists, err)
	}
	if exists && (s.target.Name == "." || !replaceable(s.fd, int(s.parent.Fd()))) {
		return s, nil
	}
	return s.beside(exists)
}

// resolve finds the target, through symbolic links as far as [paths.Output] follows
// them.
func resolve(target string) (*paths.Place, error) {
	if target == "" {
		return nil, errors.New("no directory is named")
	}
	if short := strings.TrimRight(target, "/"); short != "" {
		target = short
	}
	place, err := paths.Output(target, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w (make the directory that it is in)", err)
	case err == nil && place.FD < 0 && place.Linked:
		place.Close()
		return nil, fmt.Errorf("it is a symbolic link that leads nowhere: %w", fs.ErrNotExist)
	}
	return place, err
}

// openParent opens the directory that has the target's name.
func (s *stage) openParent() (*os.File, error) {
	fd, err := sys.OpenDirAt(s.target.Dir(), ".")
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "the directory that it is in"), nil
}

// replaceable reports whether another directory may be renamed to the empty one:
// neither a mount point nor a subvolume.
func replaceable(fd, parent int) bool {
	var st, up sys.Stat
	return sys.StatAt(fd, "", sys.StatAll, &st) == nil && sys.StatAt(parent, "", sys.StatAll, &up) == nil &&
		!st.MountRoot && st.Dev == up.Dev && st.Ino != up.Ino
}

// inPlace uses an existing directory that nothing can be made beside.
func (s *stage) inPlace(exists bool, err error) (*stage, error) {
	if exists && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return s, nil
	}
	return s.orClose(err)
}

func (s *stage) orClose(err error) (*stage, error) {
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// beside makes a directory to be renamed to the target, with the metadata of the
// target if there is one.
func (s *stage) beside(exists bool) (*stage, error) {
	d, err := scratch.New(s.parent, stagePrefix)
	if err != nil {
		return s.inPlace(exists, err)
	}
	s.scratch = d
	if err = os.Mkdir(s.tree(), 0o700); err != nil {
		return s.orClose(err)
	}
	fd, err := sys.OpenDir(s.tree())
	if err != nil {
		return s.orClose(err)
	}
	if exists {
		err = copyDir(s.fd, fd)
		sys.Close(s.fd)
	} else {
		err = s.newRoot(fd)
	}
	s.fd = fd
	return s.orClose(err)
}

func (s *stage) tree() string { return s.scratch.Path() + "/tree" }

// newRoot gives the root that no entry may describe the metadata of a missing
// directory.
func (s *stage) newRoot(fd int) error {
	uid, uerr := idmap.User(s.ids, 0)
	gid, gerr := idmap.Group(s.ids, 0)
	if err := errors.Join(uerr, gerr); err != nil {
		return err
	}
	return errors.Join(sys.ChownAt(fd, "", uid, gid), sys.ChmodAt(fd, "", 0o755))
}

// copyDir copies the metadata of one directory to another.
func copyDir(from, to int) error {
	var st sys.Stat
	if err := sys.StatAt(from, "", sys.StatAll, &st); err != nil {
		return err
	}
	if err := sys.CopyProject(from, to); err != nil {
		return fmt.Errorf("copy the project quota of the directory: %w", err)
	}
	if err := errors.Join(sys.ChownAt(to, "", st.UID, st.GID), sys.ChmodAt(to, "", st.Mode&0o7777)); err != nil {
		return err
	}
	names, err := sys.ListXattr(from, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		value, ok, err := sys.GetXattr(from, "", name)
		if err == nil && ok {
			err = sys.SetXattr(to, "", name, value)
		}
		if err != nil {
			return fmt.Errorf("copy the directory's extended attribute %s: %w", name, err)
		}
	}
	return sys.SetTimesAt(to, "", sys.Timespec{Nsec: sys.OmitTime}, st.Mtime)
}

// commit makes what was unpacked the target.
func (s *stage) commit() error {
	if s.scratch == nil {
		return nil
	}
	if err := sys.RenameAt(sys.CurrentDir, s.tree(), s.target.Dir(), s.target.Name); err != nil {
		return fmt.Errorf("put the tree in its place (is somebody else using the directory?): %w", err)
	}
	return s.removeScratch()
}

// undo takes away what was unpacked, and reports whether some of it is left.
func (s *stage) undo() (left bool, err error) {
	switch {
	case s.scratch != nil:
		return false, s.removeScratch()
	case s.fresh && s.touched:
		fd, err := sys.OpenDirBelow(s.fd, ".", sys.NoLinks)
		if err != nil {
			return true, err
		}
		p := pruner{keep: func(inode, string) bool { return false }, stop: func() error { return nil }}
		err = p.run(fd)
		return err != nil, err
	}
	return s.touched, nil
}

func (s *stage) removeScratch() error {
	d := s.scratch
	s.scratch = nil
	if d == nil {
		return nil
	}
	return d.Remove(s.parent)
}

// close lets go of everything; what is staged and not committed goes.
func (s *stage) close() {
	_ = s.removeScratch()
	if s.fd >= 0 {
		sys.Close(s.fd)
		s.fd = -1
	}
	if s.parent != nil {
		s.parent.Close()
	}
	if s.target != nil {
		s.target.Close()
	}
}

func isEmpty(fd int) (bool, error) {
	empty := true
	err := sys.ReadDir(fd, func(sys.Dirent) bool {
		empty = false
		return false
	})
	return empty, errors.Join(err, sys.Rewind(fd))
}
