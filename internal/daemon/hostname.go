package daemon

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"dkimd/internal/domain"
)

// hostNames are the names of this host, the best first. With full the name is looked up in /etc/hosts and the DNS
// where it has no dot, as Exim does for its primary_hostname; Postfix says who it is.
func hostNames(full bool) []string {
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	if !full {
		return namesOf(name, nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return namesOf(name, func(host string) (string, error) { return net.DefaultResolver.LookupCNAME(ctx, host) })
}

// namesOf is hostNames for a name; resolve may be nil.
func namesOf(name string, resolve func(string) (string, error)) []string {
	short, err := domain.ParseHost(name)
	if err != nil {
		return nil
	}
	names := []string{string(short)}
	if resolve == nil || strings.Contains(string(short), ".") {
		return names
	}
	answer, err := resolve(string(short))
	if err != nil {
		return names
	}
	full, err := domain.ParseHost(answer)
	switch {
	case err != nil || full == short:
	case strings.HasPrefix(string(full), string(short)+"."):
		names = slices.Insert(names, 0, string(full))
	default:
		names = append(names, string(full))
	}
	return names
}
