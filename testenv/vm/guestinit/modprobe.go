package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/overlaydiff/overlaydiff/testenv/vm"
)

// modules are those of the guest.
type modules []vm.Module

func readModules() (modules, error) {
	list, err := os.ReadFile(vm.ModuleFile)
	if err != nil {
		return nil, err
	}
	return vm.ParseModules(string(list))
}

// modprobe does what the kernel asks of it with -q -- fs-overlay.
func modprobe(args []string) (exit int) {
	all, err := readModules()
	if err != nil {
		return 1
	}
	for _, name := range args {
		if !strings.HasPrefix(name, "-") && all.load(name) != nil {
			exit = 1
		}
	}
	return exit
}

// loadEarly loads modules of which some may be built in.
func loadEarly(names []string) error {
	all, err := readModules()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if err := all.load(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// load loads a module, or all those that have an alias like this.
func (all modules) load(name string) error {
	name = vm.ModuleName(name)
	err := fmt.Errorf("module %s: %w", name, fs.ErrNotExist)
	var errs []error
	for _, m := range all {
		if m.Name == name {
			return all.insert(m)
		}
		for _, alias := range m.Aliases {
			if like, _ := path.Match(alias, name); like {
				err = nil
				errs = append(errs, all.insert(m))
				break
			}
		}
	}
	return errors.Join(append(errs, err)...)
}

// insert loads a module after those that it needs. What it names as a need and
// is not here is built in, or was only wished for.
func (all modules) insert(m vm.Module) error {
	if _, err := os.Stat("/sys/module/" + m.Name); err == nil {
		return nil
	}
	for _, need := range m.Needs {
		for _, n := range all {
			if n.Name == need {
				if err := all.insert(n); err != nil {
					return err
				}
			}
		}
	}
	f, err := os.Open(m.Path())
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "finit_module", Path: m.Path(), Err: err}
	}
	return nil
}
