package ostree

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxRefName is the length limit of a ref name in bytes.
const MaxRefName = 255

// CheckRef reports, as a RuleError, whether name may name a ref: parts joined
// by single slashes, each of letters, digits, "-", "." and "_" and beginning
// with a letter, a digit or "_". This is libostree's rule, less names that read
// as a checksum. The name is the short one: "main" for refs/heads/main.
func CheckRef(name string) error {
	if len(name) > MaxRefName {
		return broken("ref_name", "a ref name has at most %d bytes", MaxRefName)
	}
	if _, err := ParseChecksum(name); err == nil {
		return broken("ref_name", "a ref name must not look like a checksum")
	}
	if !utf8.ValidString(name) {
		return broken("ref_name", "a ref name is UTF-8")
	}
	for part := range strings.SplitSeq(name, "/") {
		if !refPart(part) {
			return broken("ref_name", "a ref name has parts of letters, digits, -, . and _ that begin with a letter, digit or _")
		}
	}
	return nil
}

func refPart(part string) bool {
	for i, r := range part {
		word := r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
		if !word && (i == 0 || r != '-' && r != '.') {
			return false
		}
	}
	return part != ""
}
