package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sealift/internal/reposerver"
)

// runCosign shows a person what is proposed, signs what was shown and sends the
// signatures.
func runCosign(c *call) error {
	h, r, err := c.connect()
	if err != nil {
		return err
	}
	raw, _, err := c.serverTargets(h, r, true)
	if err != nil {
		return err
	}
	w, err := c.mustWait(r)
	if err != nil {
		return err
	}
	review, err := h.Review(w.documents(), raw)
	if err != nil {
		return explained("what is proposed must not be signed: %w", err)
	}
	c.say("Targets version %d, valid until %s, proposed by %s on %s, signed by %d of %d keys:", review.Version, review.Expires.Format(time.RFC3339),
		w.CreatedBy, w.CreatedAt.Format(time.RFC3339), len(w.SignedBy), w.Threshold)
	for _, line := range review.Lines {
		c.say("  %s", line)
	}
	if !c.has("key-name") {
		return nil
	}
	if err := c.confirm("Sign this with " + strings.Join(c.list("key-name"), " and ") + "?"); err != nil {
		return err
	}
	sigs, tuf, err := h.Cosign(c.ctx, review, c.list("key-name"))
	if err != nil {
		return err
	}
	published, err := c.sendSignatures(r, w.ID, sigs, tuf)
	if err != nil || !published {
		return err
	}
	if edited, err := h.Edited(); err != nil || edited {
		return err
	}
	raw, checksum, err := c.serverTargets(h, r, false)
	if err == nil {
		_, err = h.PullTargets(raw, checksum)
	}
	return err
}

func (c *call) sendSignatures(r *reposerver.Server, id string, sigs, tuf []byte) (published bool, err error) {
	body, err := json.Marshal(struct {
		Uptane json.RawMessage `json:"uptane"`
		TUF    json.RawMessage `json:"tuf,omitempty"`
	}{sigs, tuf})
	if err != nil {
		return false, err
	}
	a, err := r.Must(c.ctx, http.MethodPost, proposals+"/"+id+"/signatures", body, nil)
	if reposerver.Refused(err, "proposal_changed") || reposerver.Refused(err, "proposal_not_found") {
		return false, exitError{exitConflict, fmt.Errorf("%w\nOther targets are proposed now; `targets cosign` shows them", err)}
	}
	if err != nil {
		return false, err
	}
	p, err := readProposal(a)
	if err != nil {
		return false, err
	}
	if p.Published != "" {
		c.say("Signed and published targets version %d", p.Version)
		return true, nil
	}
	c.say("Signed: %d of %d keys have", len(p.SignedBy), p.Threshold)
	return false, nil
}

// mustWait is waiting where something has to be.
func (c *call) mustWait(r *reposerver.Server) (*proposal, error) {
	w, err := c.waiting(r)
	if err == nil && w == nil {
		err = explained("no targets wait for signatures")
	}
	return w, err
}

// confirm asks a person, unless --yes was given.
func (c *call) confirm(question string) error {
	if c.has("yes") {
		return nil
	}
	if c.prompt == nil {
		return explained("nobody can be asked here; --yes signs without asking")
	}
	answer, err := c.prompt(question + " Type yes: ")
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(answer)) != "yes" {
		return explained("not signed")
	}
	return nil
}

// runWithdraw gives up what is proposed.
func runWithdraw(c *call) error {
	_, r, err := c.connect()
	if err != nil {
		return err
	}
	w, err := c.mustWait(r)
	if err != nil {
		return err
	}
	if _, err := r.Must(c.ctx, http.MethodDelete, proposals+"/"+w.ID, nil, nil); err != nil {
		return err
	}
	c.say("Targets version %d of %s wait no longer", w.Version, w.CreatedBy)
	return nil
}
