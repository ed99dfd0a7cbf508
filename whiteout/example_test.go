package whiteout_test

import (
	"fmt"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/whiteout"
)

// Which attributes are marks depends on how the overlay is mounted. All others are data, and
// one that a program stored in the namespace of the marks has another name in the layer.
func ExampleNamespaceOf() {
	marks := whiteout.NamespaceOf(diff.Features{UserXattr: true})
	fmt.Println(marks.Opaque)
	for _, name := range []string{"user.overlay.opaque", "user.overlay.overlay.opaque", "trusted.overlay.opaque"} {
		shown, visible := marks.Visible(name)
		fmt.Printf("%s %t %q\n", name, visible, shown)
	}
	// Output:
	// user.overlay.opaque
	// user.overlay.opaque false ""
	// user.overlay.overlay.opaque true "user.overlay.opaque"
	// trusted.overlay.opaque true "trusted.overlay.opaque"
}
