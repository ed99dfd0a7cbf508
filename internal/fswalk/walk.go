package fswalk

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// ahead is how many results may wait for the consumer before the workers stop:
// enough for them to be busy while one of them reads a large directory, little
// enough to bound memory.
const ahead = 1 << 14

// recycled is how many emptied lists wait to be filled again at most, and of how
// many items: a list may be held by a task that needs little of it.
const recycled, recycledItems = 64, 512

// Items is what the expansion of one node adds to the result: values and child
// nodes, in path order.
type Items[N, T any] struct {
	list  []item[N, T]
	extra int
}

type item[N, T any] struct {
	value T
	child *task[N, T] // nil: a value
}

// Grow makes room for n more results, if they are likely to come.
func (i *Items[N, T]) Grow(n int) { i.list = slices.Grow(i.list, n) }

// Value adds a result.
func (i *Items[N, T]) Value(v T) { i.list = append(i.list, item[N, T]{value: v}) }

// Weigh makes what was added count for n results more of those that may wait for the
// consumer: the paths of a deep tree take more memory than all else.
func (i *Items[N, T]) Weigh(n int) { i.extra += n }

// Child adds a node whose own results come at this place.
func (i *Items[N, T]) Child(n N) {
	i.list = append(i.list, item[N, T]{child: &task[N, T]{node: n}})
}

// Share is how much of one directory an expansion should do at most. A larger one
// it splits into nodes for parts of it, so that several workers have something to
// do and results do not pile up.
const Share = 4096

// Expand reads one node. It is called from several goroutines at once, for
// different nodes.
type Expand[N, T any] func(ctx context.Context, node N, items *Items[N, T]) error

// Ordered expands a tree from root with the given number of workers (0: one a
// CPU) and yields its values in path order: what a node's expansion added, in
// its order, with the values of a child at the place where it was added.
//
// An error ends the sequence as its last element. Breaking off stops the
// workers; none of them outlives the range statement. A panic in expand is
// raised again in the ranging goroutine.
func Ordered[N, T any](ctx context.Context, workers int, root N, expand Expand[N, T]) iter.Seq2[T, error] {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		// The consumer expands what it needs and nobody has begun, so it is a
		// worker itself, and the only one while a tree is small.
		w := &walk[N, T]{expand: expand, workers: workers, spare: workers - 1}
		w.work.L, w.done.L = &w.mu, &w.mu
		defer w.wait.Wait()
		defer w.stop()
		defer cancel()
		w.drain(ctx, &task[N, T]{node: root}, yield)
	}
}

type taskState uint8

const (
	waiting taskState = iota
	running
	expanded
)

// task is one node. What run writes is read only after state is expanded.
type task[N, T any] struct {
	node  N
	state taskState // guarded by walk.mu
	ready int       // what it adds to walk.ready; guarded by walk.mu
	items []item[N, T]
	extra int // see Items.Weigh
	taken int // of the items, by the consumer
	err   error
	panic any
}

type walk[N, T any] struct {
	expand Expand[N, T]
	wait   sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond     // something is pending, or the walk stops
	done    sync.Cond     // a worker expanded something; the consumer waits here
	pending []*task[N, T] // a stack: what comes first in path order is on top
	ready   int           // results that wait for the consumer
	spare   int           // workers that may still be started
	workers int
	stopped bool
	lists   [][]item[N, T] // emptied ones, to be filled again
}

// drain yields the results of root and all below it, in order.
func (w *walk[N, T]) drain(ctx context.Context, root *task[N, T], yield func(T, error) bool) {
	var none struct {
		node  N
		value T
	}
	stack := []*task[N, T]{root}
	err := w.finish(ctx, root)
	for len(stack) > 0 {
		if err != nil {
			yield(none.value, err)
			return
		}
		t := stack[len(stack)-1]
		if t.taken == len(t.items) {
			stack = stack[:len(stack)-1]
			w.recycle(t.items)
			t.node, t.items = none.node, nil // state is still looked at by workers
			continue
		}
		next := t.items[t.taken]
		t.items[t.taken] = item[N, T]{} // what was yielded is not held until the parent is done
		t.taken++
		if next.child != nil {
			stack = append(stack, next.child)
			err = w.finish(ctx, next.child)
		} else if !yield(next.value, nil) {
			return
		}
	}
}

