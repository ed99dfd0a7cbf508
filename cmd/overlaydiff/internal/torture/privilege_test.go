package torture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// TestPrivilege runs every command as many kinds of users that can do less than root. It
// says the very same as root's does, or fails, with one line that says why: what can't
// be seen never makes an answer smaller in silence.
func TestPrivilege(t *testing.T) {
	run := torture.Start(t, torture.Privilege, 20)
	testenv.RequireRoot(t)
	systems := []testenv.FS{testenv.Ext4, testenv.Tmpfs, testenv.XFS, testenv.Btrfs}
	if !run.Whole() {
		systems = systems[:1]
	}
	for _, fs := range systems {
		if !run.More() {
			break
		}
		p := newPrivileges(t, run, fs)
		for _, s := range p.stacks(t, run, fs) {
			for _, name := range s.commands() {
				p.try(t, run, s, name)
			}
		}
		p.tryList(t, run)
		p.tryProbe(t, run)
	}
}

const nobody = 65534

// privileges is what commands are run with.
type privileges struct {
	fs     testenv.FS
	dir    string // where all can go
	binary string
	temp   string // where all can write
	users  []unprivileged
}

// unprivileged is a way to run a command with less than root has.
type unprivileged struct {
	name   string
	prefix []string
	owner  int // whose a directory to unpack in is
	// filtered: system calls are refused that root could make.
	filtered bool
	// reads: what only reads must have root's answer.
	reads bool
}

func newPrivileges(t *testing.T, run *torture.Run, fs testenv.FS) *privileges {
	t.Helper()
	dir := testenv.Scratch(t, fs)
	p := &privileges{fs: fs, dir: dir, binary: filepath.Join(dir, "overlaydiff"), temp: filepath.Join(dir, "tmp")}
	// What holds scratch directories is closed to others.
	err := os.Chmod(filepath.Dir(os.TempDir()), 0o711)
	if err == nil {
		err = os.Mkdir(p.temp, 0o755)
	}
	if err == nil {
		err = os.Chmod(p.temp, 0o1777)
	}
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.binary, "github.com/overlaydiff/overlaydiff/cmd/overlaydiff")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	errnos := []syscall.Errno{syscall.EPERM}
	if run.Whole() {
		errnos = append(errnos, syscall.ENOSYS)
	}
	p.users = append(lesser(t), filteredUsers(t, dir, errnos)...)
	return p
}

// lesser are users, and root without some capabilities.
func lesser(t *testing.T) []unprivileged {
	t.Helper()
	user := []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups", "--"}
	userns := []string{"unshare", "--user", "--map-root-user", "--mount", "--"}
	without := func(caps string) []string {
		return []string{"setpriv", "--bounding-set=" + caps, "--inh-caps=" + caps, "--"}
	}
	users := []unprivileged{
		{name: "an ordinary user", prefix: user, owner: nobody},
		{name: "root without CAP_SYS_ADMIN", prefix: without("-sys_admin"), owner: 0},
		{name: "root without CAP_DAC_READ_SEARCH", prefix: without("-dac_read_search"), owner: 0},
		{name: "root without CAP_DAC_READ_SEARCH and CAP_DAC_OVERRIDE", prefix: without("-dac_read_search,-dac_override"), owner: 0},
		{name: "root without any capability", prefix: without("-all"), owner: 0},
		{
			name: "root with what SECURITY.md says reading takes", reads: true,
			prefix: without("-all,+dac_read_search,+sys_admin,+sys_ptrace"),
		},
		{name: "root of a user namespace of root's", prefix: userns, owner: 0},
	}
	inside := append(append([]string{}, user...), userns...)
	if err := exec.CommandContext(t.Context(), inside[0], append(inside[1:], "true")...).Run(); err != nil {
		t.Logf("user %d can have no user namespace here (%v): not tried", nobody, err)
		return users
	}
	return append(users, unprivileged{name: "an ordinary user's user namespace", prefix: inside, owner: nobody})
}

// commandAnswer is what a command did.
type commandAnswer struct {
	stdout, stderr string
	status         int
}

