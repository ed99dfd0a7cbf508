package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/overlaydiff/overlaydiff"

// table has one line a package: its name within the module ("." is the root)
// and what it may import beside the standard library. A path whose first element
// has a dot is another module's package; "/..." adds all that is below it.
//
// A package imports only from floors below its own, except on the ground and
// among the test packages. It uses all that its line allows. syscall, the standard
// library's way around internal/sys, needs a word in the line like another module's
// package: most packages want its error numbers alone.
const table = `
floor ground
	diff:
	internal/archtest:
	internal/sys:      syscall golang.org/x/sys/unix
	internal/fswalk:   syscall internal/sys
	internal/idmap:    syscall diff
	internal/inode:    syscall diff internal/sys internal/fswalk internal/idmap internal/kernel
	internal/mounting: diff internal/sys golang.org/x/sys/unix
	internal/kernel:   syscall internal/mounting internal/sys
	internal/views:    diff internal/fswalk internal/inode
	internal/scratch:  syscall internal/sys
	internal/paths:    syscall internal/sys
	internal/wholefile: syscall internal/paths internal/sys

floor encodings
	whiteout:          syscall diff internal/sys

floor proofs
	internal/witness:  syscall diff internal/sys whiteout

floor mounts
	mountutil:         syscall diff whiteout internal/mounting internal/scratch internal/sys internal/witness golang.org/x/sys/unix github.com/moby/sys/mountinfo

floor engines and their peers
	features:          syscall diff mountutil internal/mounting internal/scratch internal/sys golang.org/x/sys/unix
	native:            syscall diff whiteout mountutil internal/fswalk internal/inode internal/kernel internal/sys internal/views
	naive:             syscall diff internal/fswalk internal/inode internal/sys internal/views
	layer:             syscall diff whiteout internal/idmap internal/paths internal/sys internal/scratch
	                   github.com/klauspost/compress/... github.com/opencontainers/go-digest

floor facade
	.:                 syscall diff internal/sys internal/fswalk internal/inode internal/kernel internal/scratch internal/wholefile whiteout mountutil
	                   features native naive layer

floor on the facade
	integration/graph: . diff layer

floor beside the command
	cmd/overlaydiff/internal/human:
	cmd/overlaydiff/internal/freeze: syscall diff internal/sys
	cmd/overlaydiff/internal/survey: . diff

floor runtimes
	cmd/overlaydiff/stores: syscall diff cmd/overlaydiff/internal/freeze internal/paths internal/sys mountutil

floor this machine
	cmd/overlaydiff/internal/node: syscall . diff mountutil native cmd/overlaydiff/stores

floor screens and pages
	cmd/overlaydiff/internal/report: diff cmd/overlaydiff/internal/survey cmd/overlaydiff/internal/human
	cmd/overlaydiff/internal/explore: diff cmd/overlaydiff/internal/survey internal/wholefile cmd/overlaydiff/internal/human
	                   github.com/gdamore/tcell/v2 github.com/rivo/uniseg github.com/aymanbagabas/go-udiff

floor top
	cmd/overlaydiff:   syscall . diff features cmd/overlaydiff/internal/freeze cmd/overlaydiff/internal/node internal/paths internal/scratch layer mountutil cmd/overlaydiff/stores cmd/overlaydiff/internal/human cmd/overlaydiff/internal/explore cmd/overlaydiff/internal/report cmd/overlaydiff/internal/survey internal/wholefile github.com/gdamore/tcell/v2 github.com/prometheus/client_model/go github.com/prometheus/common/expfmt github.com/prometheus/exporter-toolkit/web github.com/spf13/cobra/... github.com/spf13/pflag golang.org/x/term
	                   github.com/opencontainers/go-digest
	bench:             syscall . diff

floor tests
	testenv:           syscall internal/mounting internal/sys github.com/pkg/xattr
	testenv/refdiff:   syscall github.com/pkg/xattr
	testenv/oddtar:
	testenv/rawgen:    syscall internal/sys testenv github.com/pkg/xattr
	testenv/rawref:    syscall github.com/pkg/xattr
	testenv/vm: syscall
	testenv/vm/guestinit: syscall testenv/vm golang.org/x/sys/unix
	testenv/vm/matrix: syscall testenv testenv/vm
	testenv/vm/vmrun:  syscall testenv/vm
	cmd/overlaydiff/internal/torture:
	cmd/overlaydiff/internal/torture/campaign: syscall cmd/overlaydiff/internal/torture
	diff/difftest:     syscall diff testenv testenv/rawgen testenv/rawref testenv/refdiff github.com/google/go-cmp/...
	integration/graph/drivertest: syscall . diff layer integration/graph diff/difftest testenv testenv/refdiff github.com/google/go-cmp/...
`

