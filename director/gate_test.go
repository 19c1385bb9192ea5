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
		"nobody installs it":    {`"ecuIdentifiers":{`, `"ecus":{`, "ecu-identifiers"},
		"delegates":             {`"expires":`, `"delegations":{"keys":{},"roles":[{"keyids":[],"name":"x","paths":[],"threshold":1}]},"expires":`, ""}, // not even sealed
		"as it was":             {`"version":`, `"version":`, ""},
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
				case name == "as it was" && err != nil, name == "delegates" && err == nil:
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

func swap(t *testing.T, text, old, with string) string {
	t.Helper()
	before, after, ok := strings.Cut(text, old)
	if !ok {
		t.Fatalf("%s has no %s", text, old)
	}
	return before + with + after
}
