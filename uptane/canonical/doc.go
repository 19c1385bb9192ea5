// Package canonical reads JSON strictly and writes it in the one sequence of
// bytes that is signed.
//
// A signature covers bytes, not meaning, so every party must derive the same
// bytes from the same document. Uptane clients built on jsoncpp and clients of
// The Update Framework (TUF) disagree on how a string is written; both forms
// are here, and there is one reader for both. The reader refuses whatever two
// readers could understand differently: a member given twice or in two
// spellings of case, fractions and exponents, integers beyond 64 bits, bytes
// that are no UTF-8, trailing data, deep nesting.
//
// A Value is immutable and safe for concurrent use.
package canonical
