package client

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Peer is the SMTP client. The zero Addr is a client without an address, as
// with mail that is submitted locally.
type Peer struct {
	Name string
	Addr netip.Addr
	Port uint16
	// Address replaces the text of Addr, for what no MTA should say.
	Address string
}

// addressText is a client's address as the MTA writes it. Sendmail shortens no IPv6 address.
func (s *Session) addressText(p Peer) string {
	switch {
	case p.Address != "":
		return p.Address
	case p.Addr.Is6() && s.o.MTA == Sendmail:
		text := []byte("IPv6")
		for pair := range slices.Chunk(p.Addr.AsSlice(), 2) {
			text = strconv.AppendUint(append(text, ':'), uint64(binary.BigEndian.Uint16(pair)), 16)
		}
		return string(text)
	}
	return p.Addr.String()
}

// hostOf is the host that Sendmail would ask about an address.
func hostOf(address string) string {
	_, domain, found := strings.Cut(address, "@")
	if !found {
		return ""
	}
	return domain + "."
}
