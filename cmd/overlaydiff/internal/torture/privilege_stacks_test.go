package torture_test

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/xattr"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// askedStack is an overlay, or two trees, that commands are asked about.
type askedStack struct {
	name  string
	words []string // that name it
	// overlay: it has an upper directory.
	overlay bool
	layer   string // of its changes, for apply
}

func (s askedStack) commands() []string {
	all := []string{"changes", "changes --engine naive", "size", "export", "verify", "explain /d/f", "explain /same", "apply"}
	if s.overlay {
		all = append(all, "changes --engine native", "usage", "layers")
	}
	return all
}

// args are a command's arguments.
func (s askedStack) args(command string) []string {
	if command == "apply" {
		return []string{"apply", s.layer}
	}
	args := append(strings.Fields(command), s.words...)
	if command == "size" || command == "usage" || command == "layers" {
		args = append(args, "--json")
	}
	return args
}

// stacks makes what commands are asked about: an overlay with all marks, one whose layers
// have what only root may read, one that belongs to user nobody, and two trees.
func (p *privileges) stacks(t *testing.T, run *torture.Run, fs testenv.FS) []askedStack {
	t.Helper()
	lower := []string{
		"file f content=old", "file gone", "file d/f content=lower", "file d/g", "file opaque/hidden", "file renamed/a/b content=b", "file big size=100000",
		"file same content=same", "file touched content=t", "symlink l -> f", "dir kept", "file kept/x content=x",
	}
	edits := []string{
		"write f new", "unlink gone", "write d/f more", "rmtree opaque", "mkdir opaque", "create opaque/new n", "rename renamed moved",
		"chmod big 0600", "create added content", "open same", "setxattr touched user.k=v", "unlink l",
	}
	shut := []string{"mkdir closed", "create closed/f secret", "chmod closed 0", "chmod kept/x 0", "write kept/x y", "create nobodys x", "chmod nobodys 0"}
	made := []askedStack{
		p.overlay(t, "marked", lower, edits, "metacopy=on,redirect_dir=on,index=on"),
		p.overlay(t, "unreadable", lower, append(append([]string{}, edits...), shut...), "redirect_dir=on"),
		p.overlay(t, "unreadable below", append(append([]string{}, lower...), "file below/shut/f content=s", "dir below/shut mode=0700", "file below/file content=f mode=0600"),
			append(append([]string{}, edits...), "write below/shut/f more", "write below/file more"), "redirect_dir=on"),
		p.trees(t, lower, edits),
	}
	if testenv.Has(t, fs, testenv.UserXattrMarks) {
		made = append(made, p.ofNobody(t, "nobody's", lower, edits, nil),
			// In a user namespace, all owners that have no id there look the same.
			p.ofNobody(t, "others'", lower, edits, map[string][2]int{"same": {1, 2}}),
			p.ofNobody(t, "another's", lower, edits, map[string][2]int{"added": {0, 3}}))
		for _, s := range secrets {
			if !run.Whole() {
				break
			}
			made = append(made, p.ofNobody(t, s.name, append(s.lower, lower...), append(s.edits, edits...), s.owners))
		}
	}
	return made
}

// secrets are what user nobody may not read in layers of their own, one at a time: user 100's.
var secrets = []struct {
	name         string
	lower, edits []string
	owners       map[string][2]int
}{
	{"a new file", nil, []string{"create secret x", "chmod secret 0600"}, map[string][2]int{"secret": {0, 100}}},
	{"a changed file", nil, []string{"rewrite kept/x", "chmod kept/x 0600"}, map[string][2]int{"kept/x": {0, 100}}},
	{"a file below", []string{"file low content=a mode=0600"}, []string{"rewrite low"}, map[string][2]int{"low": {100, 0}}},
	{"a new directory", nil, []string{"mkdir shut", "create shut/f x", "chmod shut 0700"}, map[string][2]int{"shut": {0, 100}}},
	{"a directory that only lists", nil, []string{"mkdir shut", "create shut/f x", "chmod shut 0744"}, map[string][2]int{"shut": {0, 100}}},
	{"a directory that only leads", nil, []string{"mkdir shut", "create shut/f x", "chmod shut 0711"}, map[string][2]int{"shut": {0, 100}}},
	{"a directory below", []string{"file shut/f", "file shut/g", "dir shut mode=0700"}, []string{"unlink shut/g", "write shut/f x"}, map[string][2]int{"shut": {100, 0}}},
	{"a directory in between", []string{"file a/shut/f", "dir a/shut mode=0711"}, []string{"create a/shut/g x"}, map[string][2]int{"a/shut": {100, 100}}},
}

