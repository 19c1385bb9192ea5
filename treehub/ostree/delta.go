package ostree

import "strings"

// DeltaName is the address of a static delta. From is zero for a delta that
// needs no earlier commit.
type DeltaName struct {
	From, To Checksum
}

// Path returns "XX/REST", where the delta's files lie below deltas/.
func (d DeltaName) Path() string {
	s := d.To.MB64()
	if !d.From.IsZero() {
		s = d.From.MB64() + "-" + s
	}
	return s[:2] + "/" + s[2:]
}

// ParseDeltaPath reads what Path writes.
func ParseDeltaPath(path string) (DeltaName, error) {
	var d DeltaName
	if len(path) < 3 || path[2] != '/' {
		return d, broken("name", "a delta path is two characters, a slash and the rest of the name")
	}
	name := path[:2] + path[3:]
	from, to, both := strings.Cut(name, "-")
	if !both {
		from, to = "", name
	}
	var err error
	if d.To, err = ParseMB64(to); err != nil {
		return DeltaName{}, err
	}
	if both {
		if d.From, err = ParseMB64(from); err != nil {
			return DeltaName{}, err
		}
		if d.From.IsZero() {
			return DeltaName{}, broken("name", "a delta begins at a commit or nowhere")
		}
	}
	return d, nil
}

// IndexPath returns "XX/REST.index", where the index of the deltas to commit to
// lies below delta-indexes/.
func IndexPath(to Checksum) string {
	s := to.MB64()
	return s[:2] + "/" + s[2:] + ".index"
}
