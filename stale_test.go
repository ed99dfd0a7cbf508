package overlaydiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/sys"
	"github.com/overlaydiff/overlaydiff/mountutil"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestStale makes what a mount table says of random overlays stale, in random ways, and
// asks both engines: by path, and by a process in another mount namespace. An answer is
// right or an error. In some cases a layer is empty or wholly hidden. Then nothing can be
// proven of it, and an answer that says so is counted if it is wrong.
func TestStale(t *testing.T) {
	seed, cases := rand.Uint64(), 15
	if s := os.Getenv("OVERLAYDIFF_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		cases = 1
	}
	if n, err := strconv.Atoi(os.Getenv("OVERLAYDIFF_CASES")); err == nil {
		cases = n
	}
	t.Logf("seed %d", seed)
	asked, answered, unproven, undecided := 0, 0, 0, 0
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		for range cases {
			c := &stale{TB: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: fs, seed: seed}
			c.run()
			asked, answered = asked+c.asked, answered+c.answered
			unproven, undecided = unproven+c.unproven, undecided+c.undecided
			seed++
		}
	})
	t.Logf("%d questions: %d answered (%d %%), of them %d with a layer that is not proven, %d of these wrong", asked, answered, 100*answered/max(asked, 1), unproven, undecided)
	if cases >= 15 && 100*answered < 80*asked && knowsHandles(t) {
		t.Errorf("only %d %% of the questions were answered", 100*answered/asked)
	}
}

// knowsHandles reports whether overlays tell file handles, by which a directory that was
// moved is found.
func knowsHandles(t *testing.T) bool {
	dir := t.TempDir()
	testenv.Tree(t, dir+"/l")
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/l"}, Upper: dir + "/u"})
	defer testenv.Unmount(t, merged)
	return tellsHandles(merged)
}

// stale is one case.
type stale struct {
	testing.TB
	rng  *rand.Rand
	fs   testenv.FS
	seed uint64
	log  []string

	dir, base string   // of all, of the layers
	lowers    []string // as they are named when the overlay is mounted
	upper     string
	work      string
	merged    string
	device    uint64 // of the overlay
	options   string
	undo      []func() error

	bound, linked, own  []string // names that are bind mounts, links, file systems
	volumes             []string // names of subvolumes
	parents             []string // directories that hold one layer each
	visible             bool     // the mount shows something of each layer
	fresh               bool     // nothing is stale, so there is an answer
	adrift              bool     // no name says in which directory the others are
	asked, answered     int
	unproven, undecided int
}

var staleOptions = []string{"", "redirect_dir=on", "metacopy=on,redirect_dir=on", "index=on", "index=off,xino=on", "redirect_dir=nofollow"}

func (c *stale) run() {
	c.dir = testenv.Scratch(c, c.fs)
	c.base = c.dir + "/base"
	defer c.cleanUp()
	c.options = staleOptions[c.rng.IntN(len(staleOptions))]
	content := testenv.Random(c.seed, c.options)
	c.must(os.MkdirAll(c.base, 0o755))
	for _, name := range []string{"older", "cover"} {
		c.must(os.MkdirAll(c.dir+"/"+name+"/sub", 0o755))
		c.must(os.WriteFile(c.dir+"/"+name+"/file", []byte(name), 0o644))
	}
	c.lowers = content.Lowers(c, c.base)
	if c.visible = c.rng.IntN(8) > 0; c.visible {
		for i, path := range c.lowers {
			c.must(os.WriteFile(fmt.Sprintf("%s/only-%d", path, i), nil, 0o644))
		}
	}
	if c.rng.IntN(4) == 0 { // as container engines do: a directory for each layer
		for i, path := range c.lowers {
			parent := path + "-dir"
			c.must(os.Mkdir(parent, 0o755))
			c.must(os.Rename(path, parent+"/fs"))
			c.lowers[i] = parent + "/fs"
			c.parents = append(c.parents, parent)
		}
	}
	c.upper, c.work = c.base+"/upper", c.base+"/work"
	c.prepare()
	first := testenv.Mount(c, testenv.Overlay{Lower: c.lowers, Upper: c.upper, Work: c.work, Options: c.options})
	if err := testenv.Attempt(first, content.Upper()); err != nil {
		c.Fatalf("seed %d: %v", c.seed, err)
	}
	testenv.Unmount(c, first)
	want := c.want()
	c.mount()
	time.Sleep(10 * time.Millisecond) // within one tick of the kernel's clock, all is as old as the mount
	before := c.rng.IntN(2) == 0
	var pid int
	if before {
		pid = c.process()
	}
	spoiled := []int{0, 1, 1, 1, 1, 2, 2, 3}[c.rng.IntN(8)]
	for range spoiled {
		c.spoil()
	}
	c.fresh = spoiled == 0 && (!c.adrift || tellsHandles(c.merged)) // before Linux 6.6 nothing else tells where they are
	if !before {
		pid = c.process()
	}
	device := c.device
	real, err := filepath.EvalSymlinks(c.merged) // a link in another root would lead on from this one
	if err != nil {
		real = c.merged
	}
	c.ask("the path", want, func() (diff.Stack, error) {
		if c.deviceAt(c.merged) != device {
			return diff.Stack{}, errNoQuestion
		}
		return FromMount(c.Context(), c.merged)
	})
	c.ask("a process", want, func() (diff.Stack, error) {
		if c.deviceAt(fmt.Sprintf("/proc/%d/root%s", pid, real)) != device {
			return diff.Stack{}, errNoQuestion
		}
		return mountutil.StackInProcess(c.Context(), pid, real)
	})
}

