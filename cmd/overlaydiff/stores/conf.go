//go:build linux

package stores

import (
	"strconv"
	"strings"
)

// parseConf reads what is needed of a TOML file: strings and lists of strings, by
// "SECTION.KEY". What it does not understand it skips.
func parseConf(text string) map[string][]string {
	values := map[string][]string{}
	section, key, open := "", "", false // open: within a list
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !open {
			if strings.HasPrefix(line, "[") {
				name, _, _ := strings.Cut(line[1:], "]")
				section = confName(name)
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok || strings.HasPrefix(line, "#") {
				continue
			}
			key = section + "." + confName(name)
			if section == "" && strings.Contains(confName(name), ".") { // a dotted key
				key = confName(name)
			}
			line = strings.TrimSpace(value)
			open = strings.HasPrefix(line, "[")
		}
		list, closed := confStrings(line)
		values[key] = append(values[key], list...)
		open = open && !closed
	}
	return values
}

// confName returns a name or dotted names without quotes.
func confName(name string) string {
	return strings.TrimSpace(strings.NewReplacer(`"`, "", "'", "").Replace(name))
}

// confStrings returns the quoted strings of a line up to its comment, and
// whether a ']' closes a list.
func confStrings(line string) (list []string, closed bool) {
	for i := 0; i < len(line); i++ {
		switch quote := line[i]; quote {
		case '#':
			return list, closed
		case ']':
			closed = true
		case '"', '\'':
			end := i + 1
			for end < len(line) && line[end] != quote {
				if quote == '"' && line[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(line) {
				return list, closed
			}
			s := line[i+1 : end]
			if unquoted, err := strconv.Unquote(line[i : end+1]); err == nil && quote == '"' {
				s = unquoted
			}
			list = append(list, s)
			i = end
		}
	}
	return list, closed
}
