package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mkfs has the file systems that are made in an image file. ext4 has its inodes
// when it is made, and they must be enough for an image of small files.
var mkfs = map[string][]string{
	"ext4":  {"mkfs.ext4", "-q", "-F", "-i", "4096", "-E", "nodiscard"},
	"xfs":   {"mkfs.xfs", "-q", "-f", "-K"},
	"btrfs": {"mkfs.btrfs", "-q", "-f", "-K"},
}

// scratch returns an empty directory on a new file system of the kind, which is
// there until the test ends. A file system in a file is where temporary files
// are: for a cold cache to mean anything, on a disk.
func scratch(tb testing.TB, fs string) string {
	tb.Helper()
	dir := tb.TempDir()
	point := filepath.Join(dir, "mount")
	must(tb, os.Mkdir(point, 0o755))
	if fs == "tmpfs" {
		must(tb, mount("bench", point, fs, "mode=755,size=100%,nr_inodes=0"))
	} else {
		command, known := mkfs[fs]
		if !known {
			tb.Fatalf("no benchmark knows how to make a file system %q", fs)
		}
		image := filepath.Join(dir, "image")
		must(tb, os.WriteFile(image, nil, 0o600))
		must(tb, os.Truncate(image, 8<<30)) // sparse
		must(tb, run(command[0], append(command[1:len(command):len(command)], image)...))
		must(tb, run("mount", "-o", "loop,nodev", "-t", fs, image, point))
	}
	tb.Cleanup(func() { must(tb, unmount(point)) })
	work := filepath.Join(point, "b") // ext4 has lost+found at its root
	must(tb, os.Mkdir(work, 0o755))
	return work
}

func mount(source, point, fs, options string) error {
	if err := syscall.Mount(source, point, fs, syscall.MS_NODEV, options); err != nil {
		return &os.PathError{Op: "mount " + fs, Path: point, Err: err}
	}
	return nil
}

// unmount waits a moment for who else looks at the mount.
func unmount(point string) error {
	err := syscall.Unmount(point, 0)
	for wait := time.Millisecond; err == syscall.EBUSY && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait)
		err = syscall.Unmount(point, 0)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: point, Err: err}
	}
	return nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// forget makes the kernel forget cached pages, names and inodes. What is dirty
// can't be, so that is written first. On tmpfs it has no effect.
func forget() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
}

// peak returns by how much the resident memory of the process grew at most
// while f ran: the heap of Go with what it has not given back, and all else.
func peak(f func() error) (int64, error) {
	// 5 sets VmHWM, the peak, back to what is resident now.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5\n"), 0); err != nil {
		return 0, err
	}
	before, err := Resident("VmHWM:")
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := Resident("VmHWM:")
	return max(0, after-before), err
}

// Resident returns a line of /proc/self/status in bytes.
func Resident(key string) (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), key)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("/proc/self/status has no %s", key)
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
