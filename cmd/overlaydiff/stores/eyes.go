//go:build linux

package stores

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/paths"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// eyes open what is in a store, for whoever the store belongs to. Each path is
// resolved by descriptor, and the owner is read from what was opened:
//
//   - Below the first directory that belongs to a user, all is that user's word: what
//     is opened there must belong to the user, or to an id that is subordinate to the
//     user's (/etc/subuid), and the way to it leads through directories of the user
//     or such that everybody may search.
//   - A link that a user made is that user's word, too. Root's are followed.
//   - The server of a FUSE file system makes up owners, so no link there is followed.
//
// The process keeps its own user id for the file system (setfsuid): files in the layers
// of a rootless container belong to subordinate ids, which the user alone can't read,
// and a daemon without CAP_SETUID could not change it. Within a layer no link is
// followed at all.
//
// eyes implement [diff.Opener].
type eyes struct {
	node     string    // the node's root, "/" or where it is mounted
	user     uint32    // whose word the store is; 0: root's
	root     uint32    // an id that counts as root's besides: that of a remapped daemon
	images   []string  // below these, what everybody may read may be read, too
	accounts *accounts // of the node
	anchor   *anchor   // nil: none
}

// anchor is a directory of root's that others could exchange for another.
type anchor struct {
	path string
	id   inode
}

type inode struct{ dev, ino uint64 }

const (
	unmapped = 65534      // what belongs to no id of this user namespace seems to be this id's
	server   = ^uint32(0) // no id: the word of a FUSE file system's server
)

// Open implements [diff.Opener].
func (e eyes) Open(path string) (*os.File, error) {
	fd, _, err := e.open(path, sys.PathDir)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// open opens what path leads to: a directory with O_PATH, or a file for reading.
func (e eyes) open(path string, flags int) (int, sys.Stat, error) {
	rel, err := e.relative(path)
	if err != nil {
		return -1, sys.Stat{}, pathError(err, path)
	}
	root, err := sys.OpenDir(e.node)
	if err != nil {
		return -1, sys.Stat{}, pathError(err, path)
	}
	defer sys.Close(root)
	if err := e.holds(root); err != nil {
		return -1, sys.Stat{}, pathError(err, path)
	}
	// Without links on the way it is where it seems to be, and its owner is all that
	// counts.
	fd, err := sys.OpenBelow(root, rel, flags)
	var st sys.Stat
	if err == nil {
		err = sys.StatAt(fd, "", sys.StatAll, &st)
		if err == nil && e.owns(st.UID) {
			return fd, st, nil
		}
		sys.Close(fd)
	}
	if err == nil || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EPERM) {
		fd, st, err = e.walk(root, rel, flags)
	}
	if err != nil {
		return -1, st, pathError(err, path)
	}
	return fd, st, nil
}

// holds returns an error if the anchor is gone.
func (e eyes) holds(root int) error {
	if e.anchor == nil {
		return nil
	}
	rel, err := e.relative(e.anchor.path)
	if err != nil {
		return err
	}
	fd, err := sys.OpenBelow(root, rel, sys.PathDir)
	if err != nil {
		return err
	}
	defer sys.Close(fd)
	var st sys.Stat
	if err := sys.StatAt(fd, "", sys.StatAll, &st); err != nil {
		return err
	}
	if e.anchor.id != (inode{st.Dev, st.Ino}) {
		return &foreignError{user: e.user, owner: st.UID}
	}
	return nil
}

