package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// publish writes content to path.
func publish(path, content string) error {
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer Close(dir)
	f, err := TempFile(dir, path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	return f.Publish(filepath.Base(path))
}

// checkAlone fails unless the file at path has the content, and nothing is beside it.
func checkAlone(t *testing.T, path, content string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || content != "" && string(b) != content {
		t.Errorf("%q, %v; want %q", b, err, content)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v beside it, %v", entries, err)
	}
}

func TestPublish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i := range 3 { // once new, then instead of another
		content := fmt.Sprint(i)
		if err := publish(path, content); err != nil {
			t.Fatal(err)
		}
		checkAlone(t, path, content)
	}
}

// A kill between link and rename leaves the temporary name, which the next removes.
func TestPublish_Killed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := publish(path, "old"); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer Close(dir)
	f, err := TempFile(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.link(besideName("f")); err != nil {
		t.Fatal(err)
	}
	if err := publish(path, "new"); err != nil {
		t.Fatal(err)
	}
	checkAlone(t, path, "new")
}

func TestPublish_AtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for range 100 {
				if err := publish(path, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	checkAlone(t, path, "")
}
