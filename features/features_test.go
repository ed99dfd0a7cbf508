package features_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) {
	features.Main()
	testenv.Main(m)
}

// expected says which answer a kernel gives to root on a file system: the version
// table of overlayfs, as far as it is not in the probes' own releases.
type expected struct {
	// never is a no whatever the kernel.
	never bool
	// param is the module parameter that decides.
	param func(mountutil.Defaults) mountutil.Param
	// on has for a file system the release that brought it there.
	on map[testenv.FS]string
	// either is what a version says nothing about: a kernel's configuration, or
	// how a file system was made.
	either bool
	// untold is the release before which it can't be told.
	untold string
}

const always, nowhere = "0.0", "99.0"

var table = map[string]expected{
	"redirect_dir_default":    {param: func(d mountutil.Defaults) mountutil.Param { return d.RedirectDir }},
	"redirect_follow_default": {param: func(d mountutil.Defaults) mountutil.Param { return max(d.RedirectDir, d.RedirectAlwaysFollow) }},
	"metacopy_default":        {param: func(d mountutil.Defaults) mountutil.Param { return d.Metacopy }},
	"index_default":           {param: func(d mountutil.Defaults) mountutil.Param { return d.Index }},

	"userxattr_redirect": {never: true},
	"userxattr_metacopy": {never: true},
	"userns_plain":       {never: true},
	"project_quota":      {never: true, untold: "5.14"}, // the test's file systems are mounted without

	// tmpfs has user.* attributes since 6.6, id mappings since 6.3.
	"user_xattrs":      {on: map[testenv.FS]string{testenv.Tmpfs: "6.6"}},
	"userxattr":        {on: map[testenv.FS]string{testenv.Tmpfs: "6.6"}},
	"userns_userxattr": {on: map[testenv.FS]string{testenv.Tmpfs: "6.6"}},
	"idmapped_lower":   {on: map[testenv.FS]string{testenv.Tmpfs: "6.3"}},
	"reflink":          {on: map[testenv.FS]string{testenv.Tmpfs: nowhere, testenv.Ext4: nowhere}},

	"fs_verity": {either: true}, // CONFIG_FS_VERITY, mkfs -O verity
	"casefold":  {either: true}, // CONFIG_UNICODE
	"fsync":     {either: true}, // in 7.1, 6.12.y and some 6.18.y
}

// TestVersions holds each answer against what is known of the kernel's release.
func TestVersions(t *testing.T) {
	running := kernel(t)
	t.Logf("Linux %s", running)
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		dir := testenv.Scratch(t, fs)
		var p features.Prober
		results, err := p.Ask(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defaults := mountutil.KernelDefaults() // now that overlay is loaded
		for _, r := range results {
			e := table[r.Name]
			want := e.answer(t, fs, running, r.Since, defaults)
			if e.either && r.Answer != features.Unknown {
				continue
			}
			if r.Answer != want {
				t.Errorf("%s: %v (%s), want %v", r.Name, r.Answer, r.Reason, want)
			}
		}
		empty(t, dir)
	})
}

// answer returns the expected one, which may be Unknown.
func (e expected) answer(t *testing.T, fs testenv.FS, running release, since string, d mountutil.Defaults) features.Answer {
	t.Helper()
	switch {
	case e.either, e.untold != "" && !running.since(t, e.untold):
		return features.Unknown
	case e.never:
		return features.No
	case e.param != nil:
		return answer(e.param(d) == mountutil.On)
	}
	if on, ok := e.on[fs]; ok && !running.since(t, on) {
		return features.No
	}
	return answer(since == "" || running.since(t, since))
}

func answer(yes bool) features.Answer {
	if yes {
		return features.Yes
	}
	return features.No
}

// release is a kernel's major and minor version.
type release struct{ major, minor int }

func (r release) String() string { return fmt.Sprintf("%d.%d", r.major, r.minor) }

func (r release) since(t *testing.T, s string) bool {
	t.Helper()
	o := parseRelease(t, s)
	return r.major > o.major || r.major == o.major && r.minor >= o.minor
}

func parseRelease(t *testing.T, s string) release {
	t.Helper()
	var r release
	if _, err := fmt.Sscanf(s, "%d.%d", &r.major, &r.minor); err != nil {
		t.Fatalf("release %q: %v", s, err)
	}
	return r
}

func kernel(t *testing.T) release {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return parseRelease(t, string(b))
}

// empty fails if anything is left in dir.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left in the directory", e.Name())
	}
}

