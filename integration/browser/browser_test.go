package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// What integration/browser.sh says: the command, a large overlay's layers if they
// are there, and a directory for pictures of it.
var (
	command = os.Getenv("OVERLAYDIFF_COMMAND")
	large   = os.Getenv("OVERLAYDIFF_LARGE") // LOWER:UPPER
	shots   = os.Getenv("OVERLAYDIFF_SHOTS")
)

// tab is a page in a browser, and what it must not do.
type tab struct {
	context.Context //nolint:containedctx // chromedp's way
	t               *testing.T
	mu              sync.Mutex
	wrong           []string
}

// open opens a file.
func open(t *testing.T, file string, width, height int64) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], // a slice's copy
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t}
	url := "file://" + file
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *network.EventRequestWillBeSent:
			if e.Request.URL != url {
				b.note("it asks for " + e.Request.URL)
			}
		case *page.EventJavascriptDialogOpening:
			b.note("it opens a dialog: " + e.Message)
		case *runtime.EventExceptionThrown:
			b.note("an error: " + e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			b.note("it writes to the console")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do(enable, chromedp.EmulateViewport(width, height), chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS(".stage svg")))
	return b
}

type step = chromedp.Action[chromedp.Void]

// enable asks for the events that are listened for.
var enable = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	_, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{})
	return err
})

// dark is for who prefers that.
var dark = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	return err
})

func (b *tab) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, what)
}

// harmless fails the test if the page did what it must not.
func (b *tab) harmless() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, what := range b.wrong {
		b.t.Error(what)
	}
}

func (b *tab) do(steps ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression is.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// click clicks what a selector finds.
func click(selector string) step { return chromedp.Click(chromedp.CSS(selector)) }

// wait waits for an expression to be true.
func (b *tab) wait(expression string) {
	b.t.Helper()
	for start := time.Now(); !eval[bool](b, expression); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			b.t.Fatalf("it does not come to be: %s", expression)
		}
	}
}

func run(t *testing.T, args ...string) []byte {
	t.Helper()
	if command == "" {
		t.Fatal("OVERLAYDIFF_COMMAND is not set: run integration/browser.sh")
	}
	cmd := exec.CommandContext(t.Context(), command, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd, err, &errs)
	}
	return out
}

// evil are names that want to be more than text.
var evil = []string{"<script>alert(1)<\u2215script>", `'"><img src=x onerror=alert(1)>`, "a\x1b[31m\nb\u202ec", "\xff\xfe", "{{.}}${alert(1)}", strings.Repeat("n", 255)}

// layers makes a small overlay's, with what can be on a page: 400 files and the evil.
func layers(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1e9, 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	for _, layer := range []string{"lower", "upper"} {
		write(layer+"/etc/meta", 9000)
		write(layer+"/etc/same", 700)
	}
	if err := os.Chmod(filepath.Join(dir, "upper/etc/meta"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("lower/gone", 1234)
	write("lower/etc/conf", 10)
	write("upper/etc/conf", 20000)
	if err := syscall.Mknod(filepath.Join(dir, "upper/gone"), syscall.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		write(fmt.Sprintf("upper/srv/dir%02d/file%03d", i/20, i), 100+i*i)
	}
	for i, name := range evil {
		write("upper/evil/"+name, 300000+i)
	}
	return []string{"--lower", dir + "/lower", "--upper", dir + "/upper"}
}

func report(t *testing.T, stack ...string) (file string, size int64) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "report.html")
	run(t, append([]string{"report", "-o", file}, stack...)...)
	var s struct{ Bytes int64 }
	if err := json.Unmarshal(run(t, append([]string{"size", "--json"}, stack...)...), &s); err != nil {
		t.Fatal(err)
	}
	return file, s.Bytes
}

// rectangle is one at the top of the map.
type rectangle struct {
	Bytes, Area float64
}

// checkMap compares the map's top with the size that it is of.
func (b *tab) checkMap(size int64) {
	b.t.Helper()
	list := eval[[]rectangle](b, `[...document.querySelectorAll(".stage svg > g")].map((g) => {
		const r = g.querySelector("rect"), n = (k) => Number(r.getAttribute(k));
		return {Bytes: Number(g.dataset.bytes), Area: n("width") * n("height")};
	})`)
	whole := eval[float64](b, `document.querySelector(".stage").clientWidth * document.querySelector(".stage").clientHeight`)
	var bytes, area float64
	for _, r := range list {
		bytes, area = bytes+r.Bytes, area+r.Area
		if want := r.Bytes / float64(size) * whole; math.Abs(r.Area-want) > 0.01*whole/float64(len(list))+2 {
			b.t.Errorf("%.0f bytes of %d have %.0f of %.0f pixels, not %.0f", r.Bytes, size, r.Area, whole, want)
		}
	}
	// What is too small to be seen has no rectangle.
	if len(list) == 0 || bytes > float64(size) || bytes < 0.999*float64(size) || math.Abs(area-whole) > 0.01*whole {
		b.t.Errorf("%d rectangles: %.0f bytes of %d, %.0f of %.0f pixels", len(list), bytes, size, area, whole)
	}
}

const rows = `[...document.querySelectorAll("#files-0 tbody tr")].filter((r) => !r.hidden)`

// search writes text where the path is asked for.
func (b *tab) search(text string) {
	b.t.Helper()
	eval[bool](b, `(() => {
		const e = document.querySelector("input[type=search]");
		e.value = `+quote(text)+`;
		return e.dispatchEvent(new Event("input", {bubbles: true}));
	})()`)
}

