package features

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/scratch"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// session asks questions about one directory.
type session struct {
	outside  *os.File // the directory in the caller's mount namespace
	here     key      // what answers depend on
	dir      *os.File // the directory in the namespace of the probes
	scratch  *scratch.Dir
	scratchE error // why there is none
	places   int
	// trusted is whether overlayfs's marks are in trusted.*, as they are where
	// this process can read that.
	trusted bool
	userns  userns
	shared  shared
	// private is whether this thread has a mount namespace of its own.
	private bool
	detail  string // what the running probe says beside yes
}

// shared is what several probes use, made by the first.
type shared struct {
	common   place
	overlays map[string]*prepared // by options
}

func openDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("probe a directory: %w; name one that exists and can be read", err)
	}
	return f, nil
}

// open opens dir, in the mount namespace that the probes are in. All else is
// made when a probe needs it.
func (s *session) open(dir string) (err error) {
	s.trusted = expectTrusted()
	s.dir, err = openDir(dir)
	return err
}

// expectTrusted reports whether marks are in trusted.*. Who has the privilege
// should see them; if not, some filter is in the way, which those will tell who
// set one.
func expectTrusted() bool { return sys.SeesTrusted() || initialUserns() && hasSysAdmin() }

// scratchDir makes the scratch directory at the first call.
func (s *session) scratchDir() (*scratch.Dir, error) {
	if s.scratch == nil && s.scratchE == nil {
		s.scratch, s.scratchE = scratch.New(s.dir, scratchPrefix)
		if s.scratchE != nil {
			s.scratchE = fmt.Errorf("make a scratch directory: %w", bare(s.scratchE))
		}
	}
	return s.scratch, s.scratchE
}

// bare takes the paths off an error of package os: they are those of
// descriptors, which tell nobody anything.
func bare(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return err
}

// close takes away all that the session made.
func (s *session) close() error {
	err := s.userns.close()
	for _, o := range s.shared.overlays {
		if o.err == nil {
			o.close()
		}
	}
	if s.scratch != nil {
		err = errors.Join(err, s.scratch.Remove(s.outside))
	}
	if s.dir != nil {
		err = errors.Join(err, s.dir.Close())
	}
	return errors.Join(err, s.outside.Close())
}

// base are the options without which overlays are useless to this process.
func (s *session) base() []string {
	if s.trusted {
		return nil
	}
	return []string{"userxattr"}
}

// mark is the name of one of overlayfs's extended attributes.
func (s *session) mark(name string) string {
	if s.trusted {
		return "trusted.overlay." + name
	}
	return "user.overlay." + name
}

// ask answers the question of p, which others must have been answered for.
func (s *session) ask(ctx context.Context, p *probe, answered map[string]Result) Result {
	r := p.result()
	if err := ctx.Err(); err != nil {
		r.settle(err)
		return r
	}
	for _, need := range p.needs {
		if n := answered[need]; n.Answer != Yes {
			r.lacks(n)
			return r
		}
	}
	s.detail = ""
	err := p.run(ctx, s)
	r.Reason = s.detail
	r.settle(bareAll(err))
	return r
}

func bareAll(err error) error {
	var refused *refusal
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return bare(err)
}
