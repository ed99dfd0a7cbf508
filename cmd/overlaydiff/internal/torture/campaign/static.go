package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/torture"
)

// What is run by go run, at these versions.
const (
	staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"
	govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
)

// sources are the Go files, and the directories of modules, "." first.
type sources struct {
	files   int
	modules []string
}

func findSources() (s sources, err error) {
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "dist" || d.Name() == "out" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.Name() == "go.mod":
			s.modules = append(s.modules, filepath.Dir(path))
		case filepath.Ext(path) == ".go":
			s.files++
		}
		return nil
	})
	return s, err
}

// workspace are the modules of go.work.
var workspace = []string{".", "cmd/overlaydiff"}

// static runs the static checks on all modules.
func (c *campaign) static(ctx context.Context) error {
	s, err := findSources()
	if err != nil {
		return err
	}
	if c.match.MatchString("gofmt") {
		r := begin("gofmt")
		out, err := command(ctx, "gofmt", "-l", ".").CombinedOutput()
		if err == nil && len(out) > 0 {
			err = errors.New("gofmt would change these")
		}
		c.done(r.end(out, err, torture.Count{Unit: "files formatted", N: int64(s.files)}))
	}
	for _, dir := range s.modules {
		err := c.check(ctx, "go vet", dir, nil, "vet", "./...")
		if err == nil {
			err = c.check(ctx, "staticcheck", dir, nil, "run", staticcheck, "./...")
		}
		if err != nil {
			return err
		}
	}
	return c.vulnerabilities(ctx, s)
}

// vulnerabilities looks for known ones in what is built from here; bench only measures
// others' code, as it is.
func (c *campaign) vulnerabilities(ctx context.Context, s sources) error {
	var db database
	for _, dir := range s.modules {
		if strings.HasPrefix(dir, "bench") || !c.match.MatchString(checkName("govulncheck", dir)) {
			continue
		}
		if db.dir == "" {
			var err error
			if db, err = fetchDatabase(ctx); err != nil { // no network: nothing was looked for
				c.done(begin(checkName("govulncheck", dir)).end(nil, err))
				continue
			}
		}
		if err := c.check(ctx, "govulncheck", dir, &db, "run", govulncheck, "-db", "file://"+db.dir, "./..."); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name, dir string) string {
	if dir == "." {
		return name
	}
	return name + " " + dir
}

// check runs a go command in a module, if it is asked for.
func (c *campaign) check(ctx context.Context, name, dir string, db *database, args ...string) error {
	r := begin(checkName(name, dir))
	if !c.match.MatchString(r.Test) {
		return nil
	}
	list := command(ctx, "go", "list", "./...")
	cmd := command(ctx, "go", args...)
	for _, c := range []*exec.Cmd{list, cmd} {
		c.Dir, c.Env = dir, os.Environ()
		if !slices.Contains(workspace, dir) { // a module of its own
			c.Env = append(c.Env, "GOWORK=off")
		}
	}
	packages, err := list.Output()
	if err != nil {
		return fmt.Errorf("%v in %s: %w", list, dir, err)
	}
	if db != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("looked for %s vulnerabilities, those of golang.org/x/vulndb %s, with the standard library of %s",
			thousands(db.known), db.version, db.toolchain))
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+db.toolchain)
	}
	out, err := cmd.CombinedOutput()
	c.done(r.end(out, err, torture.Count{Unit: "packages checked", N: int64(len(bytes.Fields(packages)))}))
	return nil
}

// database is the list of known vulnerabilities, as files.
type database struct {
	dir, version string
	known        int64
	// toolchain is the newest Go: who builds with an older one is told so by that
	// one's release notes, not by a test of this code.
	toolchain string
}

// fetchDatabase makes the database of the module that it is published as, which any
// module proxy has.
func fetchDatabase(ctx context.Context) (db database, err error) {
	out, err := output(ctx, "go", "mod", "download", "-json", "golang.org/x/vulndb@latest")
	var module struct{ Version, Dir string }
	if err == nil {
		err = json.Unmarshal([]byte(out), &module)
	}
	if err == nil {
		out, err = output(ctx, "go", "list", "-m", "-f", "{{.Version}}", "go@latest")
	}
	if err != nil {
		return db, err
	}
	db.toolchain, db.version = "go"+out, module.Version
	osv := filepath.Join(module.Dir, "data", "osv")
	list, err := os.ReadDir(osv)
	if err != nil {
		return db, err
	}
	db.known = int64(len(list))
	if db.dir, err = filepath.Abs(filepath.Join("dist", "vulndb-"+module.Version)); err != nil {
		return db, err
	}
	if _, err := os.Stat(db.dir); !errors.Is(err, fs.ErrNotExist) {
		return db, err
	}
	half := db.dir + ".new"
	_, err = output(ctx, "go", "run", "golang.org/x/vulndb/cmd/indexdb@"+module.Version, "-out", half, "-vulns", osv)
	if err == nil {
		err = os.Rename(half, db.dir)
	}
	return db, err
}

// timed is a record that is being made.
type timed struct {
	torture.Record
	start time.Time
}

func begin(name string) *timed {
	return &timed{torture.Record{Area: torture.Static, Test: name}, time.Now()}
}

func (t *timed) end(out []byte, err error, counts ...torture.Count) torture.Record {
	t.Seconds = time.Since(t.start).Seconds()
	t.Failed, t.Counts = err != nil, counts
	if t.Failed {
		t.Notes = append(t.Notes, err.Error()+": "+lastLines(string(out), 20))
	}
	return t.Record
}
