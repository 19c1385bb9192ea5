package acceptance

import "sealift/uptane"

// What aktualizr reads at most, in bytes (src/libaktualizr/uptane/fetcher.h).
const (
	MaxMetadata = 64 << 10 // root, timestamp, Director targets
	MaxTargets  = 8 << 20  // image targets, delegated ones too
)

// maxSnapshot is what go-tuf's client reads of a snapshot. Aktualizr reads as
// much as the timestamp says, and 64 KiB where that says nothing, which ours never
// do (imagerepository.cc, fetchSnapshot).
const maxSnapshot = 2_000_000

// watched is the share of a limit, in percent, from which on somebody should do
// something: a document that reaches the limit stops every device.
const watched = 75

// Size is how large a document is, and how large it may be, in bytes.
type Size struct {
	Bytes, Limit int
}

// High reports whether three quarters of the limit are used.
func (s Size) High() bool { return s.Limit > 0 && s.Bytes*100 >= s.Limit*watched }

// Percent is the used share of the limit.
func (s Size) Percent() int {
	if s.Limit == 0 {
		return 0
	}
	return s.Bytes * 100 / s.Limit
}

// SizeOf is the size of a document in canonical form beside what clients of its
// flavour read. TUF clients are taken at go-tuf's defaults, which are lower than
// those of the other flavour for targets and timestamp.
func SizeOf(f uptane.Flavour, repo uptane.Repository, role uptane.Role, doc []byte) Size {
	return Size{len(doc), limitOf(f, repo, role)}
}

func limitOf(f uptane.Flavour, repo uptane.Repository, role uptane.Role) int {
	targets := !role.TopLevel() || role == uptane.RoleTargets
	switch {
	case role == uptane.RoleSnapshot && repo == uptane.ImageRepository:
		return maxSnapshot
	case f == uptane.TUF && role == uptane.RoleTimestamp:
		return 16384
	case f == uptane.TUF && targets:
		return 5_000_000
	case targets && repo == uptane.ImageRepository:
		return MaxTargets
	}
	return MaxMetadata
}
