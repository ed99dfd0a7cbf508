package naive

import (
	"context"
	"sync"
	"time"

	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/internal/inode"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// snapshot says how old an inode must be for its change time to prove that it
// was not modified since the new tree was split off from the old.
//
// Whatever changes an inode sets its change time to the kernel's clock, which no
// program can forge, but which only moves once a tick: at most 10 ms, for as
// coarse as Linux can be configured (HZ=100). Something that is written in the
// old tree just before the split, and in the new one just after it, can so have
// one change time and two contents. An inode whose change time is two ticks
// older than the split can't. When that was nobody says, but it was not before
// the newest change in the old tree; to look at the directories is enough, since
// an earlier date only means that more is compared.
//
// It is no proof where the clock was set back, or where both trees were written
// after the split: the first free inode number is the same in both.
type snapshot struct {
	mu     sync.Mutex
	dated  bool
	newest time.Time // change in a directory of the old tree
}

const tick = 10 * time.Millisecond

// covers reports whether a change time is old enough.
func (s *snapshot) covers(t sys.Timespec) bool { return timeOf(t).Before(s.newest.Add(-2 * tick)) }

func timeOf(t sys.Timespec) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// date finds the newest change in the directories of the old tree, once.
func (s *snapshot) date(ctx context.Context, e *Engine, pool *fswalk.Pool, workers int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dated {
		return nil
	}
	var root sys.Stat
	if err := sys.StatAt(e.old.FD, "", sys.StatAll, &root); err != nil {
		return err
	}
	s.newest = timeOf(root.Ctime)
	for t, err := range fswalk.Ordered(ctx, workers, pool.Root(e.old.FD, e.old.Name), e.newestIn) {
		if err != nil {
			return err
		}
		if t.After(s.newest) {
			s.newest = t
		}
	}
	s.dated = true
	return nil
}

// newestIn tells the newest change time among the directories in dir.
func (e *Engine) newestIn(ctx context.Context, dir *fswalk.Dir, out *fswalk.Items[*fswalk.Dir, time.Time]) error {
	names, err := dir.List(ctx)
	if inode.Vanished(err) {
		return nil
	}
	var newest time.Time
	for _, d := range names {
		if d.Type != sys.TypeDir && d.Type != sys.TypeUnknown {
			continue
		}
		var st sys.Stat
		err := dir.Stat(d.Name, sys.StatAll, &st)
		if inode.Vanished(err) {
			continue
		}
		if err != nil {
			return err
		}
		if st.Format() == sys.Directory && st.Dev == e.devices[0] {
			out.Child(dir.Child(d.Name, st.Dev, st.Ino))
			if t := timeOf(st.Ctime); t.After(newest) {
				newest = t
			}
		}
	}
	out.Value(newest)
	return err
}
