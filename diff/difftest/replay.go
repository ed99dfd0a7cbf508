package difftest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// View is a case as it stands: a stack, where its two views are mounted, and a
// directory for what else is needed, on the same file system.
type View struct {
	Stack         diff.Stack
	Old, New, Dir string
}

// Check looks at a case. An error that matches diff.ErrUnsupported says that it
// can't; any other what is wrong.
type Check func(tb testing.TB, v View) error

// RunChecks runs checks on the cases of [Run], on every file system.
func RunChecks(t *testing.T, checks map[string]Check) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for _, g := range groups {
			for _, c := range g.cases {
				if c.fails { // the mount has no answer
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					v := c.build(t, fs)
					for name, check := range checks {
						if err := check(t, View{v.stack, v.old, v.new, testenv.Scratch(t, fs)}); err != nil {
							t.Errorf("%s: %v\n%s", name, err, c.why)
						}
					}
				})
			}
		}
	})
}

// A Layer is one to replay.
type Layer struct {
	Archive []byte // not compressed
	// Lacks is what it can't say: paths.
	Lacks []string
}

// reserved begins names that layers have another meaning for.
const reserved = ".wh."

// Replay applies a layer to a copy of the old view and compares that with the new
// view: all that refdiff compares, which names are links of each other, and of what the
// layer has, the times of directories. Not compared is what has a name that begins with
// .wh.
func (v View) Replay(ctx context.Context, l Layer, apply func(r io.Reader, dir string) error) error {
	dir, err := os.MkdirTemp(v.Dir, "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(ctx, v.Old, dir); err != nil {
		return err
	}
	if err := apply(bytes.NewReader(l.Archive), dir); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if err := l.Compare(dir, v.New); err != nil {
		return err
	}
	if err := errors.Join(v.compareCarried(l, dir), v.compareLinks(l, dir)); err != nil {
		return fmt.Errorf("%w; the layer is\n%s", err, l.list())
	}
	return nil
}

// Compare compares a tree to which the layer was applied with the new view.
func (l Layer) Compare(dir, want string) error {
	changes, err := refdiff.Diff(dir, want)
	if err != nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c refdiff.Change) bool {
		// What can't be there must at least hide what was.
		return strings.Contains(c.Path, "/"+reserved) || slices.Contains(l.Lacks, c.Path) && !slices.Contains(c.What, "type")
	})
	if len(changes) > 0 {
		return fmt.Errorf("what was replayed differs from the new view by:\n%s\nof the layer\n%s", strings.Join(lines(changes), "\n"), l.list())
	}
	return nil
}

// copyTree copies a tree with all metadata. Names that the mount lists and has not
// are left out.
func copyTree(ctx context.Context, from, to string) error {
	cmd := exec.CommandContext(ctx, "cp", "-a", "--", from+"/.", to)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	for line := range strings.Lines(stderr.String()) {
		if !strings.Contains(line, "No such file") {
			return fmt.Errorf("%v: %w: %s", cmd, err, line)
		}
	}
	return nil
}

// headers returns the entries of the archive.
func (l Layer) headers() ([]*tar.Header, error) {
	var all []*tar.Header
	for r := tar.NewReader(bytes.NewReader(l.Archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
}

// list returns the headers, of a large layer the first.
func (l Layer) list() string {
	headers, err := l.headers()
	var b strings.Builder
	for i, h := range headers {
		if i == 50 {
			fmt.Fprintf(&b, "and %d more\n", len(headers)-i)
			break
		}
		fmt.Fprintf(&b, "%c %.80q %.80q %d %o %d:%d %v %.200q\n", h.Typeflag, h.Name, h.Linkname, h.Size, h.Mode, h.Uid, h.Gid, h.ModTime, fmt.Sprint(h.PAXRecords))
	}
	if err != nil {
		fmt.Fprintf(&b, "and then %v\n", err)
	}
	return b.String()
}

// compareCarried compares when the directories in the layer were modified.
func (v View) compareCarried(l Layer, dir string) error {
	headers, err := l.headers()
	if err != nil {
		return err
	}
	for _, h := range headers {
		name := path.Clean(h.Name)
		if strings.HasPrefix(path.Base(name), reserved) || h.Typeflag != tar.TypeDir {
			continue
		}
		want, err := lstat(filepath.Join(v.New, name))
		if err != nil {
			return err
		}
		got, err := lstat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got.Mtim != want.Mtim {
			return fmt.Errorf("directory %q has mtime %v, want %v", name, got.Mtim, want.Mtim)
		}
	}
	return nil
}

// compareLinks compares which names are links of each other, in the whole tree.
func (v View) compareLinks(l Layer, dir string) error {
	type inode struct{ dev, ino uint64 }
	type pair struct {
		other inode
		name  string
	}
	paired := [2]map[inode]pair{{}, {}}
	if err := forgetInodes(v.New); err != nil {
		return err
	}
	return filepath.WalkDir(v.New, func(p string, d os.DirEntry, err error) error {
		name := p[len(v.New):]
		if err != nil || d.IsDir() || strings.Contains(name, "/"+reserved) || slices.Contains(l.Lacks, name) {
			return err
		}
		want, err := lstat(p)
		if errors.Is(err, os.ErrNotExist) {
			return nil // listed by the mount, which has it not
		}
		if err != nil {
			return err
		}
		got, err := lstat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		ids := [2]inode{{uint64(want.Dev), want.Ino}, {uint64(got.Dev), got.Ino}}
		for i := range paired {
			was, seen := paired[i][ids[i]]
			if !seen {
				paired[i][ids[i]] = pair{ids[1-i], name}
			} else if was.other != ids[1-i] {
				return fmt.Errorf("%q is a link of %q in only one of the replayed and the new view", name, was.name)
			}
		}
		return nil
	})
}

// GNUTar applies a layer as GNU tar does, after what it knows nothing of is done:
// what the layer deletes or replaces is taken away.
func GNUTar(ctx context.Context) func(r io.Reader, dir string) error {
	return func(r io.Reader, dir string) error {
		archive, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		headers, err := Layer{Archive: archive}.headers()
		if err != nil {
			return err
		}
		for _, h := range headers {
			if err := makeWay(dir, h); err != nil {
				return err
			}
		}
		cmd := exec.CommandContext(ctx, "tar", "-x", "-p", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*",
			"--delay-directory-restore", "--exclude=.wh.*", "--warning=no-timestamp", "-C", dir, "-f", "-")
		cmd.Stdin = bytes.NewReader(archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
		return nil
	}
}

func makeWay(dir string, h *tar.Header) error {
	name := filepath.Join(dir, path.Clean(h.Name))
	parent, base := filepath.Split(name)
	if base == ".wh..wh..opq" {
		entries, err := os.ReadDir(parent)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(parent+e.Name()))
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if deleted, ok := strings.CutPrefix(base, reserved); ok {
		return os.RemoveAll(parent + deleted)
	}
	info, err := os.Lstat(name)
	if err != nil || h.Typeflag == tar.TypeDir && info.IsDir() {
		return nil
	}
	return os.RemoveAll(name)
}

// HasDefaultACL reports whether a directory in the layer has an access control list
// that what is made in it inherits.
func (l Layer) HasDefaultACL() bool {
	return bytes.Contains(l.Archive, []byte("SCHILY.xattr.system.posix_acl_default="))
}

// CompareLayers returns in what two layers differ.
func CompareLayers(a, b Layer) string { return cmp.Diff(a.list(), b.list()) }
