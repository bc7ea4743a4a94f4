package dkim

import "errors"

// What can be wrong with a DKIM-Signature field. All of these are permanent
// (RFC 6376 section 6.1.1): the verifier reports permerror.
var (
	ErrSyntax         = errors.New("syntax error")
	ErrDuplicateTag   = errors.New("tag occurs more than once")
	ErrMissingTag     = errors.New("required tag is missing")
	ErrVersion        = errors.New("signature version is not 1")
	ErrAlgorithm      = errors.New("unknown signature algorithm")
	ErrQuery          = errors.New("unknown query method")
	ErrFromUnsigned   = errors.New("the From field is not signed")
	ErrDomainMismatch = errors.New("i= is not within d=")
	ErrTooLong        = errors.New("DKIM-Signature field is too long")
	ErrTooManyNames   = errors.New("h= has too many names")
	ErrExpiration     = errors.New("x= is not later than t=")
)

// What can be wrong with a key record (RFC 6376 section 6.1.2).
var (
	ErrKeySyntax  = errors.New("syntax error")
	ErrKeyTooLong = errors.New("too long")
	ErrKeyVersion = errors.New("version is not DKIM1")
	ErrKeyRevoked = errors.New("key is revoked")
	ErrKeyType    = errors.New("unknown key type")
	ErrKeyHash    = errors.New("key does not allow SHA-256")
	ErrKeyService = errors.New("key is not for email")
	ErrKeyData    = errors.New("public key cannot be used")
	ErrKeySize    = errors.New("RSA key is too large")
)
