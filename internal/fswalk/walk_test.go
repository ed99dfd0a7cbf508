package fswalk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// synthetic expands a tree in which node n has fan children down to depth.
func synthetic(fan, depth int, slow time.Duration) Expand[string, string] {
	return func(_ context.Context, node string, items *Items[string, string]) error {
		if strings.Count(node, "/") >= depth {
			return nil
		}
		for i := range fan {
			path := fmt.Sprintf("%s/%d", node, i)
			if i%3 == 1 {
				time.Sleep(slow)
			}
			items.Value(path)
			items.Child(path)
		}
		return nil
	}
}

func TestOrderedIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	noLeaks(t)
	var want []string
	for workers := range 9 {
		var got []string
		for path, err := range Ordered(t.Context(), workers, "", synthetic(5, 5, 10*time.Microsecond)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, path)
		}
		if want == nil {
			want = got
			if len(got) != 5+25+125+625+3125 {
				t.Fatalf("%d values", len(got))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d workers: other values or another order", workers)
		}
	}
}

func TestOrderedBreakStopsWorkers(t *testing.T) {
	noLeaks(t)
	for stop := range 40 {
		n := 0
		for range Ordered(t.Context(), 4, "", synthetic(6, 4, time.Microsecond)) {
			if n++; n > stop {
				break
			}
		}
	}
}

func TestOrderedErrorComesLastAndInItsPlace(t *testing.T) {
	noLeaks(t)
	boom := errors.New("boom")
	expand := func(ctx context.Context, node string, items *Items[string, string]) error {
		if node == "/2/1" {
			return boom
		}
		return synthetic(4, 3, 0)(ctx, node, items)
	}
	var last string
	var failed error
	for path, err := range Ordered(t.Context(), 3, "", expand) {
		if failed != nil {
			t.Fatal("something came after the error")
		}
		if failed = err; err == nil {
			last = path
		}
	}
	if !errors.Is(failed, boom) || last != "/2/1" {
		t.Errorf("got %v after %q, want boom after /2/1", failed, last)
	}
}

func TestOrderedCancelled(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	n := 0
	for _, err := range Ordered(ctx, 3, "", synthetic(5, 6, time.Microsecond)) {
		if n++; n == 100 {
			cancel()
		}
		failed = err
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", failed)
	}
}

func TestOrderedPanicReachesTheRangingGoroutine(t *testing.T) {
	noLeaks(t)
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "on purpose") {
			t.Errorf("recovered %q", p)
		}
	}()
	for range Ordered(t.Context(), 3, "", func(ctx context.Context, node string, items *Items[string, string]) error {
		if node == "/3/1" {
			panic("on purpose")
		}
		return synthetic(5, 3, 0)(ctx, node, items)
	}) {
	}
	t.Error("no panic")
}

// Memory is bounded: a slow consumer holds the workers back.
func TestOrderedWaitsForTheConsumer(t *testing.T) {
	noLeaks(t)
	const workers, fan = 3, 2*ahead + 1000
	var count atomic.Int64
	expand := func(_ context.Context, node string, items *Items[string, string]) error {
		count.Add(1)
		if node == "" {
			for range fan {
				items.Child("x")
			}
		}
		items.Value(node)
		return nil
	}
	for range Ordered(t.Context(), workers, "", expand) {
		for last := int64(-1); last != count.Load(); time.Sleep(20 * time.Millisecond) {
			last = count.Load()
		}
		break
	}
	if n := count.Load(); n > 1+ahead+workers {
		t.Errorf("%d nodes expanded for one value", n)
	}
}

// What was yielded is not held until the walk is over: memory follows the width
// of the tree, not its size.
func TestOrdered_LetsGo(t *testing.T) {
	const nodes, values, size = 200, 10, 64 << 10
	expand := func(_ context.Context, depth int, out *Items[int, []byte]) error {
		for range nodes {
			if depth == 0 {
				out.Child(1)
			}
		}
		for range values * depth {
			out.Value(make([]byte, size))
		}
		return nil
	}
	var most, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	before, seen := now.HeapAlloc, 0
	for _, err := range Ordered(t.Context(), 1, 0, expand) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == nodes*values*9/10 {
			runtime.GC()
			runtime.ReadMemStats(&most)
		}
	}
	if held := int64(most.HeapAlloc) - int64(before); held > nodes*values*size/10 {
		t.Errorf("%d bytes are held of %d that were yielded", held, nodes*values*size)
	}
}

// noLeaks has the test fail if it leaves goroutines.
func noLeaks(t *testing.T) {
	inv := testenv.TakeInventory()
	t.Cleanup(func() {
		if err := inv.Leaks(); err != nil {
			t.Error(err)
		}
	})
}
