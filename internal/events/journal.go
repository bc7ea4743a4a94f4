package events

import (
	"encoding/binary"
	"strconv"
)

// JournalRecord is the field that has the record as JSON, for those who read it back: MESSAGE is for people.
const JournalRecord = "DKIMD_RECORD"

// Journal encodes a record as an entry of the journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL):
// what message writes, fields to search for, and what record writes unless it is nil. Empty fields are left out; a list becomes
// repeated fields.
func Journal(message, record Encoder) Encoder {
	return func(dst []byte, e *Event) []byte {
		dst = appendMessage(dst, message(nil, e))
		dst = append(dst, "SYSLOG_IDENTIFIER="+AppName+"\nSYSLOG_FACILITY="...)
		dst = strconv.AppendInt(dst, facilityMail, 10)
		dst = append(dst, "\nPRIORITY="...)
		dst = strconv.AppendInt(dst, int64(e.severity()), 10)
		dst = append(dst, '\n')
		for _, f := range [...]struct{ name, value string }{
			{"ID", e.ID},
			{"MESSAGE_ID", e.MessageID},
			{"FRONT", e.Front},
			{"MODE", e.Mode},
			{"REASON_CODE", e.ReasonCode},
			{"REASON", e.Reason},
			{"CLIENT", e.Client},
			{"HELO", e.Helo},
			{"AUTH", e.Auth},
			{"SENDER", e.Sender},
			{"SPF", e.SPF.Result},
			{"DMARC", e.DMARC.Result},
			{"VERDICT", e.Verdict},
			{"ERROR", e.Error},
		} {
			dst = appendField(dst, f.name, f.value)
		}
		dst = appendFields(dst, "FROM", e.From, func(address *string) string { return *address })
		dst = appendFields(dst, "SIGNATURE", e.Signatures, func(s *Signature) string { return s.Domain })
		dst = appendFields(dst, "RESULT", e.Signatures, func(s *Signature) string { return s.Result })
		dst = appendFields(dst, "SIGNED", e.Signed, func(s *Signed) string { return s.Domain })
		dst = appendFields(dst, "RULES_FILE", e.Policy, func(d *Decision) string { return d.File })
		dst = appendFields(dst, "RULE", e.Policy, func(d *Decision) string { return d.Rule })
		if record != nil {
			dst = append(record(append(dst, JournalRecord+"="...), e), '\n')
		}
		return dst
	}
}

// appendMessage appends MESSAGE with its length rather than up to a line end: the
// format exim has several lines.
func appendMessage(dst, message []byte) []byte {
	dst = append(dst, "MESSAGE\n"...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(message)))
	dst = append(dst, message...)
	return append(dst, '\n')
}

// appendField appends DKIMD_name. The value is escaped like those of the text
// format, so that it ends where its line ends.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, "DKIMD_"...)
	dst = append(dst, name...)
	dst = append(dst, '=')
	dst = appendPlain(dst, value, "\"\\")
	return append(dst, '\n')
}

// appendFields appends a field for each element of a list. MESSAGE says how
// many elements are left out.
func appendFields[T any](dst []byte, name string, list []T, value func(*T) string) []byte {
	start := len(dst)
	for i := range list {
		if i >= MaxList || len(dst)-start > maxListBytes {
			break
		}
		dst = appendField(dst, name, value(&list[i]))
	}
	return dst
}
