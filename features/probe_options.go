package features

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// optionProbes are about the remaining mount options.
var optionProbes = []probe{{
	name: "verity", group: groupOverlay, depends: onDir, since: "6.6", needs: []string{"mount", "metacopy"},
	asks:    "digests of data files are checked, with verity=on",
	how:     "mounts with metacopy=on,verity=on",
	follows: "what is in data-only layers must be trusted",
	run:     probeOption("metacopy=on", "verity=on"),
}, {
	name: "xino", group: groupOverlay, depends: onDir, since: "4.17", needs: aMount,
	asks:    "inode numbers are unique with layers on several file systems, with xino=on",
	how:     "compares the device numbers of a file and the root of an overlay over a tmpfs",
	follows: "programs that compare device and inode numbers (find -xdev, du, git) see several devices in one overlay",
	run:     probeXino,
}, {
	name: "uuid", group: groupOverlay, depends: onDir, since: "6.6", needs: aMount,
	asks:    "an overlay has a UUID that persists, with uuid=auto or on",
	how:     "mounts with uuid=auto",
	follows: "fanotify and NFS can't tell overlays apart",
	run:     probeOption("uuid=auto"),
}, {
	name: "override_creds", group: groupOverlay, depends: onDir, since: "6.15", needs: aMount,
	asks:    "layers can be accessed with the credentials of who configures the mount (override_creds)",
	how:     "mounts with override_creds",
	follows: "layers are accessed with the credentials of who mounts",
	run:     probeOption("override_creds"),
}, {
	name: "volatile", group: groupOverlay, depends: onDir, since: "5.10", needs: aMount,
	asks:    "an overlay can do without syncing (volatile)",
	how:     "mounts with volatile",
	follows: "builds wait for the disk at every fsync and unmount",
	run:     probeOption("volatile"),
}, {
	name: "volatile_leftover", group: groupOverlay, depends: onDir, since: "5.10", needs: []string{"mount", "volatile"},
	asks:    "what a volatile overlay left can't be mounted by mistake",
	how:     "mounts with volatile, unmounts, and mounts again, which must fail",
	follows: "after a crash, an upper directory that was not synced is used as if it were whole",
	run:     probeLeftover,
}, {
	name: "fsync", group: groupOverlay, depends: onDir, since: "7.1", needs: aMount,
	asks:    "how much is synced can be chosen (fsync=auto|strict|volatile)",
	how:     "mounts with fsync=strict",
	follows: "the choice is between syncing and volatile",
	source:  "in some stable kernels too: 6.12.y, 6.18.y",
	run:     probeOption("fsync=strict"),
}}

func probeXino(_ context.Context, s *session) error {
	tmpfs, err := mountDetached("tmpfs", nil)
	if err != nil {
		return unsure(err)
	}
	defer tmpfs.close()
	if err := place(tmpfs.path()).make("f"); err != nil {
		return err
	}
	p, err := s.place()
	if err != nil {
		return err
	}
	lower, err := s.attach(p, tmpfs)
	if err != nil {
		return err
	}
	m, err := s.lowers(p, "l1:"+lower, "xino=on")
	if err != nil {
		return err
	}
	defer m.close()
	file, err := inode(m.in("f"))
	if err != nil {
		return err
	}
	root, err := inode(m.in("."))
	if err == nil && file.Dev != root.Dev {
		return no("a file and the root have different device numbers")
	}
	return err
}

func probeLeftover(_ context.Context, s *session) error {
	p, err := s.place()
	if err != nil {
		return err
	}
	m, err := s.upper(p)
	if err != nil {
		return err
	}
	m.close()
	again, err := s.upper(p)
	if err == nil {
		again.close()
		return no("it mounts again, in spite of the mark in the work directory")
	}
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
