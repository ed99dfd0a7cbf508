// Package paths finds what a path leads to by descriptor, one name at a time. The
// owner of a directory or a symbolic link on the way is read from what is open, and
// that is what the caller goes on with: nothing is checked by a name and then used by
// a name that may lead elsewhere.
package paths

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

const (
	maxLinks = 40  // as the kernel (MAXSYMLINKS)
	maxDepth = 512 // directories that one walk holds open at once
)

// Rules say where a walk may go.
type Rules struct {
	// Follow is asked before a symbolic link in dir is followed. landed, if it is
	// not nil, is asked about what the link has led to. nil: no link is followed.
	Follow func(dir, link *sys.Stat) (landed func(*sys.Stat) error, err error)
	// Enter is asked about each directory on the way, but for those where the walk
	// begins, before a name in it is looked up. nil: each is entered.
	Enter func(fd int, dir *sys.Stat) error
	// Make makes directories that are missing, with mode 0777 before umask.
	Make bool
	// Missing takes the names below what does not exist as they are: [Place.Rest].
	Missing bool
	// Magic follows the links of /proc that lead to open files, as /dev/stdout does.
	Magic bool
}

// Place is where a path leads: a name in an open directory. The name is no symbolic
// link.
type Place struct {
	Name string   // in Dir; "." is Dir itself
	FD   int      // what has the name, opened with O_PATH; -1 if nothing has it
	Stat sys.Stat // of FD
	// Magic says that the kernel led from Name, a link of /proc, to FD.
	Magic bool
	// Linked says that the path's last name is a symbolic link, which led here.
	Linked bool
	// Rest is what remains of the path below a Name that nothing has.
	Rest string

	walk walk
}

// Dir is the descriptor of the directory that has the name, opened with O_PATH.
func (p *Place) Dir() int { return p.walk.at().fd }

// DirStat describes the directory that has the name.
func (p *Place) DirStat() *sys.Stat { return &p.walk.at().st }

// Path returns the path of the place from where the walk began, or from root after an
// absolute link, without links.
func (p *Place) Path() string {
	var names []string
	for _, d := range p.walk.dirs {
		names = append(names, d.name)
	}
	return path.Join(append(names, p.Name, p.Rest)...)
}

// Close closes all descriptors of the place.
func (p *Place) Close() {
	if p.FD >= 0 {
		sys.Close(p.FD)
		p.FD = -1
	}
	p.walk.close()
}

// OpenDir opens the place for reading, which must be a directory.
func (p *Place) OpenDir() (int, error) { return sys.OpenDirAt(p.FD, ".") }

// OpenFile opens the place, which must be a regular file, for reading. If the name
// has another file by now, the error is ESTALE.
func (p *Place) OpenFile() (int, error) {
	return p.same(sys.OpenFileAt(p.Dir(), p.Name))
}

// OpenWrite opens the place, which exists, for writing, and waits for the reader of a
// fifo. If the name has another file by now, the error is ESTALE.
func (p *Place) OpenWrite() (int, error) {
	return p.same(sys.OpenWriteAt(p.Dir(), p.Name, p.Magic))
}

func (p *Place) same(fd int, err error) (int, error) {
	if err != nil {
		return -1, err
	}
	var st sys.Stat
	if err = sys.StatAt(fd, "", sys.StatAll, &st); err == nil && (st.Ino != p.Stat.Ino || st.Dev != p.Stat.Dev) {
		err = syscall.ESTALE
	}
	if err != nil {
		sys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Walk walks the path to from the directory dirfd, or from the directory root if it is
// absolute or a link in it is. ".." leads back to the directory that the walk came
// from, and out of dirfd, but never out of root. Errors are *[fs.PathError] with the
// part of the path, or of a link's target, that could not be walked. A last name that
// does not exist is no error.
func (r Rules) Walk(root, dirfd int, to string) (*Place, error) {
	p := &Place{FD: -1, walk: walk{Rules: r, root: root}}
	if strings.HasPrefix(to, "/") {
		dirfd = root
	}
	err := p.walk.start(dirfd, ".", dirfd == root)
	if err == nil {
		p.walk.push(to, nil)
		err = p.run()
	}
	if err != nil {
		p.Close()
		var named *fs.PathError
		if !errors.As(err, &named) {
			err = &fs.PathError{Op: "open", Path: to, Err: err}
		}
		return nil, err
	}
	return p, nil
}

// step is a name that is still to be walked, or the end of what a link stands for.
type step struct {
	name   string
	landed func(*sys.Stat) error
}

type openDir struct {
	fd   int
	st   sys.Stat
	name string // in the directory before
	top  bool   // ".." does not lead out
}

type walk struct {
	Rules
	root  int
	dirs  []openDir // from where the walk began to where it is
	steps []step    // the next one last
	links int
}

func (w *walk) at() *openDir { return &w.dirs[len(w.dirs)-1] }

func (w *walk) close() {
	for _, d := range w.dirs {
		sys.Close(d.fd)
	}
	w.dirs = nil
}

// start goes to a directory as if nothing had been walked.
func (w *walk) start(dirfd int, name string, top bool) error {
	fd, err := sys.OpenPathAt(dirfd, name)
	if err != nil {
		return err
	}
	w.close()
	w.dirs = append(w.dirs, openDir{fd: fd, top: top})
	return sys.StatAt(fd, "", sys.StatAll, &w.at().st)
}

// enter goes into a directory, which it takes over.
func (w *walk) enter(d openDir) error {
	err := error(nil)
	switch {
	case d.st.Format() != sys.Directory:
		err = syscall.ENOTDIR
	case len(w.dirs) == maxDepth:
		err = syscall.ENAMETOOLONG
	case w.Enter != nil:
		err = w.Enter(d.fd, &d.st)
	}
	if err != nil {
		sys.Close(d.fd)
		return err
	}
	w.dirs = append(w.dirs, d)
	return nil
}

// push puts the names of a path before those that are left.
func (w *walk) push(to string, landed func(*sys.Stat) error) {
	if landed != nil {
		w.steps = append(w.steps, step{landed: landed})
	}
	names := strings.Split(to, "/")
	if last := names[len(names)-1]; last == "" { // "x/" is the directory x
		names[len(names)-1] = "."
	}
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] != "" {
			w.steps = append(w.steps, step{name: names[i]})
		}
	}
}

