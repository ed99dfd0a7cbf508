package explore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// stage is an app on a screen that nobody sees.
type stage struct {
	*app
	t      *testing.T
	screen tcell.SimulationScreen
}

// evil is a name that a terminal must not see as it is.
const evil = "b\x1b[31mad\n\u202ed\xff"

func TestScreen(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 80, 20)
	s.press("s", "E")
	want := ` web  (native engine)
 49.7 KiB  A 6  C 4  D 2  1.7 KiB copied up for nothing  68.4 KiB deleted, kept
      SIZE      WASTE  PART      NAME (sorted by it)
  49.7 KiB   70.0 KiB            ▾   /
  49.6 KiB    1.7 KiB  ███████▉    ▾   etc/
  48.8 KiB             ███████▊        C blob
      19 B                             C conf
       5 B                             C link
     800 B      800 B  ▏               C meta  only its metadata changed
         -        3 B                  D motd  kept below
       0 B      900 B                  = same  copied up, not changed
         -   68.4 KiB                D old/  kept below
      18 B                         ▾ A srv/
       4 B             █▊              A "b\x1b[31mad\n\u202ed\xff"
       8 B             ███▌            A esc
       6 B             ██▋           ▾ A new/
       6 B             ████████        ▾ A deep/
       6 B             ████████            A file

 ? help  q quit  Enter details  / search  f filter  w waste  s sort  x extract
`
	if d := cmp.Diff(want, s.text()); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestMove(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 80, 10)
	s.shows("/", "/etc", "/srv", "/old")
	s.press("j", "Down", "k").at("/etc")
	s.press("l")
	s.shows("/", "/etc", "/etc/blob", "/etc/meta", "/etc/conf", "/etc/link", "/etc/same", "/etc/motd", "/srv", "/old")
	s.press("G").at("/old")
	s.press("g").at("/")
	s.press("PgDn").at("/etc/same")
	s.press("Ctrl-U").at("/etc/meta")
	s.press("h").at("/etc")
	s.press("Left").shows("/", "/etc", "/srv", "/old")
	s.press("Enter").contains("▾   etc/")
	s.press("Enter").contains("▸   etc/")
	s.press("E").press("G").at("/old")
	s.press("C").shows("/", "/etc", "/srv", "/old")
	s.at("/old")
}

func TestFilters(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 100, 20)
	s.press("E", "a").shows("/", "/etc", "/etc/blob", "/etc/meta", "/etc/conf", "/etc/link", "/etc/same", "/etc/motd", "/old")
	s.contains("[no A]")
	s.press("c", "d").shows("/", "/etc", "/etc/same")
	s.press("Esc", "w").shows("/", "/old", "/etc", "/etc/same", "/etc/meta", "/etc/motd")
	s.press("w", "f").write("N*w")
	s.shows("/")
	s.contains("no name matches N*w", "nothing of this kind")
	s.press("f", "Ctrl-U").write("n*w").shows("/", "/srv", "/srv/new", "/srv/new/deep", "/srv/new/deep/file")
	s.press("f", "Ctrl-U").write("/etc/m").shows("/", "/etc", "/etc/meta", "/etc/motd")
	s.press("f", "Ctrl-U").write("")
	if len(s.names()) != 15 {
		t.Errorf("without a filter there are %q", s.names())
	}
}

func TestSearch(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 80, 20)
	s.press("n").contains("nothing was searched for yet")
	s.press("/").write("M")
	s.contains("no name matches M")
	s.press("/").write("m").at("/etc/meta")
	s.press("n").at("/etc/same")
	s.press("n").at("/etc/motd")
	s.press("N", "N").at("/etc/meta")
	s.press("/").write("deep").at("/srv/new/deep")
	s.contains("▸ A deep/") // it is found in closed directories, and stays closed
	s.press("/", "x", "Backspace", "Backspace").at("/srv/new/deep")
	if s.prompt != nil {
		t.Error("Backspace in an empty answer does not end the question")
	}
}

