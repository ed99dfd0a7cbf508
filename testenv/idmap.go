package testenv

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// IDMapped mounts a copy of the directory source, on which users and groups are mapped,
// and returns where: ids is "CONTAINER:HOST:SIZE", several separated by commas. A file
// that CONTAINER owns in source is shown as HOST's. The test is skipped where the kernel
// or the file system can't.
func IDMapped(tb testing.TB, fs FS, source, ids string) (point string) {
	tb.Helper()
	point, err := TryIDMapped(tb, source, ids)
	switch {
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL): // the kernel, the file system
		Absent(tb, fs, IDMaps)
	case err != nil:
		tb.Fatal(err)
	}
	return point
}

// TryIDMapped is [IDMapped] that returns the error of a kernel or a file system which
// can't.
func TryIDMapped(tb testing.TB, source, ids string) (point string, err error) {
	tb.Helper()
	RequireRoot(tb)
	var lines []syscall.SysProcIDMap
	for line := range strings.SplitSeq(ids, ",") {
		var l syscall.SysProcIDMap
		if _, err := fmt.Sscanf(line, "%d:%d:%d", &l.ContainerID, &l.HostID, &l.Size); err != nil {
			tb.Fatalf("ids %q: %v", line, err)
		}
		lines = append(lines, l)
	}
	namespace, err := sys.NewUserNamespace(lines, lines)
	if err != nil {
		tb.Fatalf("make a user namespace: %v", err)
	}
	defer namespace.Close()
	dir, err := os.Open(source)
	if err != nil {
		tb.Fatal(err)
	}
	defer dir.Close()
	tree, err := mounting.Copy(int(dir.Fd()))
	if err == nil {
		defer sys.Close(tree)
		err = mounting.MapIDs(tree, int(namespace.Fd()))
	}
	if err != nil {
		return "", fmt.Errorf("map the ids of %s: %w", source, err)
	}
	point, err = os.MkdirTemp("", "mapped")
	if err != nil {
		tb.Fatal(err)
	}
	if err := mounting.Attach(tree, point); err != nil {
		tb.Fatalf("mount %s at %s: %v", source, point, err)
	}
	tb.Cleanup(func() {
		Unmount(tb, point)
		if err := os.Remove(point); err != nil {
			tb.Error(err)
		}
	})
	return point, nil
}
