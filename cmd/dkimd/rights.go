package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// packagedUser is the user that packages and guides set up for the service.
const packagedUser = "dkimd"

// rootUser is the name of root where nobody else is known that the service could run as.
const rootUser = "root"

// dropRights gives up the rights of root for those of the user that the service runs as, for good. It returns
// the user's name; empty: the caller asked for nobody else, or is not root. The name is that of --user, or else
// found from the directory of the keys; rootUser where that says nothing.
func dropRights(name string, directory func() string) (string, error) {
	if os.Geteuid() != 0 {
		if name != "" && name != strconv.Itoa(os.Geteuid()) {
			return "", userError{errors.New("--user: only root can check as another user"), "sudo dkimd check --user " + name}
		}
		return "", nil
	}
	u, err := serviceUser(name, directory)
	switch {
	case err != nil:
		return "", err
	case u == nil:
		return rootUser, nil
	case u.Uid == "0":
		return "", nil
	}
	if err := become(u); err != nil {
		return "", fmt.Errorf("check as user %s: %w", u.Username, err)
	}
	return u.Username, nil
}

// serviceUser is the user of that name or number; without one the packaged user, or who owns the
// directory of the keys, or has the name of the group that may read it. Nil: nobody but root is known.
func serviceUser(name string, directory func() string) (*user.User, error) {
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			u, err = user.LookupId(name)
		}
		if err != nil {
			return nil, userError{fmt.Errorf("--user: got %q; want a user of this host", name), "getent passwd lists them"}
		}
		return u, nil
	}
	if u, err := user.Lookup(packagedUser); err == nil {
		return u, nil
	}
	info, err := os.Stat(directory())
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // no directory: nothing tells
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, nil //nolint:nilnil // nothing tells
	}
	if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil && st.Uid != 0 {
		return u, nil
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(st.Gid)))
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // a group without a name tells nothing
	}
	u, err := user.Lookup(group.Name)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // nor does one that is no user's own
	}
	return u, nil
}

// become takes on a user's id and groups; with the id of root go its capabilities.
func become(u *user.User) error {
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	names, err := u.GroupIds()
	if err := errors.Join(uidErr, gidErr, err); err != nil {
		return err
	}
	groups := make([]int, 0, len(names))
	for _, id := range names {
		n, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		groups = append(groups, n)
	}
	return errors.Join(syscall.Setgroups(groups), syscall.Setgid(gid), syscall.Setuid(uid))
}
