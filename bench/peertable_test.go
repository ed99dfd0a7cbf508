package bench

import (
	"fmt"
	"strconv"
	"strings"
)

const peersHead = `
# And the peers

The same cases, asked of the code that container runtimes use today (` + "`bench/peers`" + ` runs them; versions as in its
` + "`go.mod`" + `). They are called directly: where a runtime first asks whether it may use a function at all, this says what
happens if that goes wrong. A directory that is listed because something in it changed is no fault, nor is a whiteout of
nothing in a layer. A layer is applied to the old view, which must then be as the new one, whole seconds of times and
sockets apart.

- **right+**: right, and lists what did not change too: a larger layer.
- **wrong**: misses a change, or has one that is none, or content or attributes that are not there. ` + "`bench/peers/answers.tsv`" + ` says which.
- **error**: gives up, which is better than wrong.

`

// peers are the columns: those of answers.tsv that differ from each other.
var peers = []struct{ column, name, what string }{
	{"moby", "moby.ChangesDirs", "docker diff, and what moby's naive diff makes a layer of"},
	{"moby tar", "moby.TarWithOptions", "moby's native diff"},
	{"containerd", "containerd.WriteDiff", "the walking differ of containerd"},
	{"continuity", "containerd.DiffDirChanges", "DiffDirChanges, as in containerd's erofs differ"},
	{"buildkit", "buildkit.WriteUpperdir", "the overlay differ of buildkit"},
	{"storage", "storage.OverlayChanges", "podman diff with native diff"},
	{"storage tar", "storage.TarWithOptions", "the native diff of Podman's storage"},
	{"umoci", "umoci.GenerateInsertLayer", "what umoci has for an upper directory"},
}

// peerTable turns bench/peers/answers.tsv, which that module's tests hold, into
// columns.
func peerTable(tsv string) (string, error) {
	short := map[string]string{"right": "right", "right: an error": "right", "error": "error", "wrong": "**wrong**"}
	var cases []string
	answers := map[string]map[string]string{} // case, peer
	for line := range strings.Lines(tsv) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			continue
		}
		if answers[f[0]] == nil {
			cases, answers[f[0]] = append(cases, f[0]), map[string]string{}
		}
		word, _, _ := strings.Cut(f[2], ":")
		if short[word] == "" {
			short[word] = "right+"
		}
		answers[f[0]][f[1]] = short[word]
	}
	var b strings.Builder
	b.WriteString(peersHead)
	head, rule, right := "| case |", "|---|", "| **right of "+strconv.Itoa(len(cases))+"** |"
	for _, p := range peers {
		n := 0
		for _, c := range cases {
			switch answers[c][p.name] {
			case "":
				return "", fmt.Errorf("answers.tsv has no %s on %q", p.name, c)
			case "right", "right+":
				n++
			}
		}
		head, rule, right = head+" "+p.column+" |", rule+"---|", fmt.Sprintf("%s %d |", right, n)
		fmt.Fprintf(&b, "- %s: %s (`%s`)\n", p.column, p.what, p.name)
	}
	fmt.Fprintf(&b, "\n%s\n%s\n%s\n", head, rule, right)
	for _, c := range cases {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(c, "|", `\|`))
		for _, p := range peers {
			b.WriteString(" " + answers[c][p.name] + " |")
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}