func TestQuestions(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range features.Names() {
		if seen[name] {
			t.Errorf("two questions %s", name)
		}
		seen[name] = true
		a, ok := features.Explain(name)
		if !ok || a.Name != name || a.Group == "" || a.Asks == "" || a.How == "" || a.Follows == "" {
			t.Errorf("%s is not described: %+v", name, a)
		}
		if a.Since != "" {
			parseRelease(t, a.Since)
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("the table has %s, which is not asked", name)
		}
	}
	if _, ok := features.Explain("nothing"); ok {
		t.Error("what does not exist is described")
	}
}

func TestContract(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	var p features.Prober
	if err := p.Have(t.Context(), dir, "mount"); err != nil {
		t.Errorf("mount: %v", err)
	}
	// A no, and why.
	err := p.Have(t.Context(), dir, "userxattr_redirect")
	if !errors.Is(err, diff.ErrUnsupported) || !strings.Contains(err.Error(), "userxattr_redirect") {
		t.Errorf("userxattr_redirect: %v", err)
	}
	// No answer at all.
	for _, ask := range []struct{ dir, name string }{{dir, "nothing"}, {dir + "/missing", "mount"}} {
		if err := p.Have(t.Context(), ask.dir, ask.name); err == nil || errors.Is(err, diff.ErrUnsupported) {
			t.Errorf("%v: %v", ask, err)
		}
	}
	empty(t, dir)
}

// TestMemory: conclusive answers are remembered for this directory and mount,
// "cannot tell" never is.
func TestMemory(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	readOnly := func(on uintptr) {
		t.Helper()
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|on, ""); err != nil {
			t.Fatal(err)
		}
	}
	var p features.Prober
	ask := func(name string) error { return p.Have(t.Context(), dir, name) }

	readOnly(syscall.MS_RDONLY)
	if err := ask("mount"); err == nil || errors.Is(err, diff.ErrUnsupported) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("read-only: %v", err)
	}
	readOnly(0)
	if err := ask("mount"); err != nil {
		t.Errorf("writable: %v", err)
	}
	no := ask("userxattr_redirect")
	if !errors.Is(no, diff.ErrUnsupported) {
		t.Fatal(no)
	}
	readOnly(syscall.MS_RDONLY)
	if err := ask("mount"); err != nil {
		t.Errorf("asked before: %v", err)
	}
	if err := ask("userxattr_redirect"); err == nil || err.Error() != no.Error() {
		t.Errorf("asked before: %v, then %v", no, err)
	}
	if err := ask("redirect_dir"); err == nil || errors.Is(err, diff.ErrUnsupported) {
		t.Errorf("not asked before: %v", err)
	}
	// Another directory is another question.
	readOnly(0)
	other := testenv.Scratch(t, testenv.Tmpfs)
	if err := p.Have(t.Context(), other, "reflink"); !errors.Is(err, diff.ErrUnsupported) {
		t.Errorf("reflink on tmpfs: %v", err)
	}
	xfs := testenv.Scratch(t, testenv.XFS)
	if err := p.Have(t.Context(), xfs, "reflink"); err != nil {
		t.Errorf("reflink on xfs: %v", err)
	}
}

// TestTogether: processes and goroutines that ask at the same time in the same
// directory do not take each other's scratch directories for leftovers.
func TestTogether(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Ext4)
	var shared features.Prober
	want, err := shared.Ask(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		p := &shared
		if i > 0 {
			p = new(features.Prober)
		}
		wg.Go(func() {
			got, err := p.Ask(t.Context(), dir)
			if err != nil {
				t.Error(err)
			} else if d := cmp.Diff(names(want), names(got)); d != "" {
				t.Errorf("-alone +together:\n%s", d)
			}
		})
	}
	wg.Wait()
	empty(t, dir)
}

// names has name and answer of each result.
func names(results []features.Result) []string {
	var list []string
	for _, r := range results {
		list = append(list, r.Name+" "+r.Answer.String())
	}
	return list
}

// TestLeftover: what a killed process left is removed; nothing else is.
func TestLeftover(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	testenv.Tree(t, dir, `
		file .overlaydiff-probe-1/3/w/work/x
		dir .overlaydiff-probe-1/3/w/work mode=0
		file .overlaydiff-probe-file
		symlink .overlaydiff-probe-link -> keep
		dir .overlaydiff-probe-locked
		dir .overlaydiff-probe-others uid=1000
		file keep/x
	`)
	locked, err := os.Open(dir + "/.overlaydiff-probe-locked")
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if err := syscall.Flock(int(locked.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := new(features.Prober).Have(t.Context(), dir, "d_type"); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{".overlaydiff-probe-file", ".overlaydiff-probe-link", ".overlaydiff-probe-locked", ".overlaydiff-probe-others", "keep"}
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

func TestCancelled(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Tmpfs)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(features.Prober).Ask(ctx, dir); err == nil {
		t.Error("asked in a context that has ended")
	}
	empty(t, dir)
}
