package uptane_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

func BenchmarkVerifyManifest(b *testing.B) {
	raw := fixtures.Read("aktualizr/ostree-manifest-1.json")
	r, err := uptane.ParseRegistration(fixtures.Read("aktualizr/ostree-ecus-1.json"))
	if err != nil {
		b.Fatal(err)
	}
	keys := map[uptane.ECUSerial]uptane.Key{r.Primary: r.ECUs[0].Key}
	for b.Loop() {
		if _, err := uptane.VerifyManifest(raw, r.Primary, keys); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealDirectorTargets(b *testing.B) {
	targets := metadata.Targets(nextDay).Signed
	targets.Version = 1
	file, err := uptane.Target{Filename: "f", Hashes: metadata.Hashes{"sha256": make([]byte, 32)},
		Custom: uptane.Custom{ECUs: map[uptane.ECUSerial]uptane.HardwareID{"s": "h"}}}.File()
	if err != nil {
		b.Fatal(err)
	}
	targets.Targets["f"] = file
	for i := range 2 {
		targets.Targets[string(rune('g'+i))] = file
	}
	held, err := uptane.HoldKey(ed("targets").(ed25519.PrivateKey))
	if err != nil {
		b.Fatal(err)
	}
	d := desk{uptane.RoleTargets: {held}}
	for b.Loop() {
		if _, err := uptane.Seal(b.Context(), uptane.Uptane, d, job(uptane.RoleTargets), &targets); err != nil {
			b.Fatal(err)
		}
	}
}
