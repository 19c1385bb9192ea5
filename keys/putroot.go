package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// ErrInvalidRoot: a root was refused; [Reasons] has the rules it breaks.
var ErrInvalidRoot = fault.New(fault.Invalid, "invalid_root_role", "the root metadata is not acceptable")

var errKeyElsewhere = errors.New("the key already serves another role, repository or namespace")

// maxRoot is the size of root metadata that devices read.
const maxRoot = acceptance.MaxMetadata

// reasons are the rules that a root breaks.
type reasons []string

func (r reasons) Error() string { return strings.Join(r, "; ") }

// Reasons returns the rules that a root broke, from an error of
// [Vault.PutRoot] and its sisters; nil for any other error.
func Reasons(err error) []string {
	var r reasons
	if errors.As(err, &r) {
		return r
	}
	return nil
}

func (r *reasons) add(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

func (r reasons) fault() error {
	if len(r) == 0 {
		return nil
	}
	return ErrInvalidRoot.With(r.Error()).Wrap(r)
}

// PutRoot publishes root metadata. The first must have version 1 and be
// signed by its own root keys; each later one has the next version and is
// signed by a threshold of the last one's keys and of its own. Keys of online
// roles must be held here; those of root, and of targets in the Image
// repository, must not be; the server must be able to open them. One that is
// published already changes nothing. A root that has expired is refused while the
// last one lasts; else it is published with a warning in the log, because only a
// newer one can follow it. Refusals are [ErrInvalidRoot].
func (v *Vault) PutRoot(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, doc []byte) error {
	return v.PutRoots(ctx, ns, repo, doc, nil)
}

// PutRoots is [Vault.PutRoot] together with the same root in the TUF flavour,
// which only the Image repository has, and only where all earlier roots have
// one. An empty twin is none.
func (v *Vault) PutRoots(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, doc, twin []byte) error {
	return v.putRoots(ctx, ns, repo, doc, twin, "")
}

// PublishDraft is [Vault.PutRoots] of a draft that enough people have signed. One
// that somebody has given up is never published, however close both come: it
// answers [ErrNoDraft] then.
func (v *Vault) PublishDraft(ctx context.Context, ns uptane.Namespace, id string, repo uptane.Repository, doc, twin []byte) error {
	return v.putRoots(ctx, ns, repo, doc, twin, id)
}

// putRoots publishes a root that waits as the draft of that id, "" for none.
func (v *Vault) putRoots(ctx context.Context, ns uptane.Namespace, repo uptane.Repository, doc, twin []byte, draft string) error {
	if !ns.Valid() {
		return errNamespace.Withf("%.80q", ns)
	}
	if onlineRoles(repo) == nil {
		return reasons{fmt.Sprintf("there is no %.40q repository", repo)}.fault()
	}
	if len(doc) > maxRoot || len(twin) > maxRoot {
		return tooLarge(max(len(doc), len(twin)))
	}
	v.touched(ns) // judge by what is current, not by what is remembered
	state, err := v.rootState(ctx, ns, repo)
	if err != nil {
		return err
	}
	if published, err := v.isPublished(ctx, state, doc, twin); err != nil || published {
		return err
	}
	next, err := v.judgeRoot(ctx, state, doc, twin)
	if err == nil {
		err = v.requireServable(ctx, state, next)
	}
	if err != nil {
		return fmt.Errorf("checking root of the %s repository: %w", repo, err)
	}
	if err := v.publish(ctx, state, next, draft); err != nil {
		return fmt.Errorf("publishing root version %d of the %s repository: %w", next.version, repo, err)
	}
	v.touched(ns)
	if expires := next.payload.Expires; !v.now().Before(expires) {
		v.log.Warn("a root was published that has expired already; devices refuse it until a newer one follows",
			"namespace", ns, "repository", repo, "version", next.version, "expired", expires)
	}
	return nil
}

// isPublished reports whether the documents are the current ones: a client
// whose answer got lost sends them again.
func (v *Vault) isPublished(ctx context.Context, state *rootState, doc, twin []byte) (bool, error) {
	if state.version == 0 {
		return false, nil
	}
	d, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{})
	if err != nil || int(d.Payload.Version) != state.version {
		return false, nil
	}
	have, err := v.rootDoc(ctx, state, uptane.Uptane, 0, state.version)
	if err != nil || !bytes.Equal(have, d.Raw) {
		return false, err
	}
	if len(twin) > 0 && state.twin < state.version {
		return true, v.PutRootTwin(ctx, state.ns, twin)
	}
	return true, nil
}

