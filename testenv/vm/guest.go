package vm

import (
	"os"
	"strings"
)

// Where the host's word to the guest is, and the names of the ports by which
// the guest answers.
const (
	GuestFile  = "/guest.json"
	OutputPort = "overlaydiff.output"
	EventPort  = "overlaydiff.events"
)

// DiskDir has a link to each disk in the guest, named after its serial number.
const DiskDir = "/dev/disk"

// TmpDisk is the disk with the guest's /tmp, an ext4: usually it is not a
// tmpfs, which lacks things on older kernels.
const TmpDisk = "tmp"

// Guest is what the host tells the guest's init to do.
type Guest struct {
	Modules  []string // to load before the commands; others come when asked for
	Env      []string
	Commands []Command // run in turn, whatever becomes of those before
}

// Command is a program to run in the guest.
type Command struct {
	Args []string // the first is its path
	Dir  string   // where it runs; made if it is missing
	// Disk is the file system to mount on Dir for this command: the name of a
	// disk that has it. "" mounts nothing.
	Disk string
	// Apart keeps its standard error from its output; the console shows it.
	Apart bool
}

// Event is a line of JSON that the guest's init writes to the event port: one
// when it is ready, one after each command, one at the end.
type Event struct {
	Ready   *Ready  `json:",omitempty"`
	Command *Status `json:",omitempty"`
	End     bool    `json:",omitempty"`
}

// Ready says which kernel runs.
type Ready struct {
	Release string  // 6.12.117+deb12-cloud-amd64
	Version string  // as the distribution has it
	Uptime  float64 // seconds since the kernel started
}

// Status is what became of a command.
type Status struct {
	Exit    int   // 128 and more: the signal that ended it; 126: it could not be started
	Bytes   int64 // of output
	Seconds float64
}

// TestEnv is the environment of tests in a guest: nothing may be skipped for
// want of privileges or tools. What this process has of ours goes before more,
// which is there for want of it.
func TestEnv(more ...string) []string {
	env := []string{"PATH=/bin:/sbin", "HOME=/root", "TMPDIR=/tmp", "OVERLAYDIFF_DISKS=" + DiskDir}
	for _, pair := range os.Environ() { // of two with one name, Go takes the first
		if strings.HasPrefix(pair, "OVERLAYDIFF_") {
			env = append(env, pair)
		}
	}
	return append(append(env, more...), "OVERLAYDIFF_REQUIRE=1")
}
