package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rooms has what one package of the library does for all: which functions of other packages
// nobody else may call. Tests, benchmarks and the command's demonstration are free.
var rooms = map[string][]string{
	"internal/mounting": {
		"unix.Mount", "unix.Unmount", "unix.Fsopen", "unix.FsconfigCreate", "unix.FsconfigSetString", "unix.FsconfigSetFlag",
		"unix.FsconfigSetFd", "unix.Fsmount", "unix.MoveMount", "unix.OpenTree", "unix.MountSetattr",
		"syscall.Mount", "syscall.Unmount",
	},
	"internal/scratch": {"os.MkdirTemp", "os.CreateTemp"},
}

// TestRooms reads the source of the library.
func TestRooms(t *testing.T) {
	const top = "../.."
	for _, dir := range []string{".", "diff", "features", "internal", "layer", "mountutil", "naive", "native", "whiteout"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			name, _ := filepath.Rel(top, path)
			switch {
			case err != nil:
				return err
			case d.IsDir() && (dir == "." && path != top || name == "diff/difftest"):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			complaints, err := visitors(path, filepath.Dir(name), nil)
			for _, c := range complaints {
				t.Error(c)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// visitors returns which calls of a file belong into the room of another package.
func visitors(path, pkg string, src any) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var complaints []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		for room, calls := range rooms {
			if call := from.Name + "." + sel.Sel.Name; room != pkg && slices.Contains(calls, call) {
				complaints = append(complaints, fmt.Sprintf("%s: %s is for %s alone", fset.Position(sel.Pos()), call, room))
			}
		}
		return true
	})
	return complaints, nil
}

// TestVisitors shows that the rooms can be broken into.
func TestVisitors(t *testing.T) {
	const src = "package p\n\nfunc f() { unix.Mount(\"\", \"\", \"\", 0, \"\"); unix.Open(\"\", 0, 0) }\n"
	got, err := visitors("f.go", "native", src)
	if d := cmp.Diff([]string{"f.go:3:12: unix.Mount is for internal/mounting alone"}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := visitors("f.go", "internal/mounting", src); len(got) > 0 || err != nil {
		t.Errorf("%v %v", got, err)
	}
}