// nextRoot is a root that passed all checks that need no transaction.
type nextRoot struct {
	version   int
	payload   metadata.RootType
	raw, twin []byte
	roles     map[uptane.Role]roleTrust
	since     map[uptane.Role]int
}

func (v *Vault) judgeRoot(ctx context.Context, state *rootState, doc, twin []byte) (nextRoot, error) {
	var why reasons
	refused, err := why.refusal(v.accept(ctx, state, uptane.Uptane, state.version, doc))
	if err != nil {
		return nextRoot{}, err
	}
	d, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{})
	if err != nil {
		why.add("%v", err)
		return nextRoot{}, why.faultOf(refused)
	}
	next := nextRoot{version: int(d.Payload.Version), payload: d.Payload, raw: d.Raw, roles: map[uptane.Role]roleTrust{}}
	if next.version != state.version+1 {
		why.add("its version is %d, the next one is %d", next.version, state.version+1)
	}
	for _, role := range topLevel() {
		ring, err := uptane.RingOf(uptane.Uptane, &d.Payload, role)
		if err != nil {
			why.add("%v", err)
			continue
		}
		next.roles[role] = roleTrust{ring.Keys, ring.Threshold}
		for i, id := range d.Payload.Roles[string(role)].KeyIDs {
			if want := ring.Keys[i].ID(); uptane.KeyID(id) != want {
				why.add("key %.80q of %s must be called %s, the SHA-256 of its SubjectPublicKeyInfo", id, role, want)
			}
		}
	}
	next.since = keysSince(state, next)
	if len(twin) > 0 && len(why) == 0 {
		next.twin, refused, err = v.judgeTwin(ctx, state, next.version, d.Signed, twin, &why)
	}
	return next, errOr(err, why.faultOf(refused))
}

// keysSince tells for each role in which version its keys last changed.
func keysSince(state *rootState, next nextRoot) map[uptane.Role]int {
	since := map[uptane.Role]int{}
	for role, trust := range next.roles {
		old := state.roles[role]
		same := len(old.keys) == len(trust.keys) && !slices.ContainsFunc(trust.keys, func(k uptane.Key) bool { return !old.has(k) })
		if since[role] = next.version; same {
			since[role] = state.since[role]
		}
	}
	return since
}

// judgeTwin verifies the TUF flavour of a root whose payload is signed, and
// returns its canonical bytes, or adds to why with what a judge said.
func (v *Vault) judgeTwin(ctx context.Context, state *rootState, version int, signed, twin []byte, why *reasons) ([]byte, *acceptance.Refusal, error) {
	if state.repo != uptane.ImageRepository {
		why.add("only the Image repository has roots for TUF clients")
		return nil, nil, nil
	}
	if state.twin != version-1 {
		why.add("the TUF root of version %d must come first", state.twin+1)
		return nil, nil, nil
	}
	refused, err := why.refusal(v.accept(ctx, state, uptane.TUF, state.twin, twin))
	if err != nil || refused != nil {
		return nil, refused, err
	}
	d, err := uptane.OpenRoot(uptane.TUF, twin, nil, time.Time{})
	if err == nil {
		err = uptane.Twins(uptane.RoleRoot, signed, d.Signed)
	}
	if err != nil {
		why.add("TUF flavour: %v", err)
	}
	return d.Raw, nil, nil
}

