package home

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// How long a role lives when nothing else is said, at least.
const (
	RootLife    = 365 * 24 * time.Hour
	TargetsLife = 31 * 24 * time.Hour
)

// ErrPast marks an expiry that is over before it begins.
var ErrPast = errors.New("expiry is in the past")

// Signing says how a role is signed.
type Signing struct {
	Keys    []string  // names of local keys
	Version int64     // 0: one more than the unsigned role has
	Expires time.Time // zero: the later of what the role says and now plus its usual life
	Force   bool      // sign even what has expired already
	Draft   bool      // nobody signs: the document is to be proposed
}

// Signed is a role's document in both flavours. TUF is nil for the Director.
type Signed struct {
	Version     int64
	Expires     time.Time
	Uptane, TUF []byte // canonical
}

// SignRoot signs the unsigned root in both flavours and stores the results.
// The unsigned root keeps its version, so that signing again gives the same.
// Without names in s.Keys every local private key signs that the old or the new
// root lists for root. Errors wrap ErrPast, ErrNotFound, ErrPassphrase,
// ErrNoPassphrase, ErrKeyFile or those of package uptane.
func (h *Home) SignRoot(ctx context.Context, s Signing) (Signed, error) {
	if len(s.Keys) == 0 {
		names, err := h.rootKeyNames()
		if err != nil {
			return Signed{}, err
		}
		s.Keys = names
	}
	return h.sign(ctx, uptane.RoleRoot, s, RootLife, rootTwin)
}

func rootTwin(payload []byte) ([]byte, error) {
	model, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, payload)
	if err != nil {
		return nil, err
	}
	return uptane.Payload(uptane.TUF, uptane.RoleRoot, model)
}

// SignTargets signs the unsigned targets as SignRoot does the root. Keys must be
// named.
func (h *Home) SignTargets(ctx context.Context, s Signing) (Signed, error) {
	if h.config.ServerType == Director {
		return Signed{}, ErrDirector
	}
	h.warnStrangers(uptane.RoleTargets, s.Keys)
	return h.sign(ctx, uptane.RoleTargets, s, TargetsLife, targetsTwin)
}

func targetsTwin(payload []byte) ([]byte, error) {
	model, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, payload)
	if err != nil {
		return nil, err
	}
	public, err := uptane.PublicTargets(model)
	if err != nil {
		return nil, err
	}
	return uptane.Payload(uptane.TUF, uptane.RoleTargets, public)
}

type twinOf func(payload []byte) ([]byte, error)

// sign seals the unsigned role and stores the result.
func (h *Home) sign(ctx context.Context, r uptane.Role, s Signing, life time.Duration, twin twinOf) (Signed, error) {
	v, err := h.unsigned(r)
	if err != nil {
		return Signed{}, err
	}
	out, err := h.seal(ctx, r, v, s, life, twin)
	if err != nil {
		return Signed{}, err
	}
	return out, h.setSigned(r, out)
}

// seal signs v as s says, in the flavours of this home.
func (h *Home) seal(ctx context.Context, r uptane.Role, v canonical.Value, s Signing, life time.Duration, twin twinOf) (Signed, error) {
	if len(s.Keys) == 0 && !s.Draft {
		return Signed{}, fmt.Errorf("signing %s: no key named: %w", r, ErrNotFound)
	}
	out := Signed{Version: s.Version}
	if out.Version == 0 {
		out.Version = intOf(v, "version") + 1
	}
	var err error
	if out.Expires, err = h.expiry(v, s, life); err != nil {
		return Signed{}, fmt.Errorf("signing %s: %w", r, err)
	}
	payload := withTime(v.With("version", canonical.Int(out.Version)), "expires", out.Expires).Uptane()

	signer := h.keys.Signer(s.Keys...)
	if s.Draft {
		signer = nobody{}
	}
	job := uptane.Job{Repository: h.config.ServerType.Repository(), Role: r}
	if out.Uptane, err = sealPayload(ctx, uptane.Uptane, signer, job, payload); err != nil {
		return Signed{}, err
	}
	if h.config.ServerType == Director {
		return out, nil
	}
	out.TUF, err = sealTwin(ctx, signer, job, payload, twin)
	return out, err
}

// nobody signs nothing.
type nobody struct{}

// Sign answers ErrPropose.
func (nobody) Sign(context.Context, uptane.Job, []byte) ([]uptane.RawSig, error) {
	return nil, ErrPropose
}

