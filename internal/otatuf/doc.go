// Package otatuf reads what an operator of an ota-tuf key server and its Director
// can take out of their databases: the text of mysqldump, and private keys in the
// encryption that these servers put around them.
//
// That encryption uses one nonce for every row and is read here for taking keys
// over, never written. Everything is bounded before it is read: a line of text
// that is no dump, a value larger than any such table has, or more rows than a
// fleet has devices is an error, not a long wait.
package otatuf

import "errors"

var (
	// ErrDump: the text is not what mysqldump writes of these tables.
	ErrDump = errors.New("unusable dump")
	// ErrEncryption: salt or password are not those the key was encrypted with,
	// or it was changed since.
	ErrEncryption = errors.New("salt or password are wrong, or the key was changed")
)
