package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leaked is the exit status of a test binary that left something behind.
const leaked = 99

// private is the directory of this process: TMPDIR and the scratch file
// systems are in it. Packages are tested by several processes at once, so
// "what this process left" is what mentions this path.
var private string

const privatePrefix = "overlaydiff-"

// Main runs the tests of a package and exits. It fails if a goroutine, a
// descriptor, a mount, a loop device or a temporary file is there that was not
// there before.
//
// As root, the tests run in a mount namespace of their own.
func Main(m *testing.M) {
	if status, done := namespaced(); done {
		os.Exit(status)
	}
	os.Exit(run(m.Run))
}

func run(tests func() int) int {
	dir := ""
	err := alone()
	if err == nil {
		dir, err = os.MkdirTemp("", privatePrefix)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "tmp"), 0o755)
	}
	if err == nil {
		err = os.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return leaked
	}
	private = dir
	syscall.Umask(0o022) // modes of what the tests make are expected to the bit
	before := TakeInventory()
	code := tests()
	if err := errors.Join(before.Leaks(), leftovers()); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: the tests left something behind:")
		fmt.Fprintln(os.Stderr, err)
		return leaked
	}
	return code
}

// leftovers takes the scratch file systems down, and the private directory
// with them, and returns what else was in it.
func leftovers() error {
	var errs []error
	names, err := os.ReadDir(os.TempDir())
	errs = append(errs, err)
	for _, n := range names {
		path := filepath.Join(os.TempDir(), n.Name())
		if fuzzing() && strings.HasPrefix(n.Name(), privatePrefix) && len(mountsBelow(path)) == 0 {
			errs = append(errs, os.RemoveAll(path)) // of a fuzz worker, which go test kills if it does not end at once
			continue
		}
		errs = append(errs, fmt.Errorf("temporary file %s", path))
	}
	for _, m := range mountsBelow(private) {
		if !isVolume(m) {
			errs = append(errs, fmt.Errorf("mount %s", m), syscall.Unmount(m, syscall.MNT_DETACH))
		}
	}
	errs = append(errs, unmountVolumes())
	// The kernel frees a loop device after the last close, which may be udev's.
	for wait := time.Millisecond; len(loops()) > 0 && wait < 4*time.Second; wait *= 2 {
		time.Sleep(wait)
	}
	for _, l := range loops() {
		errs = append(errs, fmt.Errorf("loop device %s", l))
	}
	if left := mountsBelow(private); len(left) > 0 { // never remove what is mounted there
		return errors.Join(append(errs, fmt.Errorf("mounts %q", left))...)
	}
	return errors.Join(append(errs, os.RemoveAll(private))...)
}

// mountsBelow returns the mount points of all mounts that mention dir, as
// mount point, source or option, last mounted first.
func mountsBelow(dir string) []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(line, dir+"/") {
			points = append([]string{unescapeOctal(f[4])}, points...)
		}
	}
	return points
}

// unescapeOctal undoes the \ooo of mountinfo.
func unescapeOctal(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// loops returns the loop devices whose backing file is ours.
func loops() []string {
	var found []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), private+"/") {
			found = append(found, f)
		}
	}
	return found
}
