package ceremony

import (
	"fmt"
	"time"

	"sealift/uptane"
)

// Diff tells two models apart in words, one line a difference, for people who are
// to sign the second. Keys are named whole: whoever signs compares them.
func Diff(before, after Model) []string {
	lines := []string{fmt.Sprintf("version %d, before %d", after.Version, before.Version),
		fmt.Sprintf("valid until %s, before %s", after.Expires.Format(time.RFC3339), before.Expires.Format(time.RFC3339))}
	for _, role := range Roles() {
		old, now := before.Roles[role], after.Roles[role]
		if old.Threshold != now.Threshold || len(old.Keys) != len(now.Keys) {
			lines = append(lines, fmt.Sprintf("%s: %d of %d keys must sign, before %d of %d", role, now.Threshold, len(now.Keys), old.Threshold, len(old.Keys)))
		}
		for _, k := range old.Keys {
			if !now.Has(k) {
				lines = append(lines, fmt.Sprintf("%s: - %s key %s", role, k.Algorithm(), k.ID()))
			}
		}
		for _, k := range now.Keys {
			if !old.Has(k) {
				lines = append(lines, fmt.Sprintf("%s: + %s key %s", role, k.Algorithm(), k.ID()))
			}
		}
	}
	return lines
}

// Quorum is how many keys have signed a root, of those of the root before and of
// its own.
type Quorum struct {
	Old      int `json:"old"`
	OldNeeds int `json:"oldNeeds"`
	New      int `json:"new"`
	NewNeeds int `json:"newNeeds"`
}

// Reached reports whether the root may be published.
func (q Quorum) Reached() bool { return q.Old >= q.OldNeeds && q.New >= q.NewNeeds }

// Signers returns the root keys, of before or of after, that have signed a document
// of flavour f, and counts them. A signature of another key, or one that is wrong,
// is an error that wraps uptane.ErrSignature.
func Signers(f uptane.Flavour, before, after Model, doc []byte) ([]uptane.Key, Quorum, error) {
	old, own := before.Roles[uptane.RoleRoot], after.Roles[uptane.RoleRoot]
	q := Quorum{OldNeeds: old.Threshold, NewNeeds: own.Threshold}
	e, err := uptane.ParseEnvelope(f, doc)
	if err != nil || len(e.Signatures) == 0 {
		return nil, q, err
	}
	all := append([]uptane.Key{}, old.Keys...)
	for _, k := range own.Keys {
		if !old.Has(k) {
			all = append(all, k)
		}
	}
	msg, err := f.Message(e.Signed)
	if err != nil {
		return nil, q, err
	}
	signers, err := uptane.NewKeyring(len(e.Signatures), all...).Verify(f, msg, e.Signatures)
	if err != nil {
		return nil, q, err
	}
	for _, k := range signers {
		if old.Has(k) {
			q.Old++
		}
		if own.Has(k) {
			q.New++
		}
	}
	return signers, q, nil
}
