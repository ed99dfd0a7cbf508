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

// algorithm returns by what a digest is computed: as the expected one was, or by
// SHA-256.
func algorithm(want digest.Digest) digest.Algorithm {
	if want == "" {
		return digest.Canonical
	}
	return want.Algorithm()
}

// digester returns what computes a digest, nil if neither the caller wants to know it
// nor one is expected.
func (o *ApplyOptions) digester(want digest.Digest) digest.Digester {
	if want == "" && o.NoDigests {
		return nil
	}
	return algorithm(want).Digester()
}

func checkDigest(what string, want, got digest.Digest) error {
	if want != "" && want != got {
		return &DigestError{What: what, Want: want, Got: got}
	}
	return nil
}
