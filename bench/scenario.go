package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// Scenario says what is measured on what. The zero value of each field but
// Image is the plain case.
type Scenario struct {
	// Image is how many entries the lower layers show together; 0 is the Debian
	// system that bench/real-image.sh keeps, whose size is what it is.
	Image int
	// Upper is how many entries the upper directory has, parents included. Image
	// and Upper are the dirty ratio.
	Upper int
	// Layers is over how many lower directories the image is spread; 0 is one.
	Layers int
	// Depth is how many directories deep the image is; 0 is as it comes, about
	// the logarithm of its size.
	Depth int
	// Features switches redirect_dir, metacopy and index on, and makes use of them.
	Features bool
	// FS is the file system that the layers are on; "" is tmpfs.
	FS string
	// Cold makes the kernel forget what it has read before each measurement.
	Cold bool
}

// FeatureOptions are the mount options of a scenario with features.
const FeatureOptions = "redirect_dir=on,metacopy=on,index=on"

// Name returns the scenario as benchstat reads it: key=value, separated by
// slashes. Keys are always the same and in one order, so that tables line up.
func (s Scenario) Name() string {
	s = s.withDefaults()
	onOff := map[bool]string{false: "off", true: "on"}
	cache := map[bool]string{false: "warm", true: "cold"}
	image, depth := Count(s.Image), "any"
	if s.Image == 0 {
		image = "debian"
	}
	if s.Depth > 0 {
		depth = strconv.Itoa(s.Depth)
	}
	return fmt.Sprintf("image=%s/upper=%s/layers=%d/depth=%s/features=%s/fs=%s/cache=%s",
		image, Count(s.Upper), s.Layers, depth, onOff[s.Features], s.FS, cache[s.Cold])
}

func (s Scenario) withDefaults() Scenario {
	s.Layers = max(s.Layers, 1)
	if s.Image == 0 {
		s.Features, s.FS = true, "disk"
	}
	if s.FS == "" {
		s.FS = "tmpfs"
	}
	return s
}

// Count writes a number of entries short where nothing is lost: 20, 1k, 44700, 1M.
func Count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + "M"
	case n >= 1000 && n%1000 == 0:
		return strconv.Itoa(n/1000) + "k"
	}
	return strconv.Itoa(n)
}

// ParseCount is the inverse of [Count].
func ParseCount(s string) (int, error) {
	times := 1
	if rest, ok := strings.CutSuffix(s, "M"); ok {
		s, times = rest, 1_000_000
	} else if rest, ok := strings.CutSuffix(s, "k"); ok {
		s, times = rest, 1000
	}
	n, err := strconv.Atoi(s)
	return n * times, err
}

// Set is a named list of scenarios.
type Set string

// The sets, from the one that shows that benchmarks run to the one that the
// report is made of.
const (
	Tiny  Set = "tiny"  // seconds; its times say nothing
	Short Set = "short" // minutes
	Full  Set = "full"  // hours with -count 5; has the axes of the report
)

// ParseSet returns the set of a name; "" is the short one.
func ParseSet(name string) (Set, error) {
	switch s := Set(name); s {
	case Tiny, Short, Full:
		return s, nil
	case "":
		return Short, nil
	}
	return "", fmt.Errorf("no set of scenarios is called %q: tiny, short or full", name)
}

// Sizes of the plain case of the full set: about those of the Debian image.
const (
	image      = 50_000
	smallUpper = 20
	largeUpper = 45_000
)

// Scenarios returns the scenarios of a set.
func (s Set) Scenarios() []Scenario {
	switch s {
	case Tiny:
		return []Scenario{
			{Image: 1000, Upper: smallUpper},
			{Image: 1000, Upper: 100, Layers: 3, Features: true},
		}
	case Short:
		return []Scenario{
			{Image: 20_000, Upper: smallUpper},
			{Image: 20_000, Upper: 10_000},
			{Image: 20_000, Upper: 1000, Layers: 10, Features: true},
		}
	case Full:
		return full()
	}
	return nil
}

// full varies one thing at a time; lines that cross are measured once.
func full() (list []Scenario) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		list = append(list, Scenario{Image: n, Upper: smallUpper})
	}
	for _, n := range []int{smallUpper, 1000, 10_000, largeUpper} {
		list = append(list, Scenario{Image: image, Upper: n})
	}
	for _, n := range []int{5, 20, 100} {
		list = append(list, Scenario{Image: image, Upper: 1000, Layers: n})
	}
	for _, n := range []int{smallUpper, 1000, largeUpper} {
		list = append(list, Scenario{Image: image, Upper: n, Features: true})
	}
	list = append(list, Scenario{Image: image, Upper: 1000, Depth: 100})
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		list = append(list,
			Scenario{Image: image, Upper: largeUpper, FS: fs},
			Scenario{Image: image, Upper: largeUpper, FS: fs, Cold: true})
	}
	return append(list, Scenario{Upper: smallUpper}, Scenario{Upper: largeUpper}, Scenario{Upper: largeUpper, Cold: true})
}
