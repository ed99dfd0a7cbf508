package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// BenchmarkUsage compares the usage of an upper directory with the algorithm
// by which moby computes SizeRw, and with the bare system calls that it takes:
// the floor for one thread. It reports how many times as fast as moby's
// algorithm, measured in the same run, each is.
func BenchmarkUsage(b *testing.B) {
	dir := os.Getenv("OVERLAYDIFF_BENCH_UPPER")
	if dir == "" {
		dir = b.TempDir()
		makeTree(b, dir, 4000)
	}
	subjects := []struct {
		name string
		size func(ctx context.Context, dir string) (int64, error)
	}{
		{"moby-algorithm", walkSize},
		{"overlaydiff", func(ctx context.Context, dir string) (int64, error) {
			u, err := overlaydiff.Usage(ctx, diff.Stack{Upper: dir}, overlaydiff.Options{})
			return u.Bytes, err
		}},
		{"syscalls-one-thread", func(_ context.Context, dir string) (int64, error) { return bareSize(dir) }},
	}
	want, err := walkSize(b.Context(), dir)
	must(b, err)
	entries := countEntries(b, dir)
	var moby time.Duration
	for _, s := range subjects {
		b.Run("subject="+s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got, err := s.size(b.Context(), dir)
				if err != nil || got != want {
					b.Fatalf("%d bytes, error %v; the other subject: %d bytes", got, err, want)
				}
			}
			b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			if s.name == "moby-algorithm" {
				moby = b.Elapsed() / time.Duration(b.N)
			}
			if moby > 0 {
				b.ReportMetric(float64(moby)/(float64(b.Elapsed())/float64(b.N)), "x-moby")
			}
		})
	}
}

// walkSize is our own writing of what moby's daemon/internal/directory.Size
// does: one lstat an entry by path, in sorted order, and every inode number
// once.
func walkSize(ctx context.Context, dir string) (size int64, err error) {
	seen := map[uint64]struct{}{}
	err = filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && path != dir {
				return nil // it vanished since its directory was read
			}
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if info.IsDir() || info.Size() == 0 {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("lstat %s: no inode number", path)
		}
		if _, ok := seen[st.Ino]; !ok {
			seen[st.Ino] = struct{}{}
			size += info.Size()
		}
		return nil
	})
	return size, err
}

// bareSize lists every directory and stats every entry, and does nothing else
// that a measurement needs: no whiteouts, no opaque marks, no races.
func bareSize(dir string) (size int64, err error) {
	linked := map[uint64]bool{}
	var walk func(fd int) error
	walk = func(fd int) (err error) {
		var st sys.Stat
		listed := sys.ReadDir(fd, func(d sys.Dirent) bool {
			name := d.Name
			if err = sys.UsageAt(fd, name, &st); err != nil {
				return false
			}
			if st.Format() != sys.Directory {
				if st.Nlink == 1 || !linked[st.Ino] {
					size += st.Size
				}
				if st.Nlink > 1 {
					linked[st.Ino] = true
				}
				return true
			}
			child, openErr := sys.OpenDirAt(fd, name)
			if err = openErr; err != nil {
				return false
			}
			err = walk(child)
			sys.Close(child)
			return err == nil
		})
		return errors.Join(err, listed)
	}
	fd, err := sys.OpenDir(dir)
	if err != nil {
		return 0, err
	}
	defer sys.Close(fd)
	err = walk(fd)
	return size, err
}

func countEntries(tb testing.TB, dir string) (n int) {
	tb.Helper()
	must(tb, filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error {
		n++
		return err
	}))
	return n
}