// as runs the command with a user's privileges.
func (p *privileges) as(t *testing.T, u unprivileged, args ...string) commandAnswer {
	t.Helper()
	line := append(append(append([]string{}, u.prefix...), p.binary), args...)
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR="+p.temp, "HOME="+p.temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Minute
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return commandAnswer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// try runs one command on a stack as root and as all others, and compares.
func (p *privileges) try(t *testing.T, run *torture.Run, s askedStack, name string) {
	t.Helper()
	args := s.args(name)
	root := p.as(t, unprivileged{}, p.fresh(t, name, args, 0)...)
	if root.status != 0 {
		t.Errorf("%s: %s as root: exit status %d: %s", s.name, name, root.status, root.stderr)
		return
	}
	want := p.result(t, name, root)
	if want == "" {
		t.Errorf("%s: %s as root says nothing", s.name, name)
	}
	for _, u := range p.users {
		got := p.as(t, u, p.fresh(t, name, args, u.owner)...)
		run.Count("commands", 1)
		complaint := judgeRefusal(u, name, want, got)
		if got.status == 0 {
			run.Count("the same answer as root's", 1)
			if d := cmp.Diff(want, p.result(t, name, got)); d != "" {
				complaint = "not what root's says (-root +this):\n" + d
			}
		} else {
			run.Count("refusals that say why", 1)
		}
		if u.reads && got.status != 0 && name != "apply" && name != "verify" {
			complaint = "want root's answer"
		}
		if u.reads && strings.Contains(got.stderr, "CAP_SYS_ADMIN") {
			complaint = "it has CAP_SYS_ADMIN"
		}
		if complaint != "" {
			t.Errorf("%s on %s: %s as %s: exit status %d, stderr %q: %s", s.name, p.fs, name, u.name, got.status, got.stderr, complaint)
		}
	}
}

// reasonLine is what a refusal looks like.
var reasonLine = regexp.MustCompile(`^overlaydiff: [[:print:]–…]+\n$`)

// judgeRefusal says what is wrong with a command that failed.
func judgeRefusal(u unprivileged, name, want string, got commandAnswer) string {
	switch {
	case got.status == 0:
		return ""
	case got.status != 1 && got.status != 4:
		return "want 0, 1 or 4"
	case !reasonLine.MatchString(got.stderr):
		return "want one line that says why"
	case u.filtered && !strings.Contains(got.stderr, "seccomp filter"):
		return "want the filter named"
	case name == "apply" || name == "export" || strings.HasPrefix(want, got.stdout): // what is streamed has begun already
		return ""
	}
	return fmt.Sprintf("it printed %q first, root's does not", got.stdout)
}

// target is where apply unpacks.
func (p *privileges) target() string { return filepath.Join(p.temp, "applied") }

// fresh makes apply's directory anew, for its owner to write.
func (p *privileges) fresh(t *testing.T, name string, args []string, owner int) []string {
	t.Helper()
	if name != "apply" {
		return args
	}
	err := errors.Join(os.RemoveAll(p.target()), os.Mkdir(p.target(), 0o755), os.Chown(p.target(), owner, owner))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(p.target()) })
	return append(append([]string{}, args...), "--to", filepath.Join(p.target(), "tree"))
}

// result is what counts of a command that did it.
func (p *privileges) result(t *testing.T, name string, a commandAnswer) string {
	t.Helper()
	switch name {
	case "apply": // the tree
		return treeWithXattrs(t, filepath.Join(p.target(), "tree"))
	case "export":
		return entriesOf(t, a.stdout)
	case "verify": // the digest has the owners in it
		return anyDigest.ReplaceAllString(a.stdout, "sha256:…")
	case "size", "usage":
		return withoutEngine(t, a.stdout)
	}
	return a.stdout
}

