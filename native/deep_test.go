package native_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/fswalk"
	"github.com/overlaydiff/overlaydiff/native"
	"github.com/overlaydiff/overlaydiff/testenv"
)

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Stacks as long as the kernel takes them: each layer adds, hides and changes
// something of those below.
func TestStacks(t *testing.T) {
	for _, n := range []int{1, 2, 10, 100, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := layers{
				options: "redirect_dir=on",
				upper:   "file all/f content=upper; file all/new; whiteout all/1; dir moved" + redirect + "deep; whiteout deep; file many/3/x; whiteout top",
			}
			for i := n; i > 0; i-- {
				tree := fmt.Sprintf("file all/f content=%d; file all/%d; file deep/a/%d; file many/%d/f; whiteout many/%d/g; file many/%d/g; file many/%d/h content=%d",
					i, i%150, i%90, i%7, i%11, i%13, i%3, i)
				if i%5 == 0 {
					tree += fmt.Sprintf("; dir many/%d%s", i%4, opaque+"y")
				}
				// Lines for one name may contradict each other: the first holds.
				l.lower = append(l.lower, once(tree))
			}
			l.lower[0] += "; file top"
			o := l.make(t, testenv.Scratch(t, testenv.Tmpfs))
			v := o.mount(t)
			want := reference(t, v)
			if len(want) < min(n, 90) {
				t.Fatalf("only %d changes", len(want))
			}
			o.agrees(t, want)

			// A layer has a mount and its root; each worker a few at a time.
			before, most := openDescriptors(t), 0
			err := each(t.Context(), o.stack, diff.Options{Workers: 4}, func(diff.Change) { most = max(most, openDescriptors(t)-before) })
			if limit := 2*(n+1) + fswalk.DefaultDescriptors + 32; err != nil || most > limit {
				t.Errorf("%v; %d descriptors for %d layers, want at most %d", err, most, n, limit)
			}
			if n := openDescriptors(t); n != before {
				t.Errorf("%d descriptors left", n-before)
			}
		})
	}
}

// once leaves out lines for names that have one already.
func once(tree string) string {
	seen, kept := map[string]bool{}, []string{}
	for _, line := range lines(tree) {
		if path := strings.Fields(line)[1]; !seen[path] {
			seen[path] = true
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}

// chain makes depth directories d in one another, in each a file f and in the
// deepest one a file with the content. A path that long can't be named.
func chain(t *testing.T, root string, depth int, content string) {
	t.Helper()
	t.Cleanup(func() { // os.RemoveAll holds a descriptor a level
		if out, err := exec.Command("rm", "-rf", root).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	err := os.MkdirAll(root, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(root, syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	for i := 0; err == nil && i < depth; i++ {
		if err = syscall.Mkdirat(fd, "d", 0o755); err == nil {
			fd, err = down(fd)
		}
	}
	if err == nil {
		file := fmt.Sprintf("/proc/self/fd/%d/f", fd)
		err = errors.Join(os.WriteFile(file, []byte(content), 0o644), syscall.UtimesNano(file, make([]syscall.Timespec, 2)), syscall.Close(fd))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// down exchanges the descriptor of a directory for that of the one in it.
func down(fd int) (int, error) {
	defer syscall.Close(fd)
	return syscall.Openat(fd, "d", syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
}

const depth = 3000

// A tree deeper than any path, where few descriptors are allowed: the limit is
// the whole process's, so a copy of this binary does it.
func TestDeep(t *testing.T) {
	if dir := os.Getenv("OVERLAYDIFF_DEEP"); dir != "" {
		deep(t, dir)
		return
	}
	dir := testenv.Scratch(t, testenv.Tmpfs)
	chain(t, filepath.Join(dir, "upper"), depth, "new")
	chain(t, filepath.Join(dir, "lower1"), depth, "old")
	chain(t, filepath.Join(dir, "lower2"), depth/2, "old")
	testenv.Tree(t, filepath.Join(dir, "lower1"), "dir sub")
	testenv.Tree(t, filepath.Join(dir, "upper"), "dir moved"+redirect+strings.Repeat("/d", depth))

	o := layers{lower: []string{"", ""}}.make(t, dir)
	v := o.mount(t)
	if b, err := os.ReadFile(filepath.Join(v.new, "moved/f")); err != nil || string(b) != "old" {
		t.Errorf("the redirect to the depth: %q, %v", b, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestDeep$", "-test.v")
	cmd.Env = append(os.Environ(), "OVERLAYDIFF_DEEP="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestDeep") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func deep(t *testing.T, dir string) {
	s := diff.Stack{
		Upper: filepath.Join(dir, "upper"), Lower: []string{filepath.Join(dir, "lower1"), filepath.Join(dir, "lower2")},
		Features: diff.Features{RedirectFollow: true},
	}
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{1, 2, 8} {
		var got []string
		err := each(t.Context(), s, diff.Options{Workers: workers, OnRace: func(path string) error {
			t.Errorf("a race, %d bytes deep", len(path))
			return nil
		}}, func(c diff.Change) { got = append(got, c.String()) })
		want := []string{"C " + strings.Repeat("/d", depth) + "/f", "A /moved", "A /moved/f"}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%d workers: %.300v; %d changes", workers, err, len(got))
		}
		u, err := native.Usage(t.Context(), s, diff.Options{Workers: workers})
		if err != nil || u.Inodes != depth+3 || u.Bytes != 3 || u.Raced != 0 {
			t.Errorf("%d workers: usage %+v, %.300v", workers, u, err)
		}
	}
	e, err := native.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for path, want := range map[string]string{strings.Repeat("/d", depth) + "/f": "C /d", "/moved/f": "A /moved/f", strings.Repeat("/d", depth+1): ""} {
		x, err := e.Explain(t.Context(), path, diff.Options{})
		if err != nil || (x.Change != nil) != (want != "") || x.Change != nil && !strings.HasPrefix(x.Change.String(), want) {
			t.Errorf("explained %.40s…: %v, %.300v", path, x.Change != nil, err)
		}
	}
}
