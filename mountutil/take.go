//go:build linux

package mountutil

// Take returns the descriptor of the view's root directory, which belongs to
// the caller from now on.
func (v *View) Take() int { return int(v.fd.Swap(-1)) }