// checkTable uses the filter and the order of the table of files.
func (b *tab) checkTable(text string, matching int) {
	b.t.Helper()
	all := eval[int](b, rows+".length")
	output := func(want string) {
		b.t.Helper()
		if got := eval[string](b, `document.querySelector("output").textContent`); got != want {
			b.t.Errorf("below the filter is %q, not %q", got, want)
		}
	}
	output(fmt.Sprintf("%d files", all))
	b.do(chromedp.SendKeys(chromedp.CSS("input[type=search]"), text))
	b.wait(fmt.Sprintf("%s.length === %d", rows, matching))
	output(fmt.Sprintf("%d of %d files", matching, all))
	b.search("")
	b.do(click(`input[value=A]`))
	if eval[bool](b, rows+`.some((r) => r.cells[1].textContent === "A")`) {
		b.t.Error("what was added is shown although it is not to be")
	}
	b.do(click(`input[value=A]`))
	b.wait(fmt.Sprintf("%s.length === %d", rows, all))
	b.do(click(`#files-0 th:nth-child(3)`))
	if !eval[bool](b, `(() => { const p = `+rows+`.map((r) => r.cells[2].textContent); return p.every((x, i) => !i || p[i-1] >= x); })()`) {
		b.t.Error("the table is not sorted by path")
	}
	b.do(click(`#files-0 th:nth-child(1)`), click(`#files-0 th:nth-child(1)`))
	if !eval[bool](b, `(() => { const p = `+rows+`.map((r) => Number(r.cells[0].dataset.value)); return p.every((x, i) => !i || p[i-1] <= x); })()`) {
		b.t.Error("the table is not sorted by size, smallest first")
	}
}

func TestReport(t *testing.T) {
	file, size := report(t, layers(t)...)
	b := open(t, file, 1200, 900)
	b.checkMap(size)
	b.checkTable("FILE39", 10)
	b.do(click(`input[value=waste]`))
	if got := eval[string](b, rows+`.map((r) => r.cells[2].textContent).join()`); got != "/etc/meta metadata only" {
		t.Errorf("the waste is %q", got)
	}

	// Into a directory and back, with the mouse and with keys.
	crumbs := `document.querySelector(".crumbs").textContent`
	top := eval[string](b, crumbs)
	b.do(click(".stage svg > g.dir > text"))
	b.wait(crumbs + ` !== ` + quote(top))
	if got := eval[string](b, crumbs); !strings.HasPrefix(got, "/srv/") {
		t.Errorf("after a click it shows %q", got)
	}
	inside := int64(0)
	for i := range int64(400) {
		inside += 100 + i*i
	}
	b.checkMap(inside)
	b.do(click(".crumbs button:first-child"))
	b.wait(crumbs + ` === ` + quote(top))
	b.do(chromedp.Focus(chromedp.CSS(".stage svg > g.dir")), chromedp.KeyEvent("\r"))
	b.wait(crumbs + ` !== ` + quote(top))
	if !eval[bool](b, `document.activeElement === document.querySelector(".crumbs").lastElementChild`) {
		t.Error("the focus is lost")
	}
	b.harmless()
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings can be written
	}
	return string(b)
}

// A phone shows all of it, and scrolls down only; so in the dark, and on paper.
func TestReport_Elsewhere(t *testing.T) {
	stack := layers(t)
	file, size := report(t, stack...)
	b := open(t, file, 390, 800)
	if w := eval[int](b, `document.documentElement.scrollWidth`); w > 390 {
		t.Errorf("the page is %d pixels wide", w)
	}
	b.checkMap(size)
	light := eval[string](b, `getComputedStyle(document.body).backgroundColor`)
	b.do(dark)
	if dark := eval[string](b, `getComputedStyle(document.body).backgroundColor`); dark == light {
		t.Errorf("it is %s in the dark, too", dark)
	}
	paper, err := chromedp.Run(b, chromedp.PrintToPDF())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(paper), "%PDF") {
		t.Error("it can't be printed")
	}
	b.harmless()
}

// The large overlay: its map is right, and small enough to be looked at.
func TestReport_Large(t *testing.T) {
	lower, upper, ok := strings.Cut(large, ":")
	if !ok {
		t.Skip("only with integration/browser.sh large")
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(upper, "web"); err != nil { // that is what the page calls it
		t.Fatal(err)
	}
	file, size := report(t, "--lower", lower, "--upper", "web")
	info, err := os.Stat(file)
	if err != nil || info.Size() > 5_000_000 {
		t.Fatalf("%v bytes, %v", info, err)
	}
	start := time.Now()
	b := open(t, file, 1200, 1000)
	t.Logf("%d bytes of %d on a page of %d, %v with the browser's start", size, size, info.Size(), time.Since(start).Round(time.Millisecond))
	b.checkMap(size)
	all := eval[int](b, rows+".length")
	b.search(".so")
	b.wait(fmt.Sprintf("%s.length < %d && %[1]s.length > 0", rows, all))
	b.search("")
	b.shoot("report.png", 1200, 1000)
	b.do(dark)
	b.shoot("report-phone.png", 390, 844)
	b.harmless()
}

// shoot makes a picture of what is to be seen.
func (b *tab) shoot(name string, width, height int64) {
	b.t.Helper()
	if shots == "" {
		return
	}
	b.do(chromedp.EmulateViewport(width, height), chromedp.Sleep(300*time.Millisecond)) // the map is drawn anew
	picture, err := chromedp.Run(b, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shots, name), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
