package acceptance

import (
	"encoding/base64"
	"slices"
	"strings"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// trust is whom aktualizr believes: keys by the ids of a document, and for each
// role its ids and how many of them must sign. It counts ids, not keys.
type trust struct {
	keys map[string]uptane.Key
	ids  map[string][]string
	need map[string]int64
}

// trustOf reads keys and roles. A key that it cannot use stays and never
// verifies.
func trustOf(keys canonical.Value, roles map[string]canonical.Value) trust {
	t := trust{map[string]uptane.Key{}, map[string][]string{}, map[string]int64{}}
	for _, m := range keys.Members() {
		k, _ := uptane.ParseKey(m.Value.Uptane())
		t.keys[m.Name] = k
	}
	for name, role := range roles {
		t.need[name], _ = integer(role, "threshold")
		list, _ := role.Member("keyids")
		for _, id := range list.Items() {
			s, _ := id.Text()
			t.ids[name] = append(t.ids[name], s)
		}
	}
	return t
}

// trustOfRoot knows role names in any case.
func trustOfRoot(d document) trust {
	keys, _ := d.signed.Member("keys")
	list, _ := d.signed.Member("roles")
	roles := map[string]canonical.Value{}
	for _, m := range list.Members() {
		roles[strings.ToLower(m.Name)] = m.Value
	}
	return trustOf(keys, roles)
}

// trustOfDelegations knows role names as they are written.
func trustOfDelegations(delegations canonical.Value) trust {
	keys, _ := delegations.Member("keys")
	list, _ := delegations.Member("roles")
	roles := map[string]canonical.Value{}
	for _, role := range list.Items() {
		roles[text(role, "name")] = role
	}
	return trustOf(keys, roles)
}

// verify counts the valid signatures of a role's keys.
func (m model) verify(d document, by trust) *Refusal {
	list, _ := d.value.Member("signatures")
	message, name := d.signed.Uptane(), string(d.role)
	valid := int64(0)
	for _, s := range list.Items() {
		key, known := by.keys[text(s, "keyid")]
		if !known || !slices.Contains(by.ids[name], text(s, "keyid")) {
			continue
		}
		method := "ed25519"
		if strings.HasPrefix(key.Algorithm(), "rsa") {
			method = "rsassa-pss-sha256" // it goes by the key, not by what the signature says
		}
		if d.valid[key] {
			valid++
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(text(s, "sig"))
		if err == nil && !key.IsZero() && key.Verify(method, message, sig) == nil {
			d.valid[key] = true
			valid++
		}
	}
	if need := by.need[name]; need < 1 || valid < need {
		return m.refuse(d, RuleThreshold, "%d of %d signatures are valid", valid, need)
	}
	return nil
}
