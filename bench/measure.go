package bench

import (
	"context"
	"runtime/debug"
	"testing"
)

// Measure checks the subjects of a task on a scene, then times each of them as
// a sub-benchmark. One whose answer is wrong is timed too, and marked: a column
// "wrong" has how many paths or numbers are, "unchanged" how many it lists
// needlessly, "error" is 1 if it gave up. log is told what.
func Measure(b *testing.B, t Task, s *Scene) {
	b.Helper()
	ours := Ask(b.Context(), t.Right(), s)
	must(b, ours.Err)
	for _, subject := range t.Subjects {
		var v Verdict
		if !subject.Limit {
			v = t.Compare(ours, Ask(b.Context(), subject, s))
		}
		b.Run("subject="+subject.Name, func(b *testing.B) { measure(b, subject, s, v) })
	}
}

func measure(b *testing.B, subject Subject, s *Scene, v Verdict) {
	if text := v.String(); text != "right" {
		b.Log(text)
	}
	memory, err := peakOf(b.Context(), subject, s)
	if (err != nil) != (v.Err != nil) {
		b.Fatalf("error %v, and %v the time before", err, v.Err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if s.Cold {
			b.StopTimer()
			must(b, forget())
			b.StartTimer()
		}
		if _, err := subject.Run(b.Context(), s, nil); (err != nil) != (v.Err != nil) {
			b.Fatalf("error %v, and %v the time before", err, v.Err)
		}
		if subject.Clean != nil {
			b.StopTimer()
			must(b, subject.clean(s))
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(memory), "peak-B")
	b.ReportMetric(float64(v.Wrong()), "wrong")
	if len(v.Unchanged) > 0 {
		b.ReportMetric(float64(len(v.Unchanged)), "unchanged")
	}
	if v.Err != nil {
		b.ReportMetric(1, "error")
	}
}

// peakOf returns how much memory one run takes at most. What earlier runs left
// is given back to the system first, and would count as this one's otherwise.
func peakOf(ctx context.Context, subject Subject, s *Scene) (int64, error) {
	debug.FreeOSMemory()
	var failed error
	n, err := peak(func() error {
		_, failed = subject.Run(ctx, s, nil)
		return nil
	})
	if failed != nil {
		err = failed
	}
	if cerr := subject.clean(s); err == nil {
		err = cerr
	}
	return n, err
}
