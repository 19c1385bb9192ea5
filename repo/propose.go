package repo

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ErrUnsigned: what was asked for needs a signature of people. The error has a
// [Proposal] in it: errors.As finds it.
var ErrUnsigned = fault.New(fault.PreconditionFailed, "role_keys_not_found",
	"the keys of targets are offline: sign what the cause has and push it")

// proposalLife is how long proposed targets are to live, at least.
const proposalLife = 31 * 24 * time.Hour

// Proposal is targets metadata that somebody is to sign.
type Proposal struct {
	Unsigned  []byte // the payload, canonical
	KeyIDs    []uptane.KeyID
	Threshold int
}

// Error says what is missing.
func (p *Proposal) Error() string {
	return fmt.Sprintf("%d of %d keys have to sign", p.Threshold, len(p.KeyIDs))
}

// FaultCause is what tools look for: the payload, and who may sign it.
func (p *Proposal) FaultCause() any {
	return struct {
		Unsigned  string         `json:"unsigned_metadata_base64"`
		KeyIDs    []uptane.KeyID `json:"required_key_ids"`
		Threshold int            `json:"threshold"`
	}{base64.StdEncoding.EncodeToString(p.Unsigned), p.KeyIDs, p.Threshold}
}

// draft is the visible targets metadata on their way to become others. What an
// edit does not touch stays byte for byte, delegations above all.
type draft struct {
	signed canonical.Value
	now    time.Time
}

func (d *draft) targets() canonical.Value {
	v, _ := d.signed.Member("targets")
	return v
}

func (d *draft) setTargets(v canonical.Value) { d.signed = d.signed.With("targets", v) }

// drop takes targets out, all at once: there may be very many.
func (d *draft) drop(filenames []string) {
	gone := make(map[string]bool, len(filenames))
	for _, name := range filenames {
		gone[name] = true
	}
	d.setTargets(canonical.Fields(slices.DeleteFunc(slices.Clone(d.targets().Members()),
		func(m canonical.Member) bool { return gone[m.Name] })...))
}

// propose lets edit change the visible targets and answers ErrUnsigned with what
// came out, or nil when nothing did. What a push would refuse is refused now.
func (r *Repo) propose(ctx context.Context, ns uptane.Namespace, edit func(*draft) error) error {
	d, before, err := r.draft(ctx, ns)
	if err != nil {
		return err
	}
	if err := edit(d); err != nil {
		return err
	}
	if before == string(d.signed.Uptane()) {
		return nil
	}
	version, _ := d.signed.Member("version")
	n, _ := version.Int()
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return err
	}
	expires, _ := d.signed.Member("expires")
	text, _ := expires.Text()
	until, _ := time.Parse(time.RFC3339, text)
	for _, t := range []time.Time{d.now.Add(proposalLife), time.UnixMilli(repository.NotBefore)} {
		if t.After(until) {
			until = t
		}
	}
	d.signed = d.signed.With("version", canonical.Int(n+1)).With("expires", canonical.Text(until.UTC().Format("2006-01-02T15:04:05Z")))
	if err := r.rehearse(ctx, ns, repository, d.signed.Uptane()); err != nil {
		return err
	}
	ring, err := r.targetsRing(ctx, ns)
	if err != nil {
		return err
	}
	p := &Proposal{Unsigned: d.signed.Uptane(), Threshold: ring.Threshold}
	for _, k := range ring.Keys {
		p.KeyIDs = append(p.KeyIDs, k.ID())
	}
	return ErrUnsigned.With(p.Error()).Wrap(p)
}

// draft reads the visible targets, empty ones before the first push.
func (r *Repo) draft(ctx context.Context, ns uptane.Namespace) (*draft, string, error) {
	repository, err := r.repository(ctx, ns)
	if err != nil {
		return nil, "", err
	}
	d := &draft{now: r.now().UTC().Truncate(time.Second)}
	if repository.Push == "" {
		d.signed = canonical.Fields().With("_type", canonical.Text("Targets")).With("targets", canonical.Fields()).
			With("version", canonical.Int(0)).With("expires", canonical.Text(""))
		return d, string(d.signed.Uptane()), nil
	}
	push, err := r.store.push(ctx, ns, repository.Push)
	if err != nil {
		return nil, "", fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	e, err := uptane.ParseEnvelope(uptane.Uptane, push.Document)
	if err == nil {
		d.signed, err = canonical.Parse(e.Signed, canonical.Options{ASCII: true})
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	return d, string(d.signed.Uptane()), nil
}

// rehearse refuses what a push of this payload would refuse, but for signatures.
func (r *Repo) rehearse(ctx context.Context, ns uptane.Namespace, repository repositoryRow, signed []byte) error {
	payload, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, signed)
	if err != nil {
		return ErrInvalid.With(err.Error())
	}
	if len(signed) > MaxTargets {
		return ErrTooLarge.Withf("%d bytes, of at most %d", len(signed), MaxTargets)
	}
	d := uptane.Document[metadata.TargetsType]{Payload: *payload, Signed: signed}
	_, reasons, err := r.checkTop(ctx, ns, d, nil)
	if err != nil {
		return err
	}
	if reasons, err = r.growTop(ctx, ns, &push{}, repository, d, reasons); err != nil {
		return err
	}
	if len(reasons) > 0 {
		return refuse(ErrInvalidTargets, reasons...)
	}
	return nil
}
