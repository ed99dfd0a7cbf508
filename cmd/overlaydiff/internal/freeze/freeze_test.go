//go:build linux

package freeze

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) {
	Main()
	testenv.Main(m)
}

// A container is frozen from Start to Thaw, and not longer than the limit; a guard that is
// killed is noticed, and the container goes on.
func TestStart(t *testing.T) {
	testenv.EachCgroup(t, func(t *testing.T, g testenv.Cgroup) {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			g.Freeze(t, false)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		g.Add(t, cmd.Process.Pid)
		start := func(limit time.Duration) *Pause {
			t.Helper()
			p, err := Start(t.Context(), Target{Root: "/", PID: cmd.Process.Pid}, limit)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}

		p := start(time.Minute)
		if !g.IsFrozen(t) {
			t.Error("not frozen")
		}
		time.Sleep(20 * time.Millisecond)
		r, err := p.Thaw()
		if err != nil || r.Before || r.Frozen < 20*time.Millisecond || r.Frozen > 30*time.Second || g.IsFrozen(t) {
			t.Errorf("%+v, %v, frozen: %v", r, err, g.IsFrozen(t))
		}

		p = start(200 * time.Millisecond)
		<-p.Context().Done()
		for end := time.Now().Add(10 * time.Second); g.IsFrozen(t) && time.Now().Before(end); {
		}
		if g.IsFrozen(t) {
			t.Error("frozen after the limit")
		}
		if _, err = p.Thaw(); !errors.As(err, new(*LimitError)) {
			t.Errorf("after the limit: %v", err)
		}

		p = start(time.Minute)
		g.Freeze(t, false)
		if _, err = p.Thaw(); err == nil {
			t.Error("somebody thawed it, and it is a point-in-time")
		}

		p = start(time.Minute)
		_ = p.guard.Process.Kill()
		if _, err = p.Thaw(); err == nil || g.IsFrozen(t) {
			t.Errorf("the guard was killed: %v, frozen: %v", err, g.IsFrozen(t))
		}

		g.Freeze(t, true)
		p = nil
		for p == nil { // until its process stands still
			p, _ = Start(t.Context(), Target{Root: "/", PID: cmd.Process.Pid}, time.Minute)
		}
		if r, err := p.Thaw(); err != nil || !r.Before || !g.IsFrozen(t) {
			t.Errorf("frozen before: %+v, %v, frozen: %v", r, err, g.IsFrozen(t))
		}
	})
}
