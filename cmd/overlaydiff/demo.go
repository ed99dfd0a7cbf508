package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/scratch"
)

func demoCommand() *cobra.Command {
	var lower, inside string
	cmd := &cobra.Command{
		Use:   "demo [--lower DIR]",
		Short: "Mount an overlay over a real tree, change it, and diff it with both engines",
		Long: `demo mounts an overlay in a temporary directory, with a tree of this machine as lower
layer. It makes changes of each kind there, finds them with both engines, and checks
that the engines agree. It only reads the tree itself. As root it uses a new mount
namespace, as another user also a user namespace, so that no mount is left behind
even if it is killed. In that case, the next demo removes its directory.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if inside != "" {
				d := demo{cmd: cmd, lower: lower, scratch: inside}
				return d.run(cmd.Context())
			}
			return launchDemo(cmd, lower)
		},
	}
	cmd.Flags().StringVar(&lower, "lower", "/usr", "`DIR` to use as lower layer")
	cmd.Flags().StringVar(&inside, "inside", "", "")
	if err := cmd.Flags().MarkHidden("inside"); err != nil {
		panic(err)
	}
	return cmd
}

// exitStatus is the status of a child that has told its error already.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// launchDemo runs the demo in a child process with a mount namespace of its own
// and removes the scratch directory afterwards. The kernel ends the mounts with
// the namespace, and the child with its parent.
func launchDemo(cmd *cobra.Command, lower string) (err error) {
	lower, err = realDirectory(lower)
	if err != nil {
		return err
	}
	room, err := makeRoom(lower)
	if err != nil {
		return err
	}
	defer func() {
		if e := room.remove(); err == nil {
			err = e
		}
	}()

	err = unshared(cmd, false, lower, room.path)
	if errors.Is(err, errNoNamespace) && errors.Is(err, syscall.EPERM) { // no CAP_SYS_ADMIN here; in a user namespace there is
		err = unshared(cmd, true, lower, room.path)
	}
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.Exited():
		return exitStatus(ended.ExitCode())
	case cmd.Context().Err() != nil:
		return cmd.Context().Err()
	case errors.As(err, &ended):
		return fmt.Errorf("run the demo: its process ended with %w", err)
	case err != nil && !errors.Is(err, errNoNamespace):
		return fmt.Errorf("run the demo: %w", err)
	case err != nil:
		return &diff.UnsupportedError{Op: "run the demo", Reason: fmt.Sprintf(
			"mounting needs CAP_SYS_ADMIN or a user namespace (Linux 5.11), and neither can be had (%v): run as root, or allow user namespaces (sysctl user.max_user_namespaces)", err)}
	}
	return nil
}

// unshared runs this program's demo in new namespaces.
func unshared(cmd *cobra.Command, user bool, lower, scratch string) error {
	child := exec.CommandContext(cmd.Context(), "/proc/self/exe", "demo", "--lower", lower, "--inside", scratch)
	child.Args[0] = os.Args[0]
	child.Stdout, child.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = 10 * time.Second
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if user {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("%w: %w", errNoNamespace, err)
	}
	err := child.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		_ = child.Process.Kill() // nobody knows whether it has ended
	}
	return err
}

var errNoNamespace = errors.New("start a process in namespaces of its own")

func realDirectory(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("open the lower tree: %w; name a directory that exists with --lower", err)
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: abs, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return "", fmt.Errorf("open the lower tree: %w; name a directory with --lower", err)
	}
	return abs, nil
}

// room is the temporary directory for the upper layer.
type room struct {
	*scratch.Dir
	parent *os.File
	path   string // for the process in the namespaces, too
}

// makeRoom makes it on the file system of the lower tree if it can: then inode
// numbers prove what is unchanged, and the naive engine need not read every file.
func makeRoom(lower string) (*room, error) {
	var first error
	parents := []string{os.TempDir(), "/var/tmp"}
	if !sameDevice(lower, parents[0]) && sameDevice(lower, parents[1]) {
		parents[0], parents[1] = parents[1], parents[0]
	}
	for _, parent := range parents {
		r, err := makeRoomIn(parent)
		if err == nil {
			return r, nil
		}
		first = errors.Join(first, err)
	}
	return nil, fmt.Errorf("make a scratch directory: %w; set TMPDIR to a directory that can be written", first)
}

func makeRoomIn(parent string) (r *room, err error) {
	r = &room{}
	if r.parent, err = os.Open(parent); err != nil {
		return nil, err
	}
	if r.Dir, err = scratch.New(r.parent, "overlaydiff-demo-"); err != nil {
		return nil, errors.Join(err, r.parent.Close())
	}
	if r.path, err = filepath.EvalSymlinks(r.Path()); err != nil {
		return nil, errors.Join(err, r.remove())
	}
	return r, nil
}

func (r *room) remove() error { return errors.Join(r.Remove(r.parent), r.parent.Close()) }

func sameDevice(a, b string) bool {
	var sa, sb syscall.Stat_t
	return syscall.Stat(a, &sa) == nil && syscall.Stat(b, &sb) == nil && sa.Dev == sb.Dev
}

// inUserNamespace reports whether the demo's process is root in a user
// namespace only.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	var in, out, size uint32
	if err == nil {
		_, err = fmt.Sscan(string(b), &in, &out, &size)
	}
	return err == nil && size != ^uint32(0)
}
