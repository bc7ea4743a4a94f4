package proof

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/importer"
	"dkimd/internal/milter/client"
)

// The clients of probes: one from a network that is nobody's own.
const outside = "203.0.113.99"

// maxSenders is how many patterns are tried; each takes some twenty messages.
const maxSenders = 500

// Probes are the messages that show whether two configurations sign alike: for every pattern of addresses one address that it
// has, one in a domain below and one beside, from inside, from outside and logged in; and a client for each entry
// in the lists of clients, and one beside it.
func Probes(p *importer.Plan) (all []Probe, zone string) {
	inside, zone := peers(p.Clients)
	if p.AnyClient {
		inside = slices.DeleteFunc(inside, func(c client.Peer) bool { return !c.Addr.IsLoopback() })
	}
	stranger := client.Peer{Name: "unknown", Addr: netip.MustParseAddr(outside), Port: 1025}
	add := func(from, who string, peer client.Peer, login string) {
		m := client.Mail{Peer: peer, Sender: from, Recipients: []string{"bob@example.net"}, QueueID: "4XYZ", Raw: letter(from)}
		if login != "" {
			m.AuthType, m.AuthUser = "PLAIN", login
		}
		all = append(all, Probe{Name: from + " " + who, Mail: m, Foreign: peer == stranger && login == ""})
	}
	senders := p.Senders
	if len(senders) > maxSenders {
		senders = senders[:maxSenders]
	}
	for i, s := range senders {
		for _, from := range addresses(s) {
			add(from, "logged in", stranger, from)
			if len(inside) > 0 {
				add(from, "from inside", inside[0], "")
			}
			if i == 0 && !p.AnyClient {
				add(from, "from outside", stranger, "")
			}
			if i == 0 {
				for _, peer := range inside {
					add(from, fmt.Sprintf("from %s [%s]", peer.Name, peer.Addr), peer, "")
				}
			}
		}
	}
	if len(senders) > 0 {
		from := addresses(senders[0])[0]
		m := client.Mail{Peer: stranger, Sender: from, Recipients: []string{"bob@example.net"}, QueueID: "4XYZ", AuthType: "PLAIN", AuthUser: from}
		m.Raw = []byte("From: " + from + "\r\nDate: Mon, 30 Nov 2026 14:00:00 +0000\r\n\r\nHello\r\n")
		all = append(all, Probe{Name: from + " with two fields alone", Mail: m})
		all = append(all, others(p, from, stranger)...)
	} else {
		add("alice@example.org", "from outside", stranger, "")
		add("alice@example.org", "logged in", stranger, "alice")
	}
	return all, zone
}

// others are messages of a sender by each daemon and by another one, to each recipient whose mail is not signed, and with
// another address in From or in a field that the sender is looked for in.
func others(p *importer.Plan, from string, stranger client.Peer) (all []Probe) {
	add := func(who, daemon, login, to string, raw []byte) {
		m := client.Mail{Peer: stranger, Sender: from, Recipients: []string{to}, QueueID: "4XYZ", Raw: raw}
		if login != "" {
			m.AuthType, m.AuthUser = "PLAIN", login
		}
		all = append(all, Probe{Name: from + " " + who, Mail: m, Daemon: daemon})
	}
	const bob, beside = "bob@example.net", "alice@beside.example"
	for _, daemon := range p.Daemons {
		add("by "+daemon, daemon, "", bob, letter(from))
		add("by other-"+daemon, "other-"+daemon, "", bob, letter(from))
	}
	for _, to := range p.NotTo {
		local, name, _ := strings.Cut(to, "@")
		to = cmp.Or(local, "bob") + "@" + strings.Replace(name, "*.", "below.", 1)
		add("to "+to, "", from, to, letter(from))
	}
	for _, field := range p.Fields {
		if field != "from" {
			add("in "+field, "", from, bob, append([]byte(field+": <"+from+">\r\n"), letter(beside)...))
			add("beside another "+field, "", from, bob, append([]byte(field+": <"+beside+">\r\n"), letter(from)...))
		}
	}
	return all
}

// addresses are one that the pattern has, and those below and beside it.
func addresses(s importer.Sender) []string {
	local := s.Local
	if local == "" {
		local = "alice"
	}
	all := []string{local + "@" + s.Domain, local + "@below." + s.Domain, local + "@far.below." + s.Domain, local + "@beside-" + s.Domain}
	if s.Below || s.Subdomains {
		all[0], all[1] = all[1], all[0]
	}
	if s.Local != "" {
		all = append(all, "other-"+local+"@"+s.Domain)
	}
	return append(all, strings.ToUpper(local)+"@"+strings.ToUpper(s.Domain))
}

// peers are clients: one of each entry in a list of clients, and one beside it. Those with names get addresses of a network for
// benchmarks (RFC 2544), and DNS records that lead both ways.
func peers(entries []string) (all []client.Peer, zone string) {
	add := func(name string, addr netip.Addr) {
		if p := (client.Peer{Name: name, Addr: addr, Port: 1025}); addr.IsValid() && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	address := netip.MustParseAddr("198.18.0.1")
	var records strings.Builder
	for _, entry := range entries {
		entry = strings.Trim(strings.TrimPrefix(entry, "!"), "[]")
		prefix, err := netip.ParsePrefix(entry)
		addr, noAddr := netip.ParseAddr(entry)
		switch name := strings.ToLower(strings.TrimLeft(entry, "*")); {
		case err == nil:
			add("unknown", prefix.Masked().Addr().Next())
			add("unknown", last(prefix.Masked()).Next())
		case noAddr == nil:
			add("unknown", addr)
			add("unknown", addr.Next())
		case name == "localhost":
			add("localhost", netip.MustParseAddr("127.0.0.1"))
		default:
			if strings.HasPrefix(name, ".") {
				name = "probe" + name
			}
			host, err := domain.ParseHost(name)
			if err != nil {
				continue
			}
			name = string(host)
			add(name, address)
			octets := address.As4()
			fmt.Fprintf(&records, "%s. 300 IN A %s\n%d.%d.%d.%d.in-addr.arpa. 300 IN PTR %s.\n", name, address, octets[3], octets[2], octets[1], octets[0], name)
			address = address.Next()
		}
	}
	return all, records.String()
}

// last is the last address of a network.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := range bytes {
		if free := min(max((i+1)*8-p.Bits(), 0), 8); free > 0 {
			bytes[i] |= byte(1<<free - 1)
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// letter has every field of one, and some that few signers sign.
func letter(from string) []byte {
	return []byte("From: Alice <" + from + ">\r\n" +
		"To: bob@example.net\r\nCc: carol@example.net\r\nReply-To: " + from + "\r\nSubject: A  proof\r\n\twith a fold\r\n" +
		"Date: Mon, 30 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@proof.example>\r\nIn-Reply-To: <0@proof.example>\r\nReferences: <0@proof.example>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\nX-Foo: bar\r\n" +
		"\r\nHello  Bob, \r\n\r\nbye\r\n\r\n\r\n")
}
