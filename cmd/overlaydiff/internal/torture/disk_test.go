package torture_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestFaults_BadDisk reads layers on an ext4 whose end is unreadable: a loop device
// over a file that was cut off answers there with I/O errors.
func TestFaults_BadDisk(t *testing.T) {
	testenv.RequireRoot(t)
	badDisks(t, &cutImage{})
}

// TestFaults_BadBlock reads them on one of whose blocks one is unreadable, as those of
// disks that wear out are.
func TestFaults_BadBlock(t *testing.T) {
	badDisks(t, &badBlock{Mapper: testenv.NewMapper(t)})
}

// badDisks makes each of the places unreadable where something of a layer is.
func badDisks(t *testing.T, way spoiler) {
	d := newBadDisk(t, way)
	run := torture.Start(t, torture.Faults, 5)
	seed := faultSeed(t)
	t.Logf("%s=%d", seedEnv, seed)
	random := rand.New(rand.NewPCG(seed, 3))
	places := 0
	order := random.Perm(len(d.blocks))
	for _, i := range append([]int{0}, order...) { // the first leaves nothing of a cut image
		if !run.More() {
			break
		}
		d.try(d.blocks[i])
		places++
	}
	_, cut := way.(*cutImage)
	for i, c := range d.commands {
		if d.failed[i] == 0 && (cut || places > len(d.blocks)) {
			t.Errorf("%s never found an I/O error", c.name)
		}
	}
	if d.told == 0 {
		t.Error("no command found an I/O error")
	}
	run.Count("disks with unreadable blocks", places)
	run.Note("Of the %d places where a file or directory of a layer begins or goes on %d were made unreadable. The commands named what could not be read %d times, and did without it, rightly, %d times.",
		len(d.blocks), places, d.told, d.right)
}

// spoiler makes blocks of a file system unreadable.
type spoiler interface {
	// mount mounts it with block unreadable, and maybe all after it: to end.
	mount(d *badDisk, block int64) (end int64)
	unmount(d *badDisk)
}

// cutImage is an image that is cut off while it is mounted.
type cutImage struct{ whole []byte }

func (c *cutImage) mount(d *badDisk, block int64) int64 {
	d.t.Helper()
	if c.whole == nil {
		var err error
		if c.whole, err = os.ReadFile(d.image); err != nil {
			d.t.Fatal(err)
		}
	}
	d.mount()
	d.resize(block * diskBlock)
	return d.size / diskBlock
}

