package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"dkimd/internal/config"
	"dkimd/internal/fault"
)

// atKey gives faults that only show when a configuration is put to use their
// place in the file. Where there is another error among them, it is that.
func atKey(c *config.Config, errs ...error) error {
	var all fault.Faults
	for _, err := range errs {
		faults, ok := errors.AsType[fault.Faults](err)
		if !ok {
			return err
		}
		all = append(all, faults...)
	}
	return c.Locate(all)
}

// outputFaults say why outputs of the log stream cannot be opened: one each.
func outputFaults(outputs []string, err error) fault.Faults {
	errs := []error{err}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		errs = joined.Unwrap()
	}
	faults := make(fault.Faults, 0, len(errs))
	for _, err := range errs {
		f := fault.Fault{Key: "log.output", Want: "a file that dkimd's user (" + fault.User(os.Geteuid()) + ") can write"}
		failed, ok := errors.AsType[*fs.PathError](err)
		if !ok {
			f.Got, f.Hint = "an output that cannot be opened", err.Error()
			faults = append(faults, f)
			continue
		}
		if i := slices.Index(outputs, failed.Path); i >= 0 {
			f.Key += "[" + strconv.Itoa(i+1) + "]"
		}
		f.Got, f.Hint = strconv.Quote(failed.Path), outputHint(failed)
		faults = append(faults, f)
	}
	return faults
}

func outputHint(failed *fs.PathError) string {
	switch {
	case errors.Is(failed, fs.ErrPermission):
		return "namei -l " + failed.Path + " shows who may; the file, or where there is none its directory, has to belong to dkimd's user"
	case errors.Is(failed, syscall.EROFS):
		return "its file system is read-only for dkimd: ReadWritePaths=" + filepath.Dir(failed.Path) + " in the unit, or name another file"
	case errors.Is(failed, syscall.ENXIO):
		return "nobody reads this pipe, or it is a socket: start its reader first, or name a file"
	}
	return failed.Err.Error()
}
