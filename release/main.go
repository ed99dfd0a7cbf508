// Command release makes of what dist.sh has staged the rest of a release: packages, software
// bills of materials, and the container image as an OCI layout.
//
// The stage directory has, for each architecture:
//
//	bin/ARCH/overlaydiff    the command
//	layer/ARCH.tar.gz       the image's layer, and ARCH.json, what overlaydiff export --json printed
//
// and for all of them share/, the files that packages install below /usr, and image/, an empty
// directory. Equal stages and times give equal bytes.
//
// It is a module of its own, so that whoever imports the library gets none of what it requires.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// name is that of the command, its packages and its image.
const name = "overlaydiff"

const homepage = "https://github.com/overlaydiff/overlaydiff"

// release is what is made.
type release struct {
	stage, out    string
	version       string // without "v"
	time          time.Time
	architectures []string // as Go names them
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run() error {
	var r release
	var architectures string
	flag.StringVar(&r.stage, "stage", "", "read what is staged in `DIR`")
	flag.StringVar(&r.out, "out", "", "write packages and bills to `DIR`")
	flag.StringVar(&r.version, "version", "", "the `VERSION`, without v")
	flag.StringVar(&architectures, "architectures", "", "the `NAMES` of architectures")
	flag.Parse()
	r.architectures = strings.Fields(architectures)
	if r.stage == "" || r.out == "" || r.version == "" || len(r.architectures) == 0 {
		return errors.New("-stage, -out, -version and -architectures are required: run release/dist.sh")
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w; set it to the commit's time", err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	return r.make()
}

func (r *release) make() error {
	for _, arch := range r.architectures {
		if err := r.bill(arch); err != nil {
			return err
		}
		if err := r.packages(arch); err != nil {
			return err
		}
	}
	return r.image()
}

// binary returns the path of the staged command.
func (r *release) binary(arch string) string { return filepath.Join(r.stage, "bin", arch, name) }

// create writes the file name of the output directory with write.
func (r *release) create(name string, write func(*os.File) error) error {
	f, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return f.Close()
}
