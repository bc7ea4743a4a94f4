package milter

import (
	"bytes"
	"encoding/hex"
	"strings"

	"dkimd/internal/message"
)

// macro is one of the macros dkimd reads; all others are passed over.
type macro uint8

const (
	macroQueueID macro = iota
	macroMTA
	macroDaemonName
	macroAuthType
	macroAuthUser
	macroVerify
	macroCertSubject
	macroCertIssuer
	macroCNSubject
	macroCNIssuer
	macroCount
)

// macroNamed finds a macro by its name, with or without the braces that long names have.
func macroNamed(name []byte) (macro, bool) {
	if len(name) > 2 && name[0] == '{' && name[len(name)-1] == '}' {
		name = name[1 : len(name)-1]
	}
	switch string(name) {
	case "i":
		return macroQueueID, true
	case "j":
		return macroMTA, true
	case "daemon_name":
		return macroDaemonName, true
	case "auth_type":
		return macroAuthType, true
	case "auth_authen":
		return macroAuthUser, true
	case "verify":
		return macroVerify, true
	case "cert_subject":
		return macroCertSubject, true
	case "cert_issuer":
		return macroCertIssuer, true
	case "cn_subject":
		return macroCNSubject, true
	case "cn_issuer":
		return macroCNIssuer, true
	}
	return 0, false
}

// stages are the events a macro packet may belong to, in the order in which
// they come. The first two live as long as the SMTP connection, the rest as long
// as a message.
const (
	stages       = "CHMRTLNBE"
	connectStage = 0
	messageStage = 2 // the index of M
)

// maxMacro is the longest value kept. It is longer than an SMTP command can be.
const maxMacro = 4096

// macros remembers what the MTA said at each stage, because a lookup at the end
// of a message needs what was told at its beginning, or even at connect.
type macros struct {
	values [len(stages)][macroCount]string
	// recent holds the last value of each macro: an MTA that repeats the queue
	// id before every field costs no memory each time.
	recent [macroCount]string
	// The macros of the next connection or message are here, its event is not yet.
	connectAnnounced, messageAnnounced bool
}

// define takes the payload of a macro packet: the stage's letter, then names and
// values in turn, each ended by NUL. What was known of that stage and of later ones is
// forgotten. It reports false for a packet that is not built like that.
func (m *macros) define(payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	stage := strings.IndexByte(stages, payload[0])
	if stage < 0 {
		// Macros of an unknown command, or of an event yet to be invented.
		return true
	}
	m.clear(stage)
	m.connectAnnounced = m.connectAnnounced || stage == connectStage
	m.messageAnnounced = m.messageAnnounced || stage == messageStage
	for rest := payload[1:]; len(rest) > 0; {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return false // a name without its value
		}
		value, next, ok := bytes.Cut(after, []byte{0})
		if !ok {
			return false // a value without its end
		}
		rest = next
		if id, known := macroNamed(name); known && len(value) <= maxMacro {
			if m.recent[id] != string(value) {
				m.recent[id] = string(value)
			}
			m.values[stage][id] = m.recent[id]
		}
	}
	return true
}

// clear forgets a stage and the later ones.
func (m *macros) clear(from int) {
	clear(m.values[from:])
	if from <= messageStage {
		m.messageAnnounced = false
	}
	if from <= connectStage {
		m.connectAnnounced = false
	}
}

// startConnection forgets all that is not about the connection that begins.
func (m *macros) startConnection() {
	if !m.connectAnnounced {
		m.clear(connectStage)
	}
	m.connectAnnounced = false
}

// startMessage forgets what a message before this one left behind.
func (m *macros) startMessage() {
	if !m.messageAnnounced {
		m.clear(messageStage)
	}
	m.messageAnnounced = false
}

// endConnection forgets everything.
func (m *macros) endConnection() { *m = macros{} }

// lookup searches the latest stage first.
func (m *macros) lookup(id macro) string {
	for stage := len(m.values) - 1; stage >= 0; stage-- {
		if value := m.values[stage][id]; value != "" {
			return value
		}
	}
	return ""
}

// certificate is the client's TLS certificate, if the MTA says that it was issued by somebody the MTA trusts.
//
// Postfix gives common names, of a certificate that it trusts and of no other. Sendmail gives those of any, as
// {cn_subject} and {cn_issuer}, and says in {verify} what they are worth; its {cert_subject} is a distinguished name,
// which begins with a slash.
func (m *macros) certificate() message.Certificate {
	subject := m.lookup(macroCertSubject)
	switch verify := m.lookup(macroVerify); {
	case verify == "OK":
		return message.Certificate{Subject: fromXtext(m.lookup(macroCNSubject)), Issuer: fromXtext(m.lookup(macroCNIssuer))}
	case verify == "" && !strings.HasPrefix(subject, "/"):
		return message.Certificate{Subject: subject, Issuer: m.lookup(macroCertIssuer)}
	}
	return message.Certificate{}
}

// fromXtext decodes RFC 3461 section 4, in which Sendmail gives names: +20 is a space.
func fromXtext(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "+")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if octet, err := hex.DecodeString(after[:min(2, len(after))]); err == nil && len(octet) == 1 {
			b.Write(octet)
			s = after[2:]
		} else {
			b.WriteByte('+')
			s = after
		}
	}
}
