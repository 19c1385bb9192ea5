package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// proposals is where targets wait for signatures.
const proposals = "proposals/targets"

// proposal is what a server says of targets that wait, or have just been
// published.
type proposal struct {
	ID        string          `json:"id"`
	Version   int64           `json:"version"`
	Base      string          `json:"base"`
	Published string          `json:"published"`
	Threshold int             `json:"threshold"`
	SignedBy  []string        `json:"signedBy"`
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy"`
	Uptane    json.RawMessage `json:"uptane"`
	TUF       json.RawMessage `json:"tuf"`
}

// documents are both flavours of it.
func (p *proposal) documents() home.Proposed {
	d := home.Proposed{Uptane: p.Uptane}
	if len(p.TUF) > 0 && string(p.TUF) != "null" {
		d.TUF = p.TUF
	}
	return d
}

func readProposal(a reposerver.Answer) (*proposal, error) {
	p := &proposal{}
	if err := json.Unmarshal(a.Body, p); err != nil || p.ID == "" {
		return nil, errors.New("the server did not answer with targets that wait for signatures")
	}
	return p, nil
}

// waiting is what waits at the server, nil for nothing.
func (c *call) waiting(r *reposerver.Server) (*proposal, error) {
	a, err := r.Must(c.ctx, http.MethodGet, proposals, nil, nil)
	if reposerver.Refused(err, "proposal_not_found") {
		return nil, nil
	}
	if withheld(err) {
		return nil, explained("this server keeps no targets that wait for signatures; sign with all keys at once, or bring signatures made elsewhere with --signatures: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return readProposal(a)
}

func runPropose(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	s := home.Signing{Keys: c.list("key-name"), Draft: !c.has("key-name")}
	if s.Expires, err = c.expires(); err != nil {
		return err
	}
	signed, err := h.SignTargets(c.ctx, s)
	switch {
	case errors.Is(err, home.ErrPast):
		return explained("%w; give --expires or --expire-after", err)
	case errors.Is(err, home.ErrNotFound) && s.Draft:
		return noUnsignedTargets()
	case err != nil:
		return err
	}
	checksum, err := h.Checksum()
	if err != nil {
		return err
	}
	r, err := c.repository(h)
	if err != nil {
		return err
	}
	return c.propose(h, r, signed, checksum)
}

// propose lets targets wait at the server, together with what others have
// proposed for the same version, and made again where others have pushed.
func (c *call) propose(h *home.Home, r *reposerver.Server, signed home.Signed, checksum string) error {
	change, unknown := h.Change()
	var again *home.Again
	for try := 1; ; try++ {
		send, replaces, err := c.join(h, r, change, unknown, signed)
		if err != nil {
			return err
		}
		p, err := c.putProposal(r, send, replaces, checksum)
		switch {
		case err == nil:
			return c.proposed(h, again, send, checksum, p)
		case !overtaken(err) && !reposerver.Refused(err, "proposal_changed"):
			return err
		case c.has("once"), try == pushTries, unknown != nil:
			return conflictError(err)
		}
		why := err
		if err := c.wait(c.ctx, pauseBefore(try)); err != nil {
			return err
		}
		if !overtaken(why) {
			continue
		}
		raw, now, err := c.serverTargets(h, r, true)
		if err != nil {
			return err
		}
		if now == checksum {
			return why
		}
		if again, err = c.again(h, r, raw, now, why); err != nil || again == nil {
			return err
		}
		signed, checksum = again.Signed, now
		change = change.On(again)
	}
}

// join puts a change together with what waits already. unknown says why the
// change is not known, if it is not.
func (c *call) join(h *home.Home, r *reposerver.Server, change home.Change, unknown error, signed home.Signed) (send home.Signed, replaces string, err error) {
	w, err := c.waiting(r)
	if err != nil || w == nil {
		return signed, "", err
	}
	if samePayload(w.Uptane, signed.Uptane) {
		return signed, w.ID, nil
	}
	joined, err := home.Signed{}, unknown
	if err == nil {
		joined, err = h.Join(c.ctx, change, w.Uptane)
	}
	switch {
	case errors.Is(err, home.ErrReapply):
		return signed, "", exitError{exitConflict, fmt.Errorf("%s has proposed other targets version %d, which wait for signatures: `targets cosign` or `targets withdraw` first", w.CreatedBy, w.Version)}
	case errors.Is(err, home.ErrConflict):
		return signed, "", exitError{exitConflict, err}
	case err != nil:
		return signed, "", err
	}
	c.say("Put together with what %s has proposed; %d signatures for that alone are given up", w.CreatedBy, len(w.SignedBy))
	return joined, w.ID, nil
}

func samePayload(a, b []byte) bool {
	x, errX := uptane.ParseEnvelope(uptane.Uptane, a)
	y, errY := uptane.ParseEnvelope(uptane.Uptane, b)
	return errX == nil && errY == nil && string(x.Signed) == string(y.Signed)
}

func (c *call) putProposal(r *reposerver.Server, s home.Signed, replaces, checksum string) (*proposal, error) {
	ask := struct {
		Replaces string          `json:"replaces"`
		Uptane   json.RawMessage `json:"uptane"`
		TUF      json.RawMessage `json:"tuf"`
	}{replaces, s.Uptane, s.TUF}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	if checksum != "" {
		header.Set(reposerver.ChecksumHeader, checksum)
	}
	a, err := r.Must(c.ctx, http.MethodPut, proposals, body, header)
	if err != nil {
		return nil, err
	}
	return readProposal(a)
}

// proposed says what has become of a proposal.
func (c *call) proposed(h *home.Home, again *home.Again, signed home.Signed, replaced string, p *proposal) error {
	if p.Published != "" {
		return c.pushed(h, again, signed, replaced, p.Published)
	}
	c.say("Proposed targets version %d: %d of %d keys have signed; `targets cosign` adds signatures", p.Version, len(p.SignedBy), p.Threshold)
	return nil
}
