package keys

import (
	"errors"
	"sync"
	"time"

	"sealift/internal/fault"
	"sealift/internal/hsm"
	"sealift/uptane"
)

// ErrKeyAway: a key that has to sign is in a token or key service that does not sign
// with it now.
var ErrKeyAway = fault.New(fault.Unavailable, "signing_key_unavailable", "nothing can be signed now: a key is in a token or key service that does not sign with it")

var errNoNewKey = fault.New(fault.FailedDependency, "no_new_key", "there is no new key where online keys are to be")

const (
	// spared is how long a key that could not sign is left alone: devices ask by the
	// thousand, and each try takes seconds and leaves a row in the record.
	spared = time.Second
	// askedAgain is when somebody who looks makes the server ask again, also for a key
	// that signs: another replica may know better.
	askedAgain = 10 * time.Second
)

// outages are the keys in tokens and key services that have been asked, and whether
// they could sign then. The zero one knows of none. Safe for concurrent use.
type outages struct {
	mu sync.Mutex
	of map[uptane.KeyID]outage
}

type outage struct {
	since, last time.Time
	err         error // nil if it could sign
}

// at returns the outage of a key, the zero one if it has none.
func (t *outages) at(id uptane.KeyID) outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[id]
}

// due reports whether a key has not been asked for so long; who is told so is the one
// to try.
func (t *outages) due(id uptane.KeyID, now time.Time, after time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.of[id]
	if now.Sub(had.last).Abs() < after {
		return false
	}
	had.last = now
	t.set(id, had)
	return true
}

func (t *outages) set(id uptane.KeyID, o outage) {
	if t.of == nil {
		t.of = map[uptane.KeyID]outage{}
	}
	t.of[id] = o
}

// note enters how a try ended, and reports whether that is news.
func (t *outages) note(id uptane.KeyID, now time.Time, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.of[id]
	out := outage{had.since, now, err}
	if had.err == nil {
		out.since = now
	}
	t.set(id, out)
	return (err == nil) != (had.err == nil)
}

// spare answers at once while a key that could not sign is left alone.
func (v *Vault) spare(signers []onlineSigner) error {
	for _, s := range signers {
		if s.uri == "" {
			continue
		}
		if out := v.away.at(s.key.ID()); out.err != nil && !v.away.due(s.key.ID(), v.now(), spared) {
			return ErrKeyAway.Wrap(out.err)
		}
	}
	return nil
}

// tried notes whether a key in a token or key service could be used, and makes err one
// that callers may read. A service that was asked too often is all right.
func (v *Vault) tried(key uptane.Key, uri string, err error) error {
	if errors.Is(err, hsm.ErrBusy) {
		return ErrKeyAway.Wrap(err)
	}
	news := v.away.note(key.ID(), v.now(), err)
	switch {
	case err != nil && news:
		v.log.Error("a signing key cannot be used", "key", key.ID(), "place", uri, "error", err)
	case news:
		v.log.Info("a signing key can be used again", "key", key.ID(), "place", uri)
	}
	if err == nil {
		return nil
	}
	return ErrKeyAway.Wrap(err)
}

// Unusable is a key that a current root names for an online role and that could not
// be used since then.
type Unusable struct {
	Held
	Since time.Time
	Err   error
}

// Unusable returns which of the keys that [Vault.Custody] lists are in tokens and key
// services and cannot be used. All of these are asked where ask is set, else those that
// have not been lately; nothing is signed.
func (v *Vault) Unusable(held []Held, ask bool) []Unusable {
	var asked sync.WaitGroup
	for _, h := range held {
		if !h.InRoot || !hsm.IsURI(h.Place) {
			continue
		}
		if ask || v.away.due(h.Key.ID(), v.now(), askedAgain) {
			asked.Go(func() { _ = v.tried(h.Key, h.Place, v.seals.away.try(h.Place, h.Key)) })
		}
	}
	asked.Wait()
	var list []Unusable
	for _, h := range held {
		if out := v.away.at(h.Key.ID()); h.InRoot && out.err != nil {
			list = append(list, Unusable{h, out.since, out.err})
		}
	}
	return list
}
