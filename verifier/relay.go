package verifier

import (
	"net/netip"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/spf"
)

// Relay are clients that pass on the mail of others, and say what SPF said of it.
type Relay struct {
	Network netip.Prefix
	// AuthservID is their name in Authentication-Results; empty: they write Received-SPF.
	AuthservID string
}

// relaysOf are the entries for a client.
func (v *Verifier) relaysOf(client netip.Addr) (relays []Relay) {
	for _, r := range v.cfg.SPFRelays {
		if r.Network.Contains(client) {
			relays = append(relays, r)
		}
	}
	return relays
}

// told is what relays say in the header; Unasked where they say nothing that counts. That a lookup of theirs failed
// does not: the message would come again with the same field.
func told(relays []Relay, header *message.Header, req spf.Request) *SPF {
	s := &SPF{outcome: spf.Outcome{Reason: "the relay says nothing that counts"}}
	for _, r := range relays {
		o, where := r.toldIn(header, req), "Received-SPF"
		if r.AuthservID != "" {
			where = "Authentication-Results of " + r.AuthservID
		}
		if o.Result != spf.Unasked && o.Result != spf.TempError {
			o.Reason = "told in " + where
			s.outcome, s.domain = o, o.Domain
			break
		}
	}
	return s
}

// toldIn reads the one field that is the relay's for certain, if it does what RFCs ask of it: the topmost
// Authentication-Results in its name, for it removes those of others (RFC 8601 section 5); or the topmost Received-SPF above its
// Received (RFC 7208 section 9.1), for what the message came with stands below.
func (r Relay) toldIn(header *message.Header, req spf.Request) spf.Outcome {
	var topmost []byte
	for _, f := range header.Fields() {
		switch {
		case r.AuthservID != "":
			if f.Is(authResults) && ClaimsAuthserv(f.Value(), r.AuthservID) {
				if name, ok := simpleHead(f.Value()); !ok || !strings.EqualFold(name, r.AuthservID) {
					return spf.Outcome{} // a name in disguise may have got past the relay
				}
				return agreed(f.Value(), req, inAuthResults)
			}
		case f.Is("Received") && topmost != nil:
			return agreed(topmost, req, inReceivedSPF)
		case f.Is("Received"):
			return spf.Outcome{}
		case topmost == nil && f.Is("Received-SPF"):
			topmost = f.Value()
		}
	}
	return spf.Outcome{}
}

const authResults = "Authentication-Results"

// agreed is what a value says, without its comments and quotes. Where it can be read in several ways a sender may have written
// what one of them takes for a result.
func agreed(value []byte, req spf.Request, read func(text string, req spf.Request) spf.Outcome) (found spf.Outcome) {
	for i, reading := range readingsOf(value) {
		if reading.comments == unknown {
			continue
		}
		text, whole := reading.plain(value, false)
		o := read(text, req)
		if !whole || i > 0 && o != found {
			return spf.Outcome{}
		}
		found = o
	}
	return found
}

// inAuthResults reads what follows the name: one result for the identity that counts.
func inAuthResults(text string, req spf.Request) (found spf.Outcome) {
	_, results, _ := strings.Cut(text, string(separator))
	identity, other := "smtp.mailfrom", "smtp.helo" // RFC 8601 section 2.7.2
	if _, helo := req.Identity(); helo {
		identity, other = other, identity
	}
	seen := false
	for result := range strings.SplitSeq(results, string(separator)) {
		words := strings.Fields(result)
		if len(words) == 0 {
			continue
		}
		method, word, _ := strings.Cut(words[0], "=")
		method, _, _ = strings.Cut(method, "/") // its version
		about := valuesOf(words, identity)
		switch {
		case !strings.EqualFold(method, "spf"), len(about) == 0 && len(valuesOf(words, other)) == 1:
			continue
		case len(about) != 1 || seen:
			return spf.Outcome{}
		}
		seen = true
		found = outcomeOf(word, about[0], req)
	}
	return found
}

// inReceivedSPF reads RFC 7208 section 9.1: a result, a comment, and pairs.
func inReceivedSPF(text string, req spf.Request) spf.Outcome {
	words := strings.Fields(strings.ReplaceAll(text, string(separator), " "))
	key, identity := "envelope-from", "mailfrom"
	if _, helo := req.Identity(); helo {
		key, identity = "helo", "helo"
	}
	about := valuesOf(words, key)
	for _, named := range valuesOf(words, "identity") {
		if !strings.EqualFold(named, identity) {
			return spf.Outcome{}
		}
	}
	if len(about) != 1 {
		return spf.Outcome{}
	}
	return outcomeOf(words[0], about[0], req)
}

// valuesOf are the values of name=value among words.
func valuesOf(words []string, name string) (values []string) {
	for _, word := range words {
		if left, value, ok := strings.Cut(word, "="); ok && strings.EqualFold(left, name) {
			values = append(values, value)
		}
	}
	return values
}

// outcomeOf is a result for an address or a domain. It has to be the sender's, and with a null sender, of whose HELO only the relay knows, a
// domain that SPF asks.
func outcomeOf(word, about string, req spf.Request) (o spf.Outcome) {
	result, ok := spf.Parse(word)
	if !ok {
		return o
	}
	name, err := domain.ParseLax(about[strings.LastIndexByte(about, '@')+1:])
	o.Domain, o.HELO = req.Identity()
	if o.HELO {
		o.Domain, _ = spf.Request{HELO: string(name)}.Identity()
	}
	if err != nil || name == "" || name != o.Domain {
		return spf.Outcome{}
	}
	o.Result = result
	return o
}
