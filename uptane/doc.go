// Package uptane has the words of the Uptane standard as Go types, and the only
// code that makes or trusts a signed document.
//
// A document is an envelope of signatures around a payload. Seal makes one,
// Open and OpenRoot judge one that came from outside, VerifyManifest judges what
// a vehicle reports. The package never holds a private key: it asks a Signer.
//
// Documents come in two flavours of one state. Uptane is what aktualizr reads;
// TUF is what clients of The Update Framework 1.0 read. They differ in the bytes
// that are signed, in key ids, in key and signature encodings and in the
// spelling of the payload's type, so each has signatures of its own.
//
// Payloads are the types of go-tuf's metadata package. Whatever comes from
// outside is parsed strictly, written canonically, and those canonical bytes are
// verified, stored and served; a payload is never decoded and encoded again
// under old signatures.
//
// Every error wraps one of the sentinels of this package, so that a caller can
// say which check refused a document. All types are plain values: reading them
// from several goroutines is safe.
package uptane
