package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Sector is the unit of what a [Mapper] measures.
const Sector = 512

// Mapper makes devices of the machine's spare disk, which are gone when the test ends.
type Mapper struct {
	Disk    string // path
	Sectors int

	tb testing.TB
}

// NewMapper takes the spare disk that virtual machines of testenv/vm have. On others,
// which have no disk to lose, the test is skipped.
func NewMapper(tb testing.TB) *Mapper {
	tb.Helper()
	RequireRoot(tb)
	disk := Disk("spare")
	if disk == "" {
		tb.Skip("needs a spare disk, as the machines of make test-vm have")
	}
	device, err := filepath.EvalSymlinks(disk)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile("/sys/class/block/" + filepath.Base(device) + "/size")
	if err != nil {
		tb.Fatal(err)
	}
	size, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		tb.Fatal(err)
	}
	return &Mapper{Disk: device, Sectors: size, tb: tb}
}

// run runs dmsetup, without udev, which is not there to make device nodes.
func (*Mapper) run(args ...string) error {
	cmd := exec.Command("dmsetup", args...)
	cmd.Env = append(os.Environ(), "DM_DISABLE_UDEV=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return nil
}

// Do runs dmsetup on a device that is there: suspend, resume, message, reload.
func (m *Mapper) Do(args ...string) {
	m.tb.Helper()
	if err := m.run(args...); err != nil {
		m.tb.Fatal(err)
	}
}

// Create makes a device of a table with one line for each target, and returns its path.
func (m *Mapper) Create(name, table string, args ...any) string {
	m.tb.Helper()
	m.Do("create", name, "--table", fmt.Sprintf(table, args...))
	m.tb.Cleanup(func() {
		if err := m.run("remove", "--retry", name); err != nil {
			m.tb.Error(err)
		}
	})
	return "/dev/mapper/" + name
}

// Piece makes a device of a part of the disk, which begins with zeros.
func (m *Mapper) Piece(name string, start, sectors int) string {
	m.tb.Helper()
	path := m.Create(name, "0 %d linear %s %d", sectors, m.Disk, start)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		m.tb.Fatal(err)
	}
	_, werr := f.Write(make([]byte, 1<<16)) // whatever was there is forgotten
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		m.tb.Fatal(err)
	}
	return path
}
