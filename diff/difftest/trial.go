package difftest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// trial is a testing.TB whose failure is a result and not the test's: cases are
// tried by the thousand, and one that fails is tried again and again to shrink it.
type trial struct {
	testing.TB // for its name and context
	mu         sync.Mutex
	cleanups   []func()
	log        strings.Builder
	failed     bool
	skipped    bool
}

// try runs f and its cleanups, and returns when all is over.
func try(tb testing.TB, f func(tb testing.TB)) *trial {
	t := &trial{TB: tb}
	t.run(func() { f(t) })
	for len(t.cleanups) > 0 { // a cleanup may register another
		last := t.cleanups[len(t.cleanups)-1]
		t.cleanups = t.cleanups[:len(t.cleanups)-1]
		t.run(last)
	}
	return t
}

// run runs f in a goroutine of its own, which FailNow ends.
func (t *trial) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (t *trial) note(failed bool, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = t.failed || failed
	t.log.WriteString(strings.TrimSuffix(text, "\n") + "\n")
}

func (t *trial) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *trial) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *trial) TempDir() string {
	dir, err := os.MkdirTemp("", "trial")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (t *trial) Helper()                           {}
func (t *trial) Log(args ...any)                   { t.note(false, fmt.Sprintln(args...)) }
func (t *trial) Logf(format string, args ...any)   { t.note(false, fmt.Sprintf(format, args...)) }
func (t *trial) Fail()                             { t.note(true, "failed") }
func (t *trial) Error(args ...any)                 { t.note(true, fmt.Sprintln(args...)) }
func (t *trial) Errorf(format string, args ...any) { t.note(true, fmt.Sprintf(format, args...)) }
func (t *trial) FailNow()                          { t.Fail(); runtime.Goexit() }
func (t *trial) Fatal(args ...any)                 { t.Error(args...); runtime.Goexit() }
func (t *trial) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }
func (t *trial) SkipNow()                          { t.skipped = true; runtime.Goexit() }
func (t *trial) Skip(args ...any)                  { t.Log(args...); t.SkipNow() }
func (t *trial) Skipf(format string, args ...any)  { t.Logf(format, args...); t.SkipNow() }
func (t *trial) Skipped() bool                     { return t.skipped }
