package explore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aymanbagabas/go-udiff"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
)

// line is a line of the details.
type line struct {
	text string
	look look
}

// look is how something is drawn.
type look uint8

// The looks.
const (
	plain look = iota
	strong
	faint
	added
	modified
	deleted
	wasted
)

// details is all that there is to say about a path.
type details struct {
	lines []line
}

func (d *details) say(l look, format string, args ...any) {
	for text := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		d.lines = append(d.lines, line{harmless(text), l})
	}
}

// examine reads what the views have at a path.
func examine(ctx context.Context, src Source, path string) ([]line, error) {
	d := &details{}
	d.say(strong, "%s", diff.QuotePath(path))
	why, err := src.Explain(ctx, path)
	if err != nil {
		return nil, err
	}
	verdict, layers, _ := strings.Cut(strings.TrimSpace(why), "\n")
	d.say(plain, "%s", verdict)
	err = src.Look(ctx, path, func(from, to *diff.Seen) error {
		d.say(plain, "")
		if err := d.metadata(from, to); err != nil {
			return err
		}
		return d.content(ctx, from, to)
	})
	if layers = strings.Trim(layers, "\n"); layers != "" {
		d.say(plain, "")
		d.say(strong, "Layers")
		d.say(faint, "%s", layers)
	}
	return d.lines, err
}

