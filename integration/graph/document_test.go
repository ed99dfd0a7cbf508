package graph_test

import (
	"os"
	"strings"
	"testing"
)

// The code in docs/drivers.md is the example's.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/drivers.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "```go\n")[1:]
	for _, part := range parts {
		code, _, _ := strings.Cut(part, "```")
		if !strings.Contains(string(example), code) {
			t.Errorf("not in the example:\n%s", code)
		}
	}
	if len(parts) == 0 {
		t.Error("the page has no code")
	}
}
