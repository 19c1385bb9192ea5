package acceptance

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// Set is what a repository is about to show, besides its roots.
type Set struct {
	Timestamp, Snapshot []byte
	// Targets is nil where those that are visible stay as they are.
	Targets []byte
	// Delegations are the delegated roles that become different. What stays as it
	// is was judged when it came.
	Delegations map[uptane.Role]Delegated
	// Past says that clients may know these targets from before: that their time is
	// over is no reason to hide them.
	Past bool
}

// Delegated is the metadata of a delegated role, and the trust that its parent
// puts into it: uptane.Delegation.Raw, in the Uptane flavour.
type Delegated struct{ Document, Trust []byte }

// Judge lets the judges read a set under the last root of the chain at a time,
// as clients that have read before, nil if there was nothing, will do. It answers
// [ErrRefused].
func (c Chain) Judge(set Set, before *Set, now time.Time) error {
	if before == nil {
		before = &Set{}
	}
	if !now.Before(c.root.Expires) {
		return asFault(refuse(Strict, RuleExpired, uptane.RoleRoot, "root version %d ended %s", c.root.Version, c.root.Expires))
	}
	j := judgement{chain: c, set: set, before: *before, now: now, delegations: map[uptane.Role]delegated{}}
	if r := j.read(); r != nil {
		return asFault(r)
	}
	if r := j.strict(); r != nil {
		return asFault(r)
	}
	if c.flavour == uptane.TUF {
		return asFault(j.goTUF())
	}
	return asFault(j.aktualizr())
}

// judgement is one set before the judges.
type judgement struct {
	chain                        Chain
	set, before                  Set
	now                          time.Time
	timestamp, snapshot, targets document
	delegations                  map[uptane.Role]delegated
}

// delegated is a delegated role before the judges.
type delegated struct {
	document
	trust uptane.Delegation
}

func (j *judgement) read() (r *Refusal) {
	f, repo := j.chain.flavour, j.chain.repo
	for _, of := range []struct {
		role uptane.Role
		doc  []byte
		to   *document
	}{{uptane.RoleTimestamp, j.set.Timestamp, &j.timestamp}, {uptane.RoleSnapshot, j.set.Snapshot, &j.snapshot}, {uptane.RoleTargets, j.set.Targets, &j.targets}} {
		if of.role == uptane.RoleTargets && of.doc == nil {
			continue
		}
		if *of.to, r = read(f, repo, of.role, of.doc); r != nil {
			return r
		}
	}
	for role, given := range j.set.Delegations {
		trust, err := uptane.ParseDelegation(uptane.Uptane, given.Trust)
		if err != nil || trust.Role != role {
			return refuse(Strict, RuleForm, role, "nobody delegates to it: %v", err)
		}
		d, r := read(f, repo, role, given.Document)
		if r != nil {
			return r
		}
		j.delegations[role] = delegated{d, trust}
	}
	return nil
}

// strict is the client that verifies fully, in the order of the standard.
func (j *judgement) strict() *Refusal {
	timestamp, r := opened[metadata.TimestampType](j, j.timestamp, j.now)
	if r != nil {
		return r
	}
	snapshot, r := opened[metadata.SnapshotType](j, j.snapshot, j.now)
	if r != nil {
		return r
	}
	if err := uptane.CheckTimestamp(trusted[metadata.TimestampType](j, uptane.RoleTimestamp, j.before.Timestamp), timestamp); err != nil {
		return strictly(uptane.RoleTimestamp, err)
	}
	if err := uptane.CheckSnapshot(timestamp, j.snapshot.raw, trusted[metadata.SnapshotType](j, uptane.RoleSnapshot, j.before.Snapshot), snapshot); err != nil {
		return strictly(uptane.RoleSnapshot, err)
	}
	if r := j.strictTargets(snapshot); r != nil {
		return r
	}
	for role, d := range j.delegations {
		// That a supplier let his metadata expire is between him and his devices:
		// clients pass over such a role.
		open, err := uptane.OpenValue[metadata.TargetsType](j.chain.flavour, d.value, role, d.trust.Ring, time.Time{})
		if err == nil {
			err = uptane.CheckTargets(snapshot, role, d.raw, nil, &open.Payload)
		}
		if err != nil {
			return strictly(role, err)
		}
	}
	return nil
}

func (j *judgement) strictTargets(snapshot *metadata.SnapshotType) *Refusal {
	if j.set.Targets == nil {
		return nil
	}
	limit := j.now
	if j.set.Past {
		limit = time.Time{}
	}
	targets, r := opened[metadata.TargetsType](j, j.targets, limit)
	if r != nil {
		return r
	}
	old := trusted[metadata.TargetsType](j, uptane.RoleTargets, j.before.Targets)
	if err := uptane.CheckTargets(snapshot, uptane.RoleTargets, j.targets.raw, old, targets); err != nil {
		return strictly(uptane.RoleTargets, err)
	}
	return sameContent(old, targets)
}

