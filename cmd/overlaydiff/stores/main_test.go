//go:build linux

package stores

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// id returns 64 hexadecimal digits, all the same.
func id(digit string) string { return strings.Repeat(digit, 64) }

func digest(digit string) string { return "sha256:" + id(digit) }

// file is a line of a tree: a file with that content.
func file(path, format string, args ...any) string {
	return fmt.Sprintf("file %s content=%q", path, fmt.Sprintf(format, args...))
}

// dir is one of a directory.
func dir(path string) string { return "dir " + path }

func write(t *testing.T, content string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(path...)); err != nil {
		t.Fatal(err)
	}
}

// list returns the containers of a store by id.
func list(t *testing.T, s Store) map[string]Container {
	t.Helper()
	all, err := s.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]Container{}
	for _, c := range all {
		if _, twice := byID[c.ID]; twice {
			t.Errorf("%s is listed twice", c.ID)
		}
		if c.Stack.Opener == nil {
			t.Errorf("%s: its layers are opened by their paths", c.ID)
		}
		c.Stack.Opener = nil // it can't be compared
		byID[c.ID] = c
	}
	return byID
}

// onlyBroken checks that one container has an error with those words in it,
// and that no other has one.
func onlyBroken(t *testing.T, s Store, broken, words string, count int) {
	t.Helper()
	all := list(t, s)
	if len(all) != count {
		t.Errorf("%d containers listed, want %d", len(all), count)
	}
	for _, c := range all {
		switch {
		case c.ID != broken && c.Err != nil:
			t.Errorf("%s: %v", c.ID, c.Err)
		case c.ID == broken && (c.Err == nil || !strings.Contains(c.Err.Error(), words)):
			t.Errorf("%s: error %v, want one with %q", c.ID, c.Err, words)
		case c.ID == broken && len(c.Stack.Lower) > 0:
			t.Errorf("%s: it has a stack of some of its layers: %v", c.ID, c.Stack)
		}
	}
}
