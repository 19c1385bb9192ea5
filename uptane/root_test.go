package uptane_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

// Metadata that the real client accepted opens here, from root to targets.
func TestRecordedMetadataOpens(t *testing.T) {
	for _, dir := range []string{"ostree/repo", "ostree/director", "secondaries/repo", "secondaries/director"} {
		read := func(name string) []byte {
			b, err := fs.ReadFile(fixtures.Aktualizr(), "metadata/"+dir+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		root, err := uptane.OpenRoot(uptane.Uptane, read("1.root.json"), nil, now)
		if err != nil {
			t.Fatal(dir, err)
		}
		timestamp, err := uptane.Open[metadata.TimestampType](uptane.Uptane, read("timestamp.json"), uptane.RoleTimestamp, ring(t, uptane.Uptane, &root.Payload, uptane.RoleTimestamp), now)
		if err != nil {
			t.Fatal(dir, err)
		}
		snapshot, err := uptane.Open[metadata.SnapshotType](uptane.Uptane, read("snapshot.json"), uptane.RoleSnapshot, ring(t, uptane.Uptane, &root.Payload, uptane.RoleSnapshot), now)
		if err != nil {
			t.Fatal(dir, err)
		}
		targets, err := uptane.Open[metadata.TargetsType](uptane.Uptane, read("targets.json"), uptane.RoleTargets, ring(t, uptane.Uptane, &root.Payload, uptane.RoleTargets), now)
		if err != nil {
			t.Fatal(dir, err)
		}
		if err := uptane.CheckTimestamp(&timestamp.Payload, &timestamp.Payload); err != nil {
			t.Error(dir, err)
		}
		if err := uptane.CheckSnapshot(&timestamp.Payload, snapshot.Raw, &snapshot.Payload, &snapshot.Payload); err != nil {
			t.Error(dir, err)
		}
		if err := uptane.CheckTargets(&snapshot.Payload, uptane.RoleTargets, targets.Raw, &targets.Payload, &targets.Payload); err != nil {
			t.Error(dir, err)
		}
		if len(targets.Payload.Targets) == 0 || string(targets.Raw) != string(read("targets.json")) {
			t.Errorf("%s: targets differ from the recording", dir)
		}
	}
}

func TestRootChain(t *testing.T) {
	one := desk{uptane.RoleRoot: {ed("r1"), ed("r2")}, uptane.RoleTargets: {ed("t")}, uptane.RoleSnapshot: {ed("s")}, uptane.RoleTimestamp: {ed("ts")}}
	two := desk{uptane.RoleRoot: {ed("r3")}, uptane.RoleTargets: {ed("t")}, uptane.RoleSnapshot: {ed("s")}, uptane.RoleTimestamp: {ed("ts")}}
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		first, err := uptane.OpenRoot(f, seal(t, f, one, uptane.RoleRoot, rootOf(t, one, 1)), nil, today)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			version int64
			by      []crypto.Signer
			now     time.Time
			want    error
		}{
			"old and new keys":     {2, []crypto.Signer{ed("r1"), ed("r2"), ed("r3")}, today, nil},
			"new key alone":        {2, []crypto.Signer{ed("r3")}, today, uptane.ErrSignature},
			"old keys alone":       {2, []crypto.Signer{ed("r1"), ed("r2")}, today, uptane.ErrSignature},
			"one old key short":    {2, []crypto.Signer{ed("r1"), ed("r3")}, today, uptane.ErrSignature},
			"same version":         {1, []crypto.Signer{ed("r1"), ed("r2"), ed("r3")}, today, uptane.ErrVersion},
			"gap":                  {3, []crypto.Signer{ed("r1"), ed("r2"), ed("r3")}, today, uptane.ErrVersion},
			"expired":              {2, []crypto.Signer{ed("r1"), ed("r2"), ed("r3")}, nextDay, uptane.ErrExpired},
			"expired in the chain": {2, []crypto.Signer{ed("r1"), ed("r2"), ed("r3")}, time.Time{}, nil},
		} {
			doc := seal(t, f, desk{uptane.RoleRoot: c.by}, uptane.RoleRoot, rootOf(t, two, c.version))
			if _, err := uptane.OpenRoot(f, doc, &first.Payload, c.now); !errors.Is(err, c.want) {
				t.Errorf("%s %s: got %v", f, name, err)
			}
		}
	}
}

func TestKeysOfRoles(t *testing.T) {
	root := rootOf(t, fullDesk(), 1)
	k := public(t, ed("snapshot"))
	if err := uptane.AddKey(root, uptane.RoleTimestamp, k); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("one key for two roles: %v", err)
	}
	if err := uptane.AddKey(root, uptane.RoleSnapshot, k); err != nil || len(root.Roles["snapshot"].KeyIDs) != 1 {
		t.Errorf("the same key again: %v", err)
	}
	if err := uptane.AddKey(root, uptane.RoleSnapshot, public(t, ed("new"))); err != nil {
		t.Fatal(err)
	}
	uptane.RemoveKey(root, uptane.RoleSnapshot, k)
	if keys := ring(t, uptane.Uptane, root, uptane.RoleSnapshot).Keys; len(keys) != 1 || keys[0] != public(t, ed("new")) || len(root.Keys) != 5 {
		t.Errorf("got %d keys, %d in root", len(keys), len(root.Keys))
	}
	uptane.RemoveKey(root, uptane.RoleSnapshot, public(t, ed("new")))
	if _, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, root); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("a role without keys: %v", err)
	}
}