// relative returns the path from the node's root.
func (e eyes) relative(path string) (string, error) {
	if path == "" {
		return "", fs.ErrNotExist
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(e.node, path)
	if err == nil && (rel == ".." || strings.HasPrefix(rel, "../")) {
		err = errors.New("it is not below the root of the node")
	}
	return rel, err
}

// walk opens a path through links, or of what does not belong to the user.
func (e eyes) walk(root int, rel string, flags int) (int, sys.Stat, error) {
	w := e.visit(rel)
	place, err := w.rules().Walk(root, root, rel)
	if err == nil && place.FD < 0 {
		place.Close()
		err = fs.ErrNotExist
	}
	if err != nil {
		return -1, sys.Stat{}, w.blame(err)
	}
	defer place.Close()
	st := place.Stat
	switch {
	case !w.may(&st):
		return -1, st, w.blame(&foreignError{user: w.user, owner: st.UID})
	case place.Linked && flags&syscall.O_NOFOLLOW != 0:
		return -1, st, syscall.ELOOP
	}
	open := place.OpenFile
	if flags&syscall.O_DIRECTORY != 0 {
		open = func() (int, error) { return sys.OpenPathAt(place.FD, ".") }
	}
	fd, err := open()
	return fd, st, err
}

// owns reports whether what has that owner is the user's whose word the store is.
func (e eyes) owns(uid uint32) bool {
	return e.user == 0 || e.user == server || uid == e.user || e.accounts.subordinate(e.user, uid)
}

// trusts reports whether that is root, which in a user namespace may be an id outside.
func (e eyes) trusts(uid uint32) bool {
	return uid == 0 || uid == unmapped && inUserNamespace() || e.root != 0 && uid == e.root
}

// visit is one walk.
type visit struct {
	eyes
	shared bool   // what everybody may read may be opened, too
	inside bool   // it is the user's word by now where the walk goes
	made   uint32 // the user whose link was followed; 0: none
}

func (e eyes) visit(rel string) *visit {
	below := func(dir string) bool {
		dir, err := e.relative(dir)
		return err == nil && (rel == dir || strings.HasPrefix(rel, dir+"/"))
	}
	shared := slices.ContainsFunc(e.images, below)
	return &visit{eyes: e, shared: shared, inside: shared}
}

func (w *visit) rules() paths.Rules { return paths.Rules{Enter: w.enter, Follow: w.follow} }

func (w *visit) enter(fd int, dir *sys.Stat) error {
	switch {
	case w.user == 0 && sys.IsFuse(fd):
		w.user, w.inside = server, true
	case w.user == 0 && !w.trusts(dir.UID):
		w.user, w.inside = dir.UID, true
	case w.user != 0 && w.owns(dir.UID):
		w.inside = true
	case w.inside && dir.Mode&0o001 == 0:
		return &foreignError{user: w.user, owner: dir.UID}
	}
	return nil
}

func (w *visit) follow(dir, link *sys.Stat) (func(*sys.Stat) error, error) {
	switch {
	case w.user == 0 && w.trusts(link.UID):
		return nil, nil
	case w.user == 0:
		w.user = link.UID
	case w.user == server || !w.owns(link.UID) && !w.trusts(link.UID):
		return nil, &foreignError{user: w.user, owner: link.UID}
	}
	if !w.trusts(link.UID) {
		w.made, w.shared, w.inside = w.user, false, true
	}
	return nil, nil
}

// may reports whether the user may have what was found opened.
func (w *visit) may(st *sys.Stat) bool {
	read := uint32(0o004)
	if st.Format() == sys.Directory {
		read = 0o005
	}
	return w.owns(st.UID) || w.shared && st.Mode&read == read
}

// blame adds whose link has led there.
func (w *visit) blame(err error) error {
	var foreign *foreignError
	if !errors.As(err, &foreign) {
		return err
	}
	if w.made != 0 {
		foreign.link = true
	}
	return foreign
}

// foreignError is the error for what is not the user's whose store it is. It does not
// match [fs.ErrPermission]: to run as root is no remedy.
type foreignError struct {
	user, owner uint32
	link        bool
}

func (e *foreignError) Error() string {
	if e.link {
		return fmt.Sprintf("user %d made the link on the way to what is user %d's: it is not followed; let the link lead to what is the user's", e.user, e.owner)
	}
	return fmt.Sprintf("it belongs to user %d and is in the store of user %d: it is not read; give it to user %[2]d, if it is that user's", e.owner, e.user)
}

// of returns the eyes for the store in a directory. named: root, or whoever calls, has
// named the directory; then it is root's if it belongs to root, be it in the home
// directory of a user.
func (e eyes) of(dir string, named bool) (*eyes, error) {
	// The data-root of a daemon with userns-remap: it belongs to an id that no user
	// has, and root alone can go there.
	if base := filepath.Base(dir); remapped.MatchString(base) {
		uid, ok := parseUID(strings.SplitN(base, ".", 2)[0])
		parent, st, err := e.owner(filepath.Dir(dir))
		if ok && err == nil && parent.user == 0 && st.Mode&0o022 == 0 && !e.accounts.has(uid) {
			e.root = uid
		}
	}
	w, st, err := e.owner(dir)
	e.user = w.user
	if named && e.user != 0 && w.made == 0 && st.UID == 0 && st.Mode&0o022 == 0 {
		e.user, e.anchor = 0, &anchor{path: dir, id: inode{st.Dev, st.Ino}}
	}
	return &e, err
}

// owner finds out whose word it is what is in a directory, and describes it: the first
// user's to whom a directory on the way belongs, or a link; 0 for root.
func (e eyes) owner(dir string) (*visit, sys.Stat, error) {
	w := e.visit(dir)
	fail := func(err error) (*visit, sys.Stat, error) { return w, sys.Stat{}, pathError(err, dir) }
	rel, err := e.relative(dir)
	if err != nil {
		return fail(err)
	}
	root, err := sys.OpenDir(e.node)
	if err != nil {
		return fail(err)
	}
	defer sys.Close(root)
	place, err := w.rules().Walk(root, root, rel)
	if err != nil {
		return fail(w.blame(err))
	}
	defer place.Close()
	switch {
	case place.FD < 0:
		err = fs.ErrNotExist
	case place.Stat.Format() == sys.Directory:
		err = w.enter(place.FD, &place.Stat)
	}
	if err != nil {
		return fail(err)
	}
	return w, place.Stat, nil
}

// real returns where a path of the node is, without links: those of the node lead on
// from its root. A path that leads to nothing, or is refused, stays as it is. That is
// for people and for comparing: whoever opens it resolves it again.
func (e eyes) real(path string) string {
	whole := filepath.Join(e.node, filepath.Join("/", path))
	root, err := sys.OpenDir(e.node)
	if err != nil {
		return whole
	}
	defer sys.Close(root)
	w := e.visit(path)
	rules := w.rules()
	rules.Missing = true
	place, err := rules.Walk(root, root, strings.TrimPrefix(filepath.Join("/", path), "/"))
	if err != nil {
		return whole
	}
	defer place.Close()
	if place.FD >= 0 && !w.may(&place.Stat) {
		return whole
	}
	return filepath.Join(e.node, place.Path())
}

// file opens a file. It is an error if that is not a regular file, or larger than
// limit.
func (e eyes) file(path string, limit int64) (*os.File, error) {
	limit = e.limit(limit)
	fd, st, err := e.open(path, sys.ReadFile)
	if err != nil {
		return nil, err
	}
	switch {
	case st.Format() != sys.Regular:
		err = fmt.Errorf("read %s: it is no regular file: mend the store", diff.QuotePath(path))
	case st.Size > limit:
		err = tooLarge(path, limit)
	}
	if err != nil {
		sys.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// dir returns an error if path is no directory that may be opened.
func (e eyes) dir(path string) (sys.Stat, error) {
	fd, st, err := e.open(path, sys.PathDir)
	if err != nil {
		return st, err
	}
	sys.Close(fd)
	return st, nil
}

// layerDir is dir of a layer's directory, which is no link.
func (e eyes) layerDir(path string) error {
	fd, _, err := e.open(path, sys.PathDir|syscall.O_NOFOLLOW)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("find the layer directory %s: it is no directory: mend the store", diff.QuotePath(path))
	}
	if err == nil {
		sys.Close(fd)
	}
	return err
}

func (e eyes) isDir(path string) bool {
	_, err := e.dir(path)
	return err == nil
}

// exists reports whether a directory or file is there, be it one that is not read.
func (e eyes) exists(path string) bool {
	for _, flags := range []int{sys.PathDir, sys.ReadFile} {
		fd, _, err := e.open(path, flags)
		if err == nil {
			sys.Close(fd)
			return true
		}
	}
	return false
}
