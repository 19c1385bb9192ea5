package access_test

import (
	"slices"
	"testing"
	"time"

	"sealift/access"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
)

// Tokens that live long and end are forecast, the first to end first: not those that
// never end, are meant to be short, were revoked, ended long ago or are another's.
func TestTokensThatEnd(t *testing.T) {
	const day = 24 * time.Hour
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, clock := open(t, d)
		if err := a.CreateNamespace(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		for _, made := range []struct {
			name string
			days int
		}{{"for good", 0}, {"for a night", 29}, {"year", 365}, {"month", 30}, {"taken back", 60}} {
			_, token, err := a.CreateToken(t.Context(), "default", made.name, []access.Scope{access.Read}, time.Duration(made.days)*day)
			if err != nil {
				t.Fatal(err)
			}
			ids[made.name] = token.ID
		}
		if err := a.RevokeToken(t.Context(), "default", ids["taken back"]); err != nil {
			t.Fatal(err)
		}
		ending := func() (names []string) {
			list, err := a.Endings(t.Context(), "default")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if e.ID != ids[e.Name] || !e.Expires.After(e.Created) {
					t.Errorf("an end of %+v", e)
				}
				names = append(names, e.Name)
			}
			return names
		}
		if got := ending(); !slices.Equal(got, []string{"month", "year"}) {
			t.Errorf("what ends: %q", got)
		}
		clock.pass(59 * day)
		if got := ending(); !slices.Equal(got, []string{"month", "year"}) {
			t.Errorf("29 days after its end a token is forgotten: %q", got)
		}
		clock.pass(2 * day)
		if got := ending(); !slices.Equal(got, []string{"year"}) {
			t.Errorf("31 days after its end: %q", got)
		}
		if list, err := a.Endings(t.Context(), "other"); err != nil || len(list) != 0 {
			t.Errorf("another namespace sees %v, %v", list, err)
		}
	})
}
