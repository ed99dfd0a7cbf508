//go:build linux

package freeze

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	guardName = "overlaydiff-freeze-guard"
	groupFD   = 3 // the guard's descriptor of the control group
	pause     = time.Millisecond
)

// What a guard says, one line each: first sayFrozen or sayBefore, then sayThawed with the
// nanoseconds, or sayLost; or else sayFailed with the reason.
const (
	sayFrozen = "frozen"
	sayBefore = "before" // it was frozen already, and is left so
	sayThawed = "thawed"
	sayLimit  = "limit" // thawed since the time was over
	sayLost   = "lost"  // somebody else thawed it
	sayFailed = "failed"
)

// Main is to be called first in main and TestMain. It returns, unless this process was started
// to be a guard.
func Main() {
	if len(os.Args) != 3 || os.Args[0] != guardName {
		return
	}
	// It ends when its parent closes the pipe, and not when both get a signal.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	h := &held{Group: Group{V2: os.Args[1] == "2"}, dir: os.NewFile(groupFD, "control group")}
	limit, err := time.ParseDuration(os.Args[2])
	if err == nil {
		err = h.guard(limit, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Println(sayFailed, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// guard freezes the group until in ends, or until the limit is over.
func (h *held) guard(limit time.Duration, in io.Reader, out io.Writer) error {
	released := make(chan struct{})
	go func() {
		defer close(released)
		_, _ = io.Copy(io.Discard, in)
	}()
	over := time.NewTimer(limit)
	defer over.Stop()
	before, err := h.before()
	if err != nil {
		return err
	}
	begun := time.Now()
	if !before {
		if err := h.freeze(released, over.C); err != nil {
			return errors.Join(err, h.thaw())
		}
	}
	say := sayFrozen
	if before {
		say = sayBefore
	}
	fmt.Fprintln(out, say)
	say = sayThawed
	select {
	case <-released:
	case <-over.C:
		say = sayLimit
	}
	still, stateErr := h.frozen()
	took := time.Since(begun)
	if !before {
		if err := h.thaw(); err != nil {
			return err
		}
	}
	if say == sayThawed && (stateErr != nil || !still) {
		say = sayLost
	}
	fmt.Fprintln(out, say, took.Nanoseconds())
	return nil
}

// before reports whether the group is frozen, or about to be, by somebody else.
func (h *held) before() (bool, error) {
	frozen, err := h.frozen()
	if err != nil || frozen {
		return frozen, err
	}
	asked, err := h.asked()
	if err == nil && asked {
		err = errors.New("somebody else is freezing it just now: try again")
	}
	return false, err
}

// freeze returns when all processes stand still.
func (h *held) freeze(released <-chan struct{}, over <-chan time.Time) error {
	for {
		// Version 1 has to be asked again: a process that was being made may have got away.
		if err := h.set(true); err != nil {
			return err
		}
		if frozen, err := h.frozen(); err != nil || frozen {
			return err
		}
		select {
		case <-released:
			return errors.New("interrupted")
		case <-over:
			return errors.New("its processes did not all stop within the limit: one waits for a device or a file system that does not answer; try again, or allow more time")
		case <-time.After(pause):
		}
	}
}

// thaw tries for a moment: as long as there is a group, it must not stay frozen.
func (h *held) thaw() (err error) {
	for range 100 {
		if err = h.set(false); err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil // the group was removed, and is empty
		}
		time.Sleep(pause)
	}
	return err
}
