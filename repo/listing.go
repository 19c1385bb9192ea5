package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// listing says which version of each delegated role a snapshot lists.
type listing map[uptane.Role]int

// key is the same for the same listing; "" for an empty one.
func (l listing) key() string {
	if len(l) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, role := range slices.Sorted(maps.Keys(l)) {
		_, _ = fmt.Fprintf(sum, "%s=%d\n", role, l[role])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// with returns a copy in which a role has a version.
func (l listing) with(role uptane.Role, version int) listing {
	out := listing{role: version}
	for r, v := range l {
		if r != role {
			out[r] = v
		}
	}
	return out
}

// meta is what uptane.NewSnapshot takes.
func (l listing) meta() map[uptane.Role]int64 {
	out := make(map[uptane.Role]int64, len(l))
	for role, v := range l {
		out[role] = int64(v)
	}
	return out
}

// listingIn reads the listing of a snapshot back.
func listingIn(s *metadata.SnapshotType) listing {
	out := listing{}
	for name, file := range s.Meta {
		if role, _, err := uptane.ParseFilename(name); err == nil && role.Delegation() {
			out[role] = int(file.Version)
		}
	}
	return out
}

// edition is one state of what clients see: targets and the delegated metadata
// that snapshot lists beside them.
type edition struct {
	push    pushRow
	listing listing
}

func (e edition) stand() stand { return stand{e.push.ID, e.listing.key()} }

// stand names an edition.
type stand struct{ push, listing string }