// labelSELinux gives files of a tree labels as SELinux does: of some the upper layer has others.
func labelSELinux(t *testing.T, root string, except string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&(fs.ModeCharDevice|fs.ModeDevice) != 0 {
			return err
		}
		value := "system_u:object_r:container_file_t:s0\x00"
		if except != "" && strings.HasSuffix(path, except) {
			value = "system_u:object_r:container_share_t:s0:c1,c2\x00"
		}
		return xattr.LSet(path, "security.selinux", []byte(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// overlay makes layers by a mount, and unmounts it.
func (p *privileges) overlay(t *testing.T, name string, lower, edits []string, options string) askedStack {
	t.Helper()
	dir := filepath.Join(p.dir, strings.ReplaceAll(name, " ", "-"))
	testenv.Tree(t, dir+"/lower", lower...)
	labelSELinux(t, dir+"/lower", "")
	o := testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Options: options}
	merged := testenv.Mount(t, o)
	testenv.Do(t, merged, edits...)
	testenv.Unmount(t, merged)
	labelSELinux(t, dir+"/upper", "/same")
	words := []string{"--options", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s.work,%s", o.Lower[0], o.Upper, o.Upper, options)}
	return p.stack(t, askedStack{name: name, words: words, overlay: true})
}

// ofNobody makes layers that user nobody owns, marked with user.* attributes. Others are who
// owns what else below and above, 0 being nobody again.
func (p *privileges) ofNobody(t *testing.T, name string, lower, edits []string, others map[string][2]int) askedStack {
	t.Helper()
	dir := filepath.Join(p.dir, strings.NewReplacer("'", "", " ", "-").Replace(name))
	testenv.Tree(t, dir+"/lower", lower...)
	plain := []string{}
	for _, e := range edits {
		if !strings.HasPrefix(e, "rename") { // there are no redirects
			plain = append(plain, e)
		}
	}
	o := testenv.Overlay{Lower: []string{dir + "/lower"}, Upper: dir + "/upper", Options: "userxattr"}
	merged := testenv.Mount(t, o)
	testenv.Do(t, merged, plain...)
	testenv.Unmount(t, merged)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, nobody, nobody)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, ids := range others {
		for i, layer := range []string{o.Lower[0], o.Upper} {
			if path := filepath.Join(layer, file); ids[i] != 0 {
				if err := os.Chown(path, ids[i], ids[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	labelSELinux(t, dir+"/lower", "")
	labelSELinux(t, dir+"/upper", "/same")
	return p.stack(t, askedStack{name: name, words: []string{"--userxattr", "--lower", o.Lower[0], "--upper", o.Upper}, overlay: true})
}

// trees makes two trees, with what only root may read in both.
func (p *privileges) trees(t *testing.T, lower, edits []string) askedStack {
	t.Helper()
	dir := filepath.Join(p.dir, "trees")
	for _, side := range []string{"old", "new"} {
		testenv.Tree(t, filepath.Join(dir, side), append(append([]string{}, lower...), "file shut/f content="+side, "dir shut mode=0700", "file secret content="+side+" mode=0600")...)
	}
	testenv.Do(t, filepath.Join(dir, "new"), edits...)
	labelSELinux(t, dir+"/old", "")
	labelSELinux(t, dir+"/new", "/same")
	return p.stack(t, askedStack{name: "two trees", words: []string{"--old", filepath.Join(dir, "old"), "--new", filepath.Join(dir, "new")}})
}

// stack makes the layer that apply is asked about.
func (p *privileges) stack(t *testing.T, s askedStack) askedStack {
	t.Helper()
	s.layer = filepath.Join(p.dir, strings.ReplaceAll(s.name, " ", "-")+".tar")
	if a := p.as(t, unprivileged{}, append([]string{"export", "-o", s.layer}, s.words...)...); a.status != 0 {
		t.Fatalf("%s: export as root: %s", s.name, a.stderr)
	}
	return s
}

// treeWithXattrs lists a tree with all that a layer has of it, for who can read all. User nobody is
// root in a namespace of their own.
func treeWithXattrs(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		owner := strings.ReplaceAll(fmt.Sprintf("%d:%d", st.Uid, st.Gid), fmt.Sprint(nobody), "0")
		fmt.Fprintf(&b, "%s %v %s %d", strings.TrimPrefix(path, root), info.Mode(), owner, st.Nlink)
		if path != root { // whose time is the one it was made at
			fmt.Fprintf(&b, " %v", info.ModTime())
		}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(data), sha256.Sum256(data))
		}
		names, err := xattr.LList(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			value, err := xattr.LGet(path, name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s=%q", name, value)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// entriesOf lists a layer. Times are exact, and owners as in treeWithXattrs.
func entriesOf(t *testing.T, archive string) string {
	t.Helper()
	var b strings.Builder
	r := tar.NewReader(strings.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatal(err)
		}
		owner := strings.ReplaceAll(fmt.Sprintf("%d:%d", h.Uid, h.Gid), fmt.Sprint(nobody), "0")
		fmt.Fprintf(&b, "%q %c %o %s %d %v %q %q %x\n", h.Name, h.Typeflag, h.Mode, owner, h.Size, h.ModTime, h.Linkname, h.PAXRecords, sum.Sum(nil))
	}
}

// seccompGroups are groups of system calls, by their numbers on amd64, that sandboxes refuse, or
// don't know and answer as if the kernel had none.
var seccompGroups = map[string][]int{
	"statx":           {332},
	"openat2":         {437},
	"the mount API":   {428, 429, 430, 431, 432, 433, 442},
	"mount":           {165, 166, 272, 308, 428, 429, 430, 431, 432, 433, 442},
	"file handles":    {303, 304},
	"xattrs by fd":    {463, 464, 465, 466},
	"memfd_create":    {319},
	"listing mounts":  {457, 458},
	"what Docker has": {156, 165, 166, 172, 173, 179, 246, 248, 249, 250, 272, 298, 300, 303, 304, 308, 310, 311, 312, 321, 323, 428, 429, 430, 431, 432, 433, 437, 442, 443},
}

// filteredUsers are ways to run a command under a seccomp filter.
func filteredUsers(t *testing.T, dir string, errnos []syscall.Errno) []unprivileged {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Log("the seccompGroups have the numbers of amd64: not tried")
		return nil
	}
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "filter.pl")
	if err := os.WriteFile(script, []byte(filterScript), 0o644); err != nil {
		t.Fatal(err)
	}
	var all []unprivileged
	for name, numbers := range seccompGroups {
		list := strings.Trim(fmt.Sprint(numbers), "[]")
		for _, errno := range errnos {
			all = append(all, unprivileged{
				name:   fmt.Sprintf("root with a filter: %v for %s", errno, name),
				prefix: []string{perl, script, fmt.Sprint(int(errno)), list}, filtered: true,
			})
		}
	}
	return all
}

// filterScript is filter.pl ERRNO NUMBERS CMD…: these system calls fail in CMD.
const filterScript = `my ($errno, $numbers) = splice @ARGV, 0, 2;
sub op { pack "SCCL", @_ }
my @numbers = split " ", $numbers;
my $program = op(0x20, 0, 0, 0); # load the number
for my $i (0 .. $#numbers) {
	$program .= op(0x15, @numbers - $i, 0, $numbers[$i]); # if it is one of these
}
$program .= op(0x06, 0, 0, 0x7fff0000) . op(0x06, 0, 0, 0x00050000 | $errno); # allow, fail
syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
syscall(157, 22, 2, pack "S x6 P", length($program) / 8, $program) == 0 or die "seccomp: $!";
exec @ARGV or die "$ARGV[0]: $!";
`