// opened verifies a document of a top-level role.
func opened[T metadata.Roles](j *judgement, d document, now time.Time) (*T, *Refusal) {
	ring, err := uptane.RingOf(j.chain.flavour, j.chain.root, d.role)
	if err != nil {
		return nil, strictly(d.role, err)
	}
	open, err := uptane.OpenValue[T](j.chain.flavour, d.value, d.role, ring, now)
	d.know(open.Signers, j.chain.trust, trust{})
	return &open.Payload, strictly(d.role, err)
}

// trusted is what a client keeps of what it had: nothing that the keys of now do
// not vouch for.
func trusted[T metadata.Roles](j *judgement, role uptane.Role, doc []byte) *T {
	if doc == nil {
		return nil
	}
	ring, err := uptane.RingOf(j.chain.flavour, j.chain.root, role)
	if err != nil {
		return nil
	}
	open, err := uptane.Open[T](j.chain.flavour, doc, role, ring, time.Time{})
	if err != nil {
		return nil
	}
	return &open.Payload
}

// sameContent: a device that runs an image of that name gives every update up
// when the name means something else.
func sameContent(old, targets *metadata.TargetsType) *Refusal {
	if old == nil {
		return nil
	}
	for name, was := range old.Targets {
		is := targets.Targets[name]
		if is != nil && (is.Length != was.Length || !bytes.Equal(is.Hashes["sha256"], was.Hashes["sha256"])) {
			return refuse(Aktualizr, RuleContent, uptane.RoleTargets, "%.80q means other content than before", name)
		}
	}
	return nil
}

// aktualizr is the model of that client: limits and form were judged before.
func (j *judgement) aktualizr() *Refusal {
	m, root := model{j.chain.repo}, j.chain.trust
	for _, d := range []document{j.timestamp, j.snapshot} {
		if r := m.verify(d, root); r != nil {
			return r
		}
	}
	meta, _ := j.timestamp.signed.Member("meta")
	named, _ := meta.Member("snapshot.json")
	length, _ := integer(named, "length")
	if length > 0 && int64(len(j.snapshot.raw)) > length {
		return m.refuse(j.snapshot, RuleSize, "%d bytes, and the timestamp allows %d", len(j.snapshot.raw), length)
	}
	hashes, _ := named.Member("hashes")
	if !m.hashes(hashes, j.snapshot.raw) {
		return m.refuse(j.snapshot, RuleMix, "its hash is not the one in the timestamp")
	}
	said, _ := integer(named, "version")
	if is, _ := integer(j.snapshot.signed, "version"); is != said {
		return m.refuse(j.snapshot, RuleMix, "version %d, and the timestamp says %d", is, said)
	}
	if j.set.Targets != nil {
		if r := m.verify(j.targets, root); r != nil {
			return r
		}
		if r := j.inSnapshot(m, j.targets); r != nil {
			return r
		}
	}
	for _, d := range j.delegations {
		block, _ := canonical.Parse(d.trust.Raw, canonical.Options{ASCII: true})
		if r := m.verify(d.document, trustOfDelegations(block)); r != nil {
			return r
		}
		if r := j.inSnapshot(m, d.document); r != nil {
			return r
		}
	}
	return nil
}

// inSnapshot: the version is the one listed; a hash is checked if there is one.
func (j *judgement) inSnapshot(m model, d document) *Refusal {
	meta, _ := j.snapshot.signed.Member("meta")
	file, _ := meta.Member(d.role.Filename(0))
	said, _ := integer(file, "version")
	if is, _ := integer(d.signed, "version"); is != said {
		return m.refuse(d, RuleMix, "version %d, and the snapshot says %d", is, said)
	}
	if hashes, ok := file.Member("hashes"); ok && !m.hashes(hashes, d.raw) {
		return m.refuse(d, RuleMix, "its hash is not the one in the snapshot")
	}
	return nil
}

// hashes tells whether all hashes that it knows fit, and one does.
func (m model) hashes(named canonical.Value, raw []byte) bool {
	sum256, sum512 := sha256.Sum256(raw), sha512.Sum512(raw)
	fits := false
	for name, sum := range map[string][]byte{"sha256": sum256[:], "sha512": sum512[:]} {
		if s := text(named, name); s != "" {
			if !strings.EqualFold(s, hex.EncodeToString(sum)) {
				return false
			}
			fits = true
		}
	}
	return fits
}