// errNoQuestion: the overlay itself is not at that path any more.
var errNoQuestion = errors.New("no question")

func (c *stale) deviceAt(path string) uint64 {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0
	}
	return st.Dev
}

func (c *stale) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("seed %d on %s: %v\n%s", c.seed, c.fs, err, strings.Join(c.log, "\n"))
	}
}

func (c *stale) note(format string, args ...any) {
	c.log = append(c.log, strings.ReplaceAll(fmt.Sprintf(format, args...), c.dir, ""))
}

func (c *stale) cleanUp() {
	for _, undo := range slices.Backward(c.undo) {
		c.must(undo())
	}
	c.must(os.RemoveAll(c.base)) // or thousands of cases fill the file system
	c.must(os.RemoveAll(c.base + "-moved"))
}

func (c *stale) bind(from, to string) error {
	c.note("mount --bind %s %s", from, to)
	return c.mounted(to, syscall.Mount(from, to, "", syscall.MS_BIND, ""))
}

func (c *stale) tmpfs(at string) error {
	c.note("mount -t tmpfs tmpfs %s", at)
	return c.mounted(at, syscall.Mount("tmpfs", at, "tmpfs", 0, "size=8m"))
}

// mounted has a mount taken away in the end, wherever its directory is by then.
func (c *stale) mounted(at string, err error) error {
	if err != nil {
		return err
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	c.undo = append(c.undo, func() error {
		defer f.Close()
		path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(path, c.dir+"/") { // unmounted meanwhile
			return nil
		}
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		return nil
	})
	return nil
}

// prepare gives some layers names that can come to mean something else.
func (c *stale) prepare() {
	for i, path := range c.lowers {
		name := path + "-name"
		switch c.rng.IntN(8) {
		case 0:
			c.must(os.Mkdir(name, 0o755))
			c.must(c.bind(path, name))
			c.bound = append(c.bound, name)
		case 1:
			c.note("ln -s %s %s", path, name)
			c.must(os.Symlink(path, name))
			c.linked = append(c.linked, name)
		case 2:
			if c.options == "index=on" || c.fs != testenv.Tmpfs && c.rng.IntN(2) == 0 {
				continue // the origins of another file system would not match
			}
			c.must(os.Mkdir(name, 0o755))
			c.must(c.tmpfs(name))
			c.must(testenv.Replicate(path, name))
			c.own = append(c.own, name)
		case 3:
			if c.fs != testenv.Btrfs {
				continue
			}
			c.must(c.btrfs("create", name))
			c.must(testenv.Replicate(path, name))
			c.volumes = append(c.volumes, name)
		default:
			continue
		}
		c.lowers[i] = name
	}
}

func (c *stale) btrfs(args ...string) error {
	c.note("btrfs subvolume %s", strings.Join(args, " "))
	out, err := exec.Command("btrfs", append([]string{"-q", "subvolume"}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("btrfs subvolume %q: %w: %s", args, err, out)
	}
	return err
}

// want asks both engines before anything is stale; they have to agree.
func (c *stale) want() []string {
	s := c.stack()
	var lists [][]string
	for _, engine := range []Choice{Native, Naive} {
		list, err := changesOf(c.Context(), s, engine)
		if errors.Is(err, diff.ErrUnsupported) {
			continue
		}
		c.must(err)
		lists = append(lists, list)
	}
	if len(lists) == 2 && !cmp.Equal(lists[0], lists[1]) {
		c.Fatalf("seed %d: the engines differ before anything is stale: %s", c.seed, cmp.Diff(lists[0], lists[1]))
	}
	return lists[0]
}

func (c *stale) stack() diff.Stack {
	o := testenvOptions(c.lowers, c.upper, c.work, c.options)
	s, err := FromOptions(o)
	c.must(err)
	return s
}

func testenvOptions(lowers []string, upper, work, options string) string {
	o := "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + upper + ",workdir=" + work
	if options != "" {
		o += "," + options
	}
	return o
}

// mount mounts the overlay at an ordinary place, over a layer of its own, or by relative names.
func (c *stale) mount() {
	c.merged = c.dir + "/merged"
	c.must(os.Mkdir(c.merged, 0o755))
	lowers, upper, work := slices.Clone(c.lowers), c.upper, c.work
	switch c.rng.IntN(8) {
	case 0:
		c.merged = c.lowers[c.rng.IntN(len(c.lowers))]
	case 1:
		c.merged = c.upper
	case 2:
		for i, path := range lowers {
			lowers[i] = strings.TrimPrefix(path, c.base+"/")
		}
		if c.rng.IntN(2) == 0 {
			upper, work = filepath.Base(upper), filepath.Base(work)
			c.adrift = true
		}
	}
	options := testenvOptions(lowers, upper, work, c.options)
	c.note("cd %s; mount -t overlay overlay -o %s %s", c.base, options, c.merged)
	old, err := os.Getwd()
	c.must(err)
	c.must(os.Chdir(c.base))
	err = syscall.Mount("overlay", c.merged, "overlay", syscall.MS_NODEV, options)
	c.must(os.Chdir(old))
	c.must(c.mounted(c.merged, err))
	c.device = c.deviceAt(c.merged)
}

// process starts a process in a copy of the mount namespace.
func (c *stale) process() int {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), idleEnv+"=1")
	// No Pdeathsig: the thread that starts it may be one that the library lets end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	c.must(err)
	c.must(cmd.Start())
	c.note("# a process that has a copy of the mounts")
	c.undo = append(c.undo, func() error { return errors.Join(stdin.Close(), cmd.Wait()) })
	return cmd.Process.Pid
}

