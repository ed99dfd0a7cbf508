package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/bin/overlaydiff ps -q":                                       "ps -q",
		"/root/.docker/cli-plugins/docker-overlaydiff overlaydiff ps -q":   "ps -q",
		"docker-overlaydiff --context far overlaydiff changes overlaydiff": "changes overlaydiff",
		"docker-overlaydiff docker-cli-plugin-metadata":                    "docker-cli-plugin-metadata",
		"docker-overlaydiff overlaydiff":                                   "",
		"/usr/bin/overlaydiff overlaydiff":                                 "overlaydiff",
	} {
		if d := cmp.Diff(want, strings.Join(commandLine(strings.Fields(line)), " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", line, d)
		}
	}
}

// What Docker's command line requires of a plugin's metadata.
func TestPlugin(t *testing.T) {
	var out, errs strings.Builder
	if status := run([]string{"docker-cli-plugin-metadata"}, &out, &errs); status != exitDone {
		t.Fatal(status, errs.String())
	}
	var got pluginMetadata
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got.SchemaVersion != "0.1.0" || got.Vendor == "" || got.Version == "" {
		t.Errorf("%v: %s", err, out.String())
	}
}
