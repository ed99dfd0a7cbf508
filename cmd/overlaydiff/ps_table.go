package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/node"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
)

// row is a container as ps shows it, and what a template of --format has.
type row struct {
	psJSON

	Age, Size, RootFS, Inodes, Savable string `json:"-"`

	name string // of the pod, or the container's
}

func (p *lister) rows(found []node.Measured) (rows []row) {
	for _, m := range found {
		r := row{
			psJSON: measuredJSON(m), Age: age(m.Created, time.Now()), name: m.Name,
			Size: known(m.Err, m.SizeRw, p.bytes), RootFS: known(errors.Join(m.Err, m.RootFsErr), m.SizeRootFs, p.bytes),
			Inodes: known(m.Err, m.Usage.Inodes, human.Count), Savable: known(errors.Join(m.Err, m.CopyUpsErr), m.CopyUps.Bytes(), p.bytes),
		}
		r.ID = p.id(m)
		rows = append(rows, r)
	}
	return rows
}

// id returns what names a container: its id, or that of a mount.
func (p *lister) id(m node.Measured) string {
	if p.whole || m.Runtime == node.Mounted {
		return cell(m.ID, 1<<20)
	}
	return shortID(m.ID)
}

// Where columns are in the table.
const (
	columnSize  = 5
	columnImage = 9
	imageWidth  = 40 // of characters, unless the terminal is narrow
	imageLeast  = 12
)

func (p *lister) table(found []node.Measured) error {
	if len(found) == 0 {
		fmt.Fprintln(p.errs, "overlaydiff: no containers and no overlays were found"+map[bool]string{true: "; --all-users or root sees those of others"}[p.own])
		return nil
	}
	table := [][]string{{"CONTAINER", "RUNTIME", "NAMESPACE", "STATE", "AGE", "SIZE", "ROOTFS", "INODES", "SAVABLE", "IMAGE", "NAME"}}
	for i, r := range p.rows(found) {
		m := found[i]
		id, image := r.ID, m.Image
		if m.Runtime == node.Mounted {
			id = "-" // the name says it
		}
		if !p.whole {
			image = shortImage(image)
		}
		table = append(table, []string{
			id, runtimeOf(m), cell(m.Namespace, 30), cell(string(m.State), 12), r.Age, r.Size, r.RootFS, r.Inodes, r.Savable,
			cell(image, 1<<20), cell(m.Name, 1000), // last, since a name of one's own is needed whole
		})
	}
	if p.total {
		s := sumOf("", "", found)
		table = append(table, []string{"TOTAL", human.Plural(int64(s.Containers), "container", "containers"), "", "", "", p.bytes(s.SizeRw), "", human.Count(s.Inodes), p.bytes(s.Savable), "", ""})
	}
	if !p.whole {
		fit(table, columnImage, p.width())
	}
	rightAlign(table, columnSize, columnSize+1, columnSize+2, columnSize+3)
	if err := printTable(p.out, table); err != nil {
		return err
	}
	p.reasons(found)
	return nil
}

// reasons says why numbers are missing.
func (p *lister) reasons(found []node.Measured) {
	for _, m := range found {
		for _, reason := range []error{m.Err, m.RootFsErr} {
			if reason != nil {
				fmt.Fprintf(p.errs, "overlaydiff: %s %s: %s\n", runtimeOf(m), cell(m.Name, 1000), oneLine(message(reason)))
			}
		}
	}
}

