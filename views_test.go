package overlaydiff

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/refdiff"
)

// mapper is a device mapper with the volumes that drivers make.
type mapper struct {
	*testenv.Mapper
	t *testing.T
}

// volume is how large the file systems are, in sectors.
const volume = 400 << 20 / testenv.Sector

// thin is a snapshot of a thin volume: both are volumes of a pool.
func (m mapper) thin() (base string, snapshot func() string) {
	const metadata = 32 << 20 / testenv.Sector
	meta, data := m.Piece("od-metadata", 0, metadata), m.Piece("od-data", metadata, m.Sectors-metadata)
	m.Create("od-pool", "0 %d thin-pool %s %s 128 0 1 skip_block_zeroing", m.Sectors-metadata, meta, data)
	m.Do("message", "od-pool", "0", "create_thin 0")
	base = m.Create("od-base", "0 %d thin /dev/mapper/od-pool 0", volume)
	return base, func() string {
		m.Do("suspend", "od-base")
		m.Do("message", "od-pool", "0", "create_snap 1 0")
		m.Do("resume", "od-base")
		return m.Create("od-snapshot", "0 %d thin /dev/mapper/od-pool 1", volume)
	}
}

// plain is a snapshot as the older targets have it: what the base's blocks were,
// or become in the snapshot, is kept on another device.
func (m mapper) plain() (base string, snapshot func() string) {
	blocks, kept := m.Piece("od-blocks", 0, volume), m.Piece("od-kept", volume, volume)
	base = m.Create("od-base", "0 %d snapshot-origin %s", volume, blocks)
	return base, func() string {
		m.Do("suspend", "od-base")
		device := m.Create("od-snapshot", "0 %d snapshot %s %s N 8", volume, blocks, kept)
		m.Do("resume", "od-base")
		return device
	}
}

func (m mapper) mount(device string, fs testenv.FS, flags uintptr) (point string, unmount func()) {
	options := ""
	if fs == testenv.XFS {
		options = "nouuid" // the snapshots are of one file system
	}
	point = m.t.TempDir()
	if err := syscall.Mount(device, point, string(fs), flags|syscall.MS_NODEV|syscall.MS_NOATIME, options); err != nil {
		m.t.Fatal(&os.PathError{Op: "mount " + device, Path: point, Err: err})
	}
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			if err := syscall.Unmount(point, 0); err != nil {
				m.t.Error(&os.PathError{Op: "unmount", Path: point, Err: err})
			}
		}
	}
	m.t.Cleanup(unmount)
	return point, unmount
}

