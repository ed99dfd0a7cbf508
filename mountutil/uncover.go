//go:build linux

package mountutil

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/internal/mounting"
	"github.com/overlaydiff/overlaydiff/internal/sys"
)

// mostCovers is how many mounts are taken off a path at most to look below them.
const mostCovers = 16

// inNamespace calls work on a thread in the mount namespace of a process (pid 0: the
// calling process), or in a copy of that namespace, in which work may unmount what it
// likes. proc is the caller's /proc, which the other namespace may lack.
func inNamespace(pid int, copied bool, work func(proc int) error) error {
	proc, err := sys.Open(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	switch {
	case pid == 0 && !copied:
		return work(proc)
	case pid == 0:
		return mounting.InOwnNamespace("look into a copy of the mount namespace", func() error { return work(proc) })
	}
	return mounting.OnOwnThread(func() error {
		ns, err := sys.Open(proc, strconv.Itoa(pid)+"/ns/mnt", unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns requires a root of its own
			return err
		}
		if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
			return err
		}
		if copied {
			if err := mounting.OwnNamespace(); err != nil {
				return err
			}
		}
		return work(proc)
	})
}

// covers returns how many mounts can be taken off a path, at most mostCovers. It is 0 if
// this process may not look.
func covers(pid int, path string) int {
	n := 0
	err := inNamespace(pid, true, func(proc int) error {
		for n < mostCovers && detachCover(proc, path) == nil {
			n++
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return n
}

// uncover opens the directory path in the calling thread's mount namespace, a copy, after
// that many mounts were taken off the path.
func uncover(proc int, path string, covers int) (opened, error) {
	for range covers {
		if err := detachCover(proc, path); err != nil {
			return opened{}, err
		}
	}
	return openDir(path, unix.O_PATH)
}

// detachCover detaches the mount that the deepest existing part of path is on, in the
// calling thread's mount namespace. [fs.ErrNotExist]: there is none but the root.
func detachCover(proc int, path string) error {
	st, err := statPath(path)
	for path != "/" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) {
		path = filepath.Dir(path)
		st, err = statPath(path)
	}
	if err != nil {
		return err
	}
	table, err := sys.Open(proc, "thread-self/mountinfo", unix.O_RDONLY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(table), "mountinfo")
	defer f.Close()
	id := []byte(strconv.FormatUint(st.Mnt_id, 10) + " ")
	infos, err := parseTable(f, func(line []byte) bool { return bytes.HasPrefix(line, id) })
	if err != nil {
		return err
	}
	if len(infos) == 0 || infos[0].Mountpoint == "/" {
		return fs.ErrNotExist // nothing covers it
	}
	return mounting.Detach(infos[0].Mountpoint)
}
