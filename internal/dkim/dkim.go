// Package dkim holds what signing and verifying share of RFC 6376: tag lists
// (section 3.2), canonicalization (3.4), the body hash and the header hash
// (3.7), the DKIM-Signature field (3.5) and key records (3.6.1), with the
// algorithms of RFC 8301 and RFC 8463 and the internationalized names of
// RFC 8616. It makes no lookups, no decisions about mail, and checks no
// signature: verifier and signer do.
package dkim

// Limits. Each is checked before the work it limits is done.
const (
	MaxSignatureBytes = 64 << 10 // one DKIM-Signature field
	MaxNames          = 1000     // names in h=
	MaxKeyRecordBytes = 4096     // one key record, its strings joined
	MaxModulusBits    = 16384    // what ParseKeyRecord turns into a number at all
)

// SignatureField is the name of the field that carries a signature.
const SignatureField = "DKIM-Signature"
