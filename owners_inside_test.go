package overlaydiff

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/diff/difftest"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// insideIDs are those of a container to whom nearly every id is another one, and none is
// nobody's.
var insideIDs = []diff.IDRange{
	{Container: 0, Host: 100_000, Size: 100_000}, {Container: 100_000, Host: 0, Size: 100_000}, {Container: 200_000, Host: 200_000, Size: 1<<31 - 1 - 200_000},
}

// applyEnv makes the test binary apply the layer that is its standard input to the directory
// that is open as its descriptor 3.
const applyEnv = "OVERLAYDIFF_TEST_APPLY"

func applyInside() int {
	if _, err := layer.ApplyAt(context.Background(), os.Stdin, 3, "the tree", layer.ApplyOptions{KeepMarks: true}); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// appliedInside applies a layer as root of the container.
func appliedInside(ctx context.Context) func(io.Reader, string) error {
	return func(r io.Reader, dir string) error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		cmd := exec.CommandContext(ctx, "/proc/self/exe")
		cmd.Env = append(os.Environ(), applyEnv+"=1")
		cmd.Stdin, cmd.ExtraFiles = r, []*os.File{d}
		var ids []syscall.SysProcIDMap
		for _, m := range insideIDs {
			ids = append(ids, syscall.SysProcIDMap{ContainerID: int(m.Container), HostID: int(m.Host), Size: int(m.Size)})
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
			GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("in the user namespace: %w: %s", err, out)
		}
		return nil
	}
}

// checkInside has a layer with a container's ids replayed in the container's user namespace.
func checkInside(tb testing.TB, v difftest.View) error {
	if err := testable(v.Old); err != nil {
		return err
	}
	v.Stack.Container = diff.IDMap{Users: insideIDs, Groups: insideIDs}
	l, _, err := exported(tb, v, Native, layer.ExportOptions{})
	if err != nil {
		return err
	}
	for h, err := range headers(bytes.NewReader(l.Archive)) {
		switch {
		case err != nil:
			return err
		case h.Typeflag == tar.TypeChar, h.Typeflag == tar.TypeBlock:
			return outside("make the device " + h.Name)
		}
		for name := range h.PAXRecords {
			if strings.HasPrefix(name, "SCHILY.xattr.trusted.") {
				return outside("give an attribute " + name + " to " + h.Name)
			}
		}
	}
	return v.Replay(tb.Context(), l, appliedInside(tb.Context()))
}

// testable returns an error if root of a container can't take away an attribute in a tree.
func testable(tree string) error {
	return filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names, err := xattr.LList(path)
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "trusted.") }) {
			err = outside("take an attribute from " + path)
		}
		if errors.Is(err, fs.ErrNotExist) { // a name that the mount lists and has not
			return nil
		}
		return err
	})
}

// outside says that root of a container may not do something.
func outside(what string) error {
	return &diff.UnsupportedError{Op: what, Reason: "in a user namespace nobody may"}
}

// Layers of random overlays, with and without id-mapped lower layers, with the ids of a
// container: applied by its root, they give what the mount shows.
func TestLayers_RandomInside(t *testing.T) {
	did := 0
	difftest.RunRandom(t, difftest.RandomOptions{Cases: 8, IDMaps: idMaps, Needs: []testenv.Need{testenv.MappedACLs}, Checks: map[string]difftest.Check{
		"inside": func(tb testing.TB, v difftest.View) error {
			err := checkInside(tb, v)
			if err == nil {
				did++
			}
			return err
		},
	}}, nil)
	t.Logf("%d layers were applied in the user namespace", did)
}
