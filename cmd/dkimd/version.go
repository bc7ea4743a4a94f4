package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionAnswer says which dkimd this is.
type versionAnswer struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	found
}

func newVersion() *versionAnswer {
	return &versionAnswer{Version: versionString(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}

func (v *versionAnswer) line() string {
	return fmt.Sprintf("dkimd %s %s %s/%s\n", v.Version, v.Go, v.OS, v.Arch)
}

func (v *versionAnswer) print(std stdio) error {
	_, err := fmt.Fprint(std.out, v.line())
	return err
}

func versionCommand(std stdio) *cobra.Command {
	var asJSON bool
	return jsonFlag(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(),
		RunE: func(*cobra.Command, []string) error {
			return say(std, asJSON, newVersion(), nil)
		},
	}, &asJSON)
}
