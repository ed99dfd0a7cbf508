package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// tools are what tests call. They come from this machine, or for another architecture from
// Debian's packages for it, with their libraries.
var tools = []string{
	"sh", "cat", "cp", "du", "env", "head", "ls", "mkdir", "rm", "rmdir", "sleep", "true", "truncate",
	"gzip", "perl", "setpriv", "tar", "zstd", "unshare", "mount", "umount", "losetup", "dmsetup", "debugfs",
	"btrfs", "mkfs.btrfs", "mkfs.erofs", "mkfs.ext4", "mkfs.xfs", "mksquashfs",
}

// Kit is what the machines of a run share: init, tools and disks, in a
// temporary directory of which Close leaves nothing.
type Kit struct {
	Dir   string
	Arch  string // of the guests
	Disks []Disk
	base  string // archive
}

// Disk is a disk of a guest, known there by its name. What a guest writes to it
// is gone with the guest.
type Disk struct {
	Name, image string
}

// NewKit makes a kit for guests of an architecture. It needs the go command and a directory of
// this module to be the working directory.
func NewKit(ctx context.Context, arch string) (k *Kit, err error) {
	dir, err := os.MkdirTemp(memory(), "overlaydiff-vm-")
	if err != nil {
		return nil, err
	}
	k = &Kit{Dir: dir, Arch: arch, base: filepath.Join(dir, "base.cpio")}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	init := filepath.Join(dir, "init")
	if err := GoBuild(ctx, arch, init, "build", "github.com/overlaydiff/overlaydiff/testenv/vm/guestinit"); err != nil {
		return k, err
	}
	root, err := toolRoot(ctx, arch)
	if err != nil {
		return k, err
	}
	if err := Pack(k.base, func(a *Files) { packBase(a, init, root) }); err != nil {
		return k, err
	}
	return k, k.makeDisks(ctx)
}

// Close removes all that there is of the kit.
func (k *Kit) Close() error { return os.RemoveAll(k.Dir) }

// memory returns a directory in memory, or "" for the usual one.
func memory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

// toolRoot returns the root directory that has the tools.
func toolRoot(ctx context.Context, arch string) (string, error) {
	if arch == runtime.GOARCH {
		return "/", nil
	}
	out, err := fetch(ctx, arch, "tools")
	if err != nil {
		return "", err
	}
	_, dir, ok := strings.Cut(strings.TrimSpace(out), " ")
	if !ok || !filepath.IsAbs(dir) {
		return "", fmt.Errorf("kernels.sh says %q of the tools for %s", out, arch)
	}
	return dir, nil
}

// GoBuild runs go build, or go test -c, for a program that needs no library.
func GoBuild(ctx context.Context, arch, output string, args ...string) error {
	verb := args[:1:1]
	cmd := exec.CommandContext(ctx, "go", append(append(verb, "-trimpath", "-ldflags=-s -w", "-o", output), args[1:]...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// packBase packs what every guest has. root has the tools.
func packBase(a *Files, init, root string) {
	for _, dir := range []string{"dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var/tmp"} {
		a.Dir(dir)
	}
	a.charDevice("dev/console", 5, 1)
	a.charDevice("dev/null", 1, 3)
	a.Copy("init", init)
	a.Link("sbin/modprobe", "/init") // where the kernel looks for it
	a.Data("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"), 0o644)
	a.Data("etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"), 0o644)
	a.Link("etc/mtab", "/proc/self/mounts")
	for _, tool := range tools {
		path := findTool(root, tool)
		if path == "" {
			a.fail(fmt.Errorf("a guest needs %s, and %s has none: run testenv/install.sh vm", tool, root))
			continue
		}
		a.Program("bin/"+tool, root, path)
	}
}

// findTool returns the path of a tool below a root directory, "" if there is none.
func findTool(root, tool string) string {
	if tool == "sh" && root != "/" { // the package makes that link when it is installed
		tool = "dash"
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path := filepath.Join(dir, tool); exists(filepath.Join(root, path)) {
			return path
		}
	}
	return ""
}

// makeDisks makes the images of the disks. ext4 takes small blocks for small
// images of its own accord, with which fs-verity does not work.
func (k *Kit) makeDisks(ctx context.Context) error {
	for _, d := range []struct {
		name string
		mkfs string
	}{
		{"ext4", "mkfs.ext4 -q -F -b 4096 -O ^has_journal,verity -E nodiscard"},
		{"xfs", "mkfs.xfs -q -f -K"},
		{"btrfs", "mkfs.btrfs -q -f -K"},
		{TmpDisk, "mkfs.ext4 -q -F -O ^has_journal -E nodiscard"},
		{"spare", ""},
	} {
		image := filepath.Join(k.Dir, d.name+".img")
		f, err := os.Create(image)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil { // sparse: it costs nothing
			return err
		}
		if mkfs := strings.Fields(d.mkfs); len(mkfs) > 0 {
			if out, err := exec.CommandContext(ctx, mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", d.mkfs, err, out)
			}
		}
		k.Disks = append(k.Disks, Disk{Name: d.name, image: image})
	}
	return nil
}
