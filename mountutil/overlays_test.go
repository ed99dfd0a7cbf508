//go:build linux

package mountutil

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"
)

func TestOverlays(t *testing.T) {
	find := func(upper string) []Overlay {
		t.Helper()
		all, err := Overlays(t.Context())
		if err != nil && !errors.Is(err, fs.ErrPermission) { // root of a container may not look at all
			t.Fatal(err)
		}
		return slices.DeleteFunc(all, func(o Overlay) bool { return o.Upper != upper })
	}
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		m := mustMount(t, o)
		// Every child in a namespace of its own sees it, too.
		cmd, out := start(t, "chroot", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, m.Path())
		line(t, out)
		if got := find(o.Upper); len(got) != 1 || got[0].PID != 0 || got[0].Mountpoint != m.Path() {
			t.Errorf("%+v", got)
		}
		_ = cmd.Process.Kill()
	})
	dir := t.TempDir()
	cmd, out := start(t, "inside", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, dir, "l")
	line(t, out)
	if got := find(dir + "/u"); len(got) != 1 || got[0].PID != cmd.Process.Pid || got[0].Mountpoint != dir+"/m" {
		t.Errorf("in another namespace: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Overlays(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	asNobody(t, func() {
		_, err := Overlays(t.Context())
		wantErr(t, err, fs.ErrPermission, "run as root of the node")
	})
}
