package ceremony_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
	"sealift/uptane/ceremony"
)

func key(t testing.TB, name string) uptane.Key {
	t.Helper()
	k, err := uptane.NewKey(fixtures.Ed25519(name).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// root is one with a key for each role.
func root(t testing.TB) *metadata.RootType {
	t.Helper()
	r := metadata.Root(time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)).Signed
	r.Keys, r.Roles = nil, nil
	for _, role := range ceremony.Roles() {
		if err := uptane.AddKey(&r, role, key(t, string(role))); err != nil {
			t.Fatal(err)
		}
	}
	return &r
}

func model(t testing.TB, r *metadata.RootType) ceremony.Model {
	t.Helper()
	m, err := ceremony.Of(r)
	if err != nil {
		t.Fatal(err)
	}
	m.Version++
	return m
}

func TestBothSidesEncodeTheSame(t *testing.T) {
	before := root(t)
	m := model(t, before)
	m.Roles[uptane.RoleRoot] = ceremony.Trust{Threshold: 2, Keys: []uptane.Key{key(t, "a"), key(t, "root"), key(t, "b")}}
	wire, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var there ceremony.Model
	if err := json.Unmarshal(wire, &there); err != nil {
		t.Fatal(err)
	}
	here, err := m.Payloads(before)
	if err != nil {
		t.Fatal(err)
	}
	other, err := there.Payloads(root(t))
	if err != nil || here.ID != other.ID || string(here.TUF) != string(other.TUF) {
		t.Errorf("%s here, %s there, %v", here.ID, other.ID, err)
	}
	if err := uptane.Twins(uptane.RoleRoot, here.Uptane, here.TUF); err != nil {
		t.Error(err)
	}
	if before.Version != 1 || len(before.Roles["root"].KeyIDs) != 1 {
		t.Error("the root before was changed")
	}
	old := model(t, before)
	old.Version--
	lines := ceremony.Diff(old, m)
	for _, want := range []string{"version 2, before 1", "root: 2 of 3 keys must sign, before 1 of 1", "root: + ed25519 key " + string(key(t, "a").ID())} {
		if !slices.Contains(lines, want) {
			t.Errorf("the differences %q lack %q", lines, want)
		}
	}
}

// What no model speaks of stays as it was.
func TestOtherMembersStay(t *testing.T) {
	before := root(t)
	before.UnrecognizedFields = map[string]any{"custom": json.RawMessage(`{"a":1}`)}
	p, err := model(t, before).Payloads(before)
	if err != nil || !strings.Contains(string(p.Uptane), `"custom":{"a":1}`) {
		t.Errorf("%s, %v", p.Uptane, err)
	}
}

func TestModelsThatAreNoRoots(t *testing.T) {
	for name, spoil := range map[string]func(*ceremony.Model){
		"version": func(m *ceremony.Model) { m.Version++ },
		"expiry":  func(m *ceremony.Model) { m.Expires = m.Expires.Add(time.Millisecond) },
		"nobody":  func(m *ceremony.Model) { m.Roles[uptane.RoleTargets] = ceremony.Trust{Threshold: 1} },
		"too few": func(m *ceremony.Model) {
			m.Roles[uptane.RoleTargets] = ceremony.Trust{Threshold: 2, Keys: m.Roles[uptane.RoleTargets].Keys}
		},
		"two roles": func(m *ceremony.Model) { m.Roles[uptane.RoleTargets] = m.Roles[uptane.RoleRoot] },
		"too many": func(m *ceremony.Model) {
			m.Roles[uptane.RoleTargets] = ceremony.Trust{Threshold: 1, Keys: slices.Repeat([]uptane.Key{key(t, "x")}, 51)}
		},
	} {
		before := root(t)
		m := model(t, before)
		spoil(&m)
		if _, err := m.Payloads(before); !errors.Is(err, ceremony.ErrModel) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzModel: what is read as a model reads back the same, and never makes a root
// that clients would not read.
func FuzzModel(f *testing.F) {
	raw, err := json.Marshal(model(f, root(f)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":2,"expires":"2031-01-02T03:04:05Z","roles":{"root":{"threshold":1,"keys":[{}]}}}`))
	before := root(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m, back ceremony.Model
		if json.Unmarshal(raw, &m) != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			return // a year that JSON has no form for
		}
		if err := json.Unmarshal(again, &back); err != nil || !reflect.DeepEqual(m.Roles, back.Roles) || m.Version != back.Version || !m.Expires.Equal(back.Expires) {
			t.Fatalf("%s reads back as %+v, %v", again, back, err)
		}
		if p, err := m.Payloads(before); err == nil {
			if _, err := uptane.ParsePayload[metadata.RootType](uptane.TUF, uptane.RoleRoot, p.TUF); err != nil {
				t.Error(err)
			}
		}
	})
}
