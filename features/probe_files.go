package features

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// fileProbes are about file contents.
var fileProbes = []probe{{
	name: "reflink", group: groupDir, depends: onDir,
	asks:    "files can share their data (reflink)",
	how:     "clones a file with FICLONE",
	follows: "copy-up copies all data of a file, however large; xfs (reflink=1) and btrfs share it",
	run:     probeReflink,
}, {
	name: "copy_file_range", group: groupDir, depends: onDir,
	asks:    "the kernel copies files by itself (copy_file_range)",
	how:     "copies a file with copy_file_range",
	follows: "copying goes through the program's memory",
	run:     probeCopyRange,
}, {
	name: "fs_verity", group: groupDir, depends: onDir,
	asks:    "files can be protected by a digest (fs-verity)",
	how:     "asks for the digest of a file that has none",
	follows: "verity=require can't be used with layers here; ext4 and f2fs need the feature verity, btrfs Linux 5.15",
	run:     probeVerity,
}, {
	name: "project_quota", group: groupDir, depends: onDir,
	asks:    "project quotas are on",
	how:     "asks for their state with quotactl_fd (Linux 5.14)",
	follows: "containers can't be limited in size (--storage-opt size); mount with prjquota",
	run:     probeQuota,
}}

// twoFiles makes a file with data, and an empty one.
func (s *session) twoFiles() (from, to *os.File, err error) {
	p, err := s.common()
	if err != nil {
		return nil, nil, err
	}
	if err := p.make("from", "into="); err != nil {
		return nil, nil, err
	}
	from, err = os.Open(p.in("from"))
	if err != nil {
		return nil, nil, err
	}
	to, err = os.OpenFile(p.in("into"), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, errors.Join(err, from.Close())
	}
	return from, to, nil
}

func probeReflink(_ context.Context, s *session) error {
	from, to, err := s.twoFiles()
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return fmt.Errorf("FICLONE: %w", err)
	}
	return nil
}

func probeCopyRange(_ context.Context, s *session) error {
	from, to, err := s.twoFiles()
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 5, 0)
	if err != nil {
		return fmt.Errorf("copy_file_range: %w", err)
	}
	if n != 5 {
		return no("it copied %d bytes of 5", n)
	}
	return nil
}

func probeVerity(_ context.Context, s *session) error {
	from, to, err := s.twoFiles()
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	_, _, err = sys.MeasureVerity(int(from.Fd()))
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	return fmt.Errorf("FS_IOC_MEASURE_VERITY: %w", err)
}

func probeQuota(_ context.Context, s *session) error {
	on, err := sys.ProjectQuota(int(s.dir.Fd()))
	if errors.Is(err, unix.ENOSYS) { // then the old call, which takes the device, might tell
		return errors.New("quotactl_fd is not there (Linux 5.14); look for prjquota in the mount's options")
	}
	if err != nil {
		return fmt.Errorf("quotactl_fd: %w", err)
	}
	if !on {
		return no("they are off")
	}
	return nil
}
