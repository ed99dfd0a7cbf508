package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Overlay describes an overlay mount.
type Overlay struct {
	Lower []string // topmost first
	Data  []string // data-only layers, first searched first
	// Upper is made if it is missing. "" is a read-only overlay.
	Upper string
	// Work is made if it is missing; "" with an Upper is Upper + ".work".
	Work    string
	Options string // further mount options, separated by commas
}

// Mount mounts the overlay in a new directory and returns that. It is
// unmounted when the test ends, or before by [Unmount]. A list of layers that
// does not fit into a mount option is given by short relative names, so that
// up to 500 layers work.
func Mount(tb testing.TB, o Overlay) (merged string) {
	tb.Helper()
	RequireRoot(tb)
	if o.Upper != "" && o.Work == "" {
		o.Work = o.Upper + ".work"
	}
	for _, dir := range []string{o.Upper, o.Work} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	merged, err := os.MkdirTemp("", "merged")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		Unmount(tb, merged)
		if err := os.Remove(merged); err != nil {
			tb.Error(err)
		}
	})
	if err := mountOverlay(o, merged); err != nil {
		tb.Fatal(err)
	}
	return merged
}

// TryMount says whether the overlay can be mounted here at all.
func TryMount(tb testing.TB, o Overlay) error {
	tb.Helper()
	RequireRoot(tb)
	merged := tb.TempDir()
	err := mountOverlay(o, merged)
	Unmount(tb, merged)
	return err
}

// Unmount unmounts what [Mount] mounted; it does nothing if nothing is mounted there.
func Unmount(tb testing.TB, merged string) {
	tb.Helper()
	switch err := unmount(merged); err {
	case nil, syscall.EINVAL: // EINVAL: not mounted
	default:
		tb.Errorf("unmount %s: %v", merged, err)
		if err := syscall.Unmount(merged, syscall.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s lazily: %v", merged, err)
		}
	}
}

func mountOverlay(o Overlay, merged string) error {
	options := o.options()
	err := error(nil)
	if len(options) < os.Getpagesize() {
		err = syscall.Mount("overlay", merged, "overlay", syscall.MS_NODEV, options)
	} else {
		err = mountShort(o, merged)
	}
	if err != nil {
		return &os.PathError{Op: "mount", Path: fmt.Sprintf("overlay (%.200s)", options), Err: err}
	}
	return nil
}

func (o Overlay) options() string {
	escapeList := strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	options := "lowerdir="
	for i, dir := range o.Lower {
		options += strings.Repeat(":", min(i, 1)) + escapeList.Replace(dir)
	}
	for _, dir := range o.Data {
		options += "::" + escapeList.Replace(dir)
	}
	if o.Upper != "" {
		options += ",upperdir=" + escape.Replace(o.Upper) + ",workdir=" + escape.Replace(o.Work)
	}
	if o.Options != "" {
		options += "," + o.Options
	}
	return options
}

// mountShort mounts with layers named 0, 1, 2, … relative to a directory of
// symbolic links. The working directory is changed for one thread only, which
// ends with its goroutine because it is never unlocked.
func mountShort(o Overlay, merged string) error {
	dir, err := os.MkdirTemp("", "layers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	short := Overlay{Options: o.Options}
	link := func(name, target string) string {
		if err == nil && target != "" {
			err = os.Symlink(target, filepath.Join(dir, name))
			return name
		}
		return target
	}
	for i, target := range o.Lower {
		short.Lower = append(short.Lower, link(strconv.Itoa(i), target))
	}
	for i, target := range o.Data {
		short.Data = append(short.Data, link("d"+strconv.Itoa(i), target))
	}
	short.Upper, short.Work = link("u", o.Upper), link("w", o.Work)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_FS)
		if err == nil {
			err = syscall.Chdir(dir)
		}
		if err == nil {
			err = syscall.Mount("overlay", merged, "overlay", syscall.MS_NODEV, short.options())
		}
		done <- err
	}()
	return <-done
}
