package layer

import (
	_ "crypto/sha256" // go-digest finds algorithms by what is linked in
	_ "crypto/sha512"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// DigestError says that a layer is not the one that was expected.
type DigestError struct {
	What      string // "digest", of the input as read, or "diff ID", of the tar in it
	Want, Got digest.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("the layer's %s is %s, not %s: fetch it again", e.What, e.Got, e.Want)
}

// digester returns what computes a digest as the expected one was: by SHA-256
// unless that says something else.
func digester(want digest.Digest) digest.Digester {
	if want == "" {
		return digest.Canonical.Digester()
	}
	return want.Algorithm().Digester()
}

func checkDigest(what string, want, got digest.Digest) error {
	if want != "" && want != got {
		return &DigestError{What: what, Want: want, Got: got}
	}
	return nil
}
