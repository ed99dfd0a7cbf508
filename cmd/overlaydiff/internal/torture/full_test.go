package torture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// TestFaults_FullDisk has commands write to file systems that are too small for what
// they write, in bytes or in inodes.
func TestFaults_FullDisk(t *testing.T) {
	needInjector(t) // trials use it
	run := torture.Start(t, torture.Faults, 5)
	s := newScene(t)
	f := newTrials(t, s, slices.DeleteFunc(s.commands(), func(c faultyCommand) bool {
		return c.made == "" && !slices.Contains([]string{"demo", "probe", "verify", "verify a layer"}, c.name)
	}))
	var options []string
	for n := 1; n < 2048; n += 1 + n/2 { // pages; 8 MiB is enough for all
		options = append(options, fmt.Sprintf("size=%dk", 4*n))
	}
	for n := 4; n < 300; n += 1 + n/4 {
		options = append(options, fmt.Sprintf("nr_inodes=%d", n))
	}
	failed, tried := map[string]int{}, 0
	for i, option := range options {
		if !run.Whole() && i%3 != 0 {
			continue
		}
		dir := filepath.Join(s.dir, fmt.Sprint("small", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("overlaydiff", dir, "tmpfs", 0, option); err != nil {
			t.Fatal(err)
		}
		for i := range f.commands {
			tried++
			if f.onSmall(i, dir, option) {
				failed[f.commands[i].name]++
			}
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}
	all := 0
	for _, c := range f.commands {
		// The demo goes elsewhere, the probe answers that it can't tell, and little is left
		// of zeros by zstd.
		if n := failed[c.name]; n == 0 && !slices.Contains([]string{"demo", "probe", "export with zstd"}, c.name) {
			t.Errorf("%s never found the disk full", c.name)
		}
		all += failed[c.name]
	}
	run.Count("runs on file systems that are too small", tried)
	run.Note("Of these %d found the disk full, and left nothing on it; the others had room enough for the right answer.", all)
}

// onSmall runs a command whose working directory and TMPDIR are in dir, a file system
// of its own, and reports whether it failed.
func (f *trials) onSmall(i int, dir, option string) bool {
	c := &f.commands[i]
	usual := f.scene.room
	defer func() { f.scene.room = usual }()
	f.scene.room = newRoom(f.t, dir, usual.layers...)
	if err := f.tryPrepare(c); err != nil {
		return false // what is to be there before does not fit
	}
	r := f.scene.run(f.t, nil, c.args...)
	made := c.made
	var complaints []string
	switch {
	case r.hung, r.orphans, strings.Contains(r.stderr, "goroutine "):
		complaints = append(complaints, "it hung or crashed")
	case r.status == 0:
		if err := f.checkAnswer(c, i, r, "ENOSPC"); err != nil {
			complaints = append(complaints, fmt.Sprintf("exit status 0, and %v", err))
		}
	default:
		if c.inPlace == "" && !c.empty {
			made = ""
		}
		complaints = checkFailure(c, f.want[i], r, "", "")
		// An overlay that finds no room for its work directory is read-only.
		if !strings.Contains(r.stderr, "no space left on device") && !strings.Contains(r.stderr, "read-only file system") {
			complaints = append(complaints, "it does not say why")
		}
		if c.empty && !emptyDir(filepath.Join(f.scene.work, c.made)) {
			complaints = append(complaints, "the directory is not empty any more")
		}
	}
	if left := f.scene.left(made); len(left) > 0 {
		complaints = append(complaints, fmt.Sprintf("it left %q", left))
	}
	if len(complaints) > 0 {
		f.t.Errorf("%s on a tmpfs with %s: %s\nexit status %d\nstdout:\n%.2000s\nstderr:\n%s", c.name, option, strings.Join(complaints, "; "), r.status, r.stdout, r.stderr)
	}
	f.scene.clear(f.t)
	return r.status != 0
}
