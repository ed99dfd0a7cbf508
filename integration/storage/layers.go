package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/overlay"
	"go.podman.io/storage/pkg/unshare"

	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// configure takes from the options what decides how layers are read.
func (d *Driver) configure(options graphdriver.Options) error {
	var mount []string
	for _, option := range options.DriverOptions {
		key, value, _ := strings.Cut(option, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch strings.ToLower(key[strings.LastIndex(key, ".")+1:]) {
		case "mountopt":
			mount = strings.Split(value, ",")
		case "mount_program", "force_mask":
			d.foreign = d.foreign || value != ""
		case "ignore_chown_errors":
			d.foreign = d.foreign || value == "true"
		}
	}
	// Where the kernel's overlay can't be used overlay looks for a program by itself.
	native, err := overlay.SupportsNativeOverlay(d.home, filepath.Join(options.RunRoot, filepath.Base(d.home)))
	if d.foreign = d.foreign || err != nil || !native; d.foreign {
		return nil
	}
	if slices.Contains(mount, "metacopy=on") && !d.usesMetacopy() { // overlay drops it then
		mount = slices.DeleteFunc(mount, func(o string) bool { return o == "metacopy=on" })
	}
	if unshare.IsRootless() {
		mount = append(mount, "userxattr")
	}
	d.options, err = mountutil.ParseOptions(strings.Join(mount, ","))
	return err
}

func (d *Driver) usesMetacopy() bool {
	return slices.Contains(d.Driver.Status(), [2]string{"Using metacopy", "true"})
}

// Stack describes the overlay that a layer is mounted as, as [graph.Layers] has it.
func (d *Driver) Stack(id string) (diff.Stack, error) {
	dirs, err := d.Metadata(id)
	if err != nil {
		return diff.Stack{}, err
	}
	o := d.options
	o.Upper, o.Work = dirs["UpperDir"], dirs["WorkDir"]
	o.Unknown = slices.Clip(o.Unknown)
	o.Lower = rotated(o.Upper)
	if list := dirs["LowerDir"]; list != "" {
		for lower := range strings.SplitSeq(list, ":") {
			o.Lower = append(append(o.Lower, lower), rotated(lower)...)
		}
	}
	if i := slices.IndexFunc(append([]string{o.Upper}, o.Lower...), isComposefs); i >= 0 {
		o.Unknown = append(o.Unknown, "composefs") // what is to be mounted is in no directory
	}
	return o.Stack(d.defaults), nil
}

// rotated returns what was a layer's upper directory until its owners were mapped
// anew: diff1, diff2 and so on, which are below diff.
func rotated(dir string) (dirs []string) {
	for n := 1; ; n++ {
		next := fmt.Sprint(dir, n)
		if _, err := os.Stat(next); err != nil {
			return dirs
		}
		dirs = append(dirs, next)
	}
}

func isComposefs(dir string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(dir), "composefs-data"))
	return err == nil
}

// labeled mounts layers with a security label, read-only.
type labeled struct {
	*Driver
	label string
}

// Mount implements [graph.Layers].
func (l labeled) Mount(id string) (dir string, unmount func() error, err error) {
	dir, err = l.Get(id, graphdriver.MountOpts{MountLabel: l.label, Options: []string{"ro"}})
	return dir, func() error { return l.Put(id) }, err
}
