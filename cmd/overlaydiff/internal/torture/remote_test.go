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
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestFaults_Remote reads lower layers on FUSE, as snapshotters have them that fetch
// layers when they are read: any request fails, or gets no answer.
func TestFaults_Remote(t *testing.T) {
	needInjector(t) // trials use it
	r := newRemote(t)
	run := torture.Start(t, torture.Faults, 5)
	seed := faultSeed(t)
	random := rand.New(rand.NewPCG(seed, 4))
	points := r.plan(random)
	t.Logf("%d points, in an order of %s=%d", len(points), seedEnv, seed)
	for _, p := range points {
		if !run.More() {
			break
		}
		r.try(p)
	}
	run.Count("requests to a remote file system that failed", r.failed)
	run.Count("requests to it without an answer", r.held)
	if r.silent > 0 {
		run.Note("%d times the kernel itself, asked by the naive engine or verify to mount the layers, took a mark or a whiteout that could not be read for none.", r.silent)
	}
	run.Note("Of %d pairs of a request and what becomes of it in %d commands with remote lower layers, %d were tried. The commands told of %d failures, and %d were none to the answer; each that waited for an answer ended at the second signal, or the first.",
		len(points), len(r.commands), r.failed+r.held, r.told, r.absorbed)
}

// remote is an overlay whose lower layers are on FUSE, and commands that read it.
type remote struct {
	*trials
	fuse *fuseTree

	failed, held, told, absorbed, silent int
}

type remotePoint struct {
	command int
	fuseFault
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	at := func(name string) string { return filepath.Join(dir, name) }
	testenv.Tree(t, at("store/l2"), sceneBottom)
	testenv.Tree(t, at("store/l1"), sceneTop)
	if err := os.Mkdir(at("remote"), 0o755); err != nil {
		t.Fatal(err)
	}
	fuse := newFuseTree(t, at("store"), at("remote"))
	lower := []string{at("remote/l1"), at("remote/l2")}
	live := testenv.Mount(t, testenv.Overlay{Lower: lower, Upper: at("live"), Options: "redirect_dir=on,metacopy=on,index=off"})
	testenv.Do(t, live, sceneChanges)
	s := &scene{command: installCommand(t, dir), live: live, lowers: lower,
		flags: []string{"--lower", strings.Join(lower, ":"), "--upper", at("live")}}
	s.room = newRoom(t, dir) // compares no trees: to look at these is a request
	const reading = "changes,changes naive,changes of a mount,changes naive of a mount,size,explain naive,layers,export,export to a file,verify,"
	r := &remote{fuse: fuse, trials: newTrials(t, s, slices.DeleteFunc(s.commands(), func(c faultyCommand) bool {
		return !strings.Contains(reading, c.name+",")
	}))}
	return r
}

// plan returns all points in random order, a part of those without an answer.
func (r *remote) plan(random *rand.Rand) (points []remotePoint) {
	for i := range r.commands {
		c := &r.commands[i]
		r.prepare(c)
		r.fuse.tell(fuseFault{})
		if got := r.scene.run(r.t, nil, c.args...); got.stdout != r.want[i].stdout {
			r.t.Fatalf("%s does not say the same twice: %s", c.name, firstDifference(r.want[i].stdout, got.stdout))
		}
		asked, _ := r.fuse.requests()
		if asked == 0 {
			r.t.Errorf("%s asks the file system nothing", c.name)
		}
		for n := range asked {
			for _, errno := range []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.ENOTCONN, syscall.ENOMEM} {
				points = append(points, remotePoint{i, fuseFault{n + 1, errno}})
			}
			if random.IntN(10) == 0 { // as each takes as long as many others
				points = append(points, remotePoint{i, fuseFault{n: n + 1}})
			}
		}
	}
	random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	return points
}

// unseen are requests whose failure the kernel does not tell (seen on Linux 6.18): a
// directory whose mark it can't read is not opaque, what it can't look at in a listing
// is no whiteout. So its mounts show, and those who look at them see another tree.
var unseen = map[string]bool{"GETXATTR l1/again": true, "LOOKUP l1/d/sub/four": true, "GETATTR l1/d/sub/four": true}

// try does one.
func (r *remote) try(p remotePoint) {
	c := &r.commands[p.command]
	r.prepare(c)
	r.fuse.tell(p.fuseFault)
	started, err := r.scene.start(nil, c.args...)
	if err != nil {
		r.t.Fatal(err)
	}
	if p.errno == 0 {
		r.interrupt(started)
	}
	got := started.wait()
	_, hit := r.fuse.requests()
	r.fuse.tell(fuseFault{})
	if hit == "" {
		return // how many requests there are differs a little
	}
	var complaints []string
	made := c.made
	mounts := strings.Contains(c.name, "naive") || c.name == "verify" // it looks at what the kernel shows
	switch {
	case got.hung, got.orphans, strings.Contains(got.stderr, "goroutine "):
		complaints = append(complaints, "it hung or crashed")
	case unseen[hit] && mounts:
		r.failed++
		r.silent++
	case p.errno == 0:
		r.held++
		made = ""
		// The first signal may be what interrupts the request, and then even come too late.
		second := got.signal == syscall.SIGTERM && strings.Contains(got.stderr, "interrupt again")
		if got.status == 0 {
			if err := r.checkAnswer(c, p.command, got, ""); err != nil {
				complaints = append(complaints, fmt.Sprintf("exit status 0, and %v", err))
			}
			made = c.made
		} else if !second && (got.status != 1 || got.stderr != "overlaydiff: interrupted\n") {
			complaints = append(complaints, fmt.Sprintf("%v ended it", got.signal))
		}
	case got.status == 0:
		r.failed++
		r.absorbed++
		if err := r.checkAnswer(c, p.command, got, ""); err != nil {
			complaints = append(complaints, fmt.Sprintf("exit status 0, and %v", err))
		}
	default:
		r.failed++
		r.told++
		made = ""
		complaints = checkFailure(c, r.want[p.command], got, "", "")
		if !strings.Contains(got.stderr, p.errno.Error()) && !mounts { // overlayfs may say another
			complaints = append(complaints, "it does not say why")
		}
	}
	if left := r.scene.left(made); len(left) > 0 && p.errno != 0 {
		complaints = append(complaints, fmt.Sprintf("it left %q", left))
	} else if len(left) > 0 {
		complaints = append(complaints, r.again(c, p.command)...)
	}
	if len(complaints) > 0 {
		r.t.Errorf("%s, %s: %v: %s\nexit status %d\nstdout:\n%.2000s\nstderr:\n%.2000s", c.name, hit, p.errno, strings.Join(complaints, "; "), got.status, got.stdout, got.stderr)
	}
}

// interrupt waits until a request is held, and then does what an operator does.
func (r *remote) interrupt(s *started) {
	held := func() bool { _, hit := r.fuse.requests(); return hit != "" }
	for end := time.Now().Add(patience / 2); !held() && time.Now().Before(end) && alive(s.cmd.Process.Pid); {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		_ = syscall.Kill(s.cmd.Process.Pid, syscall.SIGTERM)
		time.Sleep(1200 * time.Millisecond)
	}
}
