package explore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// overlay makes one with all that there is to be seen.
func overlay(t *testing.T) diff.Stack {
	t.Helper()
	testenv.RequireRoot(t)
	dir := testenv.Scratch(t, testenv.Tmpfs)
	s := diff.Stack{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Work: dir + "/work", Features: diff.Features{RedirectFollow: true}}
	testenv.Tree(t, s.Lower[0], `file etc/conf content="one\ntwo\nthree\n" mtime=1`, "file etc/same size=900", "file etc/meta size=800", "file etc/motd size=3 mtime=2",
		"file etc/blob size=50000", "symlink etc/link -> conf", "file old/a/f size=70000", "dir usr")
	s.Mountpoint = testenv.Mount(t, testenv.Overlay{Lower: s.Lower, Upper: s.Upper, Work: s.Work})
	testenv.Do(t, s.Mountpoint, `write etc/conf "four\n"`, "open etc/same", "chmod etc/meta 0600", "unlink etc/motd", "write etc/blob x", "retarget etc/link other",
		"rmtree old", "mkdir srv", "mkdir srv/new", "mkdir srv/new/deep", `create srv/new/deep/file "hello\n"`, `create srv/esc "a\x1b[2J\tb\n"`, "setxattr srv/esc trusted.note=x")
	if err := os.WriteFile(filepath.Join(s.Mountpoint, "srv", evil), []byte{0, 1, 2, 'x'}, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// sourceOf is what the command gives.
func sourceOf(t *testing.T, s diff.Stack) Source {
	t.Helper()
	d, err := overlaydiff.Open(t.Context(), s, overlaydiff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return Source{
		Name: "web", Engine: d.Engine, Look: d.Look,
		Survey: func(ctx context.Context, found func(int)) (*survey.Tree, error) {
			return survey.Build(ctx, d, survey.Options{Waste: true, Found: found})
		},
		Explain: func(ctx context.Context, path string) (string, error) {
			x, err := d.Explain(ctx, path)
			if err != nil || x.Change == nil {
				return "no change\n", err
			}
			return "it is a change\n\nupper  here\n", nil
		},
	}
}

func newStage(t *testing.T, src Source, w, h int) *stage {
	t.Helper()
	s := &stage{t: t, screen: tcell.NewSimulationScreen("UTF-8")}
	if err := s.screen.Init(); err != nil {
		t.Fatal(err)
	}
	s.screen.SetSize(w, h)
	ctx, cancel := context.WithCancel(t.Context())
	s.app = &app{src: src, screen: s.screen, styles: stylesOf(false), ctx: ctx, results: make(chan func())}
	t.Cleanup(func() {
		s.end(cancel)
		s.screen.Fini()
	})
	s.read()
	s.settle()
	return s
}

// settle waits for what was begun, and draws.
func (s *stage) settle() {
	s.t.Helper()
	s.draw()
	for s.reading || s.busy() {
		select {
		case note := <-s.results:
			note()
		case <-time.After(20 * time.Second):
			s.t.Fatal("it takes too long")
		}
		s.draw()
	}
}

// busy reports whether somebody waits for what a job finds.
func (s *stage) busy() bool {
	return s.detail.shown && s.detail.lines == nil || strings.HasSuffix(s.message, "…")
}

func (s *stage) press(keys ...string) *stage {
	s.t.Helper()
	for _, k := range keys {
		s.handle(event(k))
		s.settle()
	}
	return s
}

// event is a key by the name that bindings have for it.
func event(key string) *tcell.EventKey {
	for code, name := range tcell.KeyNames {
		if strings.ReplaceAll(name, "+", "-") == key && code != tcell.KeyRune {
			return tcell.NewEventKey(code, 0, 0)
		}
	}
	if key == "Space" {
		key = " "
	}
	return tcell.NewEventKey(tcell.KeyRune, []rune(key)[0], 0)
}

func (s *stage) write(text string) *stage {
	for _, r := range text {
		s.handle(tcell.NewEventKey(tcell.KeyRune, r, 0))
	}
	return s.press("Enter")
}

// text is what is on the screen.
func (s *stage) text() string {
	cells, w, h := s.screen.GetContents()
	var b strings.Builder
	for y := range h {
		line := ""
		for x := 0; x < w; x++ {
			c := cells[y*w+x]
			if len(c.Runes) == 0 {
				line += " "
			}
			line += string(c.Runes)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// rows are the names that are shown, as they are indented.
func (s *stage) names() (names []string) {
	for _, r := range s.view.rows {
		names = append(names, s.view.tree.Path(int(r.node)))
	}
	return names
}

func (s *stage) shows(want ...string) {
	s.t.Helper()
	if d := cmp.Diff(want, s.names()); d != "" {
		s.t.Errorf("rows (-want +got):\n%s", d)
	}
}

func (s *stage) at(want string) {
	s.t.Helper()
	if got := s.view.path(); got != want {
		s.t.Errorf("the cursor is on %q, not %q", got, want)
	}
}

func (s *stage) contains(want ...string) {
	s.t.Helper()
	blanks := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	for _, w := range want {
		if !strings.Contains(blanks(s.text()), blanks(w)) {
			s.t.Errorf("no %q on the screen:\n%s", w, s.text())
		}
	}
}
