package naive

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// changes lists what e finds, with contents read when content says.
func changes(t *testing.T, e *Engine, content diff.Content) []string {
	t.Helper()
	var got []string
	for c, err := range e.Changes(t.Context(), diff.Options{Content: content}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.String()+" "+strings.Join(c.What.Names(), ","))
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	return got
}

func TestContentModes(t *testing.T) {
	dir := t.TempDir()
	testenv.Tree(t, dir+"/old", "file same content=1", "file rewritten content=1", "file longer content=1", "file later content=1", "file both content=1")
	testenv.Tree(t, dir+"/new", "file same content=1", "file rewritten content=2", "file longer content=12", "file later content=1 mtime=5", "file both content=2 mtime=5")
	all := []string{"C /both content,mtime", "C /later mtime", "C /longer content,size", "C /rewritten content"}
	for content, want := range map[diff.Content][]string{
		"":                 all,
		diff.ContentAuto:   all,
		diff.ContentAlways: all,
		// What it misses, as its documentation says.
		diff.ContentNever: {"C /both mtime", "C /later mtime", "C /longer content,size"},
	} {
		got := changes(t, Open(tree(t, dir+"/old"), tree(t, dir+"/new"), ProofNone), content)
		if !slices.Equal(sortWords(got), sortWords(want)) {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

// sortWords orders what differs, which has an order of its own.
func sortWords(lines []string) []string {
	sorted := slices.Clone(lines)
	for i, line := range sorted {
		head, what, _ := strings.Cut(line[2:], " ")
		list := strings.Split(what, ",")
		slices.Sort(list)
		sorted[i] = line[:2] + head + " " + strings.Join(list, ",")
	}
	return sorted
}

// TestExtents: reflink copies are not read, unless one of them was written.
func TestExtents(t *testing.T) {
	const size = 8 << 20
	for _, fs := range []testenv.FS{testenv.XFS, testenv.Btrfs} {
		if !slices.Contains(testenv.FileSystems(), fs) {
			continue
		}
		t.Run(string(fs), func(t *testing.T) {
			dir := testenv.Scratch(t, fs)
			testenv.Tree(t, dir, "dir old")
			if err := os.WriteFile(dir+"/old/big", bytes.Repeat([]byte("overlaydiff"), size/11), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("cp", "-a", "--reflink=always", dir+"/old", dir+"/new").CombinedOutput(); err != nil {
				t.Fatalf("cp: %v: %s", err, out)
			}
			compare := func(content diff.Content) (got []string, read int64) {
				t.Helper()
				before := bytesRead(t)
				got = changes(t, Open(tree(t, dir+"/old"), tree(t, dir+"/new"), ProofNone), content)
				return got, bytesRead(t) - before
			}
			if got, read := compare(diff.ContentAuto); len(got) > 0 || read > size/2 {
				t.Errorf("auto: %q, %d bytes read", got, read)
			}
			if got, read := compare(diff.ContentAlways); len(got) > 0 || read < size {
				t.Errorf("always: %q, %d bytes read", got, read)
			}
			rewrite(t, dir+"/new/big", size/2)
			if got, _ := compare(diff.ContentAuto); fmt.Sprint(got) != "[C /big content]" {
				t.Errorf("rewritten: %q", got)
			}
		})
	}
}

// rewrite changes one byte and sets the time back. Nothing is synced: the block
// is still shared on disk.
func rewrite(t *testing.T, path string, at int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("!"), at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}
