package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed kernels.sh
var kernelsScript string

// Kernel is a kernel of a series.
type Kernel struct {
	Arch   string // as Go names it
	Series string // "6.12", or "latest"
	Dir    string // has vmlinuz and modules; "" if the archive has none of the series
}

// Name is the version in the name of the directory.
func (k Kernel) Name() string { return filepath.Base(k.Dir) }

// ID tells kernels of several architectures apart: the series, and the architecture unless that
// is amd64.
func (k Kernel) ID() string {
	if k.Arch == "amd64" {
		return k.Series
	}
	return k.Series + "-" + k.Arch
}

// fetch has kernels.sh get what the words stand for, and returns what it prints.
func fetch(ctx context.Context, arch string, words ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-s", "--", "-arch", arch}, words...)...)
	cmd.Stdin = strings.NewReader(kernelsScript)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kernels.sh: %w", err)
	}
	return string(out), nil
}

// Fetch has kernels.sh get the newest kernel of each series for an architecture.
func Fetch(ctx context.Context, arch string, series ...string) ([]Kernel, error) {
	out, err := fetch(ctx, arch, series...)
	if err != nil {
		return nil, err
	}
	var all []Kernel
	for line := range strings.Lines(out) {
		name, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, fmt.Errorf("kernels.sh says %q", line)
		}
		if dir == "MISSING" {
			dir = ""
		}
		all = append(all, Kernel{Arch: arch, Series: name, Dir: dir})
	}
	return all, nil
}

// prepare returns the kernel as QEMU starts it soonest, and an archive of its
// modules. It keeps both beside the kernel.
func (k Kernel) prepare() (vmlinux, modules string, err error) {
	vmlinux = filepath.Join(k.Dir, "vmlinux")
	err = once(vmlinux, func(file string) error {
		b, err := os.ReadFile(filepath.Join(k.Dir, "vmlinuz"))
		if err == nil {
			b, err = unpackers[k.Arch](b)
		}
		if err != nil {
			return fmt.Errorf("unpack the kernel of %s: %w", k.Dir, err)
		}
		return os.WriteFile(file, b, 0o644)
	})
	if err != nil {
		return "", "", err
	}
	list := sha256.Sum256([]byte(strings.Join(wanted, " "))) // with another list, another archive
	modules = filepath.Join(k.Dir, fmt.Sprintf("modules-%x.cpio", list[:4]))
	err = once(modules, func(file string) error {
		return Pack(file, func(a *Files) { a.fail(packModules(a, filepath.Join(k.Dir, "modules"))) })
	})
	return vmlinux, modules, err
}

// once has write make a file, if it is missing, whole or not at all.
func once(file string, write func(file string) error) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part := fmt.Sprintf("%s.%d", file, os.Getpid())
	defer os.Remove(part)
	if err := write(part); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// unpackers has for each architecture what makes of a kernel as it is packaged one that QEMU starts.
var unpackers = map[string]func(image []byte) ([]byte, error){"amd64": unpackImage, "arm64": unpackZboot, "s390x": func(image []byte) ([]byte, error) { return image, nil }}

// unpackZboot returns the Image that is compressed, or wrapped as a program of EFI's
// (drivers/firmware/efi/libstub/zboot-header.S), or neither.
func unpackZboot(image []byte) ([]byte, error) {
	if len(image) > 32 && string(image[:2]) == "MZ" && string(image[4:8]) == "zimg" {
		start, size := int(binary.LittleEndian.Uint32(image[8:])), int(binary.LittleEndian.Uint32(image[12:]))
		if start < 0 || size < 8 || start+size > len(image) {
			return nil, errors.New("its payload is not in it")
		}
		image = image[start : start+size]
	}
	b, err := decompress(image)
	if err == nil && (len(b) < 64 || string(b[56:60]) != "ARM\x64") { // Documentation/arch/arm64/booting.rst
		err = errors.New("it is no Image of arm64, or compressed in an unknown way")
	}
	return b, err
}

// unpackImage returns the ELF file in a bzImage. The guest would take a second
// to unpack it, and QEMU enters an ELF file directly (PVH).
func unpackImage(image []byte) ([]byte, error) {
	// Documentation/arch/x86/boot.rst has the header.
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("it is no bzImage")
	}
	sectors := int(image[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + int(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + int(binary.LittleEndian.Uint32(image[0x24c:]))
	if start < 0 || end > len(image) || end-start < 8 {
		return nil, errors.New("its payload is not in it")
	}
	b, err := decompress(image[start : end-4]) // then comes the size, which is not of the stream
	if err == nil && !bytes.HasPrefix(b, []byte("\x7fELF")) {
		err = errors.New("its payload is no ELF file, or compressed in an unknown way")
	}
	return b, err
}
