package director_test

import (
	"strings"
	"testing"

	"sealift/director"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// TestGate: what is signed for a device is judged before it is stored; a document
// that the device would refuse, or that would keep it silent, is never served.
func TestGate(t *testing.T) {
	for name, tt := range map[string]struct{ old, with, want string }{
		"no report of failures": {`"correlationId":"`, `"correlation":"`, "correlation-id"},
		"matches no image":      {`"hardwareId":"hw-p"}}`, `"hardwareId":"hw-p"}},"hardwareIds":["hw-p"]`, "hardware-ids"},
		"other type":            {`"Targets"`, `"targets"`, ""}, // not even sealed
		"an ECU twice": {`"targets":{`, `"targets":{"p-1":{"custom":{"ecuIdentifiers":{"car-hw-p-0":{"hardwareId":"hw-p"}}},"hashes":{"sha256":"` +
			strings.Repeat("ab", 32) + `"},"length":1},`, "ecu-twice"},
		"nobody installs it": {`"ecuIdentifiers":{`, `"ecus":{`, "ecu-identifiers"},
		"delegates":          {`"expires":`, `"delegations":{"keys":{},"roles":[{"keyids":[],"name":"x","paths":[],"threshold":1}]},"expires":`, ""}, // not even sealed
		"as it was":          {`"version":`, `"version":`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				f := newFleet(t, d)
				v := f.device("car", "hw-p")
				v.poll()
				f.images.add("p-2", 0, "hw-p")
				f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
				v.get("snapshot.json") // writes targets ahead and signs snapshot alone
				var payload []byte
				query := `SELECT payload FROM director_document WHERE role = 'targets' AND document IS NULL AND NOT void`
				if err := d.GetContext(t.Context(), &payload, query); err != nil {
					t.Fatal(err)
				}
				edited := swap(t, string(payload), tt.old, tt.with)
				if _, err := d.ExecContext(t.Context(), `UPDATE director_document SET payload = $1 WHERE role = 'targets' AND document IS NULL`, []byte(edited)); err != nil {
					t.Fatal(err)
				}
				_, err := f.Metadata(t.Context(), ns, v.id, "targets.json")
				r := acceptance.RefusalOf(err)
				switch {
				case name == "as it was" && err != nil, name == "other type" && err == nil, name == "delegates" && err == nil:
					t.Errorf("got %v", err)
				case tt.want != "" && (r == nil || string(r.Rule) != tt.want || r.Judge != acceptance.Aktualizr || fault.Of(err).Code() != director.ErrRefusedDocument.Code()):
					t.Errorf("got %v, want a refusal by %s", err, tt.want)
				}
				if name == "as it was" {
					return
				}
				var stored int
				if err := d.GetContext(t.Context(), &stored, `SELECT COUNT(*) FROM director_document WHERE role = 'targets' AND document IS NOT NULL AND payload = $1`, []byte(edited)); err != nil || stored != 0 {
					t.Errorf("%d documents that were refused are stored, %v", stored, err)
				}
			})
		})
	}
}

// A device compares versions and nothing else: other content under a version that
// it has seen leaves it where it is, polling, for ever; a lower one stops it. Each
// change of a device's life gets the next.
func TestEveryChangeHasItsVersion(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFleet(t, d)
		for _, name := range []string{"p-2", "p-3"} {
			f.images.add(name, 0, "hw-p")
		}
		f.images.add("s-2", 5, "hw-s")
		v := f.device("car", "hw-p", "hw-s")
		v.report(nil)
		said, last, changes := map[int64]string{}, int64(0), 0
		look := func(what string, changed bool) {
			t.Helper()
			doc, version := string(v.get("targets.json")), v.poll().Version
			if known, ok := said[version]; ok && known != doc {
				t.Errorf("%s: version %d says\n%s\nand said\n%s", what, version, doc, known)
			}
			if changed != (version > last) || version < last {
				t.Errorf("%s: version %d after %d", what, version, last)
			}
			said[version], last = doc, version
			if changed {
				changes++
			}
		}
		look("nothing to do", true)
		look("asked again", false)
		f.assign(map[uptane.HardwareID]string{"hw-p": "p-2"}, v)
		look("assigned", true)
		v.report(nil)
		look("reported nothing new", false)
		second := f.assign(map[uptane.HardwareID]string{"hw-s": "s-2"}, v)
		look("a second update", true)
		if _, err := f.CancelUpdate(t.Context(), ns, second.ID, true); err != nil {
			t.Fatal(err)
		}
		look("cancelled", true)
		v.ecus[0].runs = f.images["p-2"]
		v.report(nil)
		look("installed", true)
		first := f.assign(map[uptane.HardwareID]string{"hw-p": "p-3"}, v)
		look("the next", true)
		v.report(&report{correlation: first.Correlation, code: "INSTALL_FAILED"})
		look("failed", true)
		v.ecus = v.ecus[:1]
		if err := v.register(); err != nil {
			t.Fatal(err)
		}
		f.assign(map[uptane.HardwareID]string{"hw-p": "p-3"}, v)
		look("without its Secondary", true)
		f.keys.rotate(f.clock.now().AddDate(1, 0, 0), uptane.RoleTargets)
		look("under another root", true)
		f.clock.forward(25 * day)
		look("renewed", true)
		if len(said) != changes {
			t.Errorf("%d versions of %d changes", len(said), changes)
		}
	})
}

func swap(t *testing.T, text, old, with string) string {
	t.Helper()
	before, after, ok := strings.Cut(text, old)
	if !ok {
		t.Fatalf("%s has no %s", text, old)
	}
	return before + with + after
}
