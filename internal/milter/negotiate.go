package milter

import (
	"encoding/binary"
	"errors"
	"fmt"

	gomilter "github.com/emersion/go-milter"
)

// What dkimd asks for, where the MTA offers it. No more may be asked for: both
// Postfix and Sendmail then drop the filter.
const (
	wantedActions = gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptQuarantine | gomilter.OptSetSymList

	// Answers that would only say "continue" are not sent (the no-reply flags),
	// SMTP commands the MTA does not know are not reported, and a field's value
	// keeps the space after its colon, as simple canonicalization needs it.
	wantedProtocol = gomilter.OptHeaderLeadingSpace | gomilter.OptNoUnknown |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoMailReply | gomilter.OptNoRcptReply |
		gomilter.OptNoDataReply | gomilter.OptNoUnknownReply | gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply |
		gomilter.OptNoBodyReply

	// Versions below 2 are not spoken by any MTA alive; above 6 none is defined.
	minVersion = 2
	maxVersion = 6
)

// grant is what an MTA and dkimd agreed upon: the offer, masked.
type grant struct {
	version  uint32
	actions  gomilter.OptAction
	protocol gomilter.OptProtocol
}

// readOffer reads the payload of an OPTNEG packet.
func readOffer(payload []byte) (grant, error) {
	if len(payload) < 12 {
		return grant{}, fmt.Errorf("option negotiation of %d bytes", len(payload))
	}
	version := binary.BigEndian.Uint32(payload)
	if version < minVersion {
		return grant{}, fmt.Errorf("milter protocol version %d", version)
	}
	return grant{
		version:  min(version, maxVersion),
		actions:  gomilter.OptAction(binary.BigEndian.Uint32(payload[4:])) & wantedActions,
		protocol: gomilter.OptProtocol(binary.BigEndian.Uint32(payload[8:])) & wantedProtocol,
	}, nil
}

// symbols are the macros dkimd reads, asked for where the MTA lets a filter
// choose: then they arrive however the MTA is configured. Postfix replaces its
// own list of each stage named here and keeps those of the others; it cannot
// send i before the queue file exists, which is after the first recipient.
func symbols() map[gomilter.Stage][]string {
	queueID := []string{"i"}
	return map[gomilter.Stage][]string{
		gomilter.StageConnect:  {"j", "{daemon_name}"},
		gomilter.StageMailFrom: {"i", "{auth_type}", "{auth_authen}", "{verify}", "{cert_subject}", "{cert_issuer}", "{cn_subject}", "{cn_issuer}"},
		gomilter.StageRcptTo:   queueID,
		gomilter.StageData:     queueID,
		gomilter.StageEOH:      queueID,
		gomilter.StageEOM:      queueID,
	}
}

// setVersion puts the version into go-milter's answer to the offer, which
// always says 2. An MTA takes that as the version of the whole dialogue.
func setVersion(answer []byte, version uint32) error {
	const header = 5 // length and command
	if len(answer) < header+12 || gomilter.Code(answer[4]) != gomilter.CodeOptNeg {
		return errors.New("unexpected answer to the option negotiation")
	}
	binary.BigEndian.PutUint32(answer[header:], version)
	return nil
}
