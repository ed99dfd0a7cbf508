package bench

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
)

// Mounter mounts an overlay until the test ends and returns where. It is a
// parameter because package testenv, which has one, is for tests alone.
type Mounter func(tb testing.TB, s diff.Stack, options string) (merged string)

// Scene is a scenario that is built: layers, and the views of them as mounts.
type Scene struct {
	Scenario
	// Stack has its Mountpoint, which shows the new view.
	Stack diff.Stack
	// Options are what it is mounted with, layers apart.
	Options string
	// Old is where the lower layers show together.
	Old string
	// Scratch is an empty directory on the file system of the layers.
	Scratch string
	// Entries of the old view and of the upper directory, without their roots.
	Entries, UpperEntries int
}

// Build builds a scenario; it is taken down when the test ends.
func Build(tb testing.TB, s Scenario, mount Mounter) *Scene {
	tb.Helper()
	s = s.withDefaults()
	sc := &Scene{Scenario: s}
	if s.Features {
		sc.Options = FeatureOptions
		sc.Stack.Features = diff.Features{RedirectFollow: true, Metacopy: true, Index: true}
	}
	if s.Image == 0 {
		sc.debian(tb, mount)
	} else {
		sc.made(tb, mount)
	}
	sc.Old = sc.Stack.Lower[0]
	if len(sc.Stack.Lower) > 1 {
		sc.Old = mount(tb, diff.Stack{Lower: sc.Stack.Lower}, "redirect_dir=off,metacopy=off")
	}
	sc.Entries, sc.UpperEntries = count(tb, sc.Old), count(tb, sc.Stack.Upper)
	return sc
}

// made builds it of a corpus.
func (sc *Scene) made(tb testing.TB, mount Mounter) {
	tb.Helper()
	dir := scratch(tb, sc.FS)
	c := newCorpus(sc.Scenario)
	layers, err := c.make(dir)
	must(tb, err)
	sc.Stack.Lower = layers
	sc.layer(tb, dir)
	sc.Stack.Mountpoint = mount(tb, sc.Stack, sc.Options)
	must(tb, c.edit(sc.Stack.Mountpoint))
	if sc.FS != "tmpfs" {
		syscall.Sync() // or what was just made would be written while it is measured
	}
}

// layer makes the upper, work and scratch directories in dir.
func (sc *Scene) layer(tb testing.TB, dir string) {
	tb.Helper()
	sc.Stack.Upper, sc.Stack.Work, sc.Scratch = filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "scratch")
	for _, d := range []string{sc.Stack.Upper, sc.Stack.Work, sc.Scratch} {
		must(tb, os.Mkdir(d, 0o755))
	}
}

// debianCache is where bench/real-image.sh keeps its layers.
func debianCache() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "overlaydiff", "real-image"), err
}

// HasDebian reports whether the Debian image is there.
func HasDebian() bool {
	dir, err := debianCache()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, "large"))
	return err == nil
}

// debian builds it of the system that bench/real-image.sh keeps. A large upper
// is what was installed over the base system; a small one is made here over
// both, as a container would.
func (sc *Scene) debian(tb testing.TB, mount Mounter) {
	tb.Helper()
	cache, err := debianCache()
	must(tb, err)
	base, large := filepath.Join(cache, "lower"), filepath.Join(cache, "large")
	if sc.Upper > smallUpper {
		sc.Stack.Lower = []string{base}
		sc.Stack.Upper, sc.Stack.Work = filepath.Join(large, "upper"), filepath.Join(large, "work")
		sc.Scratch = tb.TempDir()
		sc.Stack.Mountpoint = mount(tb, sc.Stack, sc.Options)
		return
	}
	// Beside the cache: the same file system, so the same costs. No other run
	// uses this name, as MkdirTemp sees to.
	dir, err := os.MkdirTemp(cache, "small")
	must(tb, err)
	tb.Cleanup(func() { must(tb, os.RemoveAll(dir)) })
	sc.Stack.Lower = []string{filepath.Join(large, "upper"), base}
	sc.layer(tb, dir)
	sc.Stack.Mountpoint = mount(tb, sc.Stack, sc.Options)
	must(tb, useContainer(sc.Stack.Mountpoint))
}

// useContainer leaves about 20 entries in the upper directory.
func useContainer(merged string) error {
	at := func(name string) string { return filepath.Join(merged, name) }
	write := func(name string, flags int) error {
		f, err := os.OpenFile(at(name), os.O_WRONLY|flags, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString("more\n")
		return errors.Join(err, f.Close())
	}
	return errors.Join(
		write("etc/new-file", os.O_CREATE),
		write("etc/passwd", os.O_APPEND),
		os.Chmod(at("etc/group"), 0o600), // metadata only
		os.Link(at("etc/new-file"), at("etc/new-link")),
		os.Symlink("new-file", at("etc/new-symlink")),
		os.Remove(at("etc/debian_version")),
		os.RemoveAll(at("etc/apt/preferences.d")),
		os.MkdirAll(at("srv/a/b"), 0o755),
		write("srv/a/b/c", os.O_CREATE),
		os.Rename(at("etc/skel"), at("etc/skel-renamed")), // a redirect
		write("var/log/dpkg.log", os.O_APPEND),
		write("var/tmp/one", os.O_CREATE),
		write("var/tmp/two", os.O_CREATE),
	)
}

func count(tb testing.TB, dir string) (n int) {
	tb.Helper()
	must(tb, filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error {
		n++
		return err
	}))
	return n - 1
}
