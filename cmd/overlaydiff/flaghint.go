package main

import (
	"errors"
	"strings"

	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/internal/freeze"
	"github.com/overlaydiff/overlaydiff/cmd/overlaydiff/stores"
	"github.com/overlaydiff/overlaydiff/diff"
	"github.com/overlaydiff/overlaydiff/layer"
	"github.com/overlaydiff/overlaydiff/mountutil"
)

// message returns the text of err, and with the remedy the flag or the command for it: the
// library says in words what to do, and knows no command line.
func message(err error) string {
	text := err.Error()
	add := func(cause error, hint string) {
		text = strings.Replace(text, cause.Error(), cause.Error()+hint, 1)
	}
	var setting *diff.SettingError
	if errors.As(err, &setting) {
		if flag := flagOf(setting.Setting); flag != "" {
			add(setting, " ("+flag+")")
		}
	}
	var owners *mountutil.OwnersError
	if errors.As(err, &owners) {
		add(owners, " (--layer-map)")
	}
	var reserved *layer.ReservedError
	if errors.As(err, &reserved) {
		add(reserved, " (--skip-reserved)")
	}
	var limit *freeze.LimitError
	if errors.As(err, &limit) {
		add(limit, " (--pause-limit)")
	}
	var unknown *stores.UnknownError
	if errors.As(err, &unknown) {
		add(unknown, ", that overlaydiff ps shows")
	}
	return text
}

func flagOf(s diff.Setting) string {
	switch s {
	case diff.SettingUpper:
		return "--upper"
	case diff.SettingWork:
		return "--work"
	case diff.SettingUserXattr:
		return "--userxattr"
	case diff.SettingTempDir:
		return "--tmp"
	}
	return ""
}
