package vm

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// No machine is booted here: make test-vm does that. QEMU and apt are scripts of
// these tests.

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unpack reads an archive: name → mode and content.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	check(t, err)
	if len(b)%512 != 0 {
		t.Errorf("%d bytes are no whole blocks, so that no other archive can follow", len(b))
	}
	got := map[string]string{}
	for at := 0; ; {
		header := string(b[at : at+110])
		field := func(i int) int {
			n, err := strconv.ParseUint(header[6+8*i:14+8*i], 16, 32)
			check(t, err)
			return int(n)
		}
		if !strings.HasPrefix(header, "070701") || at%4 != 0 {
			t.Fatalf("no header at %d: %q", at, header)
		}
		name := string(b[at+110 : at+110+field(11)-1])
		content := (at + 110 + field(11) + 3) &^ 3
		if name == "TRAILER!!!" {
			return got
		}
		if _, twice := got[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		got[name] = strconv.FormatInt(int64(field(1)), 8) + " " + string(b[content:content+field(6)])
		at = (content + field(6) + 3) &^ 3
	}
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	check(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	check(t, os.WriteFile(filepath.Join(source, "sub/f"), []byte("12345"), 0o640))
	check(t, os.Symlink("f", filepath.Join(source, "sub/l")))
	archive := filepath.Join(dir, "a.cpio")
	check(t, Pack(archive, func(a *Files) {
		a.Data("/etc/first", []byte("1"), 0o644)
		a.Data("etc/first", []byte("2"), 0o644)
		a.Link("bin/sh", "dash")
		a.charDevice("dev/null", 1, 3)
		a.Tree("/tests", source)
		a.Tree("/none", filepath.Join(dir, "none"))
	}))
	want := map[string]string{
		"etc": "40755 ", "etc/first": "100644 1", "bin": "40755 ", "bin/sh": "120777 dash", "dev": "40755 ", "dev/null": "20600 ",
		"tests": "40755 ", "tests/sub": "40755 ", "tests/sub/f": "100640 12345", "tests/sub/l": "120777 f",
	}
	if d := cmp.Diff(want, unpack(t, archive)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	check(t, syscall.Mkfifo(filepath.Join(source, "p"), 0o600))
	for what, fill := range map[string]func(a *Files){
		"a fifo":    func(a *Files) { a.Tree("/x", source) },
		"no file":   func(a *Files) { a.Copy("x", filepath.Join(dir, "none")) },
		"no module": func(a *Files) { a.fail(packModules(a, filepath.Join(dir, "none"))) },
	} {
		if err := Pack(archive, fill); err == nil {
			t.Errorf("%s is packed", what)
		}
	}
}

// module is an object file that says this of itself.
func module(info ...string) []byte {
	data := []byte(strings.Join(info, "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2, Shoff: uint64(64 + len(data) + len(names)),
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, header)
	b.Write(data)
	b.Write(names)
	_ = binary.Write(&b, binary.LittleEndian, []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(data))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(data)), Size: uint64(len(names))},
	})
	return b.Bytes()
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) { check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644)) }
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(module("alias=fs-btrfs", "softdep=pre: xor  post: built-in", "depends=raid6-pq,zstd_compress"))
	check(t, errors.Join(err, w.Close()))
	write("btrfs.ko.gz", packed.Bytes())
	write("raid6-pq.ko", module("license=GPL"))
	write("xor.ko", module("depends="))
	write("not-wanted.ko", module())
	archive := filepath.Join(dir, "modules.cpio")
	check(t, Pack(archive, func(a *Files) { a.fail(packModules(a, dir)) }))
	files := unpack(t, archive)
	got, err := ParseModules(strings.TrimPrefix(files[strings.Trim(ModuleFile, "/")], "100644 "))
	check(t, err)
	want := []Module{
		{Name: "btrfs", Needs: []string{"xor", "built_in", "raid6_pq", "zstd_compress"}, Aliases: []string{"fs_btrfs"}},
		{Name: "xor", Needs: []string{}, Aliases: []string{}},
		{Name: "raid6_pq", Needs: []string{}, Aliases: []string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, m := range got {
		if files[strings.Trim(m.Path(), "/")] == "" {
			t.Errorf("%s is not in the archive", m.Path())
		}
	}
	write("xfs.ko", []byte("garbage"))
	if err := Pack(archive, func(a *Files) { a.fail(packModules(a, dir)) }); err == nil || !strings.Contains(err.Error(), "xfs.ko") {
		t.Errorf("a broken module: %v", err)
	}
	if _, err := ParseModules("a\tb\n"); err == nil {
		t.Error("a broken list is read")
	}
}

// bzImage is a kernel as unpackImage takes it apart.
func bzImage(t *testing.T, kernel string) []byte {
	t.Helper()
	var payload bytes.Buffer
	w := gzip.NewWriter(&payload)
	_, err := w.Write([]byte(kernel))
	check(t, errors.Join(err, w.Close()))
	payload.WriteString("size") // of the unpacked kernel
	b := make([]byte, 2*512+16)
	b[0x1f1] = 1 // sectors of setup, after the first
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint32(b[0x248:], 16)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(payload.Len()))
	return append(b, payload.Bytes()...)
}

