package registry

import (
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	maskedValue = "(masked)"
	notStored   = "# not stored: its secrets cannot be masked safely\n"
	maxNesting  = 64 // of tables and arrays in one value
)

var (
	// secretName is part of the name of a secret: passwords, PINs, passes, tokens.
	secretName = regexp.MustCompile(`(?i)pass|pin|secret|token|private`)
	// secretLine matches the lines whose value is a secret, whatever their section, and
	// comments that look like them.
	secretLine = regexp.MustCompile(`(?mi)^[^=\r\n]*(?:pass|pin|secret|token|private)[^=\r\n]*=.*$`)
	// plainLine is a section, one value without structure, or nothing.
	plainLine = regexp.MustCompile(`^[ \t]*(\[[A-Za-z0-9_. -]*\]|[A-Za-z0-9_.-]+[ \t]*=[^{\[\r]*)?[ \t]*\r?$`)
)

// mask replaces the values of secrets in a configuration, which is TOML or, from
// clients that escape nothing, nearly TOML. A text is judged by what it means, so
// that no spelling hides a secret; where one is left, nothing is kept.
func mask(text string) string {
	if strings.Contains(text, `"""`) || strings.Contains(text, "'''") || nesting(text) > maxNesting {
		return notStored
	}
	var values map[string]any
	if toml.Unmarshal([]byte(text), &values) != nil {
		return maskLines(plainLines(text))
	}
	masked := maskLines(text)
	clear(values)
	if toml.Unmarshal([]byte(masked), &values) != nil || tells(values, false) {
		return notStored
	}
	return masked
}

func maskLines(text string) string {
	return secretLine.ReplaceAllStringFunc(text, func(line string) string {
		name, value, _ := strings.Cut(line, "=")
		if v := strings.TrimSpace(value); v == `""` || v == "''" {
			return line
		}
		return name + `= "` + maskedValue + `"`
	})
}

// plainLines leaves out what could go over several lines or hold names inside.
func plainLines(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if plainLine.MatchString(strings.TrimRight(line, "\n")) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// tells says whether a secret is left in a value; one under a secret name is
// one, and so is all that it holds.
func tells(value any, secret bool) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if tells(inner, secret || secretName.MatchString(name)) {
				return true
			}
		}
		return false
	case []any:
		for _, inner := range v {
			if tells(inner, secret) {
				return true
			}
		}
		return false
	case string:
		return secret && v != "" && v != maskedValue
	}
	return secret
}

// nesting is how deep brackets are open at most. Those in texts count as well,
// which errs on the side of care.
func nesting(text string) int {
	depth, most := 0, 0
	for _, c := range text {
		switch c {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return most
}
