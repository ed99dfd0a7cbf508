package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/scratch"
)

// childName is the name under which the program is started again, childDir what
// it may use of the scratch directory.
const (
	childName = "overlaydiff-probe"
	childDir  = "userns"
)

var mainCalled atomic.Bool

// Main makes the questions about user namespaces possible. Call it first thing
// in main, before anything is set up: in the process that a [Prober] starts it
// answers and exits; else it returns at once.
func Main() {
	if len(os.Args) == 1 && os.Args[0] == childName {
		os.Exit(serve())
	}
	mainCalled.Store(true)
}

// serve is the process in the new user namespace: descriptor 3 is a scratch
// directory for it.
func serve() int {
	s := &session{}
	s.scratch, s.scratchE = reopen(3)
	var results []Result
	for _, p := range catalogue {
		if p.child != nil {
			r := p.result()
			r.settle(bareAll(p.child(s)))
			results = append(results, r)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // the parent may want the namespace
	return 0
}

// reopen opens the directory for this process in the scratch directory fd, which
// was opened in another mount namespace: layers must be in that of who mounts.
// fd stays open, for the lock.
func reopen(fd int) (*scratch.Dir, error) {
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return nil, bare(err)
	}
	here, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	there, err := os.Stat(fdPath(fd))
	if err != nil || !os.SameFile(here, there) {
		return nil, errors.Join(errors.New("the scratch directory was moved"), err)
	}
	f, err := os.Open(path + "/" + childDir)
	if err != nil {
		return nil, bare(err)
	}
	return &scratch.Dir{File: f}, nil
}

func childMount(s *session) error {
	_, err := s.prepared()
	return s.whyNoMount(err)
}

func childReplaces(s *session, extra ...string) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	if err := p.make("l1/d/f"); err != nil {
		return err
	}
	dirs, err := p.dirs("l1")
	if err != nil {
		return err
	}
	m, err := mountVolatile(append(dirs, options(extra)...))
	if err != nil {
		return s.whyNoMount(err)
	}
	defer m.close()
	return tryReplace(s, &prepared{place: p, mounted: m})
}

func childWhiteout(s *session) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	if err := unix.Mknod(p.in("fifo"), unix.S_IFIFO, 0); err != nil { // so mknod as such is allowed
		return unsure(fmt.Errorf("mknod: %w", err))
	}
	err = makeWhiteout(p.in("w"))
	if errors.Is(err, unix.EPERM) { // nobody may make devices here, but whiteouts since 5.8
		return no("%v", bare(err))
	}
	return err
}
