package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ModuleFile lists the modules that the guest has; each is beside it.
const ModuleFile = "/lib/modules/list"

// Module is a part of the kernel that is loaded when needed.
type Module struct {
	Name    string   // with _ for -, as the kernel has it
	Needs   []string // other modules
	Aliases []string // what else the kernel asks for it by; with * and ?
}

// Path is where the guest has it.
func (m Module) Path() string { return filepath.Join(filepath.Dir(ModuleFile), m.Name+".ko") }

// ModuleName returns the kernel's spelling of a module's name or alias.
func ModuleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// line is what ModuleFile has of a module; ParseModules reads it.
func (m Module) line() string {
	return m.Name + "\t" + strings.Join(m.Needs, " ") + "\t" + strings.Join(m.Aliases, " ") + "\n"
}

// ParseModules reads ModuleFile.
func ParseModules(list string) ([]Module, error) {
	var all []Module
	for line := range strings.Lines(list) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s: %q has %d fields, want 3", ModuleFile, line, len(f))
		}
		all = append(all, Module{Name: f[0], Needs: strings.Fields(f[1]), Aliases: strings.Fields(f[2])})
	}
	return all, nil
}

// wanted are the modules that a guest may need, with those that these need.
// Which of them are built in differs from kernel to kernel.
var wanted = []string{
	"virtio_pci", "virtio_blk", "virtio_console", "virtio_rng",
	"overlay", "loop", "ext4", "xfs", "btrfs", "erofs", "squashfs", "fuse",
	"dm_mod", "dm_thin_pool", "dm_snapshot", "dm_verity", "dm_flakey",
	// What the file systems ask for by name of an algorithm.
	"crc32c_generic", "libcrc32c", "crc32c_intel", "crc32c_cryptoapi", "sha256_generic", "xxhash_generic", "blake2b_generic",
}

// early are those that no request of the kernel brings in time.
var early = []string{"virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "loop", "fuse", "dm_mod"}

// packModules adds the wanted modules among the files of dir.
func packModules(a *Files, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".ko")
		files[ModuleName(name)] = filepath.Join(dir, e.Name())
	}
	var list strings.Builder
	var add func(name string) error
	add = func(name string) error {
		file, ok := files[name]
		if !ok { // built in, added already, or not in this kernel
			return nil
		}
		delete(files, name)
		m, code, err := readModule(name, file)
		if err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
		a.Data(m.Path(), code, 0o644)
		list.WriteString(m.line())
		for _, need := range m.Needs {
			if err := add(need); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return err
		}
	}
	a.Data(ModuleFile, []byte(list.String()), 0o644)
	return nil
}

// readModule reads a module, compressed or not, and what it says of itself.
func readModule(name, file string) (m Module, code []byte, err error) {
	code, err = os.ReadFile(file)
	if err != nil {
		return m, nil, err
	}
	if code, err = decompress(code); err != nil {
		return m, nil, err
	}
	e, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		return m, nil, err
	}
	section := e.Section(".modinfo")
	if section == nil {
		return m, nil, errors.New("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return m, nil, err
	}
	m.Name = name
	for pair := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "depends":
			m.Needs = append(m.Needs, strings.FieldsFunc(ModuleName(value), func(r rune) bool { return r == ',' })...)
		case "softdep": // "pre: a b post: c"
			for word := range strings.FieldsSeq(ModuleName(value)) {
				if !strings.HasSuffix(word, ":") {
					m.Needs = append(m.Needs, word)
				}
			}
		case "alias":
			m.Aliases = append(m.Aliases, ModuleName(value))
		}
	}
	return m, code, nil
}

// decompress undoes any of the compressions that kernels come in; what has none
// is returned as it is.
func decompress(b []byte) ([]byte, error) {
	for magic, tool := range map[string]string{
		"\xfd7zXZ": "xz", "\x28\xb5\x2f\xfd": "zstd", "\x02\x21\x4c\x18": "lz4", "\x1f\x8b": "gzip",
	} {
		if !bytes.HasPrefix(b, []byte(magic)) {
			continue
		}
		cmd := exec.Command(tool, "-dc")
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tool, err)
		}
		return out, nil
	}
	return b, nil
}
