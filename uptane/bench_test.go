package uptane_test

import (
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
	d := desk{uptane.RoleTargets: {ed("targets")}}
	for b.Loop() {
		if _, err := uptane.Seal(b.Context(), uptane.Uptane, d, job(uptane.RoleTargets), &targets); err != nil {
			b.Fatal(err)
		}
	}
}
