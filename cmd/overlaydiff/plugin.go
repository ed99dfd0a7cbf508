package main

import (
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

// dockerPlugin is the name by which Docker's command line finds plugins, in its directories
// cli-plugins.
const dockerPlugin = "docker-overlaydiff"

// metadataName is the command by which it asks what a plugin is.
const metadataName = "docker-cli-plugin-metadata"

// commandLine returns the arguments. Docker's command line starts a plugin with all of its own,
// among them its global options, which are before the plugin's name (docker/cli,
// cli-plugins/manager, PluginRunCommand).
func commandLine(args []string) []string {
	if filepath.Base(args[0]) != dockerPlugin {
		return args[1:]
	}
	if at := slices.Index(args[1:], "overlaydiff"); at >= 0 {
		return args[at+2:]
	}
	return args[1:]
}

// pluginMetadata is what Docker's command line asks a plugin for (docker/cli,
// cli-plugins/metadata).
type pluginMetadata struct {
	SchemaVersion    string
	Vendor           string
	Version          string
	ShortDescription string
	URL              string
}

func pluginCommand() *cobra.Command {
	return &cobra.Command{
		Use: metadataName, Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printJSON(cmd, pluginMetadata{
				SchemaVersion: "0.1.0", Vendor: "overlaydiff", Version: version(),
				ShortDescription: "Changes and sizes of containers and overlays", URL: "https://github.com/overlaydiff/overlaydiff",
			})
		},
	}
}