func TestDetails(t *testing.T) {
	stack := overlay(t)
	s := newStage(t, sourceOf(t, stack), 120, 30)
	s.press("/").write("/etc/conf").press("e")
	s.contains("│ /etc/conf", "*size         14 B  ", "Layers", "it is a change", "upper  here", "│  one", "│ +four")
	s.press("/").write("blob").contains("differs from byte 50,000 on", "+0000c350  78                       x")
	s.press("/").write("etc/meta").contains("*mode         0644                     0600", "equal")
	s.press("/").write("link").contains("*target       conf                     other")
	s.press("/").write("motd").contains("*type         file                     -")
	s.press("/").write("esc").contains("a^[[2J  b", "*trusted.note", " x")
	s.press("/").write("same").contains("no change", "equal")
	s.press("Tab").press("j", "j")
	if s.detail.top == 0 && len(s.detail.wrapped) > s.page() || !s.detail.focus {
		t.Error("the details do not move")
	}
	s.press("Esc")
	if s.detail.shown {
		t.Error("Esc does not take the details away")
	}
	// On a narrow screen they have all of it.
	s.screen.SetSize(50, 20)
	s.press("Enter").contains("/etc/same", "no change")
	s.press("h")
	if s.detail.shown {
		t.Error("h does not go back to the tree")
	}
}

func TestHarmless(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 120, 30)
	s.press("E", "/").write("[31").press("e").contains(`"/srv/b\x1b[31mad\n\u202ed\xff"`, "00 01 02 78")
	s.press("f").write("\x1b]0;x")
	cells, w, _ := s.screen.GetContents()
	for i, c := range cells {
		for _, r := range c.Runes {
			if !unicode.IsPrint(r) {
				t.Errorf("%q at %d, %d", r, i%w, i/w)
			}
		}
	}
	for text, want := range map[string]string{
		"a\x1b[31m\x7f\x00": "a^[[31m^?^@", "\xff\xfe": "<FF><FE>", "\u202ea\u200b": "<U+202E>a<U+200B>", "ab\tc": "ab      c", "\u0301x": "<U+0301>x", "\u009b1m": "<U+009B>1m",
	} {
		if got := harmless(text); got != want {
			t.Errorf("harmless(%q) = %q, want %q", text, got, want)
		}
	}
}