// run walks until no name is left.
func (p *Place) run() error {
	w := &p.walk
	for len(w.steps) > 0 {
		next := w.steps[len(w.steps)-1]
		w.steps = w.steps[:len(w.steps)-1]
		if next.landed != nil {
			st := &p.Stat
			if p.Name == "" {
				st = &w.at().st
			}
			if p.Name != "" && p.FD < 0 { // nothing is there
				continue
			}
			if err := next.landed(st); err != nil {
				return err
			}
			continue
		}
		if err := p.step(next.name); err != nil {
			return err
		}
	}
	if p.Name != "" {
		return nil
	}
	p.Name, p.Stat = ".", w.at().st
	var err error
	p.FD, err = sys.OpenPathAt(w.at().fd, ".")
	return err
}

// step walks one name.
func (p *Place) step(name string) error {
	w := &p.walk
	if err := p.descend(); err != nil {
		return err
	}
	switch name {
	case ".":
		return nil
	case "..":
		return w.up()
	}
	for {
		again, err := p.look(name)
		if !again || err != nil {
			return err
		}
	}
}

// look opens one name, and follows it if it is a link. again: a directory was made.
func (p *Place) look(name string) (again bool, err error) {
	w := &p.walk
	fd, err := sys.OpenAnyAt(w.at().fd, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && w.Make:
		if err = sys.MkdirSharedAt(w.at().fd, name); errors.Is(err, fs.ErrExist) {
			err = nil
		}
		return err == nil, named("mkdir", name, err)
	case errors.Is(err, fs.ErrNotExist) && (w.Missing || !w.more()):
		p.Name, p.Rest = name, w.rest()
		return false, nil
	case err != nil:
		return false, named("open", name, err)
	}
	var st sys.Stat
	if err := sys.StatAt(fd, "", sys.StatAll, &st); err != nil {
		sys.Close(fd)
		return false, named("statx", name, err)
	}
	if st.Format() == sys.Link {
		defer sys.Close(fd)
		return false, named("follow", name, p.follow(fd, name, &st))
	}
	p.Name, p.FD, p.Stat = name, fd, st
	return false, nil
}

// more reports whether a name is left.
func (w *walk) more() bool {
	for _, s := range w.steps {
		if s.landed == nil {
			return true
		}
	}
	return false
}

// rest takes the names that are left.
func (w *walk) rest() string {
	var names []string
	for _, s := range slices.Backward(w.steps) {
		if s.landed == nil {
			names = append(names, s.name)
		}
	}
	w.steps = nil
	return strings.Join(names, "/")
}

// descend goes into what the last name was.
func (p *Place) descend() error {
	if p.Name == "" {
		return nil
	}
	d := openDir{fd: p.FD, st: p.Stat, name: p.Name}
	p.Name, p.FD, p.Magic = "", -1, false
	return named("open", d.name, p.walk.enter(d))
}

func (w *walk) up() error {
	d := w.at()
	switch {
	case d.top:
		return nil
	case len(w.dirs) > 1:
		sys.Close(d.fd)
		w.dirs = w.dirs[:len(w.dirs)-1]
		return nil
	}
	return w.start(d.fd, "..", false)
}

// follow puts the names that a link stands for before those that are left.
func (p *Place) follow(fd int, name string, link *sys.Stat) error {
	w := &p.walk
	if w.links++; w.links > maxLinks || w.Follow == nil {
		return syscall.ELOOP
	}
	landed, err := w.Follow(&w.at().st, link)
	if err != nil {
		return err
	}
	p.Linked = p.Linked || !w.more()
	if w.Magic && sys.IsProc(w.at().fd) {
		if fd, err := sys.OpenMagicAt(w.at().fd, name); err == nil {
			p.Name, p.FD, p.Magic = name, fd, true
			return sys.StatAt(fd, "", sys.StatAll, &p.Stat)
		}
	}
	target, err := sys.ReadLinkAt(fd, "")
	switch {
	case err != nil:
		return err
	case target == "":
		return syscall.ENOENT
	case strings.HasPrefix(target, "/"):
		if err := w.start(w.root, ".", true); err != nil {
			return err
		}
	}
	w.push(target, landed)
	return nil
}

func named(op, name string, err error) error {
	var known *fs.PathError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
