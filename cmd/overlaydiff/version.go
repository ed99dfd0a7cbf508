package main

import "runtime/debug"

// version returns the version of the command's module as go build or go install noted it: a
// tag, a commit's pseudo-version, with "+dirty" if files differed from the commit; "(devel)"
// if it was built without version control.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
