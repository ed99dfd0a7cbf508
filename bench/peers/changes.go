package peers

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/util/overlay"
	mobyarchive "github.com/moby/go-archive"
	storagearchive "go.podman.io/storage/pkg/archive"

	"github.com/overlaydiff/overlaydiff/bench"
)

// Changes adds the peers' to our task.
func Changes() bench.Task {
	t := bench.Changes()
	t.Subjects = append(t.Subjects,
		bench.Subject{Name: "moby.ChangesDirs", Run: mobyChanges},
		bench.Subject{Name: "continuity.Changes", Run: continuityChanges},
		bench.Subject{Name: "continuity.DiffDirChanges", Run: continuityDiffDir},
		bench.Subject{Name: "buildkit.Changes", Run: buildkitChanges},
		bench.Subject{Name: "storage.OverlayChanges", Run: storageChanges},
		limit("floor-1-thread", changesFloor(1)),
		limit("floor-2-threads", changesFloor(2)),
		limit("floor-walk-1-thread", walkFloor(1)),
		limit("floor-walk-2-threads", walkFloor(2)),
	)
	return t
}

// mobyChanges is docker diff: moby's overlay2 driver always compares two mounts.
func mobyChanges(_ context.Context, s *bench.Scene, visit bench.Visit) (bench.Answer, error) {
	list, err := mobyarchive.ChangesDirs(s.Stack.Mountpoint, s.Old)
	for _, c := range list {
		if visit == nil {
			break
		}
		visit([]byte{mobyarchive.ChangeModify: 'C', mobyarchive.ChangeAdd: 'A', mobyarchive.ChangeDelete: 'D'}[c.Kind], c.Path)
	}
	return bench.Answer{Changes: int64(len(list))}, err
}

// continuityChanges is what containerd's walking differ makes a layer of.
func continuityChanges(ctx context.Context, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
	err = fs.Changes(ctx, s.Old, s.Stack.Mountpoint, callback(&a, visit))
	return a, err
}

// continuityDiffDir is what containerd's erofs differ makes a layer of.
func continuityDiffDir(ctx context.Context, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
	err = fs.DiffDirChanges(ctx, s.Old, s.Stack.Upper, fs.DiffSourceOverlayFS, callback(&a, visit))
	return a, err
}

func callback(a *bench.Answer, visit bench.Visit) fs.ChangeFunc {
	return func(k fs.ChangeKind, path string, _ os.FileInfo, err error) error {
		if err != nil || k == fs.ChangeKindUnmodified {
			return err
		}
		a.Changes++
		if visit != nil {
			visit(map[fs.ChangeKind]byte{fs.ChangeKindAdd: 'A', fs.ChangeKindModify: 'C', fs.ChangeKindDelete: 'D'}[k], path)
		}
		return nil
	}
}

// buildkitChanges is what buildkit makes a layer of, see [buildkitLayer]. The
// view of the upper directory without whiteouts is mounted here as it does.
func buildkitChanges(ctx context.Context, s *bench.Scene, visit bench.Visit) (a bench.Answer, err error) {
	lower, upperdir, err := buildkitMounts(s)
	if err != nil {
		return a, err
	}
	empty, err := os.MkdirTemp("", "empty")
	if err != nil {
		return a, err
	}
	defer os.Remove(empty)
	view := []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + upperdir + ":" + empty, "index=off"}}}
	err = mount.WithTempMount(ctx, lower, func(base string) error {
		return mount.WithTempMount(ctx, view, func(upperView string) error {
			return overlay.Changes(ctx, callback(&a, visit), upperdir, upperView, base)
		})
	})
	return a, err
}

// buildkitMounts describes the scene as a snapshotter would. buildkit finds the
// upper directory in that, or says that it does not know an option.
func buildkitMounts(s *bench.Scene) (lower []mount.Mount, upperdir string, err error) {
	lower = []mount.Mount{{Type: "bind", Source: s.Stack.Lower[0], Options: []string{"rbind", "ro"}}}
	lowerdir := "lowerdir=" + strings.Join(s.Stack.Lower, ":")
	if len(s.Stack.Lower) > 1 {
		lower = []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{lowerdir}}}
	}
	options := []string{"workdir=" + s.Stack.Work, "upperdir=" + s.Stack.Upper, lowerdir}
	if s.Options != "" {
		options = append(options, strings.Split(s.Options, ",")...)
	}
	upperdir, err = overlay.GetUpperdir(lower, []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}})
	if err != nil {
		return nil, "", fmt.Errorf("falls back to walking: %w", err)
	}
	return lower, upperdir, nil
}

// storageChanges is podman diff with native diff: it walks the upper directory.
func storageChanges(_ context.Context, s *bench.Scene, visit bench.Visit) (bench.Answer, error) {
	list, err := storagearchive.OverlayChanges(s.Stack.Lower, s.Stack.Upper)
	for _, c := range list {
		if visit == nil {
			break
		}
		visit([]byte{storagearchive.ChangeModify: 'C', storagearchive.ChangeAdd: 'A', storagearchive.ChangeDelete: 'D'}[c.Kind], c.Path)
	}
	return bench.Answer{Changes: int64(len(list))}, err
}
