package overlaydiff_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/overlaydiff/overlaydiff"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/features"
)

// A driver decides at its start how it will diff the layers in its directory.
func ExampleNativeDiff() {
	const home, options = "/var/lib/driver", "index=off"
	native, err := overlaydiff.NativeDiff(context.Background(), home, options)
	if err != nil {
		log.Printf("comparing whole trees, since it can't be told whether that is needed: %v", err)
		return
	}
	for _, reason := range native.Reasons {
		fmt.Println(reason.Code, reason.Blocks, reason.Text)
	}
	if native.OK {
		fmt.Println("reading upper directories")
	}
	for _, verdict := range native.Compat { // for those who must agree with another tool
		fmt.Println(verdict.Tool, verdict.Native, verdict.Reason)
	}
}

// A program that asks more keeps a Prober, which remembers the answers.
func ExampleNativeDiff_prober() {
	main := func() { // of the program
		features.Main() // first thing: else nothing is known of user namespaces
		var prober features.Prober
		err := prober.Have(context.Background(), "/var/lib/driver", "userns_userxattr")
		switch {
		case err == nil:
			fmt.Println("rootless containers can have overlays")
		case errors.Is(err, diff.ErrUnsupported):
			fmt.Println("they can't:", err)
		default:
			fmt.Println("ask again later:", err)
		}
	}
	main()
}
