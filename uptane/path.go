package uptane

import (
	"fmt"
	"strings"
)

// MatchPath reports whether a path pattern of a delegation covers a target file
// name, as fnmatch(3) without flags decides it and therefore aktualizr: * and ?
// match slashes too, [a-z] and [!a-z] are sets of characters, everything else
// stands for itself. Clients of TUF 1.0 let * end at a slash: what they match
// MatchPath matches, not the other way round.
func MatchPath(pattern, name string) bool {
	// Where to go on when what follows the last star does not fit: the star takes
	// one character more. One memory is enough, so that no pattern takes long.
	star, resume := "", ""
	starred := false
	for {
		if pattern != "" && pattern[0] == '*' {
			starred, star, resume = true, pattern[1:], name
			pattern = star
			continue
		}
		if name == "" && pattern == "" {
			return true
		}
		if name != "" && pattern != "" {
			if rest, ok := matchOne(pattern, name[0]); ok {
				pattern, name = rest, name[1:]
				continue
			}
		}
		if !starred || resume == "" {
			return false
		}
		resume = resume[1:]
		pattern, name = star, resume
	}
}

// matchOne matches the first element of a pattern, which is no star, with one
// character and returns the rest of the pattern.
func matchOne(pattern string, c byte) (rest string, ok bool) {
	switch pattern[0] {
	case '?':
		return pattern[1:], true
	case '[':
		if in, rest, isSet := matchSet(pattern, c); isSet {
			return rest, in
		}
	}
	return pattern[1:], pattern[0] == c
}

// matchSet reads a set such as [!a-z]; one that never ends is no set.
func matchSet(pattern string, c byte) (in bool, rest string, isSet bool) {
	s := pattern[1:]
	not := s != "" && (s[0] == '!' || s[0] == '^')
	if not {
		s = s[1:]
	}
	for first := true; s != "" && (first || s[0] != ']'); first = false {
		low, high := s[0], s[0]
		s = s[1:]
		if len(s) > 1 && s[0] == '-' && s[1] != ']' {
			high, s = s[1], s[2:]
		}
		in = in || low <= c && c <= high
	}
	if s == "" {
		return false, "", false
	}
	return in != not, s[1:], true
}

// CheckPath refuses path patterns of which clients might think differently: what
// [CheckFilename] refuses, backslashes, and the named classes of characters of
// POSIX. Errors wrap ErrName.
func CheckPath(pattern string) error {
	if err := CheckFilename(pattern); err != nil {
		return err
	}
	if strings.ContainsAny(pattern, `\`) || strings.Contains(pattern, "[:") || strings.Contains(pattern, "[.") || strings.Contains(pattern, "[=") {
		return fmt.Errorf("checking path pattern %q: %w", pattern, ErrName)
	}
	return nil
}
