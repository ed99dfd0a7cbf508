package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// FS names a file system that layers can be on.
type FS string

// The file systems that tests run on.
const (
	Tmpfs FS = "tmpfs"
	Ext4  FS = "ext4"
	XFS   FS = "xfs"
	Btrfs FS = "btrfs"
)

// volume is a mounted file system, made when a test first asks for it.
type volume struct {
	size int64    // of the image; sparse, so large costs nothing
	mkfs []string // nil: needs no image
	once sync.Once
	err  error
}

// XFS refuses images below 300 MB. ext4 is made without a journal: nothing here
// survives a crash, and overlayfs syncs each copy-up.
var volumes = map[FS]*volume{
	Tmpfs: {size: 1 << 30},
	Ext4:  {size: 512 << 20, mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "nodiscard"}},
	XFS:   {size: 512 << 20, mkfs: []string{"mkfs.xfs", "-q", "-f", "-K"}},
	Btrfs: {size: 512 << 20, mkfs: []string{"mkfs.btrfs", "-q", "-f", "-K"}},
}

// FileSystems returns the file systems to test on: all, or those which
// OVERLAYDIFF_FS lists.
func FileSystems() []FS {
	all := []FS{Tmpfs, Ext4, XFS, Btrfs}
	only := os.Getenv("OVERLAYDIFF_FS")
	if only == "" {
		return all
	}
	return slices.DeleteFunc(all, func(fs FS) bool {
		return !slices.Contains(strings.Split(only, ","), string(fs))
	})
}

// EachFS runs the test once per file system, as a subtest named after it.
func EachFS(t *testing.T, test func(t *testing.T, fs FS)) {
	t.Helper()
	for _, fs := range FileSystems() {
		t.Run(string(fs), func(t *testing.T) { test(t, fs) })
	}
}

// Scratch returns a new empty directory on a file system of the kind, which is
// removed when the test ends.
func Scratch(tb testing.TB, fs FS) string {
	tb.Helper()
	RequireRoot(tb)
	if private == "" {
		tb.Fatal("this package has no TestMain that calls testenv.Main")
	}
	v := volumes[fs]
	if v == nil {
		tb.Fatalf("no file system %q", fs)
	}
	if v.mkfs != nil && Disk(string(fs)) == "" {
		if _, err := exec.LookPath(v.mkfs[0]); err != nil {
			missing(tb, fmt.Sprintf("needs %s to make a file system: %v", v.mkfs[0], err))
		}
	}
	v.once.Do(func() { v.err = v.mount(fs) })
	if v.err != nil {
		missing(tb, fmt.Sprintf("needs a %s: %v", fs, v.err))
	}
	dir, err := os.MkdirTemp(mountpoint(fs), "t")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func mountpoint(fs FS) string { return filepath.Join(private, string(fs)) }

// mount mounts the file system, without devices: what a random test makes with
// mknod must never be opened.
func (v *volume) mount(fs FS) error {
	dir := mountpoint(fs)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if v.mkfs == nil {
		return mountTmpfs(dir, fmt.Sprintf("mode=755,size=%d", v.size))
	}
	if disk := Disk(string(fs)); disk != "" {
		return pathError("mount "+disk, dir, syscall.Mount(disk, dir, string(fs), syscall.MS_NODEV, ""))
	}
	image, err := v.image(fs)
	if err != nil {
		return err
	}
	return command("mount", "-t", string(fs), "-o", "loop,nodev", image, dir)
}

// MemoryDir returns a new empty directory in memory, which is removed when the test
// ends. Unlike [Scratch] it mounts nothing: for fuzz targets, whose workers have no
// mount namespace of their own and make many files.
func MemoryDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", privatePrefix)
	if err != nil {
		tb.Fatalf("a directory in memory: %v; mount a tmpfs on /dev/shm", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// Disk returns the block device that OVERLAYDIFF_DISKS, a directory, has by
// this name; "" if there is none. Virtual machines have one for each file
// system that needs one, already made, and a spare one.
func Disk(name string) string {
	dir := os.Getenv("OVERLAYDIFF_DISKS")
	if dir == "" {
		return ""
	}
	disk := filepath.Join(dir, name)
	if _, err := os.Stat(disk); err != nil {
		return ""
	}
	return disk
}

// image makes the file system in a file, on a tmpfs (the Tmpfs volume may be
// full of something), so that a sync costs nothing.
func (v *volume) image(fs FS) (string, error) {
	dir := filepath.Join(private, "images-"+string(fs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if err := mountTmpfs(dir, "mode=700"); err != nil {
		return "", err
	}
	image := filepath.Join(dir, "image")
	f, err := os.Create(image)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Truncate(v.size), f.Close()); err != nil {
		return "", err
	}
	return image, command(v.mkfs[0], append(v.mkfs[1:len(v.mkfs):len(v.mkfs)], image)...)
}

func mountTmpfs(dir, options string) error {
	return pathError("mount tmpfs", dir, syscall.Mount("overlaydiff", dir, "tmpfs", syscall.MS_NODEV, options))
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func isVolume(point string) bool {
	rel, err := filepath.Rel(private, point)
	return err == nil && !strings.Contains(rel, "/") && rel != ".."
}

// unmountVolumes takes down what mount made: a file system before its image.
func unmountVolumes() error {
	var errs []error
	for _, point := range mountsBelow(private) {
		if !isVolume(point) {
			continue
		}
		if err := unmount(point); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err), syscall.Unmount(point, syscall.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// unmount unmounts point. Somebody else may be looking at it for a moment: a
// scan of all mounts, a path lookup that is not over.
func unmount(point string) error {
	err := syscall.Unmount(point, 0)
	for wait := time.Millisecond; err == syscall.EBUSY && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait)
		err = syscall.Unmount(point, 0)
	}
	return err
}
