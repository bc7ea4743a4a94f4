package main

import (
	"errors"

	"dkimd/internal/config"
	"dkimd/internal/control"
	"dkimd/internal/fault"

	"github.com/spf13/cobra"
)

// This file has what commands share that ask the running daemon.

// controlClient asks the daemon of the configuration. That the file is broken on disk must not keep anyone from asking.
func controlClient(cmd *cobra.Command) (*control.Client, error) {
	path, named := configFile(cmd)
	c, faults := config.Load(path, named)
	if len(c.Control.Listen) == 0 {
		if len(faults) > 0 {
			return nil, faults
		}
		return nil, fault.Faults{{
			Path: path, Key: "control.listen", Got: "no address", Want: "the socket of a running dkimd", Hint: "without one, kill -HUP reloads and the log says what came of it",
		}}
	}
	return control.NewClient(c.Control.Listen[0])
}

// unanswered is an error of asking the daemon: what to do has to be fixed first.
func unanswered(err error) error {
	if _, ok := errors.AsType[fault.Faults](err); ok {
		return err
	}
	return userError{err, "journalctl -u dkimd may say more"}
}
