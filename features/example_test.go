package features_test

import (
	"fmt"

	"github.com/overlaydiff/overlaydiff/features"
)

// What a question is about. A [features.Prober] answers it for a directory.
func ExampleExplain() {
	about, ok := features.Explain("redirect_dir")
	fmt.Println(ok, about.Since)
	fmt.Println(about.Asks)
	// Output:
	// true 4.10
	// lower directories can be renamed with redirect_dir=on
}
