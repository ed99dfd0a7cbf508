//go:build linux

package mountutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// wantStack compares a stack with the options that it was mounted from.
func wantStack(t *testing.T, o Options, path string) {
	t.Helper()
	got, err := StackOfMount(t.Context(), path)
	check(t, err)
	want := o.Stack(KernelDefaults())
	want.Mountpoint = path
	if d := diffStacks(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// diffStacks compares what stacks say, not how their directories are opened or proven.
func diffStacks(want, got diff.Stack) string {
	return cmp.Diff(want, got, cmpopts.IgnoreFields(diff.Stack{}, "Opener", "Unproven"))
}

func TestStackOfMount_NastyPaths(t *testing.T) {
	all := make([]byte, 0, 253)
	for b := 1; b < 256; b++ {
		if b != '/' && b != '.' {
			all = append(all, byte(b))
		}
	}
	onEachFS(t, func(t *testing.T, dir string) {
		var o Options
		for _, name := range append(nasty, string(all)) {
			o.Lower = append(o.Lower, filepath.Join(dir, "l", name))
		}
		o.Upper, o.Work = dir+"/"+string(all), dir+"/ w:\\,\n"
		mkdirs(t, append(o.Lower, o.Upper, o.Work)...)
		m := mustMount(t, o)
		wantStack(t, o, m.Path())
	})
}

func TestStackOfMount_Features(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		for _, change := range []func(*Options){
			func(o *Options) {},
			func(o *Options) { o.Metacopy = "on" },
			func(o *Options) { o.RedirectDir = "nofollow" },
			func(o *Options) { o.Index = "on" },
			func(o *Options) { o.NFSExport = "on" },
			func(o *Options) { o.UserXattr = true },
			func(o *Options) { o.XINO, o.Fsync = "on", "volatile" },
			func(o *Options) { o.Upper, o.Work = "", "" },
			func(o *Options) { o.Generic = []string{"ro", "noatime", "nosuid"} },
			func(o *Options) { o.Data, o.Lower, o.Metacopy = o.Lower[1:], o.Lower[:1], "on" },
		} {
			sub, err := os.MkdirTemp(dir, "")
			check(t, err)
			o := layers(t, sub)
			change(&o)
			if o.UserXattr && !takes(t, sub, twoLayers, "userxattr") || len(o.Data) > 0 && !takes(t, sub, dataLayer, "metacopy=on") {
				if m, err := Mount(t.Context(), o); err == nil {
					t.Errorf("%s: mounted, and the kernel refuses it", o)
					check(t, m.Close())
				}
				continue
			}
			wantStack(t, o, mustMount(t, o).Path())
		}
	})
}

// What the options imply, and which are refused together, is what the kernel
// says, for all combinations.
func TestStack_AgainstKernel(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	mountTmpfs(t, dir)
	if unix.Setxattr(dir, "user.k", nil, 0) == unix.EOPNOTSUPP {
		dir = t.TempDir() // before 6.6 a tmpfs takes no marks of userxattr, and the kernel switches index=on off
	}
	upper := layers(t, dir)
	lower := Options{Lower: upper.Lower}
	point := dir + "/m"
	mkdirs(t, point)
	d := KernelDefaults()
	if d.Metacopy == Absent {
		t.Fatal("this kernel lacks metacopy") // of Linux 4.19
	}
	userxattr := takes(t, dir, twoLayers, "userxattr")
	onOff := []string{"", "on", "off"}
	mounted, refused := 0, 0
	for _, o := range []Options{upper, lower} {
		for _, o.RedirectDir = range []string{"", "on", "off", "follow", "nofollow"} {
			for _, o.Metacopy = range onOff {
				for _, o.Index = range onOff {
					for _, o.NFSExport = range onOff {
						for _, o.UserXattr = range []bool{false, true} {
							err, want := o.mount("mount", point), o.check(d)
							if o.UserXattr && !userxattr { // a kernel that does not know it refuses it
								if err == nil {
									t.Errorf("%s: mounted", o)
									check(t, mounting.Unmount(point))
								}
								continue
							}
							if (err == nil) != (want == nil) {
								t.Errorf("%s: %v, foreseen: %v", o, err, want)
							}
							if err != nil {
								refused++
								continue
							}
							mounted++
							wantStack(t, o, point)
							check(t, mounting.Unmount(point))
						}
					}
				}
			}
		}
	}
	t.Logf("%d mounted, %d refused", mounted, refused)
}

