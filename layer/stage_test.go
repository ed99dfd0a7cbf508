package layer

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/overlaydiff/overlaydiff/testenv"
)

// A link that another user put into a directory as /tmp is does not choose where a layer
// goes; one's own does.
func TestApply_Planted(t *testing.T) {
	testenv.RequireRoot(t)
	top := t.TempDir()
	shared, elsewhere := filepath.Join(top, "shared"), filepath.Join(top, "elsewhere")
	for _, dir := range []string{shared, elsewhere} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"link", "link/below"} {
		for _, owner := range []int{1000, 0} {
			link := filepath.Join(shared, "link")
			if err := errors.Join(os.Symlink(elsewhere, link), os.Lchown(link, owner, owner)); err != nil {
				t.Fatal(err)
			}
			_, err := Apply(t.Context(), bytes.NewReader(make([]byte, 1024)), filepath.Join(shared, to), ApplyOptions{})
			if refused := errors.Is(err, fs.ErrPermission); refused != (owner != 0) || err != nil && !refused {
				t.Errorf("to %s, the link is user %d's: %v", to, owner, err)
			}
			if _, err := os.Lstat(filepath.Join(elsewhere, "below")); err == nil && owner != 0 {
				t.Error("something was made where the link leads")
			}
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		}
	}
}
