package testenv

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// RequireRoot skips the test, or fails it where it was required, unless the
// process has CAP_SYS_ADMIN in the initial user namespace: mounting needs it,
// and without it trusted.* attributes are silently invisible.
func RequireRoot(tb testing.TB) {
	tb.Helper()
	if reason := privilegeMissing(); reason != "" {
		missing(tb, reason)
	}
}

// missing ends a test that lacks something of its surroundings.
func missing(tb testing.TB, reason string) {
	tb.Helper()
	for _, name := range []string{"OVERLAYDIFF_REQUIRE", "CI"} {
		if os.Getenv(name) != "" {
			tb.Fatalf("%s (a failure, not a skip, because %s is set)", reason, name)
		}
	}
	tb.Skip(reason)
}

func privilegeMissing() string {
	if os.Geteuid() != 0 {
		return "needs root: the effective user id is " + strconv.Itoa(os.Geteuid())
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "needs /proc: " + err.Error()
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:")
	mask, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
	const sysAdmin = 1 << 21
	if err != nil || caps&sysAdmin == 0 {
		return "needs CAP_SYS_ADMIN: effective capabilities are " + strings.TrimSpace(mask)
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295" {
		return "needs the initial user namespace: uid_map is not the identity"
	}
	return ""
}
