package testenv

import (
	"fmt"
	"strconv"
	"strings"
)

// words splits a line at blanks. A double-quoted Go string may be a word or
// the end of one (content="a b").
func words(line string) ([]string, error) {
	var all []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		end := strings.IndexAny(line, " \t\"")
		if end < 0 {
			end = len(line)
		}
		word := line[:end]
		if line = line[end:]; strings.HasPrefix(line, `"`) {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("unfinished string: %s", line)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			word, line = word+text, line[len(quoted):]
			if line != "" && line[0] != ' ' && line[0] != '\t' {
				return nil, fmt.Errorf("no blank after a string: %s", line)
			}
		}
		all = append(all, word)
	}
	return all, nil
}

// quote writes a word so that words reads it back.
func quote(word string) string {
	plain := word != "" && word[0] != '#'
	for i := 0; i < len(word) && plain; i++ {
		plain = word[i] > ' ' && word[i] < 0x7f && word[i] != '"'
	}
	if plain {
		return word
	}
	return strconv.Quote(word)
}