// TestOpenTrees_Snapshots compares a volume and a snapshot of it, as drivers on a
// device mapper do: the one that a container began with, and its own.
func TestOpenTrees_Snapshots(t *testing.T) {
	for target, make := range map[string]func(mapper) (string, func() string){"thin": mapper.thin, "plain": mapper.plain} {
		for fs, mkfs := range map[testenv.FS][]string{
			testenv.Ext4: {"mkfs.ext4", "-q", "-b", "4096"},
			testenv.XFS:  {"mkfs.xfs", "-q"},
		} {
			t.Run(target+"/"+string(fs), func(t *testing.T) {
				m := mapper{testenv.NewMapper(t), t}
				base, snapshot := make(m)
				if out, err := exec.Command(mkfs[0], append(mkfs[1:], base)...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				compareSnapshots(t, m, fs, base, snapshot)
			})
		}
	}
}

func compareSnapshots(t *testing.T, m mapper, fs testenv.FS, base string, snapshot func() string) {
	const files, fileSize = 12, 1 << 20
	root, unmount := m.mount(base, fs, 0)
	testenv.Tree(t, root, "file d/f content=old", "file d/g content=x", "file e/h", "link e/i e/h", "symlink l -> d/f", "fifo p", "dir x mode=700")
	testenv.Tree(t, root, "dir big")
	for i := range files { // without holes, which nobody reads
		if err := os.WriteFile(fmt.Sprintf("%s/big/f%d", root, i), bytes.Repeat([]byte{'x'}, fileSize), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	testenv.Tree(t, root, "dir later") // so that the rest is old enough to be proven
	unmount()
	device := snapshot()
	changed, unmount := m.mount(device, fs, 0)
	testenv.Do(t, changed, "write d/f new", "chmod d/g 600", "rmtree e", "create x/new abc", "rewrite big/f0", "mkdir m 755", "rename big/f1 m/f1",
		"link big/f2 m/f2", "retarget l d/g", "open big/f3", "setxattr big/f4 user.k=v", "rename p q", "rename q p")
	unmount()
	old, _ := m.mount(base, fs, syscall.MS_RDONLY)
	changed, _ = m.mount(device, fs, syscall.MS_RDONLY)

	want, size := referenceTrees(t, old, changed)
	for _, opts := range []Options{{}, {Snapshots: true}} {
		before := bytesRead(t)
		lines, gotSize := compareTrees(t, old, changed, opts)
		read := bytesRead(t) - before
		if d := cmp.Diff(want, lines); d != "" {
			t.Errorf("%+v: changes (-reference +naive):\n%s", opts, d)
		}
		if gotSize != size {
			t.Errorf("%+v: size %d, want %d", opts, gotSize, size)
		}
		// What changed, or has a new name or a new attribute, may be read, on two
		// sides in two walks: big/f0, f1, f2, f4. And a little for /proc.
		if most := int64(4*2*2*fileSize + fileSize/2); opts.Snapshots && read > most {
			t.Errorf("%d bytes are read, want %d at most: %d files did not change", read, most, files-4)
		} else if least := int64(2 * (files - 4) * fileSize); !opts.Snapshots && read < least {
			t.Errorf("%d bytes are read without a proof, want %d at least: the count is wrong", read, least)
		}
	}
}

// referenceTrees returns the reference's answer.
func referenceTrees(t *testing.T, oldDir, newDir string) (lines []string, size int64) {
	t.Helper()
	changes, err := refdiff.Diff(oldDir, newDir)
	if err != nil {
		t.Fatal(err)
	}
	if size, err = refdiff.Size(oldDir, newDir); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		lines = append(lines, c.Kind+" "+c.Path)
	}
	return lines, size
}

func compareTrees(t *testing.T, oldDir, newDir string, opts Options) (lines []string, size int64) {
	t.Helper()
	d, err := OpenTrees(t.Context(), oldDir, newDir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for c, err := range d.Changes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, c.Kind.String()+" "+c.Path)
	}
	if size, err = d.Size(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lines, size
}

// bytesRead returns how much this process has read by system calls, from caches
// too.
func bytesRead(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSubvolumes: subvolumes of btrfs have the same inode numbers, so files with
// one number in the listings of both views may be two.
func TestSubvolumes(t *testing.T) {
	dir := testenv.Scratch(t, testenv.Btrfs)
	testenv.Tree(t, dir, "dir l", "dir u", "dir w")
	for _, layer := range []string{"l", "u"} {
		volume := dir + "/" + layer + "/d"
		if out, err := exec.Command("btrfs", "subvolume", "create", volume).CombinedOutput(); err != nil {
			t.Fatalf("btrfs: %v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("btrfs", "subvolume", "delete", volume).CombinedOutput(); err != nil {
				t.Errorf("btrfs: %v: %s", err, out)
			}
		})
		testenv.Tree(t, volume, "file f content="+layer)
	}
	s := diff.Stack{Lower: []string{dir + "/l"}, Upper: dir + "/u", Work: dir + "/w"}
	for _, engine := range []Choice{Native, Naive} {
		got, err := asked(t, s, Options{Engine: engine})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0] != "C /d/f" {
			t.Errorf("%s: got %q, want the file that has another content", engine, got)
		}
	}
}