// idleEnv makes the test binary wait for the end of its standard input, which comes at the
// latest when the process ends that started it.
const idleEnv = "OVERLAYDIFF_TEST_IDLE"

func idle() int {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	return 0
}

// spoil makes one name stale. What can't be done is left out.
func (c *stale) spoil() {
	names := append(slices.Clone(c.lowers), c.upper)
	name := names[c.rng.IntN(len(names))]
	if name == c.merged { // the overlay is there
		return
	}
	old := fmt.Sprintf("%s-old%d", name, len(c.log))
	try := func(format string, args []any, steps ...func() error) {
		c.note(format, args...)
		for _, step := range steps {
			if err := step(); err != nil {
				c.note("# %v", err)
				return
			}
		}
	}
	away := func() error { return os.Rename(name, old) }
	pick := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[c.rng.IntN(len(list))]
	}
	exchange := func(one, other string) {
		aside := one + "-aside"
		try("exchange %s %s", []any{one, other}, func() error { return os.Rename(one, aside) },
			func() error { return os.Rename(other, one) }, func() error { return os.Rename(aside, other) })
	}
	switch c.rng.IntN(15) {
	case 0:
		try("mv %s %s; mkdir", []any{name, old}, away, func() error { return os.Mkdir(name, 0o755) })
	case 1:
		try("mv %s %s; cp -a, then changed", []any{name, old}, away, func() error { return c.twin(old, name) })
	case 2:
		try("mv %s %s; mv older", []any{name, old}, away, func() error { return os.Rename(c.dir+"/older", name) })
	case 3:
		try("", nil, func() error { return c.tmpfs(name) })
	case 4:
		try("", nil, func() error { return c.bind(c.dir+"/cover", name) })
	case 5:
		twin := fmt.Sprintf("%s/twin%d", c.dir, len(c.log))
		try("cp -a %s, then changed", []any{name}, func() error { return c.twin(name, twin) }, func() error { return c.bind(twin, name) })
	case 6:
		try("mount an overlay over %s", []any{name}, func() error { return c.overlayOver(name) })
	case 7:
		try("", nil, func() error { return c.tmpfs(c.base) })
	case 8:
		mount := pick(slices.Concat(c.bound, c.own))
		try("umount -l %s", []any{mount}, func() error { return syscall.Unmount(mount, syscall.MNT_DETACH) })
	case 9:
		link := pick(c.linked)
		try("ln -sfn older %s", []any{link}, func() error { return os.Remove(link) }, func() error { return os.Symlink(c.dir+"/older", link) })
	case 10:
		try("mv %[1]s %[1]s-moved", []any{c.base}, func() error { return os.Rename(c.base, c.base+"-moved") })
	case 11:
		exchange(name, pick(c.lowers))
	case 12:
		try("mv %s %s", []any{name, old}, away)
	case 13: // the inodes of a snapshot have the numbers and all times of the first ones
		volume := pick(c.volumes)
		before := volume + "-before"
		try("mv %s %s; a snapshot, then changed", []any{volume, before}, func() error { return os.Rename(volume, before) },
			func() error { return c.btrfs("snapshot", before, volume) }, func() error { return c.alter(volume) })
	case 14:
		exchange(pick(c.parents), pick(c.parents))
	}
}

