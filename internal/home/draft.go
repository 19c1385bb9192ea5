package home

import (
	"context"
	"fmt"

	"sealift/uptane"
	"sealift/uptane/ceremony"
)

// ReviewDraft encodes the root that a model describes as the successor of the
// local root, and tells what changes, a line each. id is what the server calls the
// draft: one that is named for other bytes than those is refused with
// uptane.ErrTwins. Other errors wrap ErrNotFound, without a local root, or
// ceremony.ErrModel.
func (h *Home) ReviewDraft(m ceremony.Model, id string) (ceremony.Payloads, []string, error) {
	root, err := h.Root()
	if err != nil {
		return ceremony.Payloads{}, nil, err
	}
	before, err := ceremony.Of(&root.Payload)
	if err != nil {
		return ceremony.Payloads{}, nil, err
	}
	p, err := m.Payloads(&root.Payload)
	if err != nil {
		return p, nil, fmt.Errorf("the server's draft cannot follow the root that is trusted here: %w", err)
	}
	lines := ceremony.Diff(before, m)
	if p.ID != id {
		return p, lines, fmt.Errorf("the server wants signatures for %q, which is not what it shows: do not sign, and find out why: %w", id, uptane.ErrTwins)
	}
	return p, lines, nil
}

// SignDraft signs what was reviewed with local keys and returns lists of
// signatures in either flavour, the second nil for the Director's root.
func (h *Home) SignDraft(ctx context.Context, p ceremony.Payloads, keys []string) (sigs, tuf []byte, err error) {
	signer := h.keys.Signer(keys...)
	job := uptane.Job{Repository: h.config.ServerType.Repository(), Role: uptane.RoleRoot}
	doc, err := uptane.SealPayload(ctx, uptane.Uptane, signer, job, p.Uptane)
	if err != nil {
		return nil, nil, err
	}
	if sigs, err = signaturesOf(doc); err != nil || h.config.ServerType == Director {
		return sigs, nil, err
	}
	if doc, err = uptane.SealPayload(ctx, uptane.TUF, signer, job, p.TUF); err != nil {
		return nil, nil, err
	}
	tuf, err = signaturesOf(doc)
	return sigs, tuf, err
}
