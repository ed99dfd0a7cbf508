package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"
)

// The environment, see the package's comment.
const (
	BudgetEnv = "OVERLAYDIFF_TORTURE"
	LogEnv    = "OVERLAYDIFF_TORTURE_LOG"
)

// slice is the budget of all tests together where nobody sets one.
const slice = time.Minute

// Area is what a test is about. docs/reliability.md has a table for each.
type Area string

// The areas.
const (
	Races        Area = "races"
	Limits       Area = "depth and width"
	Faults       Area = "faults"
	Kills        Area = "kills"
	Cancellation Area = "cancellation"
	Fuzzing      Area = "fuzzing"
	Privilege    Area = "privilege"
	Soak         Area = "soak"
	Static       Area = "static checks"
)

// Areas returns all of them, in the document's order.
func Areas() []Area {
	return []Area{Races, Limits, Faults, Kills, Cancellation, Fuzzing, Privilege, Soak, Static}
}

// Record is what one test did.
type Record struct {
	Area    Area     `json:"area"`
	Test    string   `json:"test"`
	Counts  []Count  `json:"counts"`
	Notes   []string `json:"notes,omitempty"`
	Failed  bool     `json:"failed"`
	Seconds float64  `json:"seconds"`
}

// Count is how often something was tried: 1,234 "faults injected".
type Count struct {
	Unit string `json:"unit"`
	N    int64  `json:"n"`
}

// Run is a test that is going on. It is not safe for concurrent use.
type Run struct {
	record Record
	start  time.Time
	end    time.Time
	turns  int
}

// Start begins a test that takes percent of the budget, 0 if it takes the time that
// it takes. What it did is recorded when the test ends.
func Start(t *testing.T, area Area, percent int) *Run {
	t.Helper()
	budget := slice
	if s := os.Getenv(BudgetEnv); s != "" {
		var err error
		if budget, err = time.ParseDuration(s); err != nil {
			t.Fatalf("%s: %v; say for example 30m", BudgetEnv, err)
		}
	}
	now := time.Now()
	r := &Run{record: Record{Area: area, Test: t.Name()}, start: now, end: now.Add(budget * time.Duration(percent) / 100)}
	t.Cleanup(func() {
		r.record.Failed = t.Failed()
		r.record.Seconds = time.Since(r.start).Seconds()
		for _, c := range r.record.Counts {
			t.Logf("%d %s", c.N, c.Unit)
		}
		if err := r.record.Append(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// More reports whether there is time for another turn; the first is always done.
func (r *Run) More() bool {
	r.turns++
	return r.turns == 1 || time.Now().Before(r.end)
}

// Whole reports whether somebody set a budget: what doesn't fit in a slice is then
// done, too.
func (r *Run) Whole() bool { return os.Getenv(BudgetEnv) != "" }

// Count notes that n more were tried.
func (r *Run) Count(unit string, n int) {
	for i := range r.record.Counts {
		if r.record.Counts[i].Unit == unit {
			r.record.Counts[i].N += int64(n)
			return
		}
	}
	r.record.Counts = append(r.record.Counts, Count{unit, int64(n)})
}

// Note adds a sentence for the document: what was measured, say.
func (r *Run) Note(format string, args ...any) {
	r.record.Notes = append(r.record.Notes, fmt.Sprintf(format, args...))
}

// Append writes the record to the log, if there is one.
func (r *Record) Append() error {
	name := os.Getenv(LogEnv)
	if name == "" {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
