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
	if j.set.Targets == nil {
		return nil
	}
	_, err := client.UpdateTargets(j.targets.raw)
	var late *metadata.ErrExpiredMetadata
	if j.set.Past && errors.As(err, &late) {
		return nil
	}
	if err != nil {
		return byGoTUF(uptane.RoleTargets, err)
	}
	for _, at := range j.tree {
		_, err := client.UpdateDelegatedTargets(j.delegations[at.role].raw, string(at.role), string(at.parent))
		if err != nil && !errors.As(err, &late) {
			return byGoTUF(at.role, err)
		}
	}
	return nil
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