func TestUnpackImage(t *testing.T) {
	good := bzImage(t, "\x7fELF kernel")
	if b, err := unpackImage(good); err != nil || string(b) != "\x7fELF kernel" {
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 4096), good[:len(good)-30], bzImage(t, "something else")} {
		if b, err := unpackImage(bad); err == nil {
			t.Errorf("%q is a kernel", b)
		}
	}
}

// fakes puts programs into PATH.
func fakes(t *testing.T, programs map[string]string) {
	t.Helper()
	bin := t.TempDir()
	for name, script := range programs {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script), 0o755))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// machine is one whose QEMU is a script. In that, $dir has the console and the
// events.
func machine(t *testing.T, qemu string) *Machine {
	t.Helper()
	dir := t.TempDir()
	kernel := Kernel{Arch: "amd64", Series: "6.99", Dir: filepath.Join(dir, "6.99.1")}
	check(t, os.MkdirAll(filepath.Join(kernel.Dir, "modules"), 0o755))
	check(t, os.WriteFile(filepath.Join(kernel.Dir, "vmlinuz"), bzImage(t, "\x7fELF"), 0o644))
	kit := &Kit{Arch: "amd64", Dir: filepath.Join(dir, "kit")}
	check(t, os.Mkdir(kit.Dir, 0o755))
	fakes(t, map[string]string{"qemu-system-x86_64": `dir=$TMPDIR; echo $$ >` + dir + "/pid\necho booting >$dir/console\n: >$dir/events\n" + qemu})
	t.Cleanup(func() {
		left, err := os.ReadDir(kit.Dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the kit's directory: %v, %v", left, err)
		}
		pid, err := os.ReadFile(dir + "/pid")
		check(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
		check(t, err)
		if err := syscall.Kill(n, 0); err != syscall.ESRCH {
			t.Errorf("QEMU is left: %v", err)
		}
	})
	return &Machine{Kernel: kernel, Kit: kit, Deadline: time.Minute}
}

const (
	ready = `echo '{"Ready":{"Release":"6.99.1","Uptime":3}}' >>$dir/events; `
	first = `printf 'one\n'; echo '{"Command":{"Exit":1,"Bytes":4}}' >>$dir/events; `
	end   = `echo '{"End":true}' >>$dir/events; `
)

func TestMachine(t *testing.T) {
	var seen bytes.Buffer
	m := machine(t, ready+first+`echo '{"Command":{"Exit":0,"Bytes":0}}' >>$dir/events; `+end)
	m.Output = &seen
	r, err := m.Run(t.Context(), Guest{})
	check(t, err)
	if r.Ready.Release != "6.99.1" || len(r.Commands) != 2 || r.Commands[0].Exit != 1 || string(r.Outputs[0]) != "one\n" || len(r.Outputs[1]) > 0 || seen.String() != "one\n" {
		t.Errorf("%+v, output %q", r, &seen)
	}
}

// What has no verdict is no success.
func TestMachine_NoVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		qemu     string
		want     error
		commands int
	}{
		"a panic":                 {ready + first + "printf half; echo Kernel panic >>$dir/console", ErrNoVerdict, 1},
		"nothing boots":           {"exit 1", ErrNoVerdict, 0},
		"a word that is cut off":  {ready + first + "printf '{\"En' >>$dir/events", ErrNoVerdict, 1},
		"a hang":                  {ready + first + "exec sleep 60", ErrDeadline, 1},
		"a hang before init runs": {"exec sleep 60", ErrDeadline, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, test.qemu)
			if test.want == ErrDeadline {
				m.Deadline = 300 * time.Millisecond
			}
			r, err := m.Run(t.Context(), Guest{})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), "booting") || !strings.Contains(err.Error(), "6.99.1") {
				t.Errorf("error %v, want %v with the console", err, test.want)
			}
			if len(r.Commands) != test.commands {
				t.Errorf("%d commands have ended, want %d", len(r.Commands), test.commands)
			}
			if name == "a panic" && (len(r.Outputs) != 2 || string(r.Outputs[1]) != "half") {
				t.Errorf("outputs %q", r.Outputs)
			}
		})
	}
}

