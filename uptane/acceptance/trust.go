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

// proof is a signature of a document, as it is written there, and the key that
// made it.
type proof struct {
	key uptane.Key
	sig string
}

// know takes over which signatures of these keys the strict client has verified:
// the same bytes over the same bytes. Where the root before calls a key by another
// id, it may have been another signature.
func (d document) know(signers []uptane.Key, by, before trust) {
	list, _ := d.value.Member("signatures")
	for _, s := range list.Items() {
		id := text(s, "keyid")
		if key := by.keys[id]; slices.Contains(signers, key) && !before.callsOtherwise(key, id) {
			d.valid[proof{key, text(s, "sig")}] = true
		}
	}
}

func (t trust) callsOtherwise(key uptane.Key, id string) bool {
	for other, k := range t.keys {
		if k == key && other != id {
			return true
		}
	}
	return false
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
		fact := proof{key, text(s, "sig")}
		if d.valid[fact] {
			valid++
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(fact.sig)
		if err == nil && !key.IsZero() && key.Verify(method, message, sig) == nil {
			d.valid[fact] = true
			valid++
		}
	}
	if need := by.need[name]; need < 1 || valid < need {
		return m.refuse(d, RuleThreshold, "%d of %d signatures are valid", valid, need)
	}
	return nil
}
