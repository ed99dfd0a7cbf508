package sys

import (
	"fmt"
	"os"
)

// KernelRelease returns the version of the running kernel, and that of a recent one if it
// is not known. It is for rules that can't be found out by trying.
func KernelRelease() (major, minor int) {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d.%d", &major, &minor)
	}
	if err != nil {
		return 99, 0
	}
	return major, minor
}
