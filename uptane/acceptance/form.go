package acceptance

import (
	"sealift/uptane"
	"sealift/uptane/canonical"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Form judges one document by itself, signatures and time left out: is there
// anything about it for which a client would refuse it, whoever signed? role may
// be that of a delegation. It answers [ErrRefused].
func Form(f uptane.Flavour, repo uptane.Repository, role uptane.Role, doc []byte) error {
	_, r := readWhole(f, repo, role, doc)
	return asFault(r)
}

// readWhole judges the form for all judges, of a document that is not opened
// afterwards.
func readWhole(f uptane.Flavour, repo uptane.Repository, role uptane.Role, doc []byte) (document, *Refusal) {
	d, r := read(f, repo, role, doc)
	if r != nil {
		return d, r
	}
	if _, err := uptane.ParseEnvelope(f, d.raw); err != nil {
		return d, strictly(role, err)
	}
	return d, strictly(role, d.payload(f))
}

// document is a document that passed its form.
type document struct {
	role   uptane.Role
	raw    []byte // canonical: what is served
	value  canonical.Value
	signed canonical.Value
	valid  map[proof]bool // signatures that were verified
}

// read parses a document and judges its form but for the strict client, which
// reads it when it verifies it.
func read(f uptane.Flavour, repo uptane.Repository, role uptane.Role, doc []byte) (document, *Refusal) {
	limit := limitOf(f, repo, role)
	if len(doc) > 4*limit { // white space may go, but not that much
		return document{}, tooLarge(f, role, len(doc), limit)
	}
	v, err := canonical.Parse(doc, canonical.Options{ASCII: true})
	if err != nil {
		return document{}, strictly(role, err)
	}
	d := document{role: role, raw: v.Uptane(), value: v, valid: map[proof]bool{}}
	if len(d.raw) > limit {
		return d, tooLarge(f, role, len(d.raw), limit)
	}
	d.signed, _ = v.Member("signed")
	if f == uptane.Uptane {
		if r := (model{repo: repo}).form(d); r != nil {
			return d, r
		}
	}
	return d, nil
}

// payload reads the payload as the strict client does.
func (d document) payload(f uptane.Flavour) error {
	raw := d.signed.Uptane()
	var err error
	switch d.role {
	case uptane.RoleRoot:
		_, err = uptane.ParsePayload[metadata.RootType](f, d.role, raw)
	case uptane.RoleSnapshot:
		_, err = uptane.ParsePayload[metadata.SnapshotType](f, d.role, raw)
	case uptane.RoleTimestamp:
		_, err = uptane.ParsePayload[metadata.TimestampType](f, d.role, raw)
	default:
		_, err = uptane.ParsePayload[metadata.TargetsType](f, d.role, raw)
	}
	return err
}

func tooLarge(f uptane.Flavour, role uptane.Role, have, limit int) *Refusal {
	judge := Aktualizr
	if f == uptane.TUF {
		judge = GoTUF
	}
	return refuse(judge, RuleSize, role, "%d bytes, and clients read at most %d", have, limit)
}
