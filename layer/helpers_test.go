package layer_test

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

func digestOf(b []byte) digest.Digest { return digest.FromBytes(b) }

func sortStrings(s []string) { slices.Sort(s) }