// Given as descriptors, the kernel shows paths without escapes (Linux 6.13).
func TestStackOfMount_LayersByDescriptor(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		o.Lower = []string{dir + `/l\,:a`, dir + "/l2"}
		o.Upper, o.Work = dir+`/u\\:,`, dir+`/w\\\`
		mkdirs(t, o.Lower[0], o.Upper, o.Work)
		fs, err := mounting.Begin("overlay")
		if err != nil {
			t.Fatal("fsopen: ", err) // of Linux 5.2
		}
		defer fs.Close()
		var fds layerFDs
		defer fds.close()
		for _, l := range [][2]string{{"lowerdir+", o.Lower[0]}, {"lowerdir+", o.Lower[1]}, {"upperdir", o.Upper}, {"workdir", o.Work}} {
			_, err := fds.open(l[1])
			check(t, err)
			if err := fs.SetFD(l[0], int(fds.files[len(fds.files)-1].Fd())); err != nil {
				testenv.Absent(t, "", testenv.LayersByFD)
			}
		}
		check(t, fs.Create())
		mkdirs(t, dir+"/m")
		tree, err := fs.Tree(0)
		check(t, err)
		defer sys.Close(tree)
		check(t, mounting.Attach(tree, dir+"/m"))
		t.Cleanup(func() { check(t, mounting.Unmount(dir+"/m")) })
		wantStack(t, o, dir+"/m")
	})
}

func TestStackOfMount_RelativePaths(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		outside, nowhere := filepath.Dir(dir)+"/outside", filepath.Dir(dir)+"/nowhere"
		rel := Options{Lower: []string{"l1", "a/../l2"}, Upper: "u", Work: "w"}
		tests := []struct {
			name, point string
			absUpper    bool
		}{
			{"docker: above the mount point", dir + "/x/merged", false},
			{"containerd: above the upper directory", outside + "/m", true},
		}
		mkdirs(t, dir+"/a", nowhere)
		abs := layers(t, dir)
		abs.Lower[1] = dir + "/a/../l2"
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				o := rel
				if tt.absUpper {
					o.Upper, o.Work = abs.Upper, abs.Work
				}
				mkdirs(t, tt.point)
				t.Chdir(dir)
				check(t, o.mount("mount", tt.point))
				t.Cleanup(func() { check(t, mounting.Unmount(tt.point)) })
				t.Chdir("/")
				wantStack(t, abs, tt.point)
				// Others of these names on the way are not taken for them.
				decoy := filepath.Dir(tt.point)
				mkdirs(t, decoy+"/l1", decoy+"/l2", decoy+"/u", decoy+"/w", decoy+"/a")
				wantStack(t, abs, tt.point)
			})
		}
		t.Run("nowhere", func(t *testing.T) {
			t.Chdir(dir)
			check(t, rel.mount("mount", nowhere))
			t.Cleanup(func() { check(t, mounting.Unmount(nowhere)) })
			wantFound(t, nowhere, abs, fs.ErrNotExist, "upper layer u", "gone")
		})
	})
}

// wantFound checks that layers which are no longer where the mount table says are found by
// file handle. Where the kernel tells none of an overlay (before Linux 6.6), it checks the
// error as wantError does.
func wantFound(t *testing.T, path string, o Options, target error, parts ...string) {
	t.Helper()
	root, err := os.Open(path)
	check(t, err)
	defer root.Close()
	if _, err := sys.FIDAt(int(root.Fd()), ""); err != nil {
		wantError(t, path, target, parts...)
		return
	}
	wantStack(t, o, path)
}

// wantError checks the error of StackOfMount: what it matches, what it says,
// and that it is one line.
func wantError(t *testing.T, path string, target error, parts ...string) {
	t.Helper()
	_, err := StackOfMount(t.Context(), path)
	wantErr(t, err, target, parts...)
}

func wantErr(t *testing.T, err, target error, parts ...string) {
	t.Helper()
	if err == nil || target != nil && !errors.Is(err, target) {
		t.Fatalf("error %v, want one that matches %v", err, target)
	}
	t.Log(err)
	for _, part := range append(parts, "") {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %q, want one line that has %q", err, part)
		}
	}
}

func TestStackOfMount_Errors(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		o := layers(t, dir)
		mkdirs(t, o.Lower[0]+"/sub/deep")
		m := mustMount(t, o)
		wantError(t, dir+"/not\nthere", fs.ErrNotExist, `not\nthere`, "name the path")
		wantError(t, dir+"/l1", nil, "not an overlay")
		wantError(t, "/proc", nil, "it is on proc, not an overlay")
		wantError(t, m.Path()+"/sub/deep", nil, "inside an overlay", "name "+m.Path())

		bind := dir + "/bind"
		mkdirs(t, bind)
		check(t, unix.Mount(m.Path()+"/sub", bind, "", unix.MS_BIND, ""))
		t.Cleanup(func() { check(t, mounting.Unmount(bind)) })
		wantError(t, bind, nil, "only the directory /sub", "name "+m.Path())

		check(t, unix.Mount("mountutil-test", m.Path()+"/sub", "tmpfs", 0, ""))
		wantError(t, m.Path()+"/sub", nil, "it is on tmpfs, not an overlay")
		check(t, mounting.Unmount(m.Path()+"/sub"))

		check(t, os.Symlink(m.Path(), dir+"/link"))
		s, err := StackOfMount(t.Context(), dir+"/link")
		if err != nil || s.Mountpoint != dir+"/link" {
			t.Errorf("through a symlink: %+v %v", s, err)
		}
	})
}

// Layers are found by their names, which may lead elsewhere by now.
func TestStackOfMount_LayersMoved(t *testing.T) {
	onEachFS(t, func(t *testing.T, dir string) {
		t.Run("lower gone", func(t *testing.T) {
			o := layers(t, dir+"/1")
			m := mustMount(t, o)
			check(t, os.RemoveAll(o.Lower[1]))
			wantError(t, m.Path(), fs.ErrNotExist, o.Lower[1], "gone")
			write(t, o.Lower[1], "")
			wantError(t, m.Path(), unix.ENOTDIR, o.Lower[1], "gone")
		})
		t.Run("upper gone", func(t *testing.T) {
			o := layers(t, dir+"/2")
			m := mustMount(t, o)
			check(t, os.RemoveAll(o.Upper))
			wantError(t, m.Path(), fs.ErrNotExist, o.Upper, "gone")
		})
		t.Run("upper replaced", func(t *testing.T) {
			o := layers(t, dir+"/3")
			m := mustMount(t, o)
			check(t, os.Rename(o.Upper, o.Upper+"-moved"))
			mkdirs(t, o.Upper)
			moved := o
			moved.Upper += "-moved"
			wantFound(t, m.Path(), moved, nil, o.Upper, "not the directory that is mounted")
		})
		t.Run("top lower replaced", func(t *testing.T) {
			o := layers(t, dir+"/4")
			o.Upper, o.Work = "", ""
			m := mustMount(t, o)
			check(t, os.Rename(o.Lower[0], o.Lower[0]+"-moved"))
			mkdirs(t, o.Lower[0])
			moved := o
			moved.Lower = []string{o.Lower[0] + "-moved", o.Lower[1]}
			wantFound(t, m.Path(), moved, nil, o.Lower[0], "not the directory that is mounted")
		})
		t.Run("upper replaced, layers on two file systems", func(t *testing.T) {
			o := layers(t, dir+"/5")
			mountTmpfs(t, o.Lower[0])
			m := mustMount(t, o)
			wantStack(t, o, m.Path())
			check(t, os.Rename(o.Upper, o.Upper+"-moved"))
			// Inode numbers tell nothing here, nor does a birth time on a tmpfs of
			// older kernels; a change time does, but for what happens within one tick.
			time.Sleep(20 * time.Millisecond)
			mkdirs(t, o.Upper)
			moved := o
			moved.Upper += "-moved"
			wantFound(t, m.Path(), moved, nil, o.Upper, "not the directory that is mounted")
		})
		t.Run("upper made as a twin", func(t *testing.T) { // within one tick of the clock: the inode number tells
			base := dir + "/6"
			mkdirs(t, base+"/l", base+"/w", base+"/u", base+"/twin")
			o := Options{Lower: []string{base + "/l"}, Upper: base + "/u", Work: base + "/w"}
			m := mustMount(t, o)
			check(t, os.Rename(base+"/u", base+"/moved"))
			check(t, os.Rename(base+"/twin", base+"/u"))
			o.Upper = base + "/moved"
			wantFound(t, m.Path(), o, nil, base+"/", "not the directory that is mounted")
		})
	})
}
