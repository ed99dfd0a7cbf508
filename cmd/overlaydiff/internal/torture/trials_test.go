package torture_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// faultyCommand is a command whose system calls are made to fail.
type faultyCommand struct {
	name string
	args []string
	// made is what it makes in the working directory, "" nothing. After a failure it is
	// not there; after inPlace's it is made right by another run.
	made    string
	inPlace string // lines of a tree that is there before
	// streams: what it says until a failure is a part of the answer, not none.
	streams bool
	empty   bool // made is an empty directory before
	layers  bool // made is a layer directory
	// answer returns what is wrong with another answer than the undisturbed one, of
	// exit status 0, after an error, "" none. nil: anything is.
	answer func(want, got *ran, errno string) error
}

// faultyCommands returns the commands.
func (s *scene) commands() []faultyCommand {
	with := func(words ...string) []string {
		return append(words[:1:1], append(s.flags[:len(s.flags):len(s.flags)], words[1:]...)...)
	}
	return []faultyCommand{
		{name: "changes", args: with("changes"), streams: true},
		{name: "changes naive", args: with("changes", "--engine", "naive", "--json"), streams: true},
		{name: "changes of a mount", args: []string{"changes", "--json", s.live}, streams: true},
		{name: "changes naive of a mount", args: []string{"changes", "--engine", "naive", s.live}, streams: true},
		{name: "size", args: []string{"size", "--json", s.live}, answer: sameSize},
		{name: "usage", args: with("usage", "--json")},
		{name: "usage of a mount", args: []string{"usage", s.live}},
		{name: "explain", args: with("explain", "/fresh/sub/three")},
		{name: "explain naive", args: []string{"explain", "--json", "--engine", "naive", s.live, "/meta"}},
		{name: "layers", args: with("layers")},
		{name: "export", args: with("export"), streams: true},
		{name: "export to a file", args: []string{"export", "-o", "layer", s.live}, made: "layer"},
		{name: "export with zstd", args: []string{"export", "-o", "layer", "--compression", "zstd", s.live}, made: "layer"},
		{name: "apply", args: []string{"apply", "--to", "tree", s.gzip}, made: "tree"},
		{name: "apply to an empty directory", args: []string{"apply", "--to", "tree", s.layer}, made: "tree", empty: true},
		{name: "apply in place", args: []string{"apply", "--to", "tree", s.layer}, made: "tree", inPlace: "file gone/x\nfile d/sub/x\nfile keep content=k\nfile again/c"},
		{name: "apply as overlay", args: []string{"apply", "--as", "overlay", "--to", "tree", s.layer}, made: "tree", layers: true},
		{name: "verify", args: []string{"verify", s.live}},
		{name: "verify a layer", args: with("verify", "--layer", s.layer)},
		{name: "ps", args: []string{"ps", "--json", "--root", s.node}, answer: s.sameContainers},
		{name: "probe", args: []string{"probe", "--json", "."}, answer: sameProbe},
		{name: "demo", args: []string{"demo", "--lower", s.lower}, answer: agrees},
	}
}

// trials are commands that are disturbed, with what they do undisturbed.
type trials struct {
	t        *testing.T
	scene    *scene
	commands []faultyCommand
	want     []*ran   // of each command
	results  []string // of each command, where its undisturbed result is kept
}

func newTrials(t *testing.T, s *scene, commands []faultyCommand) *trials {
	t.Helper()
	f := &trials{t: t, scene: s, commands: commands}
	for i := range f.commands {
		c := &f.commands[i]
		c.args = append([]string{s.command}, c.args...)
		f.prepare(c)
		f.want = append(f.want, f.undisturbed(c))
		if r := f.want[i]; r.status != 0 {
			t.Fatalf("%s: exit status %d: %s", c.name, r.status, r.stderr)
		}
		if left := s.left(c.made); len(left) > 0 {
			t.Fatalf("%s, undisturbed, leaves %q", c.name, left)
		}
		keep := ""
		if c.made != "" {
			keep = filepath.Join(s.dir, fmt.Sprint("result", i))
			if err := os.Rename(filepath.Join(s.work, c.made), keep); err != nil {
				t.Fatal(err)
			}
		}
		f.results = append(f.results, keep)
	}
	return f
}

// undisturbed runs a command with nothing wrong; below the injector all the same, since
// a command may tell of its filter.
func (f *trials) undisturbed(c *faultyCommand) *ran {
	f.t.Helper()
	return f.scene.run(f.t, nil, append(f.scene.injected(noFault), c.args...)...)
}

// prepare empties the room and makes what is to be there before.
func (f *trials) prepare(c *faultyCommand) {
	f.t.Helper()
	if err := f.tryPrepare(c); err != nil {
		f.t.Fatal(err)
	}
}

func (f *trials) tryPrepare(c *faultyCommand) error {
	f.scene.empty(f.t)
	if c.inPlace == "" && !c.empty {
		return nil
	}
	return testenv.MakeTree(filepath.Join(f.scene.work, c.made), c.inPlace)
}