// inTests is what any package's tests may import, beside packages of its own
// floor and of those below.
var inTests = []string{
	"testenv", "testenv/oddtar", "testenv/rawgen", "testenv/refdiff", "testenv/vm", "diff/difftest", "integration/graph/drivertest",
	"github.com/google/go-cmp/...", "github.com/pkg/xattr",
	"github.com/rogpeppe/go-internal/...",
	"go.etcd.io/bbolt",
	"github.com/prometheus/client_golang/prometheus/testutil/promlint", "github.com/prometheus/common/model",
}

// only has who may import what nobody else may, not in tests either.
var only = map[string][]string{
	"unsafe":                {"internal/sys"},
	"golang.org/x/sys/unix": {"internal/sys", "internal/mounting", "mountutil", "features", "testenv/vm/guestinit"},
}

// rule is one line of the table, in import paths.
type rule struct {
	floor   int
	imports []string
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImports(t *testing.T) {
	rules, err := parse(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range check(rules, list(t)) {
		t.Error(complaint)
	}
}

// list asks go list for the packages of the module.
func list(t *testing.T) []goPackage {
	t.Helper()
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(goList(t, "-json=ImportPath,Imports,TestImports,XTestImports", "./...", "./cmd/overlaydiff/..."))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list names no package")
	}
	return pkgs
}

// goList runs go list in the module's directory.
func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	const top = "../.."
	readDirs(t, top)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = top
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	return out
}

// readDirs reads all directories below top, for go test's cache: it keeps a
// result until something that the test itself has read changes, and does not
// see what go list reads.
func readDirs(t *testing.T, top string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// importPath is the inverse of display.
func importPath(name string) string {
	first, _, _ := strings.Cut(name, "/")
	switch {
	case name == ".":
		return module
	case strings.Contains(first, "."), name == "syscall", strings.HasPrefix(name, module):
		return name
	default:
		return module + "/" + name
	}
}

// display returns the name that the table has for an import path.
func display(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// isStandard reports whether path is of the standard library: those alone have
// no dot in their first element.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// parse reads a table and holds the floors: a line that imports from its own
// floor or from a higher one is an error.
func parse(table string) (map[string]rule, error) {
	rules := map[string]rule{}
	var floors []string
	var path string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if fields[0] == "floor" {
			floors = append(floors, strings.Join(fields[1:], " "))
			continue
		}
		if name, ok := strings.CutSuffix(fields[0], ":"); ok {
			path, fields = importPath(name), fields[1:]
			if _, twice := rules[path]; twice {
				return nil, fmt.Errorf("table: %s has two lines", name)
			}
		}
		r := rules[path]
		r.floor = len(floors) - 1
		for _, name := range fields {
			r.imports = append(r.imports, importPath(name))
		}
		rules[path] = r
	}
	for _, path := range slices.Sorted(maps.Keys(rules)) {
		r := rules[path]
		within := floors[r.floor] == "ground" || floors[r.floor] == "tests"
		for _, imp := range r.imports {
			to, ok := rules[imp]
			switch {
			case !isOurs(imp):
			case !ok:
				return nil, fmt.Errorf("table: %s may import %s, which has no line", display(path), display(imp))
			case to.floor > r.floor, to.floor == r.floor && !within:
				return nil, fmt.Errorf("table: %s may import %s, which is not on a floor below", display(path), display(imp))
			}
		}
	}
	return rules, nil
}

// check returns what in the packages' imports is against the rules.
func check(rules map[string]rule, pkgs []goPackage) []string {
	var complaints []string
	for _, p := range pkgs {
		r, ok := rules[p.ImportPath]
		if !ok {
			complaints = append(complaints, display(p.ImportPath)+": no line in the table")
			continue
		}
		for _, imp := range p.Imports {
			if !permitted(p.ImportPath, imp) || !listed(r.imports, imp) || imp == "syscall" && !slices.Contains(r.imports, imp) {
				complaints = append(complaints, display(p.ImportPath)+": imports "+display(imp))
			}
		}
		for _, entry := range r.imports {
			if !slices.ContainsFunc(p.Imports, func(imp string) bool { return covers(entry, imp) }) {
				complaints = append(complaints, display(p.ImportPath)+": need not import "+display(entry))
			}
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			to, ours := rules[imp]
			below := ours && to.floor <= r.floor
			if !permitted(p.ImportPath, imp) || !below && !listed(r.imports, imp) && !listed(inTests, imp) {
				complaints = append(complaints, display(p.ImportPath)+": imports "+display(imp)+" in a test")
			}
		}
	}
	return complaints
}

// permitted holds the map only.
func permitted(path, imp string) bool {
	few, ok := only[imp]
	return !ok || slices.Contains(few, display(path))
}

// listed reports whether imp is of the standard library or on the list.
func listed(list []string, imp string) bool {
	return isStandard(imp) || slices.ContainsFunc(list, func(entry string) bool { return covers(importPath(entry), imp) })
}

// covers reports whether entry, an import path or one with all below it, has imp.
func covers(entry, imp string) bool {
	root, all := strings.CutSuffix(entry, "/...")
	return imp == root || all && strings.HasPrefix(imp, root+"/")
}
