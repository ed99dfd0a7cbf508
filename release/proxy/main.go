// Command proxy writes what a Go module proxy would serve of the library and of the command,
// had the last commit a tag, as files for GOPROXY=file://DIR.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const library = "github.com/overlaydiff/overlaydiff"

func main() {
	version := flag.String("version", "", "the `VERSION` that the tag would name")
	out := flag.String("out", "", "write to `DIR`")
	repository := flag.String("repository", "..", "the `DIR` of the git repository")
	flag.Parse()
	for _, subdir := range []string{"", "cmd/overlaydiff"} {
		if err := serve(*out, *repository, subdir, *version); err != nil {
			fmt.Fprintln(os.Stderr, "proxy:", err)
			os.Exit(1)
		}
	}
}

// serve writes the files of the module in a directory of the repository.
func serve(out, repository, subdir, version string) error {
	m := module.Version{Path: library, Version: version}
	if subdir != "" {
		m.Path += "/" + subdir
	}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(out, escaped, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod, err := exec.Command("git", "-C", repository, "show", "HEAD:./"+filepath.Join(subdir, "go.mod")).Output()
	if err != nil {
		return fmt.Errorf("read go.mod of the last commit: %w", err)
	}
	write := func(name string, content func(io.Writer) error) error {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		return errors.Join(content(f), f.Close())
	}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	return errors.Join(
		write("list", text(version+"\n")),
		write(version+".info", text(fmt.Sprintf("{\"Version\":%q}\n", version))),
		write(version+".mod", text(string(mod))),
		write(version+".zip", func(w io.Writer) error { return zip.CreateFromVCS(w, m, repository, "HEAD", subdir) }),
	)
}