// publish stores a root and claims its keys, in one transaction.
func (v *Vault) publish(ctx context.Context, state *rootState, next nextRoot, draft string) error {
	act, err := v.act(ctx, state.ns, "root.publish", "root version %d of the %s repository, sha256 %s", next.version, state.repo, hexSum(next.raw))
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		// First: who gives a draft up, with its keys, waits for us or we for him.
		if err := v.store.renewStamp(ctx, tx, state.ns, stampRoots); err != nil {
			return err
		}
		if draft != "" {
			if _, err := v.store.holdDraft(ctx, tx, state.ns, draft); errors.Is(err, db.ErrNoRows) {
				return ErrNoDraft.Withf("%.80s", draft)
			} else if err != nil {
				return err
			}
		}
		why, err := v.claimKeys(ctx, tx, state, next, act.At)
		if err != nil {
			return err
		}
		if err := why.fault(); err != nil {
			return err
		}
		if err := v.store.addRoot(ctx, tx, state.ns, state.repo, next, act.At); err != nil {
			return err
		}
		if err := v.settle(ctx, tx, state, next); err != nil {
			return err
		}
		return v.store.addAct(ctx, tx, act)
	})
	if errors.Is(err, db.ErrExists) {
		return reasons{fmt.Sprintf("version %d was published by someone else meanwhile", next.version)}.fault()
	}
	return err
}

func (v *Vault) claimKeys(ctx context.Context, tx *sqlx.Tx, state *rootState, next nextRoot, now time.Time) (why reasons, err error) {
	rows, err := v.store.onlineKeys(ctx, tx, state.ns, state.repo)
	if err != nil {
		return nil, err
	}
	for _, role := range topLevel() {
		for _, key := range next.roles[role].keys {
			// After a restored backup the root may name keys that were made later:
			// it is taken, so that one with new keys can follow.
			if isOnline(state.repo, role) && !held(rows, role, key) && !state.recovering {
				why.add("key %s of %s is not held by the server, which must sign with it", key.ID(), role)
				continue
			}
			mine, err := v.store.claimKey(ctx, tx, roleKey{state.ns, state.repo, role, key}, now)
			if err != nil {
				return nil, err
			}
			if !mine && !state.roles[role].has(key) { // it may have come so with an import
				why.add("key %s of %s: %v", key.ID(), role, errKeyElsewhere)
			}
		}
	}
	return why, nil
}

// PutRootTwin adds the TUF flavour of a root that was published without: the
// earliest that lacks one. The last one may be sent again. Refusals are [ErrInvalidRoot].
func (v *Vault) PutRootTwin(ctx context.Context, ns uptane.Namespace, twin []byte) error {
	if len(twin) > maxRoot {
		return tooLarge(len(twin))
	}
	v.touched(ns)
	state, err := v.rootState(ctx, ns, uptane.ImageRepository)
	if err != nil {
		return err
	}
	if have, err := v.rootDoc(ctx, state, uptane.TUF, 0, state.twin); err == nil && bytes.Equal(have, twin) {
		return nil // sent twice
	}
	version := state.twin + 1
	doc, err := v.rootDoc(ctx, state, uptane.Uptane, version, state.version)
	if err != nil {
		return err
	}
	d, err := uptane.OpenRoot(uptane.Uptane, doc, nil, time.Time{})
	if err != nil {
		return fmt.Errorf("reading root version %d: %w", version, err)
	}
	var why reasons
	raw, refused, err := v.judgeTwin(ctx, state, version, d.Signed, twin, &why)
	if err := errOr(err, why.faultOf(refused)); err != nil {
		return fmt.Errorf("checking TUF root version %d: %w", version, err)
	}
	act, err := v.act(ctx, ns, "root.twin", "TUF flavour of root version %d, sha256 %s", version, hexSum(raw))
	if err != nil {
		return err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if done, err := v.store.setTwin(ctx, tx, ns, version, raw); err != nil || !done {
			return errOr(err, db.ErrExists)
		}
		if err := v.store.renewStamp(ctx, tx, ns, stampRoots); err != nil {
			return err
		}
		return v.store.addAct(ctx, tx, act)
	})
	v.touched(ns)
	if errors.Is(err, db.ErrExists) {
		have, lookup := v.RootTwin(ctx, ns, version)
		if err = lookup; err == nil && !bytes.Equal(have, raw) {
			err = reasons{fmt.Sprintf("version %d was published by someone else meanwhile", version)}.fault()
		}
	}
	if err != nil {
		return fmt.Errorf("adding TUF root version %d: %w", version, err)
	}
	return nil
}
