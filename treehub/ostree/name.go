package ostree

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Checksum is a SHA-256 value. The zero Checksum stands for "none".
type Checksum [32]byte

// ParseChecksum reads exactly 64 lower-case hexadecimal digits.
func ParseChecksum(s string) (Checksum, error) {
	var c Checksum
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return c, broken("name", "a checksum is 64 lower-case hexadecimal digits")
	}
	if _, err := hex.Decode(c[:], []byte(s)); err != nil {
		return c, broken("name", "a checksum is 64 lower-case hexadecimal digits")
	}
	return c, nil
}

// String returns 64 lower-case hexadecimal digits.
func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether c stands for "none".
func (c Checksum) IsZero() bool { return c == Checksum{} }

// MarshalText writes c as 64 lower-case hexadecimal digits.
func (c Checksum) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseChecksum.
func (c *Checksum) UnmarshalText(text []byte) (err error) {
	*c, err = ParseChecksum(string(text))
	return err
}

// mb64 is how static deltas spell a checksum: base64 with _ for / (but + kept)
// and no padding.
func mb64() *base64.Encoding {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_"
	return base64.NewEncoding(alphabet).WithPadding(base64.NoPadding).Strict()
}

// MB64 returns the 43 characters by which static deltas name c.
func (c Checksum) MB64() string { return mb64().EncodeToString(c[:]) }

// ParseMB64 reads what MB64 writes, and nothing else.
func ParseMB64(s string) (Checksum, error) {
	var c Checksum
	// The decoder would skip line ends; the length alone does not exclude them.
	if len(s) != 43 || strings.ContainsAny(s, "\r\n") {
		return c, broken("name", "a delta's checksum is 43 characters of base64")
	}
	if _, err := mb64().Decode(c[:], []byte(s)); err != nil {
		return Checksum{}, broken("name", "a delta's checksum is 43 characters of base64")
	}
	return c, nil
}

// ObjectType is the kind of an object: its extension in a repository.
type ObjectType string

// The object types of an archive repository.
const (
	TypeFile       ObjectType = "filez"
	TypeDirTree    ObjectType = "dirtree"
	TypeDirMeta    ObjectType = "dirmeta"
	TypeCommit     ObjectType = "commit"
	TypeCommitMeta ObjectType = "commitmeta"
	// TypeTombstone marks a commit that was deleted. It is read, never pushed.
	TypeTombstone ObjectType = "tombstone-commit"
)

func (t ObjectType) valid() bool {
	switch t {
	case TypeFile, TypeDirTree, TypeDirMeta, TypeCommit, TypeCommitMeta, TypeTombstone:
		return true
	}
	return false
}

// ObjectName is the address of an object.
type ObjectName struct {
	Checksum Checksum
	Type     ObjectType
}

// String returns "CHECKSUM.TYPE".
func (n ObjectName) String() string { return n.Checksum.String() + "." + string(n.Type) }

// Path returns "XX/REST.TYPE", where objects lie below objects/.
func (n ObjectName) Path() string {
	s := n.String()
	return s[:2] + "/" + s[2:]
}

// ParseObjectName reads what String writes, of any of the six types.
func ParseObjectName(s string) (ObjectName, error) {
	digits, ext, ok := strings.Cut(s, ".")
	t := ObjectType(ext)
	if !ok || !t.valid() {
		return ObjectName{}, broken("name", "an object name is a checksum, a dot and a known object type")
	}
	c, err := ParseChecksum(digits)
	if err != nil {
		return ObjectName{}, err
	}
	return ObjectName{Checksum: c, Type: t}, nil
}

// ParseObjectPath reads what Path writes: two digits, a slash, 62 digits, a
// dot and one of the six types.
func ParseObjectPath(path string) (ObjectName, error) {
	if len(path) < 3 || path[2] != '/' {
		return ObjectName{}, broken("name", "an object path is two digits, a slash and the rest of the name")
	}
	return ParseObjectName(path[:2] + path[3:])
}
