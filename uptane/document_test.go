package uptane_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"sealift/fixtures"
	"sealift/uptane"
)

// What was sealed opens again in its flavour, and in no other.
func TestSealAndOpen(t *testing.T) {
	d := fullDesk()
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		r := publish(t, f, d, brakes(t))
		root, err := uptane.OpenRoot(f, r.root, nil, today)
		if err != nil {
			t.Fatal(f, err)
		}
		if len(root.Signers) != 2 || !bytes.Equal(root.Raw, r.root) {
			t.Errorf("%s: root has %d signers", f, len(root.Signers))
		}
		targets, err := uptane.Open[metadata.TargetsType](f, r.targets, uptane.RoleTargets, ring(t, f, &root.Payload, uptane.RoleTargets), today)
		if err != nil {
			t.Fatal(f, err)
		}
		got, err := uptane.TargetOf("brakes-2.bin", targets.Payload.Targets["brakes-2.bin"])
		if err != nil || got.Custom.ReleaseCounter != 7 || got.Custom.URI != "https://example.org/<b>&\n" || !got.Custom.CreatedAt.Equal(today) {
			t.Errorf("%s: got %+v, %v", f, got, err)
		}
		other := uptane.Uptane
		if f == uptane.Uptane {
			other = uptane.TUF
		}
		if _, err := uptane.Open[metadata.TargetsType](other, r.targets, uptane.RoleTargets, ring(t, f, &root.Payload, uptane.RoleTargets), today); err == nil {
			t.Errorf("%s document opened as %s", f, other)
		}
	}
}

// The keys of the Uptane root verify the TUF twin too, though ids differ.
func TestRingOfOneFlavourOpensTheOther(t *testing.T) {
	d := fullDesk()
	root, err := uptane.OpenRoot(uptane.Uptane, publish(t, uptane.Uptane, d, brakes(t)).root, nil, today)
	if err != nil {
		t.Fatal(err)
	}
	twin := publish(t, uptane.TUF, d, brakes(t))
	if _, err := uptane.Open[metadata.TargetsType](uptane.TUF, twin.targets, uptane.RoleTargets, ring(t, uptane.Uptane, &root.Payload, uptane.RoleTargets), today); err != nil {
		t.Error(err)
	}
}

// go-tuf's own client accepts our TUF documents, with Ed25519 and RSA keys.
func TestTUFClientAccepts(t *testing.T) {
	r := publish(t, uptane.TUF, fullDesk(), brakes(t))
	trusted, err := trustedmetadata.New(r.root)
	if err != nil {
		t.Fatal(err)
	}
	trusted.RefTime = today
	next := seal(t, uptane.TUF, fullDesk(), uptane.RoleRoot, rootOf(t, fullDesk(), 2))
	if _, err := trusted.UpdateRoot(next); err != nil {
		t.Fatal(err)
	}
	if _, err := trusted.UpdateTimestamp(r.timestamp); err != nil {
		t.Fatal(err)
	}
	if _, err := trusted.UpdateSnapshot(r.snapshot, false); err != nil {
		t.Fatal(err)
	}
	targets, err := trusted.UpdateTargets(r.targets)
	if err != nil {
		t.Fatal(err)
	}
	if targets.Signed.Targets["brakes-2.bin"].Length != 3 {
		t.Error("the target is gone")
	}
}