// Roots of other makers may name roles we do not know, and call keys as they
// like; but no key counts twice.
func TestForeignRoots(t *testing.T) {
	key := `{"keytype":"ED25519","keyval":{"public":"` + hexOf(t, "root") + `"}}`
	other := `{"keytype":"ed25519","keyval":{"public":"` + hexOf(t, "targets") + `"}}`
	build := func(keys, roles string) []byte {
		payload := []byte(`{"_type":"Root","expires":"2030-01-03T03:04:05Z","keys":{` + keys + `},"roles":{` + roles + `},"version":1}`)
		sig, err := uptane.Sign(ed("root"), payload)
		if err != nil {
			t.Fatal(err)
		}
		doc := uptane.Frame(uptane.Uptane, payload, sig)
		return []byte(strings.Replace(string(doc), string(sig.Key.ID()), "a", 1))
	}
	roles := `"root":{"keyids":["a"],"threshold":1},"targets":{"keyids":["b"],"threshold":1}`
	for name, c := range map[string]struct {
		keys, roles string
		want        error
	}{
		"own ids":           {`"a":` + key + `,"b":` + other, roles, nil},
		"unknown role":      {`"a":` + key + `,"b":` + other, `"remote-sessions":{"keyids":["zz"],"threshold":-5},` + roles, nil},
		"one key, two ids":  {`"a":` + key + `,"b":` + other + `,"c":` + key, roles, uptane.ErrKey},
		"threshold 0":       {`"a":` + key + `,"b":` + other, strings.Replace(roles, ":1", ":0", 1), uptane.ErrKey},
		"threshold 2":       {`"a":` + key + `,"b":` + other, strings.Replace(roles, ":1", ":2", 1), uptane.ErrKey},
		"key missing":       {`"a":` + key, roles, uptane.ErrKey},
		"id twice":          {`"a":` + key + `,"b":` + other, strings.Replace(roles, `["a"]`, `["a","a"]`, 1), uptane.ErrKey},
		"no targets":        {`"a":` + key, `"root":{"keyids":["a"],"threshold":1}`, uptane.ErrMalformed},
		"role in capitals":  {`"a":` + key + `,"b":` + other, roles + `,"Snapshot":{"keyids":["b"],"threshold":1}`, uptane.ErrMalformed},
		"one unusable key":  {`"a":` + key + `,"b":` + other + `,"c":{"keytype":"ecdsa","keyval":{"public":"x"}}`, roles, uptane.ErrKey},
		"null key":          {`"a":null,"b":` + other, roles, uptane.ErrMalformed},
		"null role":         {`"a":` + key + `,"b":` + other, roles + `,"snapshot":null`, uptane.ErrMalformed},
		"keys in capitals":  {`"a":` + key + `,"b":` + other + `},"KEYS":{`, roles, uptane.ErrMalformed},
		"huge in threshold": {`"a":` + key + `,"b":` + other, strings.Replace(roles, ":1", ":4294967297", 1), uptane.ErrKey},
	} {
		if _, err := uptane.OpenRoot(uptane.Uptane, build(c.keys, c.roles), nil, today); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func hexOf(t *testing.T, name string) string {
	t.Helper()
	var wire struct{ Keyval struct{ Public string } }
	if err := json.Unmarshal(public(t, ed(name)).Wire(uptane.Uptane), &wire); err != nil {
		t.Fatal(err)
	}
	return wire.Keyval.Public
}

func TestDelegations(t *testing.T) {
	k := public(t, ed("supplier"))
	model, err := uptane.ParsePayload[metadata.TargetsType](uptane.Uptane, uptane.RoleTargets, []byte(`{"_type":"Targets","delegations":{"keys":{"x":`+
		string(k.Wire(uptane.Uptane))+`},"roles":[{"keyids":["x"],"name":"supplier-1","paths":["s/*"],"terminating":true,"threshold":1}]},"expires":"2030-01-03T03:04:05Z","targets":{},"version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		payload, err := uptane.Payload(f, uptane.RoleTargets, model)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(payload), `"keyids":["`+string(f.KeyID(k))+`"]`) {
			t.Errorf("%s: ids are not of the flavour: %s", f, payload)
		}
	}
	trust, err := uptane.DelegationRing(uptane.Uptane, model, "supplier-1")
	if err != nil || len(trust.Keys) != 1 || trust.Keys[0] != k {
		t.Fatalf("got %v, %v", trust, err)
	}
	doc := seal(t, uptane.TUF, desk{"supplier-1": {ed("supplier")}}, "supplier-1", brakes(t))
	if _, err := uptane.Open[metadata.TargetsType](uptane.TUF, doc, "supplier-1", trust, today); err != nil {
		t.Error(err)
	}
	if _, err := uptane.DelegationRing(uptane.Uptane, model, "supplier-2"); !errors.Is(err, uptane.ErrKey) {
		t.Errorf("got %v", err)
	}
}
