package explore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/human"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/internal/wholefile"
)

// extract asks where to write the file under the cursor.
func (a *app) extract() {
	n := a.view.tree.Node(a.view.node())
	if n.Type != diff.File {
		a.tell("only files can be extracted")
		return
	}
	proposed := n.Name
	// Nor does a container choose what a shell reads at the next login.
	if diff.QuotePath(proposed) != proposed || strings.HasPrefix(proposed, ".") || strings.HasPrefix(proposed, "-") {
		proposed = "extracted"
	}
	path := a.view.path()
	a.ask("extract to: ", proposed, func(a *app, to string) { a.extractTo(path, to, false) })
}

func (a *app) extractTo(path, to string, over bool) {
	if to == "" {
		return
	}
	a.tell("extracting " + diff.QuotePath(path) + " …")
	a.start(a.ctx, func(ctx context.Context) func() {
		n, err := extract(ctx, a.src, path, to, over)
		return func() {
			switch {
			case errors.Is(err, fs.ErrExist):
				a.tell("")
				a.ask(harmless(to)+" is there already; type yes to replace it: ", "", func(a *app, answer string) {
					if answer == "yes" {
						a.extractTo(path, to, true)
					}
				})
			case err != nil:
				a.tellError(err)
			default:
				a.tell(human.Bytes(n) + " of " + diff.QuotePath(path) + " written to " + harmless(to))
			}
		}
	})
}

// extract writes what the new view has at path, or the old one if the new has
// nothing, to a file of that name, whole or not at all.
func extract(ctx context.Context, src Source, path, to string, over bool) (n int64, err error) {
	if _, err := os.Lstat(to); err == nil && !over {
		return 0, fs.ErrExist
	}
	err = src.Look(ctx, path, func(from, now *diff.Seen) error {
		s := now
		if s == nil {
			s = from
		}
		if s == nil || s.Type != diff.File {
			return fmt.Errorf("extract %s: it is no file any more", diff.QuotePath(path))
		}
		in, err := open(s)
		if err != nil {
			return err
		}
		defer in.Close()
		return wholefile.Write(to, func(w io.Writer) (err error) {
			n, err = io.Copy(w, reader{ctx, in})
			return err
		})
	})
	return n, err
}

// reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // it is one call's
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
