package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/overlaydiff/overlaydiff/testenv"
	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// plan is what each kernel runs.
type plan struct {
	options options
	archive string
	suites  []suite
}

// suite is a package and the command that runs its tests.
type suite struct {
	name    string
	command vm.Command
}

const module = "github.com/overlaydiff/overlaydiff"

// leftOut are packages whose tests say nothing about a kernel, or need the go
// command.
var leftOut = []string{"bench", "cmd/overlaydiff/internal/explore", "cmd/overlaydiff/internal/human", "diff", "internal/archtest", "cmd/overlaydiff/internal/torture/campaign", "testenv/vm", "testenv/vm/matrix", "testenv/vm/vmrun"}

// leftOutTests are tests that need the sources, or ask no kernel, or run what
// others of ours run as well, or that on more file systems than tell kernels
// apart: an expression for each package.
var leftOutTests = map[string]string{
	".": "^TestConformance$/^auto$" + // it is native on all these cases, and random ones have it
		"|^TestLayers$|^TestLayers_Random$/^(xfs|btrfs)$" + // most of it is about processes; random ones stay
		"|^TestExport_Stops$" + // asks no kernel
		"|^TestExport_(Attributes|ContainerOwners)$", // need chattr and stat, which guests lack
	"cmd/overlaydiff": "^TestProbe_Document$|^TestProbe_(Killed|Together)$/^(ext4|xfs|btrfs)$" +
		"|^TestScripts$/^tmpfs$/^(demo_)?signals$" + // about processes
		"|^TestScripts$/^(xfs|btrfs)$/^probe_" + // ext4 and tmpfs tell kernels apart
		"|^TestScripts$/^tmpfs$/^(help|man|(explain_|probe_)?wrong(_usage)?)$" + // asks no kernel
		"|^TestPause_(Killed|Torn)$" + // about processes, and long
		"|^TestExplore", // there is no tmux
	"diff/difftest":     "^TestRun(Random)?$|^TestShrink$",                        // the root package runs the suite on real engines
	"integration/graph": "^TestDocument$|^TestDriver(_Mounted)?$/^Random$",        // the sources; the root package has as many
	"internal/fswalk":   "^TestPoolBoundsDescriptors$|^TestListIsSortedAndWhole$", // asks no kernel, and is long
	"layer": "^TestApply_(Again|Canceled|Deep)$|^TestCompression_RoundTrip$" + // asks no kernel
		"|^TestHeaders_Random$|^TestApply_GNUTar$/^(ext4|xfs|btrfs)$",
	"naive":  "^TestConformance_LiveMount$/^(ext4|xfs)$",
	"native": "^TestUsage_Allocations$|^TestFuseOverlayfs$",
	"cmd/overlaydiff/stores": "^TestContainersStorage_brokenEntries$|^TestBolt_random$" + // asks no kernel
		"|^TestAsk$", // there is no getent
	"testenv": "^TestRandom_(Ends|Verbs)$", // asks no kernel
	"cmd/overlaydiff/internal/torture": "^Test(Cancellation|Kills|Limits|Privilege|Races|Serve|Soak|Swaps)" + // long, and not about kernels; bad disks are only there
		"|^TestFaults$|^TestFaults_(BadDisk|FullDisk|Remote)$",
}

// sliced are the packages of a slice: those that ask kernels most. What it leaves
// out of them beside leftOutTests takes long, and is about processes.
var (
	sliced      = []string{".", "cmd/overlaydiff", "features", "mountutil", "cmd/overlaydiff/internal/torture"}
	leftOutMore = map[string]string{
		"cmd/overlaydiff": "|^TestProbe_(AfterKilled|Cancelled|Full|Killed|Signalled|Together)$",
	}
)

// rotation has the file system of the first kernel of a slice, and of those
// after it.
var rotation = []testenv.FS{testenv.Ext4, testenv.XFS, testenv.Btrfs, testenv.Tmpfs}

// newPlan builds the packages' tests and packs them.
func newPlan(ctx context.Context, o options, archive string) (*plan, error) {
	p := &plan{options: o, archive: archive}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f",
		"{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"}, strings.Fields(o.packages)...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", list, err)
	}
	bin := archive + ".bin"
	defer os.RemoveAll(bin)
	var build error
	pack := func(f *vm.Files) {
		for line := range strings.Lines(string(out)) {
			path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
			name := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
			if name == "" {
				name = "."
			}
			if slices.Contains(leftOut, name) || o.slice && !slices.Contains(sliced, name) {
				continue
			}
			test := filepath.Join(bin, "test")
			if build = vm.GoBuild(ctx, o.arch, test, "test", "-c", path); build != nil {
				return
			}
			p.add(f, name, dir, test)
		}
		program := filepath.Join(bin, "overlaydiff")
		if build = vm.GoBuild(ctx, o.arch, program, "build", module+"/cmd/overlaydiff"); build == nil {
			f.Copy("/bin/overlaydiff", program)
		}
	}
	if err := vm.Pack(archive, pack); err != nil || build != nil {
		return nil, fmt.Errorf("pack the tests: %w", cmpErr(err, build))
	}
	return p, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// add adds the tests of a package.