func (c *cutImage) unmount(d *badDisk) {
	d.t.Helper()
	d.sh("umount", d.at)
	if err := os.WriteFile(d.image, c.whole, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// badBlock is a disk with an error target in the device mapper's table.
type badBlock struct {
	*testenv.Mapper
	device string
}

func (b *badBlock) mount(d *badDisk, block int64) int64 {
	d.t.Helper()
	const name, sectors = "od-bad", diskBlock / testenv.Sector
	if b.device == "" {
		b.device = b.Piece(name, 0, int(d.size/testenv.Sector))
		image, err := os.ReadFile(d.image)
		if err == nil {
			err = os.WriteFile(b.device, image, 0)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	b.Do("reload", name, "--table", fmt.Sprintf("0 %d linear %s 0\n%d %d error\n%d %d linear %s %d",
		block*sectors, b.Disk, block*sectors, sectors, (block+1)*sectors, d.size/testenv.Sector-(block+1)*sectors, b.Disk, (block+1)*sectors))
	b.Do("suspend", name)
	b.Do("resume", name)
	d.sh("mount", "-t", "ext4", "-o", "ro,nodev,noload", b.device, d.at)
	return block + 1
}

func (*badBlock) unmount(d *badDisk) {
	d.t.Helper()
	d.sh("umount", d.at)
}

// badDisk is an ext4 with two layers, of which every path's blocks are known.
type badDisk struct {
	t        *testing.T
	way      spoiler
	image    string
	size     int64
	at       string // where it is mounted
	room     *room
	commands []faultyCommand
	want     []*ran
	paths    map[string][]int64 // the blocks of a path within the layers
	blocks   []int64            // where something is, sorted

	failed      []int // times, of each command
	told, right int
}

const diskBlock = 4096

func newBadDisk(t *testing.T, way spoiler) *badDisk {
	t.Helper()
	dir := testenv.Scratch(t, testenv.Tmpfs)
	d := &badDisk{t: t, way: way, image: filepath.Join(dir, "image"), size: 8 << 20, at: filepath.Join(dir, "disk"), paths: map[string][]int64{}}
	command := installCommand(t, dir)
	if err := os.Mkdir(d.at, 0o755); err != nil {
		t.Fatal(err)
	}
	d.resize(d.size)
	// What describes files is at the beginning, so that it stays readable.
	d.sh("mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(diskBlock), "-O", "^has_journal", "-E", "packed_meta_blocks=1,lazy_itable_init=0,nodiscard", d.image)
	d.sh("mount", "-o", "loop,nodev", d.image, d.at)
	testenv.Tree(t, d.at+"/l", badLower)
	testenv.Tree(t, d.at+"/u", badUpper)
	for i, name := range []string{"l/d/big", "u/d/big", "u/new/big", "l/same", "u/same"} {
		content := strings.Repeat(fmt.Sprint(i%3), 10*diskBlock) // l/same and u/same differ in time only
		if strings.HasSuffix(name, "same") {
			content = strings.Repeat("s", 10*diskBlock)
		}
		if err := os.WriteFile(filepath.Join(d.at, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.sh("umount", d.at)
	d.findBlocks()

	flags := []string{"--lower", d.at + "/l", "--upper", d.at + "/u"}
	d.commands = []faultyCommand{
		{name: "changes", args: append([]string{"changes", "--json"}, flags...), streams: true},
		{name: "changes naive", args: append([]string{"changes", "--engine", "naive", "--content", "always"}, flags...), streams: true},
		{name: "size", args: append([]string{"size"}, flags...)},
		{name: "usage", args: append([]string{"usage"}, flags...)},
		{name: "export", args: append([]string{"export"}, flags...), streams: true},
		{name: "export to a file", args: append([]string{"export", "-o", "layer"}, flags...), made: "layer"},
		{name: "verify", args: append([]string{"verify"}, flags...)},
	}
	d.failed = make([]int, len(d.commands))
	d.room = newRoom(t, dir)
	d.mount()
	for i := range d.commands {
		c := &d.commands[i]
		d.room.empty(t)
		r := d.room.run(t, nil, append([]string{command}, c.args...)...)
		if r.status != 0 {
			t.Fatalf("%s: exit status %d: %s", c.name, r.status, r.stderr)
		}
		c.args = append([]string{command}, c.args...)
		d.want = append(d.want, r)
	}
	d.sh("umount", d.at)
	return d
}

const badLower = `
dir d
file d/f content=f
dir e
file e/f content=f
file same`

const badUpper = `
dir d
file d/f content=g mtime=5
dir new
file new/f content=f
dir new/dir
file new/dir/f content=f
file same mtime=5`

func (d *badDisk) sh(args ...string) string {
	d.t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("%v: %v: %s", args, err, stderr.String())
	}
	return string(out)
}

func (d *badDisk) resize(size int64) {
	d.t.Helper()
	f, err := os.OpenFile(d.image, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// findBlocks asks debugfs where things are.
func (d *badDisk) findBlocks() {
	d.t.Helper()
	cuts := map[int64]bool{}
	for _, layer := range []string{"l", "u"} {
		for _, path := range strings.Fields("/ /d /d/f /d/big /e /e/f /same /new /new/f /new/big /new/dir /new/dir/f") {
			for block := range strings.FieldsSeq(d.sh("debugfs", "-R", "blocks /"+layer+path, d.image)) {
				n, err := strconv.ParseInt(block, 10, 64)
				if err != nil {
					continue // "File not found" is in words
				}
				if path != "/" { // without it there is nothing
					cuts[n] = true
				}
				d.paths[layer+path] = append(d.paths[layer+path], n)
			}
		}
	}
	for n := range cuts {
		d.blocks = append(d.blocks, n)
	}
	slices.Sort(d.blocks)
	if len(d.blocks) < 40 {
		d.t.Fatalf("only %d blocks were found", len(d.blocks))
	}
}

// mount mounts the disk, and cleans up after the test if need be.
func (d *badDisk) mount() {
	d.t.Helper()
	d.sh("mount", "-o", "loop,ro,nodev,noload", d.image, d.at)
	d.t.Cleanup(func() { _ = syscall.Unmount(d.at, syscall.MNT_DETACH) })
}

// try makes a block unreadable, and runs each command.
func (d *badDisk) try(block int64) {
	d.t.Helper()
	for i := range d.commands {
		end := d.way.mount(d, block)
		var bad []string
		for path, blocks := range d.paths {
			if slices.ContainsFunc(blocks, func(n int64) bool { return block <= n && n < end }) {
				bad = append(bad, path)
			}
		}
		d.one(i, block, bad)
		d.way.unmount(d)
	}
}

func (d *badDisk) one(i int, block int64, bad []string) {
	c := &d.commands[i]
	d.room.before = d.room.surroundings()
	d.room.empty(d.t)
	r := d.room.run(d.t, nil, c.args...)
	var complaints []string
	made := c.made
	switch {
	case r.status == 0 && r.stdout == d.want[i].stdout:
		d.right++
	case r.status == 0:
		complaints = append(complaints, "exit status 0, and another answer")
	default:
		d.told++
		d.failed[i]++
		made = ""
		// Without single names there is an answer, which says that it lacks them.
		if partial := strings.Contains(r.stderr, "can't be read: the answer lacks what is there"); !partial || r.status != 1 {
			complaints = checkFailure(c, d.want[i], r, "", "")
		}
		if !strings.Contains(r.stderr, "input/output error") || !slices.ContainsFunc(bad, func(path string) bool {
			_, within, _ := strings.Cut(path, "/")
			if within == "" {
				within = filepath.Join(d.at, path)
			}
			return strings.Contains(r.stderr, within)
		}) {
			complaints = append(complaints, "it names none of what can't be read")
		}
	}
	if left := d.room.left(made); len(left) > 0 {
		complaints = append(complaints, fmt.Sprintf("it left %q", left))
	}
	if len(complaints) > 0 {
		slices.Sort(bad)
		d.t.Errorf("%s with %q unreadable, block %d: %s\nexit status %d\nstdout:\n%.1000s\nstderr:\n%s", c.name, bad, block, strings.Join(complaints, "; "), r.status, r.stdout, r.stderr)
	}
}