// sealPayload is uptane.SealPayload, but a document that nobody may sign here
// comes out without signatures, to be proposed.
func sealPayload(ctx context.Context, f uptane.Flavour, signer uptane.Signer, job uptane.Job, payload []byte) ([]byte, error) {
	doc, err := uptane.SealPayload(ctx, f, signer, job, payload)
	if errors.Is(err, ErrPropose) {
		return uptane.Frame(f, payload), nil // everything else was checked before the signer was asked
	}
	return doc, err
}

// sealTwin signs TUF's flavour of payload and compares the two.
func sealTwin(ctx context.Context, signer uptane.Signer, job uptane.Job, payload []byte, twin twinOf) ([]byte, error) {
	other, err := twin(payload)
	if err != nil {
		return nil, fmt.Errorf("writing the TUF twin of %s: %w", job.Role, err)
	}
	if err := uptane.Twins(job.Role, payload, other); err != nil {
		return nil, err
	}
	return sealPayload(ctx, uptane.TUF, signer, job, other)
}

// expiry decides when the signed role ends.
func (h *Home) expiry(v canonical.Value, s Signing, life time.Duration) (time.Time, error) {
	now := h.opts.Now().UTC().Truncate(time.Second)
	end := s.Expires.UTC().Truncate(time.Second)
	if s.Expires.IsZero() {
		current, err := timeOf(v, "expires")
		if err != nil {
			return end, err
		}
		end = now.Add(life)
		if current.After(end) {
			end = current
		}
	}
	if !end.After(now) && !s.Force {
		return end, fmt.Errorf("%s: %w", end.Format(timeLayout), ErrPast)
	}
	return end, nil
}

// Outside is a signature made elsewhere over the bytes of Unsigned, for the
// local public key of that name.
type Outside struct {
	Name string
	Sig  []byte
}

// SignOutside frames the unsigned role as it is with signatures made elsewhere,
// each verified, and with those of local keys. It replaces what was signed
// before. No TUF twin can be made of them, so there is none afterwards.
func (h *Home) SignOutside(ctx context.Context, r uptane.Role, sigs []Outside, local ...string) (Signed, error) {
	v, err := h.unsigned(r)
	if err != nil {
		return Signed{}, err
	}
	payload := v.Uptane()
	var raw []uptane.RawSig
	for _, s := range sigs {
		key, err := h.keys.Public(s.Name)
		if err != nil {
			return Signed{}, err
		}
		if err := key.Verify(method(key), payload, s.Sig); err != nil {
			return Signed{}, fmt.Errorf("checking the signature given for %s: %w", s.Name, err)
		}
		raw = append(raw, uptane.RawSig{Key: key, Sig: s.Sig})
	}
	if len(local) > 0 {
		own, err := h.keys.Signer(local...).Sign(ctx, uptane.Job{}, payload)
		if err != nil {
			return Signed{}, err
		}
		raw = append(raw, own...)
	}
	signer := given(raw)
	job := uptane.Job{Repository: h.config.ServerType.Repository(), Role: r}
	out := Signed{Version: intOf(v, "version")}
	if out.Uptane, err = uptane.SealPayload(ctx, uptane.Uptane, signer, job, payload); err != nil {
		return Signed{}, err
	}
	h.opts.Warn(fmt.Sprintf("%s has no TUF twin: signatures made elsewhere cover the Uptane flavour alone", r))
	return out, h.setSigned(r, out)
}

// method is how a key signs, as signatures name it.
func method(k uptane.Key) string {
	if k.Algorithm() == string(Ed25519) {
		return "ed25519"
	}
	return "rsassa-pss-sha256"
}

// given is a Signer that has signed already.
type given []uptane.RawSig

// Sign hands out the signatures it was made with.
func (g given) Sign(context.Context, uptane.Job, []byte) ([]uptane.RawSig, error) { return g, nil }

// warnStrangers tells about keys the trusted root does not know for the role:
// what they sign will be refused, unless a newer root lists them.
func (h *Home) warnStrangers(r uptane.Role, names []string) {
	root, err := h.Root()
	if err != nil {
		return
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, r)
	if err != nil {
		return
	}
	for _, name := range names {
		if key, err := h.keys.Public(name); err == nil && !slices.Contains(ring.Keys, key) {
			h.opts.Warn(fmt.Sprintf("key %s is not a %s key of root version %d; servers and devices that trust that root will refuse what it signs", name, r, root.Payload.Version))
		}
	}
}