// twin makes a copy of a layer that differs from it.
func (c *stale) twin(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err == nil {
		err = errors.Join(os.Mkdir(to, 0o755), testenv.Replicate(from, to))
	}
	if err != nil {
		return err
	}
	return c.alter(to)
}

// dated reports whether it is known when the overlay was mounted.
func (c *stale) dated() bool {
	fd, err := sys.OpenDir(c.dir)
	c.must(err)
	defer sys.Close(fd)
	var id sys.Identity
	c.must(sys.IdentityAt(fd, "", &id))
	return id.HasBtime
}

// alter changes a copy of a layer.
func (c *stale) alter(dir string) error {
	if err := os.WriteFile(dir+"/only-in-the-copy", nil, 0o644); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir + "/" + names[0].Name())
}

func (c *stale) overlayOver(name string) error {
	upper := fmt.Sprintf("%s/cover-upper%d", c.dir, len(c.log))
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(upper+"-work", 0o755)); err != nil {
		return err
	}
	return c.mounted(name, syscall.Mount("overlay", name, "overlay", 0, testenvOptions([]string{c.dir + "/cover"}, upper, upper+"-work", "")))
}

// ask asks both engines, whose answer is to be right if there is one.
func (c *stale) ask(who string, want []string, find func() (diff.Stack, error)) {
	for _, engine := range []Choice{Native, Naive} {
		s, err := find()
		if errors.Is(err, errNoQuestion) {
			return
		}
		c.asked++
		var got []string
		if err == nil {
			got, err = changesOf(c.Context(), s, engine)
		}
		if err != nil {
			if text := err.Error(); errors.As(err, new(*mountutil.LayerError)) && strings.Contains(text, "\n") {
				c.Errorf("seed %d on %s, %s: %q is no error for people", c.seed, c.fs, who, text)
			}
			if c.fresh {
				c.Errorf("refused though nothing is stale: OVERLAYDIFF_SEED=%d OVERLAYDIFF_FS=%s: %s engine, asked by %s:\n%s\n%v", c.seed, c.fs, engine, who, strings.Join(c.log, "\n"), err)
			}
			c.note("# %s, %s: %v", engine, who, err)
			if engine == Native && os.Getenv("OVERLAYDIFF_REFUSED") != "" {
				c.Logf("refused, seed %d on %s:\n%s", c.seed, c.fs, strings.Join(c.log, "\n"))
			}
			continue
		}
		c.answered++
		if len(s.Unproven) > 0 {
			c.unproven++
		}
		d := cmp.Diff(want, got)
		// Nothing that is visible could tell, or the order of layers can't be known.
		if d != "" && len(s.Unproven) > 0 && (!c.visible || !c.dated()) {
			c.undecided++
			continue
		}
		if d != "" {
			c.Errorf("OVERLAYDIFF_SEED=%d OVERLAYDIFF_FS=%s: %s engine, asked by %s (unproven: %v):\n%s\n(-want +got):\n%s\n%+v",
				c.seed, c.fs, engine, who, s.Unproven, strings.Join(c.log, "\n"), d, s)
		}
	}
}

func changesOf(ctx context.Context, s diff.Stack, engine Choice) ([]string, error) {
	d, err := Open(ctx, s, Options{Engine: engine})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	list := []string{}
	for change, err := range d.Changes(ctx) {
		if err != nil {
			return nil, err
		}
		list = append(list, change.String()+" "+strings.Join(change.What.Names(), ","))
	}
	return list, nil
}