// Every key that the help names does something.
func TestKeys_AllDoSomething(t *testing.T) {
	stack := overlay(t)
	src := sourceOf(t, stack)
	for _, b := range bindings {
		for _, key := range b.keys {
			s := newStage(t, src, 120, 12)
			s.press("E")
			s.view.seek(slices.Index(s.names(), "/etc"))
			switch key { // where each has something to do
			case "Ctrl-D", "Ctrl-F", "PgDn", "Space", "G", "End", "k", "Up", "Ctrl-U", "Ctrl-B", "PgUp", "g", "Home", "E", "C", "h", "Left", "Enter", "e", "Tab", "/", "f", "a", "c", "d", "w", "s", "?", "j", "Down":
				if key == "E" {
					s.press("C")
				}
			case "l", "Right":
				s.press("h")
			case "n", "N":
				s.press("/").write("m")
			case "x":
				s.press("/").write("blob")
			case "Esc":
				s.press("w")
			}
			if key == "r" || key == "R" {
				s.handle(event(key))
				if !s.reading {
					t.Errorf("%s: nothing is read", key)
				}
				s.settle()
				continue
			}
			before, at := s.text(), s.view.cursor
			s.press(key)
			if s.text() == before && s.view.cursor == at && !s.done {
				t.Errorf("%s: %q: nothing happened on\n%s", key, b.help, before)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 100, len(bindings)+1)
	s.press("?")
	for _, b := range bindings {
		s.contains(strings.Join(b.keys, " ") + " ")
		s.contains(b.help)
	}
	s.press("x")
	if s.help || s.prompt != nil {
		t.Error("a key does not only go back")
	}
	// On a low screen it scrolls.
	s.screen.SetSize(60, 5)
	s.press("?", "j").contains("k Up")
	if strings.Contains(s.text(), "j Down") {
		t.Error("it does not scroll")
	}
}

func TestExtract(t *testing.T) {
	stack := overlay(t)
	dir := t.TempDir()
	s := newStage(t, sourceOf(t, stack), 120, 20)
	to := filepath.Join(dir, "out")
	read := func() string {
		t.Helper()
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s.press("/").write("/etc/conf").press("x", "Ctrl-U").write(to).contains("19 B of /etc/conf written to")
	if got := read(); got != "one\ntwo\nthree\nfour\n" {
		t.Errorf("extracted %q", got)
	}
	s.press("/").write("motd").press("x", "Ctrl-U").write(to)
	s.contains("is there already")
	s.write("no")
	if got := read(); !strings.HasPrefix(got, "one") {
		t.Errorf("no replaced it by %q", got)
	}
	s.press("x", "Ctrl-U").write(to)
	s.write("yes").contains("3 B of /etc/motd written")
	if got := read(); len(got) != 3 {
		t.Errorf("extracted %q", got)
	}
	s.press("x", "Ctrl-U").write(dir + "/no/such/dir").contains("write /tmp/")
	s.press("/").write("srv").press("x").contains("only files")
	s.press("/").write("[31").press("x").contains("extract to: extracted")
	s.press("Esc")
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}
}

func TestRefresh(t *testing.T) {
	stack := overlay(t)
	s := newStage(t, sourceOf(t, stack), 120, 30)
	s.press("/").write("deep").press("l", "j").at("/srv/new/deep/file")
	testenv.Do(t, stack.Mountpoint, "create srv/more 1234", "mkdir aaa", "create aaa/f x")
	s.press("r").at("/srv/new/deep/file")
	if names := s.names(); !slices.Contains(names, "/srv/more") || !slices.Contains(names, "/aaa") || slices.Contains(names, "/aaa/f") {
		t.Errorf("after it is read anew: %q", names)
	}
	testenv.Do(t, stack.Mountpoint, "rmtree srv/new")
	s.press("r").at("/srv")
	s.press("R").contains("live")
	s.press("R")
}

// Whatever the size is, nothing breaks.
func TestSizes(t *testing.T) {
	s := newStage(t, sourceOf(t, overlay(t)), 80, 24)
	s.press("E", "j", "j")
	for _, size := range [][2]int{{20, 5}, {20, 1}, {1, 1}, {2, 40}, {300, 2}, {99, 3}, {100, 3}, {0, 0}, {39, 4}, {59, 24}} {
		s.screen.SetSize(size[0], size[1])
		s.handle(tcell.NewEventResize(size[0], size[1]))
		s.press("j", "e", "j", "G", "Tab", "?", "j", "Esc", "e", "k", "/", "m", "Enter", "x", "Esc", "w", "w", "Esc")
		for _, line := range strings.Split(s.text(), "\n") {
			if n := len([]rune(line)); n > size[0] {
				t.Errorf("%v: a line of %d", size, n)
			}
		}
	}
	s.screen.SetSize(20, 5)
	s.press("g", "j").contains("etc/")
}

func TestNoColor(t *testing.T) {
	for _, style := range stylesOf(true) {
		if fg, bg, _ := style.Decompose(); fg != tcell.ColorDefault || bg != tcell.ColorDefault {
			t.Errorf("a color: %v", style)
		}
	}
}

// Run ends with its context, with q, and with an error of the survey on the screen.
func TestRun(t *testing.T) {
	src := sourceOf(t, overlay(t))
	ctx, cancel := context.WithCancel(t.Context())
	run := func(src Source) (tcell.SimulationScreen, chan error) {
		screen := &announced{tcell.NewSimulationScreen("UTF-8"), make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, screen, src, true) }()
		<-screen.ready
		return screen, ended
	}
	await := func(ended chan error) {
		t.Helper()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
	}
	screen, ended := run(src)
	screen.InjectKey(tcell.KeyRune, 'q', 0)
	await(ended)

	broken := src
	broken.Survey = func(ctx context.Context, found func(int)) (*survey.Tree, error) {
		found(1)
		return nil, errors.New("the layers are gone\x1b[1m")
	}
	_, ended = run(broken)
	blocked := src
	blocked.Survey = func(ctx context.Context, _ func(int)) (*survey.Tree, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, other := run(blocked)
	time.Sleep(50 * time.Millisecond) // usually, they are then where they wait
	cancel()
	await(ended)
	await(other)
}

// announced is a screen that tells when it is there.
type announced struct {
	tcell.SimulationScreen
	ready chan struct{}
}

func (s *announced) Init() error {
	defer close(s.ready)
	return s.SimulationScreen.Init()
}