// width returns how wide the terminal is, 0 if the output is none.
func (p *lister) width() int {
	out, ok := p.out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(out.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// fit cuts the beginnings of the words of a column, so that the table is not wider than width,
// 0 for any width.
func fit(table [][]string, column, width int) {
	most, sum := imageWidth, 0
	for i := range table[0] {
		widest := 0
		for _, r := range table {
			widest = max(widest, len([]rune(r[i])))
		}
		if i != column {
			sum += widest + 2
		}
	}
	if width > 0 {
		most = min(most, max(imageLeast, width-sum))
	}
	for _, r := range table {
		if r[column] != "" {
			r[column] = tail(r[column], most)
		}
	}
}

// age returns how long ago something was, as kubectl shows it.
func age(then, now time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero() || d < 0:
		return "-"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// unitsOf returns how sizes are written.
func unitsOf(name string) (func(int64) string, error) {
	of := map[string]func(int64) string{"iec": human.Bytes, "si": human.SI, "bytes": human.Plain}
	if of[name] == nil {
		return nil, usagef("--units %s: it is iec, si or bytes", diff.QuotePath(name))
	}
	return of[name], nil
}

// runtimeOf says what made a container, and whose it is if not root's.
func runtimeOf(m node.Measured) string {
	if m.Owner.UID == 0 {
		return string(m.Runtime)
	}
	return string(m.Runtime) + "@" + cell(m.Owner.String(), 40)
}

func known(err error, n int64, show func(int64) string) string {
	if err != nil {
		return "-"
	}
	return show(n)
}

// cell is a word of a table, quoted if need be, of most characters at most.
func cell(s string, most int) string {
	if s == "" {
		return "-"
	}
	s = oneLine(diff.QuotePath(s))
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// shortID is how all tools show ids of 64 digits. A name is not cut there.
func shortID(id string) string {
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:12]
	}
	if strings.HasPrefix(id, "/") || strings.HasPrefix(id, "pid:") {
		return "-"
	}
	return cell(id, 24)
}

// tail is a word of a table of which the end counts most.
func tail(s string, most int) string {
	s = cell(s, 1<<20)
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return s
}

func shortImage(image string) string {
	if digits, ok := strings.CutPrefix(image, "sha256:"); ok {
		return shortID(digits)
	}
	if strings.Trim(image, "0123456789abcdef") == "" && len(image) == 64 {
		return image[:12]
	}
	return strings.TrimPrefix(strings.TrimPrefix(image, "docker.io/"), "library/")
}

// psJSON is a line of ps --json.
type psJSON struct {
	Runtime    string        `json:"runtime"`
	Owner      string        `json:"owner"`
	Namespace  string        `json:"namespace,omitempty"`
	Pod        *podJSON      `json:"pod,omitempty"`
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Names      []string      `json:"names,omitempty"`
	Image      string        `json:"image"`
	ImageID    string        `json:"image_id,omitempty"`
	State      string        `json:"state"`
	Created    *time.Time    `json:"created,omitempty"`
	PID        int           `json:"pid,omitempty"`
	Upper      string        `json:"upper,omitempty"`
	SizeRw     *int64        `json:"size_rw"`
	SizeRootFs *int64        `json:"size_root_fs"`
	Usage      *diff.Usage   `json:"usage"`
	CopyUps    *diff.CopyUps `json:"copy_ups"`
	Error      string        `json:"error,omitempty"`
}

// podJSON is the pod of Kubernetes that a container belongs to.
type podJSON struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Container string `json:"container"`
	Attempt   uint32 `json:"attempt"`
}

func measuredJSON(m node.Measured) psJSON {
	line := psJSON{
		Runtime: string(m.Runtime), Owner: m.Owner.String(), Namespace: m.Namespace, ID: m.ID, Name: m.Name, Names: m.Names,
		Image: m.Image, ImageID: m.ImageID, State: string(m.State), PID: m.PID, Upper: m.Stack.Upper,
	}
	if m.Pod != (stores.Pod{}) {
		pod := podJSON(m.Pod)
		line.Pod = &pod
	}
	if !m.Created.IsZero() {
		line.Created = &m.Created
	}
	if m.Err == nil {
		line.SizeRw, line.Usage = &m.SizeRw, &m.Usage
		if m.RootFsErr == nil {
			line.SizeRootFs = &m.SizeRootFs
		}
		if m.CopyUpsErr == nil {
			line.CopyUps = &m.CopyUps
		}
	}
	var said []string
	for _, err := range []error{m.Err, m.RootFsErr, m.CopyUpsErr} {
		if err != nil && (len(said) == 0 || said[len(said)-1] != message(err)) {
			said = append(said, message(err))
		}
	}
	line.Error = strings.Join(said, "; ")
	return line
}
