package daemon

import (
	"errors"

	"dkimd/internal/config"
	"dkimd/internal/events/output"
	"dkimd/internal/fault"
	"dkimd/internal/socket"
)

// Openable reports which files of the log and which unix sockets of a configuration this process could not
// open when it starts, as fault.Faults. It opens none of them: a dkimd may be running.
func Openable(c *config.Config) fault.Faults {
	var files []error
	for _, name := range c.Log.Output {
		if o, err := output.Parse(name); err == nil && o.IsFile() {
			files = append(files, output.Reach(name))
		}
	}
	var faults fault.Faults
	if err := errors.Join(files...); err != nil {
		faults = outputFaults(c.Log.Output, err)
	}
	sockets := []socket.Config{
		{Name: "milter", Listen: c.Milter.Listen, Group: c.Milter.Group},
		{Name: "exim", Listen: c.Exim.Listen, Group: c.Exim.Group},
		{Name: "metrics", Listen: c.Metrics.Listen},
	}
	if c.Sets("control.listen") { // the default one need not open
		sockets = append(sockets, socket.Config{Name: "control", Listen: c.Control.Listen})
	}
	for _, of := range sockets {
		faults = append(faults, socket.Check(of)...)
	}
	return c.Locate(faults)
}