// finish returns when t is expanded. If no worker has begun it, the consumer
// does so itself; while a worker is at it, the consumer works ahead.
func (w *walk[N, T]) finish(ctx context.Context, t *task[N, T]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.state == waiting {
		w.run(ctx, t)
	}
	for t.state != expanded {
		if !w.workAhead(ctx) {
			w.done.Wait()
		}
	}
	if w.ready -= t.ready; t.ready > 0 {
		w.work.Broadcast()
	}
	if t.panic != nil {
		panic(t.panic)
	}
	return t.err
}

// run expands t and offers its children. The walk is locked, except while t is
// being expanded.
func (w *walk[N, T]) run(ctx context.Context, t *task[N, T]) {
	t.state = running
	items := Items[N, T]{list: w.spareList()}
	w.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			t.panic = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
		}
		w.mu.Lock()
		t.state = expanded
		w.offer(ctx, t)
	}()
	if t.err = ctx.Err(); t.err != nil {
		return
	}
	t.err = w.expand(ctx, t.node, &items)
	t.items, t.extra = items.list, items.extra
}

// recycle keeps an emptied list for another task, a few at most.
func (w *walk[N, T]) recycle(list []item[N, T]) {
	if cap(list) == 0 || cap(list) > recycledItems {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lists) < recycled {
		w.lists = append(w.lists, list[:0])
	}
}

// spareList returns an empty list, nil if there is none. The walk is locked.
func (w *walk[N, T]) spareList() (list []item[N, T]) {
	if n := len(w.lists); n > 0 {
		list, w.lists[n-1] = w.lists[n-1], nil
		w.lists = w.lists[:n-1]
	}
	return list
}

// offer puts t's children on the stack, the first on top, and starts workers
// for them if there may be more. The walk is locked.
func (w *walk[N, T]) offer(ctx context.Context, t *task[N, T]) {
	if w.workers == 1 {
		return
	}
	w.dropBegun()
	before := len(w.pending)
	for i := len(t.items) - 1; i >= 0; i-- {
		if c := t.items[i].child; c != nil {
			w.pending = append(w.pending, c)
		}
	}
	for n := len(w.pending) - before; n > 0 && !w.stopped; n-- {
		if w.spare > 0 {
			w.spare--
			w.wait.Go(func() { w.worker(ctx) })
		} else {
			w.work.Signal()
		}
	}
}

// dropBegun takes from the top of the stack what the consumer has begun.
func (w *walk[N, T]) dropBegun() {
	n := len(w.pending)
	for ; n > 0 && w.pending[n-1].state != waiting; n-- {
		w.pending[n-1] = nil
	}
	w.pending = w.pending[:n]
}

// worker works ahead until the walk stops.
func (w *walk[N, T]) worker(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.stopped {
		if w.workAhead(ctx) {
			w.done.Signal()
		} else {
			w.work.Wait()
		}
	}
}

// workAhead expands the first pending task in path order, unless there is none
// or the consumer is too far behind. The walk is locked.
func (w *walk[N, T]) workAhead(ctx context.Context) bool {
	w.dropBegun()
	n := len(w.pending)
	if n == 0 || w.ready >= ahead {
		return false
	}
	t := w.pending[n-1]
	w.pending[n-1] = nil
	w.pending = w.pending[:n-1]
	w.run(ctx, t)
	t.ready = len(t.items) + t.extra + 1
	w.ready += t.ready
	return true
}

func (w *walk[N, T]) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.work.Broadcast()
}