// tryList lists an overlay that is mounted, with all others. A list with less in it
// names what could not be looked at: in the line, or on standard error.
func (p *privileges) tryList(t *testing.T, run *torture.Run) {
	t.Helper()
	dir := filepath.Join(p.dir, "list")
	testenv.Tree(t, dir+"/lower", "file f content=f")
	merged := testenv.Mount(t, testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper"})
	testenv.Do(t, merged, "mkdir shut", "create shut/f secret", "chmod shut 0")
	defer testenv.Unmount(t, merged)
	line := func(a commandAnswer) (found string) {
		for l := range strings.Lines(a.stdout) {
			if strings.Contains(l, dir+"/upper") || strings.Contains(l, merged) {
				found += l
			}
		}
		return found
	}
	root := line(p.as(t, unprivileged{}, "ps", "--all-users", "--json"))
	if strings.Count(root, "\n") != 1 || strings.Contains(root, `"error"`) {
		t.Fatalf("as root, ps says %q", root)
	}
	for _, u := range p.users {
		got := p.as(t, u, "ps", "--all-users", "--json")
		run.Count("commands", 1)
		switch l := line(got); {
		case got.status == 0 && l == root:
			run.Count("the same answer as root's", 1)
		case !u.reads && (strings.Contains(l, `"error":"`) || l == "" && got.stderr != ""):
			run.Count("refusals that say why", 1)
		default:
			t.Errorf("ps as %s: exit status %d, stderr %q: %q, and as root %q", u.name, got.status, got.stderr, l, root)
		}
	}
}

// Where others' processes are hidden (hidepid), so are their mounts, and ps says so.
func TestPrivilege_Hidden(t *testing.T) {
	run := torture.Start(t, torture.Privilege, 0)
	testenv.RequireRoot(t)
	p := newPrivileges(t, run, testenv.Tmpfs)
	hidden := []string{"unshare", "--mount", "sh", "-c", `mount -t proc -o hidepid=2 proc /proc && exec "$@"`, "sh"}
	for _, u := range []unprivileged{{prefix: hidden}, {prefix: append(hidden, p.users[0].prefix...)}} {
		got := p.as(t, u, "ps", "--all-users", "--json")
		run.Count("commands", 1)
		says := strings.Contains(got.stderr, "hidden")
		if asRoot := len(u.prefix) == len(hidden); got.status != 0 || says == asRoot { // root sees all
			t.Errorf("as root: %t: exit status %d, stderr %q", asRoot, got.status, got.stderr)
		}
	}
}

// Stores that may not be looked into are named: there may be containers in them.
func TestPrivilege_Stores(t *testing.T) {
	run := torture.Start(t, torture.Privilege, 0)
	testenv.RequireRoot(t)
	p := newPrivileges(t, run, testenv.Tmpfs)
	for _, closed := range []string{"var/lib/docker", "var/lib/containers", "var/lib/containerd", "var/lib/isulad", "home/u", "etc/passwd"} {
		root := filepath.Join(p.dir, filepath.Base(closed))
		testenv.Tree(t, root, "dir var/lib", "dir home", "file etc/passwd content=\"u:x:1000:1000::/home/u:/bin/sh\\n\"")
		for _, mode := range []os.FileMode{0o755, 0} {
			if filepath.Dir(closed) != "etc" {
				testenv.Tree(t, root, "dir "+closed)
			}
			if err := os.Chmod(filepath.Join(root, closed), mode); err != nil {
				t.Fatal(err)
			}
			got := p.as(t, p.users[0], "ps", "--all-users", "--json", "--root", root)
			run.Count("commands", 1)
			if says := strings.Contains(got.stderr, filepath.Join(root, closed)); says != (mode == 0) {
				t.Errorf("%s has mode %v: exit status %d, stderr %q", closed, mode, got.status, got.stderr)
			}
		}
	}
}

// tryProbe asks what can be done: whatever that is, it is an answer.
func (p *privileges) tryProbe(t *testing.T, run *torture.Run) {
	t.Helper()
	for _, u := range p.users {
		got := p.as(t, u, "probe", "--json", p.temp)
		run.Count("commands", 1)
		run.Count("probes", 1)
		if got.status != 0 || got.stderr != "" || !json.Valid([]byte(got.stdout)) {
			t.Errorf("probe as %s: exit status %d, stderr %q, stdout %q", u.name, got.status, got.stderr, got.stdout)
		}
	}
	left, err := os.ReadDir(p.temp)
	if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != filepath.Base(p.target()) {
		t.Errorf("left in the directory for temporary files: %v, %v", left, err)
	}
}

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// withoutEngine is a JSON object without the fields about how it was had.
func withoutEngine(t *testing.T, line string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	delete(fields, "engine")
	delete(fields, "reason")
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
