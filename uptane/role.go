package uptane

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxVersion is the highest version a client can read: a signed 32-bit integer.
const MaxVersion = 1<<31 - 1

// Repository is one of Uptane's two repositories.
type Repository string

// The two repositories of a namespace.
const (
	ImageRepository    Repository = "image"
	DirectorRepository Repository = "director"
)

// Role is a top-level role or the name of a delegation.
type Role string

// The four top-level roles.
const (
	RoleRoot      Role = "root"
	RoleTargets   Role = "targets"
	RoleSnapshot  Role = "snapshot"
	RoleTimestamp Role = "timestamp"
)

// TopLevel reports whether r is one of the four top-level roles.
func (r Role) TopLevel() bool {
	return r == RoleRoot || r == RoleTargets || r == RoleSnapshot || r == RoleTimestamp
}

// Delegation reports whether r may name a delegated role: 1 to 50 of
// [A-Za-z0-9_-], and no top-level role in any spelling of case. Clients put the
// name into a URL as it is.
func (r Role) Delegation() bool {
	if len(r) == 0 || len(r) > 50 || Role(strings.ToLower(string(r))).TopLevel() {
		return false
	}
	return all(string(r), func(c byte) bool { return letter(c) || c >= '0' && c <= '9' || c == '_' || c == '-' })
}

// Valid reports whether r is a top-level role or may name a delegation.
func (r Role) Valid() bool { return r.TopLevel() || r.Delegation() }

// Filename is the name of the role's document; version 0 leaves the version out.
func (r Role) Filename(version int) string {
	if version == 0 {
		return string(r) + ".json"
	}
	return fmt.Sprintf("%d.%s.json", version, r)
}

// payloadType is the role whose payload r carries: a delegation carries targets.
func (r Role) payloadType() Role {
	if r.TopLevel() {
		return r
	}
	return RoleTargets
}

// ParseFilename takes "root.json" or "3.root.json" apart; version is 0 where the
// name has none. There is exactly one spelling of each name. Errors wrap ErrName.
func ParseFilename(name string) (role Role, version int, err error) {
	base, ok := strings.CutSuffix(name, ".json")
	if !ok {
		return "", 0, fmt.Errorf("reading metadata file name %q: %w", name, ErrName)
	}
	if number, rest, versioned := strings.Cut(base, "."); versioned {
		version, err = strconv.Atoi(number)
		if err != nil || version < 1 || version > MaxVersion || strconv.Itoa(version) != number {
			return "", 0, fmt.Errorf("reading version in metadata file name %q: %w", name, ErrName)
		}
		base = rest
	}
	if role = Role(base); !role.Valid() {
		return "", 0, fmt.Errorf("reading role in metadata file name %q: %w", name, ErrName)
	}
	return role, version, nil
}
