package explore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// harmless returns a line of a file as less shows it: whatever a terminal could
// take for more than text is spelled out, tabs are blanks.
func harmless(line string) string {
	const tab = 8
	var b strings.Builder
	column := 0
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		text := line[:n]
		switch {
		case r == '\t':
			text = strings.Repeat(" ", tab-column%tab)
		case r == utf8.RuneError && n == 1:
			text = fmt.Sprintf("<%02X>", line[0])
		case r < ' ' || r == 0x7f:
			text = "^" + string(r^0x40)
		case !unicode.IsPrint(r) || unicode.Is(unicode.M, r) && column == 0:
			text = fmt.Sprintf("<U+%04X>", r)
		}
		b.WriteString(text)
		column += utf8.RuneCountInString(text)
		line = line[n:]
	}
	return b.String()
}
