package acceptance

import (
	"errors"
	"fmt"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ErrRefused: some client would not accept it. The cause names judge, rule and
// role; errors.As finds the [Refusal].
var ErrRefused = fault.New(fault.Invalid, "gate_refused", "devices would not accept this, so it is not published")

// Judge is who refuses.
type Judge string

// The judges.
const (
	Strict    Judge = "uptane"    // a client that verifies as the standard says
	Aktualizr Judge = "aktualizr" // a model of that client's parser and limits
	GoTUF     Judge = "go-tuf"    // go-tuf's client
)

// Rule is what was broken, by a name that never changes.
type Rule string

// The rules. docs/formats.md says what each demands.
const (
	RuleJSON      Rule = "json"
	RuleTwice     Rule = "json-duplicate-member"
	RuleCase      Rule = "json-case-variant"
	RuleNumber    Rule = "json-integer"
	RuleText      Rule = "json-ascii"
	RuleSize      Rule = "size"
	RuleForm      Rule = "form"
	RuleType      Rule = "type"
	RuleVersion   Rule = "version"
	RuleExpires   Rule = "expires-format"
	RuleExpired   Rule = "expired"
	RuleMethod    Rule = "signature-method"
	RuleEncoding  Rule = "signature-encoding"
	RuleTwiceSign Rule = "signature-duplicate"
	RuleThreshold Rule = "signature-threshold"
	RuleKeyType   Rule = "key-type"
	RuleKey       Rule = "key"
	RuleTrust     Rule = "threshold-range"
	RuleRoles     Rule = "root-roles"
	RuleName      Rule = "name"
	RuleMeta      Rule = "meta"
	RuleTarget    Rule = "target"
	RuleECUs      Rule = "ecu-identifiers"
	RuleHardware  Rule = "hardware-ids"
	RuleECUTwice  Rule = "ecu-twice"
	RuleReport    Rule = "correlation-id"
	RuleDelegates Rule = "director-delegations"
	RuleContent   Rule = "same-name-other-content"
	RuleRollback  Rule = "rollback"
	RuleMix       Rule = "mix"
	RuleClient    Rule = "client"
)

// Refusal says who refused what and by which rule.
type Refusal struct {
	Judge  Judge       `json:"judge"`
	Rule   Rule        `json:"rule"`
	Role   uptane.Role `json:"role"`
	Reason string      `json:"reason"`
}

// Error is the refusal in one line.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s refuses %s by rule %s: %s", r.Judge, r.Role, r.Rule, r.Reason)
}

// FaultCause is what a caller of the api reads.
func (r *Refusal) FaultCause() any { return r }

// RefusalOf returns the refusal in an error's chain, nil if there is none.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// asFault makes a refusal what callers get.
func asFault(r *Refusal) error {
	if r == nil {
		return nil
	}
	return ErrRefused.Wrap(r)
}

func refuse(j Judge, rule Rule, role uptane.Role, format string, args ...any) *Refusal {
	return &Refusal{Judge: j, Rule: rule, Role: role, Reason: fmt.Sprintf(format, args...)}
}

// kinds say by which rule the strict client refuses; the first that fits counts.
var kinds = []struct {
	err  error
	rule Rule
}{
	{canonical.ErrTwice, RuleTwice}, {canonical.ErrCase, RuleCase}, {canonical.ErrNumber, RuleNumber},
	{canonical.ErrText, RuleText}, {canonical.ErrSyntax, RuleJSON},
	{uptane.ErrType, RuleType}, {uptane.ErrKey, RuleKey}, {uptane.ErrSignature, RuleThreshold},
	{uptane.ErrExpired, RuleExpired}, {uptane.ErrVersion, RuleVersion}, {uptane.ErrRollback, RuleRollback},
	{uptane.ErrMix, RuleMix}, {uptane.ErrName, RuleName},
}

// strictly is a refusal by the strict client, nil for nil.
func strictly(role uptane.Role, err error) *Refusal {
	if err == nil {
		return nil
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return refuse(Strict, k.rule, role, "%v", err)
		}
	}
	return refuse(Strict, RuleForm, role, "%v", err)
}
