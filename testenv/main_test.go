package testenv

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestInventory(t *testing.T) {
	inv := TakeInventory()
	if err := inv.Leaks(); err != nil {
		t.Errorf("nothing done: %v", err)
	}
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.Leaks(); err == nil || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("open directory: %v, want it named", err)
	}
	f.Close()
	stop := make(chan int)
	go func() { <-stop }()
	if err := inv.Leaks(); err == nil || !strings.Contains(err.Error(), "goroutine") {
		t.Errorf("running goroutine: %v, want it named", err)
	}
	close(stop)
	if err := inv.Leaks(); err != nil {
		t.Errorf("all closed: %v", err)
	}
}

// TestRun runs the body of Main in this process with a TMPDIR of its own.
func TestRun(t *testing.T) {
	RequireRoot(t)
	outer, tmp := private, os.TempDir()
	defer func() { private = outer }()
	t.Setenv("TMPDIR", tmp) // restored after
	stderr := os.Stderr
	defer func() { os.Stderr = stderr }()
	for name, test := range map[string]struct {
		body func()
		want int
	}{
		"clean":  {func() {}, 0},
		"failed": {func() {}, 1},
		"file":   {func() { os.WriteFile(filepath.Join(os.TempDir(), "left"), nil, 0o600) }, leaked},
		"mount": {func() {
			dir, _ := os.MkdirTemp("", "m")
			if err := mountTmpfs(dir, ""); err != nil {
				t.Error(err)
			}
		}, leaked},
	} {
		os.Setenv("TMPDIR", tmp)
		os.Stderr, _ = os.Open(os.DevNull) // its complaints are meant
		got := run(func() int {
			test.body()
			return test.want % leaked
		})
		os.Stderr.Close()
		os.Stderr = stderr
		if got != test.want {
			t.Errorf("%s: exit status %d, want %d", name, got, test.want)
		}
		if left := mountsBelow(private); len(left) > 0 {
			t.Errorf("%s: mounts left: %q", name, left)
		}
		os.RemoveAll(private)
	}
}

func TestScratch(t *testing.T) {
	EachFS(t, func(t *testing.T, fs FS) {
		var dir string
		t.Run("use", func(t *testing.T) {
			dir = Scratch(t, fs)
			Needs(t, fs, UserXattrs)
			Tree(t, dir, "file f xattr.trusted.k=v xattr.user.k=v", "whiteout w")
			if other := Scratch(t, fs); other == dir {
				t.Errorf("two scratch directories are one: %s", dir)
			}
		})
		if _, err := os.Lstat(dir); dir != "" && !os.IsNotExist(err) {
			t.Errorf("the scratch directory is left: %v", err)
		}
	})
}

func TestMount(t *testing.T) {
	dir := filepath.Join(Scratch(t, Tmpfs), `od,d:na\me`)
	Tree(t, dir, "file l1/f", "file l2/g")
	m := Mount(t, Overlay{Lower: []string{dir + "/l1", dir + "/l2"}, Upper: dir + "/u", Options: "redirect_dir=on"})
	Do(t, m, "unlink g", "write f x")
	Unmount(t, m)
	Unmount(t, m) // a second time is harmless
	want := []string{"f", "g"}
	for i, e := range must(os.ReadDir(dir + "/u")) {
		if e.Name() != want[i] {
			t.Errorf("upper has %s, want %s", e.Name(), want[i])
		}
	}
}

func TestMount_500Layers(t *testing.T) {
	dir := Scratch(t, Tmpfs)
	o := Overlay{Upper: dir + "/upper"}
	for i := range 500 {
		layer := filepath.Join(dir, "a-layer-with-a-long-name-"+strconv.Itoa(i))
		Tree(t, layer, "file f"+strconv.Itoa(i))
		o.Lower = append(o.Lower, layer)
	}
	if n := len(must(os.ReadDir(Mount(t, o)))); n != 500 {
		t.Errorf("%d files in the merged directory, want 500", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
