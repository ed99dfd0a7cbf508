package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/freeze"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
	"github.com/overlaydiff/overlaydiff/testenv"
)

// programs are what this binary is when it is called by another name.
// testscript.Main does the same, but takes its copies away only after the
// tests, which testenv.Main does not return from.
var programs = map[string]func() error{
	"overlaydiff": func() error { main(); return nil },
	"asnobody":    asNobody,
	"hold":        hold,
	"twins":       twins,
}

func TestMain(m *testing.M) {
	features.Main()
	freeze.Main()
	if program := programs[filepath.Base(os.Args[0])]; program != nil {
		if err := program(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(100)
		}
		os.Exit(0)
	}
	testenv.Main(m)
}

// TestScripts runs testdata/script. The commands that scripts have beside those
// of testscript are in script_test.go.
//
// All run on tmpfs, those that a file system makes a difference for on others.
func TestScripts(t *testing.T) {
	testenv.EachFS(t, func(t *testing.T, fs testenv.FS) {
		pattern := "*"
		if fs != testenv.Tmpfs {
			pattern = "*_fs"
		}
		files, err := filepath.Glob("testdata/script/" + pattern + ".txtar")
		check(t, err)
		runScripts(t, fs, files)
	})
}

func runScripts(t *testing.T, fs testenv.FS, files []string) {
	dir := testenv.Scratch(t, fs)
	// What holds the scratch directories is closed to other users; user nobody
	// has to get to this one.
	check(t, os.Chmod(filepath.Dir(os.TempDir()), 0o711))
	bin := install(t, filepath.Join(dir, "bin"))
	// Else every process of a race build sleeps for a second at its end.
	t.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Run(t, testscript.Params{
		Files:       files,
		WorkdirRoot: dir,
		Cmds:        commands,
		Condition:   func(name string) (bool, error) { return condition(dir, name) },
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("FS", string(fs)) // for the reasons of testenv.Lacks
			env.Setenv("LF", "\n")       // what scripts can't write
			env.Setenv("CSI", "\u009b")
			s := &script{work: env.WorkDir, temps: []string{env.Getenv("TMPDIR"), filepath.Join(env.WorkDir, ".nobody")}}
			env.Values[scriptKey] = s
			env.Defer(func() {
				if err := s.clean(); err != nil {
					env.T().(testing.TB).Errorf("left at the end of the script: %v", err)
				}
			})
			return errors.Join(os.Mkdir(s.temps[1], 0o700), os.Chown(s.temps[1], nobody, nobody))
		},
	})
}

// install copies this binary under the names of its programs. A link would lead
// to a directory of go test that user nobody can't enter.
func install(t *testing.T, bin string) string {
	self, err := os.Executable()
	check(t, err)
	binary, err := os.ReadFile(self)
	check(t, err)
	check(t, os.Mkdir(bin, 0o755))
	first := ""
	for name := range programs {
		path := filepath.Join(bin, name)
		if first == "" {
			first = path
			check(t, os.WriteFile(path, binary, 0o755))
		} else {
			check(t, os.Link(first, path))
		}
	}
	return bin
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func condition(dir, name string) (bool, error) {
	if feature, ok := strings.CutPrefix(name, "has:"); ok {
		err := new(features.Prober).Have(context.Background(), dir, feature)
		if errors.Is(err, diff.ErrUnsupported) {
			return false, nil
		}
		return err == nil, err
	}
	if series, ok := strings.CutPrefix(name, "linux:"); ok {
		return since(series)
	}
	if name != "userns" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run() == nil, nil
}

// since reports whether the kernel is of this release, "5.14", or newer.
func since(release string) (bool, error) {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return false, err
	}
	var n [2][2]int
	for i, s := range []string{string(b), release} {
		if _, err := fmt.Sscanf(s, "%d.%d", &n[i][0], &n[i][1]); err != nil {
			return false, fmt.Errorf("release %q: %w", s, err)
		}
	}
	return slices.Compare(n[0][:], n[1][:]) >= 0, nil
}

const nobody = 65534

// asNobody runs a command as user nobody, with a directory of its own to write
// to: asnobody COMMAND ARG…
func asNobody() error {
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		return err
	}
	home := filepath.Join(os.Getenv("WORK"), ".nobody")
	err = errors.Join(os.Setenv("HOME", home), os.Setenv("TMPDIR", home),
		syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
	if err != nil {
		return err
	}
	return syscall.Exec(path, os.Args[1:], os.Environ())
}

// hold makes a directory its root and stays until its input ends: hold DIR.
func hold() error {
	if err := errors.Join(syscall.Chroot(os.Args[1]), os.Chdir("/")); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// mountsBelow returns the mount points below dir, last mounted first.
func mountsBelow(dir string) (points []string) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append([]string{f[4]}, points...)
		}
	}
	return points
}