func (p *plan) add(f *vm.Files, name, dir, test string) {
	work := "/tests/" + name
	c := vm.Command{Dir: work, Args: []string{work + "/" + filepath.Base(dir) + ".test", "-test.v=test2json", "-test.timeout=15m"}}
	if p.options.run != "" {
		c.Args = append(c.Args, "-test.run="+p.options.run)
	}
	not := leftOutTests[name]
	if p.options.slice {
		not += leftOutMore[name]
	}
	if not != "" {
		c.Args = append(c.Args, "-test.skip="+not)
	}
	f.Copy(c.Args[0], test)
	f.Tree(work+"/testdata", filepath.Join(dir, "testdata"))
	p.suites = append(p.suites, suite{name, c})
}

// part is whether only a part of all tests runs.
func (o options) part() bool { return o.slice || o.run != "" || o.packages != allPackages }

// probe is what a guest runs for its output, one JSON document, which the result
// keeps.
type probe struct {
	name    string
	command vm.Command
}

// probes say what the kernel can do on two file systems. Others answer as ext4,
// but for reflinks.
var probes = []probe{
	{string(testenv.Ext4), vm.Command{Args: []string{"/bin/overlaydiff", "probe", "--json"}, Dir: "/mnt", Disk: string(testenv.Ext4), Apart: true}},
	{string(testenv.Tmpfs), vm.Command{Args: []string{"/bin/overlaydiff", "probe", "--json"}, Dir: "/dev/shm", Apart: true}},
}

func (p *plan) probes() []probe {
	if p.options.part() {
		return nil
	}
	return probes
}

// cases is how many random overlays there are on a file system, and in a slice.
const cases, casesOfSlice = 24, 6

// guest returns what the nth kernel runs.
func (p *plan) guest(n int) vm.Guest {
	env := []string{fmt.Sprint("OVERLAYDIFF_CASES=", cases)}
	if p.options.slice {
		env = []string{fmt.Sprint("OVERLAYDIFF_CASES=", casesOfSlice), "OVERLAYDIFF_FS=" + string(rotation[n%len(rotation)])}
	}
	g := vm.Guest{Env: vm.TestEnv(env...)}
	for _, s := range p.suites {
		g.Commands = append(g.Commands, s.command)
	}
	for _, probe := range p.probes() {
		g.Commands = append(g.Commands, probe.command)
	}
	return g
}

// result reads what a kernel's machine reported.
func (p *plan) result(ctx context.Context, k vm.Kernel, report *vm.Report) (*Result, error) {
	r := &Result{
		Series: k.Series, Arch: k.Arch, Kernel: k.Name(), Release: report.Ready.Release, Version: report.Ready.Version,
		Boot: report.Ready.Uptime, Emulated: report.Emulated, Part: p.options.part(), Probes: map[string]json.RawMessage{},
	}
	for i, suite := range p.suites {
		s := Suite{Package: suite.name, Exit: notRun}
		if i < len(report.Outputs) {
			if err := s.read(ctx, report.Outputs[i]); err != nil {
				return nil, err
			}
		}
		if i < len(report.Commands) {
			s.Exit, s.Seconds = report.Commands[i].Exit, report.Commands[i].Seconds
		}
		r.Suites = append(r.Suites, s)
	}
	for i, probe := range p.probes() {
		if i += len(p.suites); i < len(report.Commands) {
			if out := report.Outputs[i]; json.Valid(out) {
				r.Probes[probe.name] = bytes.TrimSpace(out)
			} else {
				r.Broken += fmt.Sprintf("probe on %s: exit status %d, and no JSON: %.200q", probe.name, report.Commands[i].Exit, out)
			}
		}
	}
	return r, nil
}

// write writes all that a machine said, for whoever wants to know more.
func (p *plan) write(k vm.Kernel, report *vm.Report) error {
	var b bytes.Buffer
	for i, out := range report.Outputs {
		if i < len(p.suites) {
			fmt.Fprintf(&b, "== %s\n", p.suites[i].name)
		}
		b.Write(bytes.ReplaceAll(out, []byte("\x16"), nil)) // marks of -test.v=test2json
	}
	fmt.Fprintf(&b, "== console\n%s", report.Console)
	return os.WriteFile(filepath.Join(p.options.results, k.ID()+".txt"), b.Bytes(), 0o644)
}
