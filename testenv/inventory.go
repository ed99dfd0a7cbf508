package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/goleak"
)

// Inventory is what a process holds at one moment: goroutines and descriptors.
type Inventory struct {
	goroutines goleak.Option
	fds        map[string]int // how many descriptors lead to a target
}

// TakeInventory notes what the process holds now.
func TakeInventory() *Inventory {
	return &Inventory{goroutines: goleak.IgnoreCurrent(), fds: openFiles()}
}

// Leaks returns an error that names what the process holds and did not hold
// when the inventory was taken. Goroutines get a moment to end.
func (inv *Inventory) Leaks() error {
	// The testing package watches the time of a test in a goroutine of its own.
	errs := []error{goleak.Find(inv.goroutines, goleak.IgnoreAnyFunction("testing.(*M).startAlarm.func1"))}
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
