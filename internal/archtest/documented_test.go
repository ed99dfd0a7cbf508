package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// public are the packages of the library that others import.
var public = []string{".", "diff", "features", "layer", "mountutil", "naive", "native", "whiteout"}

// TestDocumented: every exported identifier of the library has a comment. One of a group of
// constants or variables has that of the group, and a field a comment beside it or above
// the fields that it stands with.
func TestDocumented(t *testing.T) {
	for _, dir := range public {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			missing, err := undocumented(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range missing {
				t.Error(m + " has no comment")
			}
		}
	}
}

// TestFirstUse: every package of the library has an example that go test runs, and that
// pkg.go.dev shows.
func TestFirstUse(t *testing.T) {
	for _, dir := range public {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool { return hasExample(t, file) }) {
			t.Errorf("package %s has no example with output", dir)
		}
	}
}

func hasExample(t *testing.T, path string) bool {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	examples := slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && strings.HasPrefix(f.Name.Name, "Example")
	})
	return examples && slices.ContainsFunc(file.Comments, func(c *ast.CommentGroup) bool {
		return strings.HasPrefix(strings.ToLower(strings.TrimSpace(c.Text())), "output:")
	})
}

// undocumented returns the exported identifiers of a file that have no comment.
func undocumented(path string, src any) (missing []string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	note := func(pos token.Pos, name string, comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if c != nil {
				return
			}
		}
		missing = append(missing, fmt.Sprintf("%s: %s", fset.Position(pos), name))
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && receiverExported(d) && !standardMethod(d) {
				note(d.Pos(), d.Name.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.IsExported() {
							note(n.Pos(), n.Name, d.Doc, s.Doc, s.Comment)
						}
					}
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						note(s.Pos(), s.Name.Name, d.Doc, s.Doc, s.Comment)
						fields(s, note)
					}
				}
			}
		}
	}
	return missing, nil
}

// fields notes the fields of a struct. Fields on lines that follow each other share the comment
// above the first one.
func fields(s *ast.TypeSpec, note func(token.Pos, string, ...*ast.CommentGroup)) {
	st, ok := s.Type.(*ast.StructType)
	if !ok || strings.HasSuffix(s.Name.Name, "Error") { // what an error is about, its text says
		return
	}
	var above *ast.CommentGroup
	for _, f := range st.Fields.List {
		if f.Doc != nil {
			above = f.Doc
		}
		for _, n := range f.Names {
			if n.IsExported() {
				note(n.Pos(), s.Name.Name+"."+n.Name, above, f.Comment)
			}
		}
	}
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}

// standardMethod reports whether the standard library says what a method does.
func standardMethod(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "Is", "String", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText"}, d.Name.Name)
}

// TestUndocumented shows what is found.
func TestUndocumented(t *testing.T) {
	const src = "package p\n\n// T is.\ntype T struct {\n\tA int\n\t// B and C are.\n\tB int\n\tC int\n}\n\nfunc F() {}\n\nconst (\n\tX = 1 // it is\n\tY = 2\n)\n\nfunc (T) Error() string { return \"\" }\n"
	got, err := undocumented("f.go", src)
	if d := cmp.Diff([]string{"f.go:5:2: T.A", "f.go:11:1: F", "f.go:15:2: Y"}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