// The Uptane form, letter by letter: clients compare case and need each member.
func TestUptaneShape(t *testing.T) {
	d := desk{uptane.RoleRoot: {ed("root")}, uptane.RoleTargets: {ed("targets")}}
	root := rootOf(t, d, 1)
	delete(root.Roles, "snapshot")
	delete(root.Roles, "timestamp")
	rootKey, targetsKey := public(t, ed("root")), public(t, ed("targets"))
	got, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, root)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{entry(rootKey), entry(targetsKey)}
	if keys[0] > keys[1] {
		keys[0], keys[1] = keys[1], keys[0]
	}
	want := `{"_type":"Root","consistent_snapshot":false,"expires":"2030-01-03T03:04:05Z","keys":{` + strings.Join(keys, ",") +
		`},"roles":{"root":{"keyids":["` + string(rootKey.ID()) + `"],"threshold":1},"targets":{"keyids":["` + string(targetsKey.ID()) + `"],"threshold":1}},"version":1}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	doc := seal(t, uptane.Uptane, d, uptane.RoleRoot, root)
	if !bytes.HasPrefix(doc, []byte(`{"signatures":[{"keyid":"`+string(rootKey.ID())+`","method":"ed25519","sig":"`)) {
		t.Errorf("got %s", doc)
	}

	targets := brakes(t)
	uptane.DirectorCustom{CorrelationID: "urn:x", VehicleID: "vin-1"}.SetOn(targets)
	got, err = uptane.Payload(uptane.Uptane, uptane.RoleTargets, targets)
	if err != nil {
		t.Fatal(err)
	}
	want = `{"_type":"Targets","custom":{"correlationId":"urn:x","vehicleId":"vin-1"},"expires":"2030-01-03T03:04:05Z","targets":{"brakes-2.bin":{"custom":{` +
		`"createdAt":"2030-01-02T03:04:05Z","hardwareIds":["ecu-a"],"name":"brakes","releaseCounter":7,"targetFormat":"BINARY","updatedAt":"2030-01-02T03:04:05Z",` +
		`"uri":"https://example.org/<b>&\n","version":"2"},"hashes":{"sha256":"` + strings.Repeat("00", 32) + `"},"length":3}},"version":3}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	custom, err := uptane.DirectorCustomOf(targets)
	if err != nil || custom.CorrelationID != "urn:x" || custom.VehicleID != "vin-1" {
		t.Errorf("got %+v, %v", custom, err)
	}
}

func entry(k uptane.Key) string {
	var wire struct{ Keyval struct{ Public string } }
	_ = json.Unmarshal(k.Wire(uptane.Uptane), &wire)
	return `"` + string(k.ID()) + `":{"keytype":"ED25519","keyval":{"public":"` + wire.Keyval.Public + `"}}`
}

func TestSealRefuses(t *testing.T) {
	d := fullDesk()
	for name, c := range map[string]struct {
		change func(*metadata.TargetsType)
		role   uptane.Role
		want   error
	}{
		"role of another type": {func(*metadata.TargetsType) {}, uptane.RoleSnapshot, uptane.ErrType},
		"type not the role's":  {func(p *metadata.TargetsType) { p.Type = "Targets" }, uptane.RoleTargets, uptane.ErrType},
		"bad delegation name":  {func(*metadata.TargetsType) {}, "a.b", uptane.ErrType},
		"version 0":            {func(p *metadata.TargetsType) { p.Version = 0 }, uptane.RoleTargets, uptane.ErrVersion},
		"version too high":     {func(p *metadata.TargetsType) { p.Version = 1 << 31 }, uptane.RoleTargets, uptane.ErrVersion},
		"fraction of a second": {func(p *metadata.TargetsType) { p.Expires = p.Expires.Add(1) }, uptane.RoleTargets, uptane.ErrMalformed},
		"local time": {func(p *metadata.TargetsType) { p.Expires = p.Expires.In(time.FixedZone("", 3600)) },
			uptane.RoleTargets, uptane.ErrMalformed},
		"float": {func(p *metadata.TargetsType) { p.UnrecognizedFields = map[string]any{"x": 1.5} }, uptane.RoleTargets, uptane.ErrMalformed},
		"not ASCII": {func(p *metadata.TargetsType) { p.UnrecognizedFields = map[string]any{"x": "é"} },
			uptane.RoleTargets, uptane.ErrMalformed},
		"case variant": {func(p *metadata.TargetsType) { p.UnrecognizedFields = map[string]any{"Version": 1} },
			uptane.RoleTargets, uptane.ErrMalformed},
		"null target": {func(p *metadata.TargetsType) { p.Targets["x"] = nil }, uptane.RoleTargets, uptane.ErrMalformed},
		"no sha256": {func(p *metadata.TargetsType) {
			p.Targets["brakes-2.bin"].Hashes = metadata.Hashes{"sha512": make([]byte, 64)}
		},
			uptane.RoleTargets, uptane.ErrMalformed},
		"climbing name": {func(p *metadata.TargetsType) { p.Targets["../x"] = p.Targets["brakes-2.bin"] },
			uptane.RoleTargets, uptane.ErrName},
		"null targets": {func(p *metadata.TargetsType) { p.Targets = nil }, uptane.RoleTargets, uptane.ErrMalformed},
	} {
		p := brakes(t)
		c.change(p)
		doc, err := uptane.Seal(t.Context(), uptane.Uptane, d, job(c.role), p)
		if !errors.Is(err, c.want) || doc != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// signFunc is a Signer that misbehaves.
type signFunc func(msg []byte) ([]uptane.RawSig, error)

func (f signFunc) Sign(_ context.Context, _ uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	return f(msg)
}

func TestSealDistrustsSigners(t *testing.T) {
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleTargets, brakes(t))
	if err != nil {
		t.Fatal(err)
	}
	good, _ := uptane.Sign(ed("x"), payload)
	other, _ := uptane.Sign(ed("x"), []byte("other"))
	for name, c := range map[string]struct {
		sign signFunc
		want error
	}{
		"none":         {func([]byte) ([]uptane.RawSig, error) { return nil, nil }, uptane.ErrSignature},
		"wrong":        {func([]byte) ([]uptane.RawSig, error) { return []uptane.RawSig{other}, nil }, uptane.ErrSignature},
		"same twice":   {func([]byte) ([]uptane.RawSig, error) { return []uptane.RawSig{good, good}, nil }, uptane.ErrSignature},
		"root changed": {func([]byte) ([]uptane.RawSig, error) { return nil, uptane.ErrRootChanged }, uptane.ErrRootChanged},
	} {
		if doc, err := uptane.SealPayload(t.Context(), uptane.Uptane, c.sign, job(uptane.RoleTargets), payload); !errors.Is(err, c.want) || doc != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := uptane.SealPayload(t.Context(), uptane.Uptane, fullDesk(), job(uptane.RoleTargets), append(payload, ' ')); !errors.Is(err, uptane.ErrMalformed) {
		t.Errorf("payload with a blank: %v", err)
	}
}

// Each refusal names its check: attack tests rely on it.
func TestOpenRefuses(t *testing.T) {
	d := fullDesk()
	good := string(publish(t, uptane.Uptane, d, brakes(t)).targets)
	trust := uptane.NewKeyring(1, public(t, fixtures.Key("rsa2048-2")))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the document", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	second := strings.Index(good, "]")
	first := good[len(`{"signatures":[`):second]
	for name, c := range map[string]struct {
		doc  string
		role uptane.Role
		ring uptane.Keyring
		now  time.Time
		want error
	}{
		"no JSON":             {doc: good + "x", want: uptane.ErrMalformed},
		"member beside":       {doc: `{"x":1,` + good[1:], want: uptane.ErrMalformed},
		"version twice":       {doc: replace(`"version":3`, `"version":3,"version":4`), want: uptane.ErrMalformed},
		"other role":          {doc: good, role: uptane.RoleSnapshot, want: uptane.ErrType},
		"type in lower case":  {doc: replace("Targets", "targets"), want: uptane.ErrType},
		"payload changed":     {doc: replace(`"length":3`, `"length":4`), want: uptane.ErrSignature},
		"signature bit":       {doc: replace(`"sig":"`, `"sig":"AAAA`), want: uptane.ErrSignature},
		"unknown method":      {doc: replace("rsassa-pss-sha256", "rsa-pkcs1v15"), want: uptane.ErrSignature},
		"method of other key": {doc: replace("rsassa-pss-sha256", "ed25519"), want: uptane.ErrSignature},
		"key id twice":        {doc: replace(first, first+","+first), want: uptane.ErrSignature},
		"no signature":        {doc: replace(first, ""), want: uptane.ErrSignature},
		"hex signature":       {doc: replace(`"sig":"`, `"sig":"0`), want: uptane.ErrMalformed},
		"threshold":           {doc: good, ring: uptane.NewKeyring(2, public(t, fixtures.Key("rsa2048-2")), public(t, ed("x"))), want: uptane.ErrSignature},
		"foreign key":         {doc: good, ring: uptane.NewKeyring(1, public(t, ed("x"))), want: uptane.ErrSignature},
		"empty trust":         {doc: good, ring: uptane.NewKeyring(0, public(t, ed("x"))), want: uptane.ErrSignature},
		"at its end":          {doc: good, now: nextDay, want: uptane.ErrExpired},
		"just before":         {doc: good, now: nextDay.Add(-time.Second)},
		"time left out":       {doc: good},
	} {
		if c.role == "" {
			c.role = uptane.RoleTargets
		}
		if c.ring.Keys == nil {
			c.ring = trust
		}
		_, err := uptane.Open[metadata.TargetsType](uptane.Uptane, []byte(c.doc), c.role, c.ring, c.now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Signatures come together one by one, at different desks.
func TestCeremony(t *testing.T) {
	d := fullDesk()
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, rootOf(t, d, 1))
	if err != nil {
		t.Fatal(err)
	}
	e := uptane.Envelope{Signed: payload}
	for i, key := range d[uptane.RoleRoot] {
		if _, err := uptane.OpenRoot(uptane.Uptane, e.Encode(uptane.Uptane), nil, today); !errors.Is(err, uptane.ErrSignature) {
			t.Fatalf("after %d signatures: %v", i, err)
		}
		msg, err := uptane.Uptane.Message(payload)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := uptane.Sign(key, msg)
		if err != nil {
			t.Fatal(err)
		}
		e.Add(uptane.Uptane, sig, sig)
		if e, err = uptane.ParseEnvelope(uptane.Uptane, e.Encode(uptane.Uptane)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := uptane.OpenRoot(uptane.Uptane, e.Encode(uptane.Uptane), nil, today); err != nil {
		t.Error(err)
	}
}

func TestTwins(t *testing.T) {
	d := fullDesk()
	ours := brakes(t)
	uptane.DirectorCustom{CorrelationID: "urn:x"}.SetOn(ours)
	twin, err := uptane.PublicTargets(ours)
	if err != nil {
		t.Fatal(err)
	}
	compare := func(change func(*metadata.TargetsType)) error {
		other := *twin
		file := *twin.Targets["brakes-2.bin"]
		other.Targets = map[string]*metadata.TargetFiles{"brakes-2.bin": &file}
		change(&other)
		a, errA := uptane.Payload(uptane.Uptane, uptane.RoleTargets, ours)
		b, errB := uptane.Payload(uptane.TUF, uptane.RoleTargets, &other)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		return uptane.Twins(uptane.RoleTargets, a, b)
	}
	if err := compare(func(*metadata.TargetsType) {}); err != nil {
		t.Error(err)
	}
	if custom := string(*twin.Targets["brakes-2.bin"].Custom); strings.Contains(custom, "example.org") {
		t.Errorf("the TUF twin tells the address: %s", custom)
	}
	forged := json.RawMessage(`{"version":"3"}`)
	talkative := json.RawMessage(`{"uri":"https://example.org/<b>&\n"}`)
	for name, change := range map[string]func(*metadata.TargetsType){
		"version": func(p *metadata.TargetsType) { p.Version++ },
		"expires": func(p *metadata.TargetsType) { p.Expires = p.Expires.Add(time.Second) },
		"length":  func(p *metadata.TargetsType) { p.Targets["brakes-2.bin"].Length++ },
		"hash": func(p *metadata.TargetsType) {
			p.Targets["brakes-2.bin"].Hashes = metadata.Hashes{"sha256": bytes.Repeat([]byte{1}, 32)}
		},
		"missing":     func(p *metadata.TargetsType) { p.Targets = map[string]*metadata.TargetFiles{} },
		"more":        func(p *metadata.TargetsType) { p.Targets["x"] = p.Targets["brakes-2.bin"] },
		"custom":      func(p *metadata.TargetsType) { p.Targets["brakes-2.bin"].Custom = &forged },
		"more custom": func(p *metadata.TargetsType) { p.Targets["brakes-2.bin"].Custom = &talkative },
		"delegation": func(p *metadata.TargetsType) {
			p.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{}}
		},
	} {
		if err := compare(change); !errors.Is(err, uptane.ErrTwins) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	a, _ := uptane.Payload(uptane.Uptane, uptane.RoleRoot, rootOf(t, d, 1))
	d[uptane.RoleSnapshot] = []crypto.Signer{ed("other")}
	b, _ := uptane.Payload(uptane.TUF, uptane.RoleRoot, rootOf(t, d, 1))
	if err := uptane.Twins(uptane.RoleRoot, a, b); !errors.Is(err, uptane.ErrTwins) {
		t.Errorf("roots with different keys: %v", err)
	}
}
