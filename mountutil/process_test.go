//go:build linux

package mountutil

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStackOfMount_Busy(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		m := mustMount(t, layers(t, dir))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_ = os.WriteFile(m.Path()+"/"+strconv.Itoa(i%100), nil, 0o600)
					_ = os.Remove(m.Path() + "/" + strconv.Itoa((i+50)%100))
				}
			}
		}()
		for range 300 {
			if _, err := StackOfMount(t.Context(), m.Path()); err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
		<-done
	})
}

func TestStackOfProcess(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		mkdirs(t, o.Lower[0]+"/sub")
		m := mustMount(t, o)
		for name, attr := range map[string]*syscall.SysProcAttr{
			"same namespace": nil, "own namespace": {Unshareflags: syscall.CLONE_NEWNS},
		} {
			t.Run(name, func(t *testing.T) {
				cmd, out := start(t, "chroot", attr, m.Path())
				line(t, out)
				got, err := StackOfProcess(t.Context(), cmd.Process.Pid)
				check(t, err)
				want := o.Stack(KernelDefaults())
				want.Mountpoint = "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root"
				if d := diffStacks(want, got); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if attr == nil {
					wantStack(t, o, got.Mountpoint)
				} else {
					wantError(t, got.Mountpoint, nil, "another mount namespace", "pid:N")
				}
				check(t, cmd.Process.Kill())
				_, _ = cmd.Process.Wait()
				_, err = StackOfProcess(t.Context(), cmd.Process.Pid)
				wantErr(t, err, fs.ErrNotExist, "running process")
			})
		}
		cmd, out := start(t, "chroot", nil, m.Path()+"/sub")
		line(t, out)
		_, err := StackOfProcess(t.Context(), cmd.Process.Pid)
		wantErr(t, err, nil, "root of process", "inside a mount")
		_, err = StackOfProcess(t.Context(), os.Getpid())
		wantErr(t, err, nil, "root of process", "not an overlay")
		_, err = StackOfProcess(t.Context(), -1)
		wantErr(t, err, fs.ErrNotExist)
		asNobody(t, func() { _, err = StackOfProcess(t.Context(), 1) })
		wantErr(t, err, fs.ErrPermission, "/proc/", "run as root")
	})
}

// An overlay whose layers are in the namespace of its process only.
func TestStackInProcess_OtherNamespace(t *testing.T) {
	dir := t.TempDir()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd, out := start(t, "inside", attr, dir, "l")
	line(t, out)
	root := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root"
	got, err := StackInProcess(t.Context(), cmd.Process.Pid, dir+"/m")
	check(t, err)
	at := root + dir
	if d := cmp.Diff([]string{at + "/l", at + "/u", at + "/w", at + "/m"}, append(got.Lower, got.Upper, got.Work, got.Mountpoint)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := os.Stat(got.Upper); err != nil {
		t.Error(err)
	}
	_, err = StackInProcess(t.Context(), cmd.Process.Pid, dir)
	wantErr(t, err, nil, "on tmpfs")

	cmd, out = start(t, "inside", attr, dir, "link") // which leads elsewhere for this process
	line(t, out)
	root = "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root"
	got, err = StackInProcess(t.Context(), cmd.Process.Pid, dir+"/m")
	check(t, err)
	lower, err := Open(got, root+dir+"/link")
	check(t, err)
	defer lower.Close()
	real, err := os.Stat(root + dir + "/l")
	check(t, err)
	if led, err := lower.Stat(); err != nil || !os.SameFile(real, led) {
		t.Errorf("the link leads to %v %v", led, err)
	}
}

func TestOldMountID(t *testing.T) {
	want, err := statPath("/proc")
	check(t, err)
	if got, err := oldMountID("/proc"); err != nil || got != want.Mnt_id {
		t.Errorf("%d %v, want %d", got, err, want.Mnt_id)
	}
}

// A long line must not hide the others: one of many layers, or of a directory that is
// deep, as any user can make one in a namespace of their own.
func TestReadTable_LongLine(t *testing.T) {
	path := t.TempDir() + "/mountinfo"
	layers, deep := strings.Repeat(",lowerdir+=/x", 20000), strings.Repeat("/d", 50000)
	write(t, path, "7 1 0:1 / /a rw - overlay o rw"+layers+"\n9 1 0:3 / "+deep+" rw - overlay o rw\n8 1 0:2 / /b\\040c rw - overlay none rw,lowerdir=l\n")
	infos, err := readTable(path, func([]byte) bool { return true })
	check(t, err)
	if len(infos) != 3 || infos[0].VFSOptions != "rw"+layers || infos[1].Mountpoint != deep ||
		infos[2].Mountpoint != "/b c" || infos[2].VFSOptions != "rw,lowerdir=l" {
		t.Errorf("%d lines", len(infos))
	}
}
