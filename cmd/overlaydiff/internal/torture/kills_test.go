package torture_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// killSignals are what ends a command from outside; SIGKILL as often as all others.
var killSignals = []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGHUP}

// TestKills ends commands at random moments.
func TestKills(t *testing.T) {
	needInjector(t) // trials use it
	run := torture.Start(t, torture.Kills, 10)
	s := newScene(t)
	k := kills{trials: newTrials(t, s, slices.DeleteFunc(s.commands(), func(c faultyCommand) bool {
		return c.made == "" && !slices.Contains([]string{"demo", "probe", "verify", "export"}, c.name)
	}))}
	seed := faultSeed(t)
	t.Logf("%s=%d", seedEnv, seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range k.commands {
		k.takes = append(k.takes, k.time(&k.commands[i]))
	}
	for run.More() {
		for _, i := range random.Perm(len(k.commands)) {
			signal := killSignals[random.IntN(len(killSignals))]
			k.try(i, signal, time.Duration(random.Int64N(int64(k.takes[i]))), random.IntN(2) == 0, random.IntN(2) == 0)
		}
	}
	run.Count("kills", k.killed)
	run.Count("interrupts", k.interrupted)
	run.Note("%d more signals came when the command had ended. After %d kills something was left, all of which the next run removed; after an interrupt nothing ever is.", k.late, k.left)
}

// kills is one run of the test.
type kills struct {
	*trials
	takes []time.Duration // each command, undisturbed

	killed, interrupted, late, left int
}

// time returns how long a command takes.
func (k *kills) time(c *faultyCommand) time.Duration {
	var times []time.Duration
	for range 5 {
		k.prepare(c)
		times = append(times, k.scene.run(k.t, nil, c.args...).took)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// oldContent is that of a file which is there before.
const oldContent = "as it was\n"

// try ends one command after a delay: all of its processes or the first of them.
func (k *kills) try(i int, signal syscall.Signal, delay time.Duration, all, old bool) {
	c := &k.commands[i]
	k.prepare(c)
	old = old && c.args[1] == "export" && c.made != ""
	if old {
		if err := os.WriteFile(filepath.Join(k.scene.work, c.made), []byte(oldContent), 0o644); err != nil {
			k.t.Fatal(err)
		}
	}
	started, err := k.scene.start(nil, c.args...)
	if err != nil {
		k.t.Fatal(err)
	}
	time.Sleep(delay)
	to := started.cmd.Process.Pid
	if all {
		to = -to
	}
	_ = syscall.Kill(to, signal) // it may have ended
	r := started.wait()
	var complaints []string
	switch {
	case r.hung, r.orphans:
		complaints = append(complaints, "it, or a child of it, did not end")
	case r.status == 0:
		k.late++
		if err := k.checkAnswer(c, i, r, ""); err != nil {
			complaints = append(complaints, err.Error())
		}
	case signal == syscall.SIGKILL:
		k.killed++
		complaints = k.afterKill(c, i, r, old)
	default:
		k.interrupted++
		complaints = k.afterInterrupt(c, i, r, signal, old)
	}
	if len(complaints) > 0 {
		k.t.Errorf("%s, %v (%d) after %v (all: %v): %s\nexit status %d\nstdout:\n%.2000s\nstderr:\n%s",
			c.name, signal, signal, delay, all, strings.Join(complaints, "; "), r.status, r.stdout, r.stderr)
	}
}

// afterKill returns what is wrong after SIGKILL: a result is whole, or absent, and the
// next run takes away what is left.
func (k *kills) afterKill(c *faultyCommand, i int, r *ran, old bool) (complaints []string) {
	// The demo's own process may be killed before it; then it tells how that ended.
	if r.signal != syscall.SIGKILL && r.status != 1 {
		complaints = append(complaints, "it was not killed")
	}
	if err := k.wholeOrNothing(c, i, old); err != nil {
		complaints = append(complaints, err.Error())
	}
	if len(k.scene.left(c.made)) > 0 {
		k.left++
	}
	return append(complaints, k.again(c, i)...)
}

// afterInterrupt returns what is wrong after another signal.
func (k *kills) afterInterrupt(c *faultyCommand, i int, r *ran, signal syscall.Signal, old bool) (complaints []string) {
	early := r.signal == signal // before the command could say that it wants to know
	if !early && (r.status != 1 || r.stderr != "overlaydiff: interrupted\n") {
		complaints = append(complaints, "it was not interrupted")
	}
	if err := k.wholeOrNothing(c, i, old); err != nil {
		complaints = append(complaints, err.Error())
	}
	if left := k.scene.left(c.made); len(left) > 0 {
		complaints = append(complaints, fmt.Sprintf("it left %q", left))
	}
	if c.inPlace != "" {
		complaints = append(complaints, k.again(c, i)...)
	}
	return complaints
}

// wholeOrNothing returns an error if a result is neither what it was before nor all
// that it should be. What is changed in place is made right by another run.
func (k *kills) wholeOrNothing(c *faultyCommand, i int, old bool) error {
	if c.made == "" || c.inPlace != "" {
		return nil
	}
	made := filepath.Join(k.scene.work, c.made)
	_, err := os.Lstat(made)
	if os.IsNotExist(err) && !old {
		return nil
	}
	if err != nil {
		return err
	}
	if c.empty && emptyDir(made) {
		return nil
	}
	if b, err := os.ReadFile(made); old && err == nil && string(b) == oldContent {
		return nil
	}
	return k.checkResult(c, i)
}