func TestMachine_Cancelled(t *testing.T) {
	m := machine(t, ready+"exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := m.Run(ctx, Guest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestFetch has an archive that lost a series, and half of another kernel.
func TestFetch(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	kernels := filepath.Join(cache, "overlaydiff/kernels")
	for _, version := range []string{"6.12.9+deb13", "6.12.10+deb13", "7.2.1+deb13", "arm64/7.2.1+deb13", "arm64/6.18.1+deb13-16k"} {
		check(t, os.MkdirAll(filepath.Join(kernels, version), 0o755))
		check(t, os.WriteFile(filepath.Join(kernels, version, ".ok"), nil, 0o644))
	}
	programs := map[string]string{
		"apt-get": `case "$*" in
*indextargets*) echo http://mirror/debian; echo http://mirror/debian-security ;;
*update*) ;;
*) echo "apt-get $*" >&2; exit 1 ;;
esac`,
		"apt-cache": `cat <<END
linux-image-6.12.9+deb13-cloud-amd64
linux-image-6.12.10+deb13-cloud-amd64
linux-image-6.12.11+deb13-amd64
linux-image-7.2.1+deb13-cloud-amd64
linux-binary-7.2.1+deb13-cloud-amd64
linux-modules-7.2.1+deb13-cloud-amd64
linux-binary-7.3.1+deb13-cloud-amd64
linux-binary-7.2.1+deb13-cloud-arm64
linux-modules-7.2.1+deb13-cloud-arm64
linux-image-6.18.1+deb13-arm64-16k
linux-image-6.18.2+deb13-cloud-arm64
END`,
	}
	fakes(t, programs)
	got, err := Fetch(t.Context(), "amd64", "5.10", "6.12", "latest")
	check(t, err)
	want := []Kernel{{"amd64", "5.10", ""}, {"amd64", "6.12", kernels + "/6.12.10+deb13"}, {"amd64", "latest", kernels + "/7.2.1+deb13"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	// A size of pages is a flavour that arm64 alone has.
	for arch, want := range map[string][]Kernel{
		"arm64": {{"arm64", "latest", kernels + "/arm64/7.2.1+deb13"}, {"arm64", "latest-16k", kernels + "/arm64/6.18.1+deb13-16k"}},
		"amd64": {{"amd64", "latest", kernels + "/7.2.1+deb13"}, {"amd64", "latest-16k", ""}},
	} {
		got, err := Fetch(t.Context(), arch, "latest", "latest-16k")
		check(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", arch, d)
		}
	}

	// Without the network, or a mirror, there is no answer, rather than MISSING.
	for _, name := range []string{"apt-cache", "apt-get"} {
		programs[name] = "exit 100"
		fakes(t, programs)
		if got, err := Fetch(t.Context(), "amd64", "5.10"); err == nil {
			t.Errorf("no %s: %v", name, got)
		}
	}
}