// checkAnswer returns an error if a fault changed the answer.
func (f *trials) checkAnswer(c *faultyCommand, i int, r *ran, errno string) error {
	want := f.want[i]
	switch {
	case c.answer != nil:
		if err := c.answer(want, r, errno); err != nil {
			return err
		}
	case r.stdout != want.stdout:
		return fmt.Errorf("the answer is another: %s", firstDifference(want.stdout, r.stdout))
	}
	return f.checkResult(c, i)
}

// checkResult returns an error if what a command made is not what it makes undisturbed.
func (f *trials) checkResult(c *faultyCommand, i int) error {
	if c.made == "" {
		return nil
	}
	if c.layers {
		return f.sameView(f.results[i], filepath.Join(f.scene.work, c.made))
	}
	return sameResult(f.results[i], filepath.Join(f.scene.work, c.made))
}

// sameView compares what two layer directories show over the lower layers: a whiteout
// can be made in several ways, and has the time when it was made.
func (f *trials) sameView(want, got string) error {
	var views []string
	for _, dir := range []string{want, got} {
		view := testenv.Mount(f.t, testenv.Overlay{Lower: append([]string{dir}, f.scene.lowers...)})
		defer testenv.Unmount(f.t, view)
		views = append(views, view)
	}
	return sameResult(views[0], views[1])
}

// sameResult compares files, or trees.
func sameResult(want, got string) error {
	info, err := os.Stat(want)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		a, err := os.ReadFile(want)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(got)
		if err == nil && string(a) != string(b) {
			err = fmt.Errorf("the file is another")
		}
		return err
	}
	changes, err := refdiff.Diff(want, got)
	if err == nil && len(changes) > 0 {
		err = fmt.Errorf("the tree is another: %v", changes)
	}
	return err
}

// again runs a command that failed once more, undisturbed: it does what it should,
// and takes away what was left.
func (f *trials) again(c *faultyCommand, i int) (complaints []string) {
	if c.inPlace == "" && c.made != "" {
		f.scene.remove(f.t, c.made, c.empty)
	}
	r := f.undisturbed(c)
	if r.status != 0 {
		return []string{fmt.Sprintf("the next run fails, too: %s", r.stderr)}
	}
	if err := f.checkAnswer(c, i, r, ""); err != nil {
		complaints = append(complaints, fmt.Sprintf("in the next run %v", err))
	}
	if left := f.scene.left(c.made); len(left) > 0 {
		complaints = append(complaints, fmt.Sprintf("the next run leaves %q", left))
	}
	return complaints
}

// sameSize is sameness of size --json, whichever engine answers.
func sameSize(want, got *ran, _ string) error {
	var a, b struct{ Bytes, Raced int64 }
	if err := json.Unmarshal([]byte(want.stdout), &a); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("the size is %d, not %d", b, a)
	}
	return nil
}

// sameContainers is sameness of ps --json: what could not be looked at is named, in
// its line or on standard error. Overlays that others have mounted are left out.
func (s *scene) sameContainers(want, got *ran, _ string) error {
	lines := func(r *ran) map[string]string {
		found := map[string]string{}
		for line := range strings.Lines(r.stdout) {
			var c struct{ ID, Upper string }
			if err := json.Unmarshal([]byte(line), &c); err == nil && strings.Contains(line, s.dir) {
				found[c.ID+c.Upper] = line
			}
		}
		return found
	}
	a, b := lines(want), lines(got)
	for key, line := range a {
		switch now, ok := b[key]; {
		case !ok && got.stderr == "":
			return fmt.Errorf("a container is missing without a word")
		case ok && now != line && !strings.Contains(now, `"error":"`):
			return fmt.Errorf("a container is another: %s", now)
		}
	}
	return nil
}

// sameProbe is sameness of probe --json: a fault makes answers unknown, never a no or a
// yes, unless it is the very error by which kernels refuse things.
func sameProbe(want, got *ran, errno string) error {
	type report struct {
		Native struct {
			OK    bool
			Error string
		} `json:"native_diff"`
		Features []struct{ Name, Answer, Reason string }
	}
	var a, b report
	if err := json.Unmarshal([]byte(want.stdout), &a); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		return err
	}
	if len(a.Features) != len(b.Features) {
		return fmt.Errorf("there are %d answers, not %d", len(b.Features), len(a.Features))
	}
	for i, is := range b.Features {
		was := a.Features[i]
		// EPERM of one call, where others like it are permitted, is how kernels say no, and
		// EIO how overlayfs does if it can't write a mark.
		refused := is.Answer == "no" && (errno == "EPERM" || errno == "EIO" && strings.Contains(is.Reason, "mark can't be written"))
		if is.Name != was.Name || is.Answer != was.Answer && (is.Answer != "unknown" || is.Reason == "") && !refused {
			return fmt.Errorf("%s is %s (%s), it was %s", is.Name, is.Answer, is.Reason, was.Answer)
		}
	}
	if a.Native.OK != b.Native.OK && b.Native.Error == "" {
		return fmt.Errorf("native diff is %v", b.Native.OK)
	}
	return nil
}

// agrees is all that every demo says: it changes what it can read.
func agrees(_, got *ran, _ string) error {
	if !strings.HasSuffix(got.stdout, "\nBoth engines agree.\n") {
		return fmt.Errorf("the engines were not said to agree")
	}
	return nil
}
