package fault

import (
	"os/user"
	"strconv"
)

// User is a user's name as the operator knows it; one that this host has no name for is a number.
func User(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// Group is the same of a group.
func Group(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
