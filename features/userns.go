package features

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// usernsProbes are about a user namespace that is made for them, in which this
// user is root: what rootless containers have.
var usernsProbes = []probe{{
	name: "initial_userns", group: groupUserns, depends: onProcess,
	asks:    "this process is in the initial user namespace",
	how:     "reads /proc/self/uid_map and the namespace's inode number",
	follows: "trusted.* attributes are out of sight: marks of overlays that others mounted can't be read",
	run:     probeInitialUserns,
}, {
	name: "userns_create", group: groupUserns, depends: onProcess,
	asks:    "user namespaces can be made",
	how:     "starts this program again in one",
	follows: "there are no rootless containers for this user",
	run:     func(_ context.Context, s *session) error { return s.userns.created() },
}, {
	name: "userns_mount", group: groupUserns, depends: onDir, since: "5.11", needs: inUserns,
	asks:    "an overlay can be mounted in one",
	how:     "mounts one there, with userxattr if that is known",
	follows: "rootless containers need fuse-overlayfs or copies (vfs)",
	child:   childMount,
}, {
	name: "userns_userxattr", group: groupUserns, depends: onDir, since: "5.11", needs: inUserns,
	asks:    "overlays mounted in one with userxattr work in full",
	how:     "replaces a lower directory there in an overlay mounted with userxattr",
	follows: "rootless containers need fuse-overlayfs or copies (vfs)",
	child:   func(s *session) error { return childReplaces(s, "userxattr") },
}, {
	name: "userns_plain", group: groupUserns, depends: onDir, needs: inUserns,
	asks:    "overlays mounted in one without userxattr work in full",
	how:     "replaces a lower directory there in an overlay mounted without userxattr",
	follows: "in user namespaces overlays must be mounted with userxattr",
	child:   func(s *session) error { return childReplaces(s) },
}, {
	name: "userns_whiteout", group: groupUserns, depends: onDir, since: "5.8", needs: inUserns,
	asks:    "whiteouts can be made in one with mknod",
	how:     "makes a character device 0:0 there",
	follows: "nothing in a lower layer can be deleted in rootless overlays",
	child:   childWhiteout,
}}

var inUserns = []string{"userns_create"}

func probeInitialUserns(context.Context, *session) error {
	if initialUserns() {
		return nil
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	return no("user ids are mapped: %s", strings.Join(strings.Fields(string(ids)), " "))
}

// initialUserns reports whether this process is in the initial user namespace.
func initialUserns() bool {
	const initial = 0xEFFFFFFD // PROC_USER_INIT_INO
	if id := usernsID(); id != 0 {
		return id == initial
	}
	return !mapped() // another namespace may have the same map, if root made it so
}

// userns is the process in the new user namespace. It answers the questions that
// have a child function, and stays until its standard input is closed.
type userns struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	stdout  *json.Decoder
	err     error // why there is none
	results map[string]Result
}

// start starts the process. Whether that was possible is an answer like others.
func (u *userns) start(ctx context.Context, s *session) {
	if !mainCalled.Load() {
		u.err = errors.New("that takes another process, and this program does not call features.Main")
		return
	}
	sc, err := s.scratchDir()
	if err != nil {
		u.err = unsure(err)
		return
	}
	if err := os.Mkdir(sc.Path()+"/"+childDir, 0o755); err != nil {
		u.err = unsure(bare(err))
		return
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{childName}
	cmd.ExtraFiles = []*os.File{sc.File} // with its lock
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		// It holds the lock, too, and must not outlive a killed parent, nor need it
		// outlive the thread that asks.
		Pdeathsig: unix.SIGKILL,
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		u.err = unsure(err)
		return
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		u.err = unsure(errors.Join(err, stdin.Close()))
		return
	}
	if err := cmd.Start(); err != nil {
		u.err = whyNoUserns(err)
		return
	}
	u.cmd, u.stdin, u.stdout = cmd, stdin, json.NewDecoder(stdout)
}

// whyNoUserns adds the setting that is likely to be the cause. All but a
// namespace too many could also be a filter's doing.
func whyNoUserns(err error) error {
	setting := func(name string) string {
		b, _ := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(b))
	}
	// What Start does before it asks for the namespace says nothing about it.
	var fork *os.PathError
	if !errors.As(err, &fork) || fork.Op != "fork/exec" {
		return unsure(bare(err))
	}
	const limit, clone, apparmor = "user/max_user_namespaces", "kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns"
	err = bare(err)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return no("no more are allowed: sysctl user.max_user_namespaces is %s (%v)", setting(limit), err)
	case errors.Is(err, unix.EINVAL):
		return no("this kernel has none (CONFIG_USER_NS): %v", err)
	case errors.Is(err, unix.EPERM) && setting(clone) == "0" && os.Geteuid() != 0:
		return no("sysctl kernel.unprivileged_userns_clone is 0 (%v)", err)
	case errors.Is(err, unix.EACCES) && setting(apparmor) == "1":
		return no("sysctl kernel.apparmor_restrict_unprivileged_userns is 1 (%v)", err)
	}
	return err
}

// created says whether the namespace could be made.
func (u *userns) created() error {
	if u.err != nil || u.results != nil {
		return u.err
	}
	if u.cmd == nil {
		return errors.New("it was not started")
	}
	var results []Result
	if err := u.stdout.Decode(&results); err != nil {
		u.err = fmt.Errorf("read the answers of the process in the new user namespace: %w", err)
		return u.err
	}
	u.results = map[string]Result{}
	for _, r := range results {
		u.results[r.Name] = r
	}
	return nil
}

// answer returns what the process found.
func (u *userns) answer(name string) error {
	if err := u.created(); err != nil { // that there is one may have been known
		return err
	}
	r, ok := u.results[name]
	switch {
	case !ok:
		return errors.New("the process in the new user namespace did not answer")
	case r.Answer == No:
		return no("%s", r.Reason)
	case r.Answer == Unknown:
		return errors.New(r.Reason)
	}
	return nil
}

// namespace opens the namespace of the process.
func (u *userns) namespace() (*os.File, error) {
	if err := u.created(); err != nil {
		return nil, unsure(err)
	}
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", u.cmd.Process.Pid))
}

// close ends the process.
func (u *userns) close() error {
	if u.cmd == nil {
		return nil
	}
	err := u.stdin.Close()
	// How it ended is no news: what it had to say, it said, or that was an error.
	_ = u.cmd.Wait()
	return err
}