// metadata shows both sides side by side.
func (d *details) metadata(from, to *diff.Seen) error {
	old, err := facts(from)
	if err != nil {
		return err
	}
	now, err := facts(to)
	if err != nil {
		return err
	}
	if old["modified"] == now["modified"] && from != nil && to != nil && from.Mtime != to.Mtime {
		old["modified"], now["modified"] = from.Mtime.String(), to.Mtime.String()
	}
	names := []string{"type", "mode", "owner", "size", "modified", "links", "device", "target"}
	names = append(names, xattrNames(old, now)...)
	width := len("old")
	for _, v := range old {
		width = max(width, len([]rune(v)))
	}
	width = min(width, 40)
	d.say(faint, "%-12s  %-*s  %s", "", width, "old", "new")
	for _, name := range names {
		a, b := old[name], now[name]
		if a == "" && b == "" {
			continue
		}
		l, mark := plain, " "
		if a != b && (name != "modified" || old["type"] != "dir" || now["type"] != "dir") { // that never counts
			l, mark = modified, "*"
		}
		d.say(l, "%s%-12s %-*s  %s", mark, strings.TrimPrefix(name, "xattr "), width, dash(a), dash(b))
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

const xattrPrefix = "xattr "

// xattrNames returns which of the facts are extended attributes, sorted.
func xattrNames(sides ...map[string]string) (names []string) {
	for _, facts := range sides {
		for name := range facts {
			if strings.HasPrefix(name, xattrPrefix) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// facts are what a view shows beside the content, by name.
func facts(s *diff.Seen) (map[string]string, error) {
	f := map[string]string{}
	if s == nil {
		return f, nil
	}
	f["type"], f["mode"], f["owner"] = s.Type.String(), fmt.Sprintf("%04o", s.Mode), owner(s)
	f["modified"] = time.Unix(s.Mtime.Sec, 0).UTC().Format("2006-01-02 15:04:05Z")
	switch s.Type {
	case diff.File:
		f["size"], f["links"] = human.ExactBytes(s.Size), human.Count(int64(s.Nlinks))
	case diff.Symlink:
		target, err := s.Payload.Target()
		if err != nil {
			return nil, err
		}
		f["target"] = diff.QuotePath(target)
	case diff.Char, diff.Block:
		f["device"] = s.Device()
	}
	xattrs, err := s.Payload.Xattrs()
	if err != nil {
		return nil, err
	}
	for _, x := range xattrs {
		value := string(x.Value)
		if len(value) > 64 {
			value = value[:64] + "…"
		}
		f[xattrPrefix+diff.QuotePath(x.Name)] = diff.QuotePath(value)
	}
	return f, nil
}

// Contents longer than this are not compared line by line.
const mostText = 1 << 20

// content shows in what two files differ, or what the one has.
func (d *details) content(ctx context.Context, from, to *diff.Seen) error {
	isFile := func(s *diff.Seen) bool { return s != nil && s.Type == diff.File }
	if !isFile(from) && !isFile(to) {
		return nil
	}
	d.say(plain, "")
	d.say(strong, "Content")
	if !isFile(from) || !isFile(to) {
		one, l := to, added
		if !isFile(to) {
			one, l = from, deleted
		}
		return d.one(one, l)
	}
	if from.Size > mostText || to.Size > mostText {
		return d.bytes(ctx, from, to)
	}
	old, err := head(from, mostText)
	if err != nil {
		return err
	}
	now, err := head(to, mostText)
	if err != nil {
		return err
	}
	switch {
	case string(old) == string(now):
		d.say(faint, "equal")
		return nil
	case !isText(old) || !isText(now):
		return d.bytes(ctx, from, to)
	}
	unified := udiff.Unified("old", "new", string(old), string(now))
	for text := range strings.SplitSeq(strings.TrimSuffix(unified, "\n"), "\n") {
		l := plain
		switch {
		case strings.HasPrefix(text, "--- old"), strings.HasPrefix(text, "+++ new"):
			continue
		case strings.HasPrefix(text, "@@"):
			l = faint
		case strings.HasPrefix(text, "+"):
			l = added
		case strings.HasPrefix(text, "-"):
			l = deleted
		}
		d.say(l, "%s", text)
	}
	return nil
}

// one shows the beginning of a file that only one view has.
func (d *details) one(s *diff.Seen, l look) error {
	const most = 16 << 10
	data, err := head(s, most)
	switch {
	case err != nil:
		return err
	case len(data) == 0:
		d.say(faint, "empty")
		return nil
	case !isText(data):
		d.hex(l, "", data[:min(len(data), 256)], 0)
	default:
		d.say(l, "%s", strings.TrimSuffix(string(data), "\n"))
	}
	if int64(len(data)) < s.Size {
		d.say(faint, "… %s in all", human.ExactBytes(s.Size))
	}
	return nil
}

// isText guesses as grep does.
func isText(data []byte) bool { return !strings.Contains(string(data[:min(len(data), 8<<10)]), "\x00") }

func open(s *diff.Seen) (*os.File, error) {
	f, err := s.Payload.Open()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(f.FD), "file"), nil
}

// head reads the beginning of a file.
func head(s *diff.Seen, most int64) ([]byte, error) {
	f, err := open(s)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// bytes shows where two files begin to differ.
func (d *details) bytes(ctx context.Context, from, to *diff.Seen) error {
	a, err := open(from)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := open(to)
	if err != nil {
		return err
	}
	defer b.Close()
	const block = 256 << 10
	x, y := make([]byte, block), make([]byte, block)
	for at := int64(0); ; at += block {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if i := differAt(x[:n], y[:m]); i >= 0 {
			start := i &^ 7
			d.say(faint, "differs from byte %s on", human.Count(at+int64(i)))
			d.hex(deleted, "-", x[min(start, n):min(start+64, n)], at+int64(start))
			d.hex(added, "+", y[min(start, m):min(start+64, m)], at+int64(start))
			return nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
		}
		if errA != nil {
			d.say(faint, "equal")
			return nil
		}
	}
}

// differAt returns where two blocks begin to differ, -1 if they don't.
func differAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// hex shows bytes as numbers and letters.
func (d *details) hex(l look, sign string, data []byte, at int64) {
	for len(data) > 0 {
		part := data[:min(8, len(data))] // a line fits half a screen
		data = data[len(part):]
		letters := []byte(strings.Repeat(" ", len(part)))
		for i, c := range part {
			letters[i] = '.'
			if c >= ' ' && c < 0x7f {
				letters[i] = c
			}
		}
		d.say(l, "%s%08x  %-23s  %s", sign, at, strings.TrimSpace(fmt.Sprintf("% x", part)), letters)
		at += int64(len(part))
	}
}

// owner shows the owner, and whose ids these are if there are two.
func owner(s *diff.Seen) string {
	if s.UID == s.HostUID && s.GID == s.HostGID {
		return fmt.Sprintf("%d:%d", s.UID, s.GID)
	}
	return fmt.Sprintf("%d:%d in the container, %d:%d on the host", s.UID, s.GID, s.HostUID, s.HostGID)
}
