package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
)

func duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// rightAlign aligns the cells of columns at their ends, for [printTable].
func rightAlign(rows [][]string, columns ...int) {
	for _, c := range columns {
		width := 0
		for _, row := range rows {
			width = max(width, utf8.RuneCountInString(row[c]))
		}
		for _, row := range rows {
			row[c] = strings.Repeat(" ", width-utf8.RuneCountInString(row[c])) + row[c]
		}
	}
}

// printTable aligns rows of cells in columns, without blanks at the ends of
// lines.
func printTable(w io.Writer, rows [][]string) error {
	var aligned strings.Builder
	t := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// sticky passes on what is written until that fails; then it keeps the error, and
// says it to all that follows.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(b []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.w.Write(b)
	}
	return n, s.err
}

// statusLine is the line on a terminal's standard error that shows that long
// work goes on. Without a terminal it is silent.
type statusLine struct {
	w    io.Writer
	stop chan struct{}
	wait sync.WaitGroup
	mu   sync.Mutex
	seen int64
	all  int64 // how many are to be seen; 0 is not known
	size int64
}

func newStatus(w io.Writer, doing string) *statusLine {
	s := &statusLine{w: w, stop: make(chan struct{})}
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.wait.Go(func() { s.show(doing) })
	return s
}

func (s *statusLine) show(doing string) {
	start := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	shown := false
	for {
		select {
		case <-s.stop:
			if shown {
				fmt.Fprint(s.w, "\r\x1b[K")
			}
			return
		case <-tick.C:
		}
		if time.Since(start) < time.Second {
			continue
		}
		shown = true
		s.mu.Lock()
		seen, all, size := s.seen, s.all, s.size
		s.mu.Unlock()
		line := fmt.Sprintf("%s, %.0f s", doing, time.Since(start).Seconds())
		if all > 0 {
			line += fmt.Sprintf(", %s of %s", human.Count(seen), human.Count(all))
		} else if seen > 0 {
			line += ", " + human.Plural(seen, "change", "changes")
		}
		if size > 0 {
			line += ", " + human.Bytes(size)
		}
		fmt.Fprintf(s.w, "\r%s\x1b[K", line)
	}
}

// count notes one more result.
func (s *statusLine) count() {
	s.mu.Lock()
	s.seen++
	s.mu.Unlock()
}

// seenSoFar notes how many results there are.
func (s *statusLine) seenSoFar(n int) {
	s.mu.Lock()
	s.seen = int64(n)
	s.mu.Unlock()
}

// of notes how many results there will be.
func (s *statusLine) of(n int) {
	s.mu.Lock()
	s.all = int64(n)
	s.mu.Unlock()
}

// set notes how many bytes are done.
func (s *statusLine) set(bytes int64) {
	s.mu.Lock()
	s.size = bytes
	s.mu.Unlock()
}

// reader notes how many bytes are read of r.
func (s *statusLine) reader(r io.Reader) io.Reader { return &statusReader{r, s, 0} }

type statusReader struct {
	io.Reader
	status *statusLine
	n      int64
}

func (r *statusReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n += int64(n)
	r.status.set(r.n)
	return n, err
}

// done takes the line away. Further calls do nothing.
func (s *statusLine) done() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.wait.Wait()
}
