package acceptance

import (
	"errors"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"sealift/uptane"
)

// goTUF is go-tuf's own client, which has read what was there before.
func (j *judgement) goTUF() (r *Refusal) {
	defer recovered(&r, uptane.RoleTimestamp)
	client := &trustedmetadata.TrustedMetadata{Root: j.chain.tuf, RefTime: j.now.UTC(),
		Targets: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	if j.before.Timestamp != nil { // what it cannot use any more it forgets
		_, _ = client.UpdateTimestamp(j.before.Timestamp)
	}
	var same *metadata.ErrEqualVersionNumber
	if _, err := client.UpdateTimestamp(j.timestamp.raw); err != nil && !errors.As(err, &same) {
		return byGoTUF(uptane.RoleTimestamp, err)
	}
	if j.before.Snapshot != nil {
		_, _ = client.UpdateSnapshot(j.before.Snapshot, true)
	}
	if _, err := client.UpdateSnapshot(j.snapshot.raw, false); err != nil {
		return byGoTUF(uptane.RoleSnapshot, err)
	}
	var late *metadata.ErrExpiredMetadata
	if j.set.Targets != nil {
		_, err := client.UpdateTargets(j.targets.raw)
		if err != nil && !(j.set.Past && errors.As(err, &late)) {
			return byGoTUF(uptane.RoleTargets, err)
		}
	}
	for role, d := range j.delegations {
		parent, err := parentOf(d.trust)
		if err != nil {
			return byGoTUF(role, err)
		}
		client.Targets[metadata.TARGETS] = parent // whoever it is, it trusts like this
		_, err = client.UpdateDelegatedTargets(d.raw, string(role), metadata.TARGETS)
		if err != nil && !errors.As(err, &late) {
			return byGoTUF(role, err)
		}
	}
	return nil
}

// parentOf is metadata that put that trust into a role, as go-tuf holds them.
func parentOf(d uptane.Delegation) (*metadata.Metadata[metadata.TargetsType], error) {
	role := metadata.DelegatedRole{Name: string(d.Role), Threshold: d.Ring.Threshold, Paths: d.Paths, Terminating: d.Terminating}
	keys := map[string]*metadata.Key{}
	for _, k := range d.Ring.Keys {
		key, err := metadata.KeyFromPublicKey(k.Public())
		if err != nil {
			return nil, err
		}
		id := string(k.TUFID())
		keys[id], role.KeyIDs = key, append(role.KeyIDs, id)
	}
	parent := metadata.Targets()
	parent.Signed.Delegations = &metadata.Delegations{Keys: keys, Roles: []metadata.DelegatedRole{role}}
	return parent, nil
}

// byGoTUF is a refusal by go-tuf, nil for nil.
func byGoTUF(role uptane.Role, err error) *Refusal {
	if err == nil {
		return nil
	}
	var (
		expired  *metadata.ErrExpiredMetadata
		version  *metadata.ErrBadVersionNumber
		unsigned *metadata.ErrUnsignedMetadata
		mismatch *metadata.ErrLengthOrHashMismatch
	)
	rule := RuleClient
	switch {
	case errors.As(err, &expired):
		rule = RuleExpired
	case errors.As(err, &version):
		rule = RuleVersion
	case errors.As(err, &unsigned):
		rule = RuleThreshold
	case errors.As(err, &mismatch):
		rule = RuleMix
	}
	return refuse(GoTUF, rule, role, "%v", err)
}

// recovered makes a refusal of a panic: a client that falls over is a client
// that does not update.
func recovered(r **Refusal, role uptane.Role) {
	if x := recover(); x != nil {
		*r = refuse(GoTUF, RuleClient, role, "it falls over: %v", x)
	}
}
