package access_test

import (
	"errors"
	"slices"
	"testing"

	"sealift/access"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// A supplier's token is good for the roles that it names, in each of its forms,
// unless the same token may sign for all.
func TestSuppliersAreConfined(t *testing.T) {
	a, _ := open(t, dbtest.SQLite(t))
	ctx := t.Context()
	if err := a.CreateNamespace(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scopes []access.Scope
		want   []uptane.Role
		push   []uptane.Role
		sign   bool
	}{
		{[]access.Scope{access.Supplier("radio"), access.Supplier("brakes")}, []uptane.Role{"brakes", "radio"}, []uptane.Role{"brakes", "radio"}, false},
		{[]access.Scope{access.Supplier("brakes"), access.PushTreehub, access.Read}, []uptane.Role{"brakes"}, nil, false},
		{[]access.Scope{access.Supplier("brakes"), access.SignRepo}, nil, []uptane.Role{"brakes"}, true},
		{[]access.Scope{access.Admin, access.Supplier("brakes")}, nil, nil, true},
	} {
		text, made, err := a.CreateToken(ctx, "acme", "supplier", c.scopes, 0)
		if err != nil {
			t.Fatal(err)
		}
		exchanged, _, err := a.Exchange(ctx, "", made.ID, text)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // from the database, then from memory
			for _, proof := range []string{text, exchanged} {
				who, err := a.Authenticate(ctx, "", proof)
				if err != nil || !slices.Equal(who.Confined, c.want) || !slices.Equal(who.ConfinedPush, c.push) || !who.May(access.TreehubPush) || !who.May(access.RepoDelegate) || who.May(access.RepoSign) != c.sign {
					t.Errorf("%q: %+v, %v", c.scopes, who, err)
				}
				clear(who.Confined) // is the caller's own
				clear(who.ConfinedPush)
			}
		}
	}
	for _, role := range []uptane.Role{"", "root", "Targets", "a b", "../x", "a.b"} {
		if _, _, err := a.CreateToken(ctx, "acme", "x", []access.Scope{access.Supplier(role)}, 0); !errors.Is(err, access.ErrMalformed) {
			t.Errorf("a token for %q: %v", role, err)
		}
	}
}
