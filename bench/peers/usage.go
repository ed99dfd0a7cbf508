package peers

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/containerd/continuity/fs"
	mobydir "github.com/docker/docker/pkg/directory"
	storagedir "go.podman.io/storage/pkg/directory"

	"github.com/overlaydiff/overlaydiff/bench"
	"github.com/overlaydiff/overlaydiff/bench/peers/floor"
)

// Usage adds the peers' to our task.
func Usage() bench.Task {
	t := bench.Usage()
	t.Subjects = append(t.Subjects,
		// As moby's DiffSize calls it (docker ps -s). Newer releases have the same
		// function where it can't be imported, see go.mod.
		usage("moby.Size", func(ctx context.Context, dir string) (a bench.Answer, err error) {
			a.Bytes, err = mobydir.Size(ctx, dir) //lint:ignore SA1019 it is the peer
			return a, err
		}),
		// As the Usage of containerd's overlay snapshotter calls it.
		usage("continuity.DiskUsage", func(ctx context.Context, dir string) (bench.Answer, error) {
			u, err := fs.DiskUsage(ctx, dir)
			return bench.Answer{Disk: u.Size, Inodes: u.Inodes}, err
		}),
		// As the DiffSize of Podman's overlay driver calls it.
		usage("storage.Usage", func(_ context.Context, dir string) (bench.Answer, error) {
			u, err := storagedir.Usage(dir)
			if err != nil {
				return bench.Answer{}, err
			}
			return bench.Answer{Bytes: u.Size, Inodes: u.InodeCount}, nil
		}),
		// What operators type, its process included.
		usage("gnu.du", func(ctx context.Context, dir string) (a bench.Answer, err error) {
			out, err := exec.CommandContext(ctx, "du", "-s", "-B1", dir).Output()
			if err == nil {
				_, err = fmt.Sscan(string(out), &a.Disk)
			}
			return a, err
		}),
		limit("floor-1-thread", usageFloor(1)),
		limit("floor-2-threads", usageFloor(2)),
	)
	return t
}

func usage(name string, f func(ctx context.Context, dir string) (bench.Answer, error)) bench.Subject {
	return bench.Subject{Name: name, Run: func(ctx context.Context, s *bench.Scene, _ bench.Visit) (bench.Answer, error) {
		return f(ctx, s.Stack.Upper)
	}}
}

func limit(name string, run func(s *bench.Scene) (bench.Answer, error)) bench.Subject {
	return bench.Subject{Name: name, Limit: true, Run: func(_ context.Context, s *bench.Scene, _ bench.Visit) (bench.Answer, error) {
		return run(s)
	}}
}

func usageFloor(threads int) func(s *bench.Scene) (bench.Answer, error) {
	return func(s *bench.Scene) (bench.Answer, error) {
		t, err := floor.Usage(s.Stack.Upper, threads)
		return bench.Answer{Bytes: t.Bytes, Disk: t.Disk, Inodes: t.Inodes}, err
	}
}

func changesFloor(threads int) func(s *bench.Scene) (bench.Answer, error) {
	return func(s *bench.Scene) (bench.Answer, error) {
		t, err := floor.Changes(s.Stack.Upper, s.Stack.Lower, threads)
		return bench.Answer{Changes: t.Entries}, err
	}
}

// walkFloor is the limit of whoever compares two trees: it reads both.
func walkFloor(threads int) func(s *bench.Scene) (bench.Answer, error) {
	return func(s *bench.Scene) (a bench.Answer, err error) {
		for _, dir := range []string{s.Old, s.Stack.Mountpoint} {
			t, err := floor.Usage(dir, threads)
			if err != nil {
				return a, err
			}
			a.Changes += t.Entries
		}
		return a, nil
	}
}

// readFloor is the limit of whoever makes a layer of what the upper directory has.
func readFloor(threads int) func(s *bench.Scene) (bench.Answer, error) {
	return func(s *bench.Scene) (bench.Answer, error) {
		t, err := floor.Read(s.Stack.Upper, threads)
		return bench.Answer{Bytes: t.Bytes}, err
	}
}
