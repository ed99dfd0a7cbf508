package main

import (
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"

	"github.com/overlaydiff/overlaydiff/diff"
)

// format is a Go template that prints a container, as docker, podman and nerdctl take it.
type format struct {
	template *template.Template
	table    bool
}

// headers is what a template makes the header of.
var headers = map[string]string{
	"ID": "CONTAINER", "Name": "NAME", "Names": "NAMES", "Runtime": "RUNTIME", "Owner": "OWNER", "Namespace": "NAMESPACE", "Pod": "POD", "State": "STATE",
	"Age": "AGE", "Created": "CREATED", "Size": "SIZE", "RootFS": "ROOTFS", "Inodes": "INODES", "Savable": "SAVABLE", "Image": "IMAGE", "ImageID": "IMAGE ID",
	"PID": "PID", "Upper": "UPPER", "Error": "ERROR",
}

// parseFormat returns nil for "" and "json".
func parseFormat(text string) (*format, error) {
	if text == "" || text == "json" {
		return nil, nil //nolint:nilnil // no template
	}
	body, table := strings.CutPrefix(text, "table ")
	if table { // as in docker, a tab can be written \t
		body = strings.ReplaceAll(body, `\t`, "\t")
	}
	t, err := template.New("--format").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		},
		"join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper, "split": strings.Split,
	}).Parse(body)
	if err != nil {
		return nil, usagef("--format %s: %v", diff.QuotePath(text), err)
	}
	return &format{t, table}, nil
}

// print prints a line a container. What a store's words have of control characters is not printed.
func (f *format) print(out io.Writer, rows []row) error {
	if !f.table {
		return f.lines(out, rows)
	}
	aligned := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if err := f.line(aligned, headers); err != nil {
		return err
	}
	if err := f.lines(aligned, rows); err != nil {
		return err
	}
	return aligned.Flush() // it writes nothing before
}

func (f *format) lines(w io.Writer, rows []row) error {
	for _, r := range rows {
		if err := f.line(w, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *format) line(w io.Writer, of any) error {
	var text strings.Builder
	if err := f.template.Execute(&text, of); err != nil {
		return usagef("--format: %v", err)
	}
	line := strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text.String())
	_, err := io.WriteString(w, line+"\n")
	return err
}
