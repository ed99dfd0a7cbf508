//go:build linux

package stores

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ask asks the name services of this machine (nsswitch.conf: LDAP, sssd, systemd-homed) for
// users, by names and numbers, and returns lines of passwd(5). It returns nothing for another
// node, whose services can't be asked from here, and if they don't answer in time.
var ask = func(node string, keys []string) []byte {
	if node != "/" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	// getent, because a static program does not load the services' libraries. It prints those
	// that there are; its exit status says that some are not.
	lines, _ := exec.CommandContext(ctx, "/usr/bin/getent", slices.Concat([]string{"passwd", "--"}, keys)...).Output()
	return lines
}

// mostAsked bounds how many users the name services are asked for.
const mostAsked = 200

// missing returns the users who have containers, or may have, and whom /etc/passwd does not have:
// they have subordinate ids, or are logged in.
func (a *accounts) missing(e eyes, subuid []byte, ids map[string]uint32) (keys []string) {
	add := func(key string) {
		_, named := ids[key]
		uid, number := parseUID(key)
		if !named && !(number && (uid == 0 || a.has(uid))) && isUserName(key) && !slices.Contains(keys, key) && len(keys) < mostAsked {
			keys = append(keys, key)
		}
	}
	for line := range strings.Lines(string(subuid)) {
		key, _, _ := strings.Cut(line, ":")
		add(key)
	}
	sessions, _ := e.listIDs(filepath.Join(e.node, "run/user"))
	for _, name := range sessions {
		add(name)
	}
	return keys
}

// isUserName reports whether a word can be a user's name or number, and nothing that getent takes
// for something else.
func isUserName(s string) bool {
	return s != "" && len(s) <= 256 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ':' || r == '/' || r == 0x7f })
}
