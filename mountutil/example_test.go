package mountutil_test

import (
	"fmt"
	"log"

	"github.com/overlaydiff/overlaydiff/mountutil"
)

// Options as mount -o takes them, with a colon in the name of a layer.
func ExampleParseOptions() {
	o, err := mountutil.ParseOptions(`lowerdir=/layers/a\:1:/layers/b,upperdir=/up,workdir=/work,metacopy=on`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %s %s\n", o.Lower, o.Upper, o.Metacopy)
	fmt.Println(o)
	// Output:
	// ["/layers/a:1" "/layers/b"] /up on
	// lowerdir=/layers/a\:1:/layers/b,upperdir=/up,workdir=/work,metacopy=on
}
