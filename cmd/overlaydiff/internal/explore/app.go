package explore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/survey"
	"github.com/overlaydiff/overlaydiff/diff"
)

// Source is what is explored.
type Source struct {
	Name string // of the overlay, for people
	// Survey reads the changes anew. It tells found now and then how many there are.
	Survey func(ctx context.Context, found func(int)) (*survey.Tree, error)
	// Engine says which engine answers; it is asked after a survey.
	Engine func() string
	// Explain says in words why a path is a change, or is none.
	Explain func(ctx context.Context, path string) (string, error)
	// Look is as [overlaydiff.Diff.Look].
	Look func(ctx context.Context, path string, use func(from, to *diff.Seen) error) error
}

// refreshEvery is how often the changes are read anew, where that is asked for.
const refreshEvery = 2 * time.Second

// Run shows src on the screen, which it initializes and gives back, until the user
// has enough or ctx is done. The error is that of the terminal.
func Run(ctx context.Context, screen tcell.Screen, src Source, noColor bool) error {
	if err := screen.Init(); err != nil {
		return err
	}
	defer screen.Fini()
	for r, text := range map[rune]string{'▾': "v", '▸': ">", '…': "~", '│': "|", '█': "#"} { // where the locale is no UTF-8
		screen.RegisterRuneFallback(r, text)
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &app{src: src, screen: screen, styles: stylesOf(noColor), ctx: ctx, results: make(chan func())}
	defer a.end(cancel)
	a.read()
	return a.loop()
}

// app is what is on the screen. Only the goroutine of its loop touches it.
type app struct {
	src    Source
	screen tcell.Screen
	styles [wasted + 1]tcell.Style

	ctx     context.Context //nolint:containedctx // lives as long as the screen
	jobs    sync.WaitGroup
	results chan func() // what jobs found, to be noted by the loop

	view    *view // nil until the changes are read
	found   int   // while they are read
	reading bool
	live    bool

	detail struct {
		shown, focus bool
		path         string // that lines are about
		lines        []line
		wrapped      []line // lines, broken to width
		width        int    // 0: lines are new
		top          int
		stop         context.CancelFunc
		stale        bool
	}
	help    bool
	helpTop int
	prompt  *prompt
	pattern string // searched for last
	top     int    // first row that is shown
	message string
	failed  bool // the message is an error
	done    bool
}

// loop handles what comes until the end.
func (a *app) loop() error {
	events := make(chan tcell.Event, 16)
	quit := make(chan struct{})
	a.jobs.Go(func() { a.screen.ChannelEvents(events, quit) })
	defer close(quit)
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for !a.done {
		a.draw()
		select {
		case <-a.ctx.Done():
			return nil
		case <-tick.C:
			if a.live {
				a.read()
			}
		case note := <-a.results:
			note()
		case e, ok := <-events:
			if !ok {
				return errors.New("the terminal is gone")
			}
			a.handle(e)
		}
	}
	return nil
}

// end waits until nothing of the app is left running.
func (a *app) end(cancel context.CancelFunc) {
	cancel()
	ended := make(chan struct{})
	go func() {
		a.jobs.Wait()
		close(ended)
	}()
	for {
		select {
		case <-a.results: // nobody wants it any more
		case <-ended:
			return
		}
	}
}

// start does work beside the loop, which then calls what it returns.
func (a *app) start(ctx context.Context, work func(ctx context.Context) (note func())) {
	a.jobs.Go(func() {
		note := work(ctx)
		select {
		case a.results <- note:
		case <-a.ctx.Done():
		}
	})
}

// tell shows a message in the last line.
func (a *app) tell(text string) { a.message, a.failed = text, false }

func (a *app) tellError(err error) { a.message, a.failed = harmless(err.Error()), true }

// read reads the changes anew.
func (a *app) read() {
	if a.reading {
		return
	}
	a.reading, a.found = true, 0
	a.start(a.ctx, func(ctx context.Context) func() {
		t, err := a.src.Survey(ctx, func(n int) {
			select {
			case a.results <- func() { a.found = n }:
			case <-ctx.Done():
			}
		})
		return func() {
			a.reading = false
			switch {
			case err != nil:
				a.tellError(err)
			case a.view == nil:
				a.view = newView(t)
			default:
				a.view.replace(t)
			}
			a.detail.stale = true
		}
	})
}

// examine reads the details of what the cursor is on, unless they are there.
func (a *app) examine() {
	d := &a.detail
	if !d.shown || a.view == nil || d.path == a.view.path() && !d.stale {
		return
	}
	if path := a.view.path(); d.path != path {
		d.path, d.top, d.lines, d.width = path, 0, nil, 0
	}
	d.stale = false
	if d.stop != nil {
		d.stop()
	}
	path := d.path
	ctx, stop := context.WithCancel(a.ctx)
	d.stop = stop
	a.start(ctx, func(ctx context.Context) func() {
		lines, err := examine(ctx, a.src, path)
		stop()
		return func() {
			d.width = 0
			switch {
			case d.path != path, errors.Is(err, context.Canceled):
			case err != nil:
				d.lines = []line{{diff.QuotePath(path), strong}, {"", plain}, {harmless(err.Error()), deleted}}
			default:
				d.lines = lines
			}
		}
	})
}

func (a *app) handle(e tcell.Event) {
	switch e := e.(type) {
	case *tcell.EventResize:
		a.screen.Sync()
	case *tcell.EventKey:
		a.message = ""
		switch {
		case a.prompt != nil:
			a.prompt.key(a, e)
		default:
			a.press(keyName(e))
		}
	}
}
