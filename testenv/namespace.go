package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// inNamespace says that this process is the one which namespaced started.
const inNamespace = "OVERLAYDIFF_TEST_NAMESPACE"

// namespaced runs this test binary again in a mount namespace of its own, if it
// may, and reports whether it did and with which exit status it ended.
//
// So whatever ends the tests ends their mounts. And nobody else has copies of
// these: a process that makes a namespace of its own meanwhile, like another
// package's test, would keep the file systems busy until it ends.
func namespaced() (status int, done bool) {
	if os.Getenv(inNamespace) != "" || fuzzing() {
		return 0, false
	}
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), inNamespace+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	// go test ends a binary that takes too long with SIGQUIT; the stacks that
	// this prints are those of interest.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) { // not root: the tests say what they miss
			return 0, false
		}
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return leaked, true
	}
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s)
		}
	}()
	err := child.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return leaked, true
	}
	if status := child.ProcessState.ExitCode(); status >= 0 {
		return status, true
	}
	return leaked, true // a signal ended it
}

// fuzzing reports whether the binary is, or is about to start, a fuzz worker,
// which talks to its parent through descriptors that it inherits.
func fuzzing() bool {
	for _, arg := range os.Args[1:] {
		if strings.HasPrefix(arg, "-test.fuzz=") && arg != "-test.fuzz=" || strings.HasPrefix(arg, "-test.fuzzworker") {
			return true
		}
	}
	return false
}

// alone keeps mounts of this process from spreading to the namespace it came
// from, and the other way round.
func alone() error {
	if os.Getenv(inNamespace) == "" {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the test's mounts private: %w", err)
	}
	return nil
}
