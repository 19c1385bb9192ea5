package ostree

import (
	"encoding/binary"
	"time"
)

var (
	metadataType = builtinType("a{sv}")
	commitType   = builtinType("(a{sv}aya(say)sstayay)")
)

// maxTimestamp is the last second of the year 9999.
const maxTimestamp = 253402300799

// Commit is a parsed commit object. Encode gives back the bytes it was parsed
// from.
type Commit struct {
	Metadata Metadata
	// Parent is zero for a commit without one.
	Parent        Checksum
	Related       []Related
	Subject, Body string
	Timestamp     time.Time // whole seconds
	// Root and RootMeta are the dirtree and the dirmeta of the root folder.
	Root, RootMeta Checksum
}

// Related is a commit that another one mentions; nothing follows from it.
type Related struct {
	Name   string
	Commit Checksum
}

// Metadata is a dictionary a{sv}, in its stored order.
type Metadata []MetaEntry

// MetaEntry is one entry of Metadata: its GVariant type and serialised value.
type MetaEntry struct {
	Key, Type string
	Value     []byte
}

// Text returns the string stored under key, if there is one.
func (m Metadata) Text(key string) (string, bool) {
	for _, e := range m {
		if e.Key == key && e.Type == "s" {
			return text(e.Value), true
		}
	}
	return "", false
}

// Texts returns the list of strings stored under key, if there is one.
func (m Metadata) Texts(key string) ([]string, bool) {
	for _, e := range m {
		if e.Key == key && e.Type == "as" {
			var list []string
			err := builtinType("as").each(e.Value, func(elem []byte) error {
				list = append(list, text(elem))
				return nil
			})
			return list, err == nil
		}
	}
	return nil, false
}

func textEntry(key, value string) MetaEntry {
	return MetaEntry{Key: key, Type: "s", Value: packText(value)}
}

func textsEntry(key string, values ...string) MetaEntry {
	var parts [][]byte
	for _, v := range values {
		parts = append(parts, packText(v))
	}
	return MetaEntry{Key: key, Type: "as", Value: builtinType("as").pack(parts...)}
}

// parseMetadata reads a checked a{sv}.
func parseMetadata(data []byte) (Metadata, error) {
	var m Metadata
	err := metadataType.each(data, func(entry []byte) error {
		kv, err := metadataType.sub[0].fields(entry, nil)
		if err != nil {
			return err
		}
		t, value, err := openVariant(kv[1])
		if err != nil {
			return err
		}
		e := MetaEntry{Key: text(kv[0]), Type: t.sig, Value: value}
		if e.Key == "" {
			return broken("metadata_key", "a metadata key is empty")
		}
		m = append(m, e)
		return nil
	})
	return m, err
}

// Encode returns the bytes of a commitmeta object.
func (m Metadata) Encode() []byte {
	var entries [][]byte
	for _, e := range m {
		entries = append(entries, metadataType.sub[0].pack(packText(e.Key), packVariant(e.Type, e.Value)))
	}
	return metadataType.pack(entries...)
}

// ParseMetadata reads a commitmeta object: a dictionary without empty keys. No
// bytes at all are an empty one. The result refers to data.
func ParseMetadata(data []byte) (Metadata, error) {
	if err := metadataType.check(data); err != nil {
		return nil, err
	}
	return parseMetadata(data)
}

// ParseCommit reads a commit object. The result refers to data.
func ParseCommit(data []byte) (*Commit, error) {
	if err := commitType.check(data); err != nil {
		return nil, err
	}
	f, err := commitType.fields(data, nil)
	if err != nil {
		return nil, err
	}
	c := &Commit{Subject: text(f[3]), Body: text(f[4])}
	if c.Metadata, err = parseMetadata(f[0]); err != nil {
		return nil, err
	}
	if len(f[1]) > 0 {
		if c.Parent, err = checksumIn(f[1], "commit_parent"); err != nil {
			return nil, err
		}
		if c.Parent.IsZero() {
			return nil, broken("commit_parent", "a commit's parent is all zeros")
		}
	}
	if c.Related, err = parseRelated(f[2]); err != nil {
		return nil, err
	}
	seconds := binary.BigEndian.Uint64(f[5])
	if seconds > maxTimestamp {
		return nil, broken("commit_timestamp", "a commit is dated after the year 9999")
	}
	c.Timestamp = time.Unix(int64(seconds), 0).UTC()
	if c.Root, err = checksumIn(f[6], "commit_root"); err != nil {
		return nil, err
	}
	c.RootMeta, err = checksumIn(f[7], "commit_root")
	return c, err
}

func parseRelated(data []byte) (list []Related, err error) {
	t := commitType.sub[2]
	err = t.each(data, func(elem []byte) error {
		f, err := t.sub[0].fields(elem, nil)
		if err != nil {
			return err
		}
		c, err := checksumIn(f[1], "commit_related")
		list = append(list, Related{Name: text(f[0]), Commit: c})
		return err
	})
	return list, err
}

// checksumIn reads a checksum stored as 32 bytes.
func checksumIn(data []byte, rule string) (Checksum, error) {
	if len(data) != len(Checksum{}) {
		return Checksum{}, broken(rule, "a checksum has %d bytes instead of 32", len(data))
	}
	return Checksum(data), nil
}

// Encode returns the commit's object bytes; the SHA-256 of these is its name.
func (c *Commit) Encode() []byte {
	var parent []byte
	if !c.Parent.IsZero() {
		parent = c.Parent[:]
	}
	t := commitType.sub[2]
	var related [][]byte
	for _, r := range c.Related {
		related = append(related, t.sub[0].pack(packText(r.Name), r.Commit[:]))
	}
	return commitType.pack(c.Metadata.Encode(), parent, t.pack(related...), packText(c.Subject), packText(c.Body),
		binary.BigEndian.AppendUint64(nil, uint64(c.Timestamp.Unix())), c.Root[:], c.RootMeta[:])
}

// edges are what the commit needs to be complete: not its parent.
func (c *Commit) edges() []ObjectName {
	return []ObjectName{{c.Root, TypeDirTree}, {c.RootMeta, TypeDirMeta}}
}
