package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Inventory is what a process holds at one moment: goroutines and descriptors.
type Inventory struct {
	goroutines map[string]string // stacks, by number
	fds        map[string]int    // how many descriptors lead to a target
}

// TakeInventory notes what the process holds now.
func TakeInventory() *Inventory {
	return &Inventory{goroutines: goroutines(), fds: openFiles()}
}

// Leaks returns an error that names what the process holds and did not hold
// when the inventory was taken. Goroutines get a moment to end.
func (inv *Inventory) Leaks() error {
	errs := []error{inv.running()}
	for target, n := range openFiles() {
		if more := n - inv.fds[target]; more > 0 {
			errs = append(errs, fmt.Errorf("%d open descriptors of %s", more, target))
		}
	}
	return errors.Join(errs...)
}

func openFiles() map[string]int {
	fds := map[string]int{}
	names, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range names {
		target, err := os.Readlink(name)
		// Gone: the descriptor that listed them. Anonymous inodes are the
		// runtime's epoll and eventfd, made when first needed and kept.
		if err != nil || strings.HasPrefix(target, "anon_inode:") {
			continue
		}
		fds[target]++
	}
	return fds
}

// theirs are functions of goroutines that the standard library keeps: the one that watches the
// time of a test, tests that wait for others, and the one that receives signals.
var theirs = []string{"testing.(*M).startAlarm", "testing.(*T).Run(", "os/signal.loop"}

// running waits for goroutines that were started since the inventory, and returns an error with
// their stacks if they do not end.
func (inv *Inventory) running() error {
	var stacks []string
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		stacks = nil
		for id, stack := range goroutines() {
			_, known := inv.goroutines[id]
			if !known && !slices.ContainsFunc(theirs, func(f string) bool { return strings.Contains(stack, f) }) {
				stacks = append(stacks, stack)
			}
		}
		if len(stacks) == 0 {
			return nil
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("%d goroutines did not end:\n%s", len(stacks), strings.Join(stacks, "\n\n"))
}

// goroutines returns the stacks of all goroutines but the calling one.
func goroutines() map[string]string {
	b := make([]byte, 64<<10)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			b = b[:n]
			break
		}
		b = make([]byte, 2*len(b))
	}
	stacks := map[string]string{}
	for i, stack := range strings.Split(string(b), "\n\n") {
		if id, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " "); ok && i > 0 {
			stacks[id] = stack
		}
	}
	return stacks
}
