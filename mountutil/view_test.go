//go:build linux

package mountutil

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
)

func TestOpenView(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		check(t, unix.Mknod(o.Upper+"/l2", unix.S_IFCHR, 0))
		o.Generic = []string{"rw"}
		m := mustMount(t, o) // the upper is in use
		write(t, m.Path()+"/live", "1")
		s, err := StackOfMount(t.Context(), m.Path())
		check(t, err)
		userxattr := takes(t, dir, twoLayers, "userxattr")
		before := mountTable()
		for _, f := range []diff.Features{
			{}, {RedirectFollow: true}, {RedirectFollow: true, Metacopy: true}, {UserXattr: true}, {Index: true, RedirectFollow: true},
		} {
			s.Features = f
			for which, want := range map[Side]map[string]string{
				Old: {"l1": "l1", "l2": "l2", "top": "l1"},
				New: {"l1": "l1", "u": "u", "top": "u", "live": "1"},
			} {
				v, err := OpenView(t.Context(), s, which)
				if f.UserXattr && !userxattr {
					wantErr(t, err, diff.ErrUnsupported, "userxattr came with Linux 5.11")
					continue
				}
				check(t, err)
				if after := mountTable(); after != before {
					t.Errorf("mounts while a view is open:\n%s", after)
				}
				wantOnly(t, os.Getenv("TMPDIR"), m)
				if d := cmp.Diff(want, list(t, v.FD())); d != "" {
					t.Errorf("%v %+v (-want +got):\n%s", which, f, d)
				}
				if err := unix.Mkdirat(v.FD(), "x", 0o700); err != unix.EROFS {
					t.Errorf("mkdir in a view: %v", err)
				}
				check(t, v.Close())
				check(t, v.Close())
				if v.FD() != -1 {
					t.Error("open after Close")
				}
			}
		}
	})
}

// wantOnly checks that dir has nothing but the mount m.
func wantOnly(t *testing.T, dir string, m *Mounted) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || filepath.Join(dir, names[0].Name()) != filepath.Dir(m.Path()) {
		t.Errorf("in %s: %v %v", dir, names, err)
	}
}

func TestOpenView_FewLayers(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		one := diff.Stack{Lower: o.Lower[1:]}
		data := takes(t, dir, dataLayer, "metacopy=on")
		for _, s := range []diff.Stack{one, {Lower: o.Lower[1:], Data: o.Lower[:1], Features: diff.Features{RedirectFollow: true, Metacopy: true}}} {
			v, err := OpenView(t.Context(), s, Old)
			if len(s.Data) > 0 && !data {
				wantErr(t, err, diff.ErrUnsupported, "data-only layers came with Linux 6.5")
				continue
			}
			check(t, err)
			if d := cmp.Diff(map[string]string{"l2": "l2", "top": "l2"}, list(t, v.FD())); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			check(t, v.Close())
		}
		// A view outlives the layer directory's name.
		v, err := OpenView(t.Context(), one, Old)
		check(t, err)
		defer v.Close()
		check(t, os.Rename(o.Lower[1], dir+"/moved"))
		if got := list(t, v.FD()); got["l2"] != "l2" {
			t.Error(got)
		}
	})
}

func TestOpenView_Errors(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		s := o.Stack(KernelDefaults())
		write(t, dir+"/file", "")
		open := func(s diff.Stack, which Side) error {
			v, err := OpenView(t.Context(), s, which)
			if err == nil {
				t.Error("no error")
				v.Close()
			}
			return err
		}
		bad := s
		bad.Lower = []string{dir + "/l1", dir + "/no\nne"}
		wantErr(t, open(bad, Old), fs.ErrNotExist, dir+`/no\nne`, "name a directory that exists")
		bad.Lower = []string{dir + "/file"}
		wantErr(t, open(bad, New), unix.ENOTDIR, dir+"/file", "not a directory")
		wantErr(t, open(diff.Stack{}, Old), nil, "no lower layer")
		wantErr(t, open(s, 0), nil, "old or the new")
		bad = s
		bad.Features = diff.Features{Metacopy: true}
		wantErr(t, open(bad, New), diff.ErrUnsupported, "metacopy")
		withoutSysAdmin(t, func() {
			wantErr(t, open(s, New), diff.ErrUnsupported, "CAP_SYS_ADMIN")
		})

		// With something in the index, only a mount with it is right.
		bad = s
		bad.Features.Index = true
		v, err := OpenView(t.Context(), bad, New)
		check(t, err)
		check(t, v.Close())
		mkdirs(t, s.Work+"/index/00fb")
		wantErr(t, open(bad, New), diff.ErrUnsupported, "index")
		v, err = OpenView(t.Context(), bad, Old)
		check(t, err)
		check(t, v.Close())
	})
}

// Below a shared mount a view spreads to the peers, and so must its end.
func TestOpenView_SharedParent(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	a, b := dir+"/a", dir+"/b"
	mkdirs(t, a, b)
	mountTmpfs(t, a)
	check(t, unix.Mount("", a, "", unix.MS_SHARED, ""))
	check(t, unix.Mount(a, b, "", unix.MS_BIND, ""))
	t.Cleanup(func() { check(t, mounting.Unmount(b)) })
	o := layers(t, t.TempDir())
	t.Setenv("TMPDIR", a)
	before := mountTable()
	m, err := Mount(t.Context(), o)
	check(t, err)
	if strings.Count(mountTable(), " - overlay overlaydiff ") != 2 {
		t.Errorf("the mount did not spread, the test shows nothing:\n%s", mountTable())
	}
	check(t, m.Close())
	v, err := OpenView(t.Context(), o.Stack(KernelDefaults()), New)
	check(t, err)
	defer v.Close()
	if after := mountTable(); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
	wantEmpty(t, b)
	if got := list(t, v.FD()); got["top"] != "u" {
		t.Error(got)
	}
}

func TestOpenView_Killed(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		before := mountTable()
		cmd, out := start(t, "views", nil, layers(t, dir).String())
		if got := line(t, out); got != "ready" {
			t.Fatal(got)
		}
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
		if after := mountTable(); after != before {
			t.Errorf("mounts:\n%s", after)
		}
		wantEmpty(t, os.Getenv("TMPDIR"))
		// The layers are free: the file system can be unmounted, in tmpfs' case.
		if fsIsTmpfs(dir) {
			time.Sleep(10 * time.Millisecond)
			check(t, unmountBusy(dir))
			mountTmpfsAgain(t, dir)
		}
	})
}
