// Command overlaydiff tells what an overlay's upper layer changes: the list of
// changes, their size, and what the upper directory holds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/freeze"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Exit statuses; scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDiffers     = 3
	exitUnsupported = 4
)

func main() {
	features.Main()
	freeze.Main()
	os.Exit(run(commandLine(os.Args), os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit status. A signal cancels
// the context, so that every command takes away what it made before it ends.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(stderr)
	defer stop()
	cmd := newCommand()
	if len(args) > 0 && args[0] == metadataName { // else help gives its name room
		cmd.AddCommand(pluginCommand())
	}
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var told exitStatus
	if errors.As(err, &told) {
		return int(told)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "overlaydiff: %s%s\n", oneLine(message(err)), sandbox(err))
	return status(err)
}

// grace is how long a command has after a signal until a second one ends it at once.
// Two within that may be one interrupt: a terminal sends it to all processes, and a
// command passes it on to its child.
const grace = time.Second

// interruptible returns a context that a signal cancels. What waits for a file system
// that does not answer, a lower layer on FUSE or NFS, heeds no context; so a later
// signal ends the process as it ends others.
func interruptible(stderr io.Writer) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		select {
		case <-done:
		case <-time.After(grace):
			fmt.Fprintln(stderr, "overlaydiff: interrupted; cleaning up; interrupt again to stop immediately")
			stop()
		}
	}()
	return ctx, func() {
		close(done)
		<-told
		stop()
	}
}

// sandbox says of a refusal that it may not be the kernel's: root who may do all reads
// that it takes root, or that this kernel has no such call.
func sandbox(err error) string {
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOSYS) {
		return ""
	}
	state, statusErr := os.ReadFile("/proc/self/status")
	if statusErr != nil || !strings.Contains(string(state), "\nSeccomp:\t2\n") {
		return ""
	}
	return "; a seccomp filter is in force here, as containers have it, and may have refused that"
}

// oneLine keeps an error in its line, whatever names it quotes.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func status(err error) int {
	var usage usageError
	var option *mountutil.OptionError
	var nested *overlaydiff.NestedError
	switch {
	case errors.As(err, &usage), errors.As(err, &option), errors.As(err, &nested):
		return exitUsage
	case errors.Is(err, diff.ErrUnsupported):
		return exitUnsupported
	}
	return exitFailed
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "overlaydiff",
		Short: "What did this overlay change, and how big is it?",
		Long: `overlaydiff compares the two views of an overlay: its lower layers, and the
upper layer over them. Name the overlay (STACK) by one of

  PATH                                  the directory where it is mounted
  pid:N                                 a process that has it as root
  NAME                                  a container: its name or the start of its id;
                                        RUNTIME:NAME if several runtimes have it
  --lower TOP:…:BOTTOM --upper DIR      its directories, with --work DIR and --userxattr
  --options 'lowerdir=…,upperdir=…,…'   its mount options
  --old DIR --new DIR                   two directory trees, instead of an overlay

Exit status: 0 done, 1 failed, 2 wrong usage, 3 verify found a difference,
4 not supported here.`,
		Version:       fmt.Sprintf("%s (%s %s/%s)", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(cmd.ErrOrStderr()) // this help is no answer
			if err := cmd.Help(); err != nil {
				return err
			}
			return usagef("name a command")
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version, and what it was built with") // cobra's own would be -v, too
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(demoCommand(), changesCommand(), usageCommand(), sizeCommand(), exportCommand(), applyCommand(), verifyCommand(), explainCommand(), exploreCommand(), reportCommand(), psCommand(), layersCommand(), serveCommand(), probeCommand(), manCommand())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown argument %q; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}
