package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
)

// maxResolvConf bounds what is read of the file.
const maxResolvConf = 1 << 20

// ResolvConfError says why resolv.conf, asked because the configuration names no
// server, gives none.
type ResolvConfError struct{ Err error }

func (e *ResolvConfError) Error() string { return "servers: " + e.Err.Error() }

func (e *ResolvConfError) Unwrap() error { return e.Err }

// serverList is whom to ask.
type serverList struct {
	servers []*server
	trouble string // why nobody names them; empty: somebody does
}

// newList makes the list from the configuration or, where that names none, from
// resolv.conf.
func (r *Resolver) newList(config Config) (*serverList, error) {
	var list serverList
	var faults []error
	for _, text := range config.Servers {
		address, ok := parseServer(text)
		if !ok {
			faults = append(faults, fmt.Errorf("servers: got %q; want an IP address, with or without port", text))
			continue
		}
		list.servers = appendServer(list.servers, address)
	}
	if len(config.Servers) > 0 {
		return &list, errors.Join(faults...)
	}
	r.conf = &resolvConf{path: config.ResolvConf, logger: r.logger}
	if r.conf.path == "" {
		r.conf.path = defaultResolvConf
	}
	servers, _, err := r.conf.read()
	switch previous := config.Previous; {
	case err != nil:
		return nil, &ResolvConfError{err}
	case len(servers) > 0:
		list.servers = servers
		return &list, nil
	case previous != nil && previous.conf != nil:
		list.servers = previous.list.Load().servers
	default:
		// resolv.conf(5): without a nameserver line the server is on this host.
		list.servers = []*server{newServer("127.0.0.1:53"), newServer("[::1]:53")}
	}
	list.trouble = r.conf.names("no name server", list.servers)
	return &list, nil
}

// resolvConf is the file as it was read last.
type resolvConf struct {
	path   string
	logger *slog.Logger

	mu   sync.Mutex
	text string
	err  error
	seen bool
}

// read reads the servers; changed is false where the file is as it was.
func (c *resolvConf) read() (servers []*server, changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, err := readFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = "", nil
	}
	if c.seen && text == c.text && fmt.Sprint(err) == fmt.Sprint(c.err) {
		return nil, false, nil
	}
	c.text, c.err, c.seen = text, err, true
	if err != nil {
		return nil, true, err
	}
	unusable := 0
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, ok := parseServer(fields[1])
		if !ok {
			unusable++
			c.logger.Warn("nameserver line without an IP address ignored", slog.String("path", c.path), slog.String("server", fields[1]))
			continue
		}
		servers = appendServer(servers, address)
	}
	if len(servers) == 0 && unusable > 0 {
		return nil, true, fmt.Errorf("%s has no nameserver line with an IP address", c.path)
	}
	return servers, true, nil
}

// names says what the file names, and who is asked all the same.
func (c *resolvConf) names(what string, asked []*server) string {
	return c.path + " names " + what + "; " + strings.Join(addresses(asked), ", ") + " is asked"
}

// reread looks whether resolv.conf has changed. Where it names nobody any more, those
// named before are asked: whoever writes it may not be ready.
func (r *Resolver) reread() {
	if r.conf == nil {
		return
	}
	servers, changed, err := r.conf.read()
	if !changed {
		return
	}
	old := r.list.Load()
	switch {
	case err != nil:
		r.list.Store(&serverList{old.servers, err.Error() + "; " + strings.Join(addresses(old.servers), ", ") + " is asked"})
	case len(servers) == 0:
		r.list.Store(&serverList{old.servers, r.conf.names("no name server", old.servers)})
	default:
		r.list.Store(&serverList{servers: remembered(servers, old.servers)})
		if !slices.Equal(addresses(servers), addresses(old.servers)) {
			r.logger.Info("name servers changed", slog.String("path", r.conf.path), slog.Any("servers", addresses(servers)))
		}
	}
}

// remembered are servers with what is known of those that were asked before.
func remembered(servers, before []*server) []*server {
	servers = slices.Clone(servers)
	for i, s := range servers {
		if at := slices.IndexFunc(before, func(o *server) bool { return o.address == s.address }); at >= 0 {
			servers[i] = before[at]
		}
	}
	return servers
}

func addresses(servers []*server) []string {
	addresses := make([]string, len(servers))
	for i, s := range servers {
		addresses[i] = s.address
	}
	return addresses
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxResolvConf {
		return "", fmt.Errorf("%s has %d octets, more than %d", path, info.Size(), maxResolvConf)
	}
	data, err := os.ReadFile(path) //nolint:gosec // the administrator names the file
	return string(data), err
}
