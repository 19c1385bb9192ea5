package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/access"
	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/internal/web"
	"sealift/uptane"
)

// clock is the time tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB, d *db.DB) (*access.Access, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	a, err := access.New(t.Context(), access.Config{DB: d, Now: c.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

// TestLifeOfAToken: an operator makes a token for a build job, which uses it
// as it is and through OAuth2, until it is revoked.
func TestLifeOfAToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, clock := open(t, d)
		ctx := t.Context()
		for _, ns := range []string{"default", "acme"} {
			if err := a.CreateNamespace(ctx, uptane.Namespace(ns)); err != nil {
				t.Fatal(err)
			}
		}
		text, made, err := a.CreateToken(ctx, "acme", "build job", []access.Scope{access.PushTreehub, access.SignRepo}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, "slt_"+made.ID+"_") {
			t.Fatalf("token %s of id %s", text, made.ID)
		}
		secret := strings.TrimPrefix(text, "slt_"+made.ID+"_")

		who, err := a.Authenticate(ctx, "", text)
		if err != nil {
			t.Fatal(err)
		}
		if who.Kind != web.Token || who.Namespace != "acme" || who.Token != made.ID || !who.May(access.TreehubPush) ||
			!who.May(access.RepoSign) || who.May(access.DirectorWrite) || who.May(access.AccessRead) {
			t.Errorf("caller %+v", who)
		}

		var bearer string
		for _, s := range []string{text, secret} {
			var life time.Duration
			if bearer, life, err = a.Exchange(ctx, "", made.ID, s); err != nil || life != 24*time.Hour {
				t.Fatalf("exchange: %v, %v", life, err)
			}
		}
		again, err := a.Authenticate(ctx, "", bearer)
		if err != nil || again.Namespace != "acme" || !slices.Equal(again.Permissions, who.Permissions) {
			t.Errorf("access token: %+v, %v", again, err)
		}

		if err := a.RevokeToken(ctx, "default", made.ID); !errors.Is(err, access.ErrUnknownToken) {
			t.Errorf("revoking from another namespace: %v", err)
		}
		other, _ := open(t, d) // another replica, which has just seen the token
		if _, err := other.Authenticate(ctx, "", text); err != nil {
			t.Fatal(err)
		}
		if err := a.RevokeToken(ctx, "acme", made.ID); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{text, bearer} {
			if _, err := a.Authenticate(ctx, "", s); !errors.Is(err, access.ErrRevoked) {
				t.Errorf("after revocation: %v", err)
			}
		}
		if _, _, err := a.Exchange(ctx, "", made.ID, text); !errors.Is(err, access.ErrRevoked) {
			t.Errorf("exchange after revocation: %v", err)
		}
		clock.pass(time.Minute)
		list, total, err := a.Tokens(ctx, "acme", 0, 10)
		if err != nil || total != 1 || list[0].Name != "build job" || list[0].Revoked.IsZero() || !list[0].Expires.IsZero() ||
			list[0].LastUsed.IsZero() || len(list[0].Scopes) != 2 {
			t.Errorf("list %+v, %d, %v", list, total, err)
		}
	})
}

func TestRevocationReachesOtherReplicasInASecond(t *testing.T) {
	d := dbtest.SQLite(t)
	one, _ := open(t, d)
	two, clock := open(t, d)
	text, made := token(t, one, 0)
	if _, err := two.Authenticate(t.Context(), "", text); err != nil {
		t.Fatal(err)
	}
	if err := one.RevokeToken(t.Context(), "acme", made.ID); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Second)
	if _, err := two.Authenticate(t.Context(), "", text); !errors.Is(err, access.ErrRevoked) {
		t.Errorf("a second later: %v", err)
	}
}

func TestTokensExpire(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, clock := open(t, d)
		ctx := t.Context()
		text, made := token(t, a, 30*time.Hour)
		first, life, err := a.Exchange(ctx, "", made.ID, text)
		if err != nil || life != 24*time.Hour {
			t.Fatalf("first exchange: %v, %v", life, err)
		}
		clock.pass(23*time.Hour + 59*time.Minute)
		second, life, err := a.Exchange(ctx, "", made.ID, text)
		if err != nil || life != 6*time.Hour+time.Minute {
			t.Fatalf("an access token must not outlive its token: %v, %v", life, err)
		}
		clock.pass(time.Minute)
		if _, err := a.Authenticate(ctx, "", first); !errors.Is(err, access.ErrExpired) {
			t.Errorf("access token after a day: %v", err)
		}
		if _, err := a.Authenticate(ctx, "", text); err != nil {
			t.Errorf("token after a day: %v", err)
		}
		clock.pass(6 * time.Hour)
		for _, s := range []string{text, second} {
			if _, err := a.Authenticate(ctx, "", s); !errors.Is(err, access.ErrExpired) {
				t.Errorf("after its end: %v", err)
			}
		}
	})
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	d := dbtest.SQLite(t)
	a, _ := open(t, d)
	text, made := token(t, a, 0)
	_, other := token(t, a, 0)
	secret := text[len("slt_"+made.ID+"_"):]
	flipped := "a" + secret[1:]
	if flipped == secret {
		flipped = "b" + secret[1:]
	}
	for _, s := range []string{
		"", "slt_", "slt__", secret, "slt_" + made.ID, "slt_" + made.ID + "_", "slt_" + made.ID + "_" + flipped,
		"slt_" + other.ID + "_" + secret, "sla_" + secret, text + "x", " " + text, strings.ToUpper(text),
		"slt_" + strings.ToUpper(made.ID) + "_" + secret, "slt_%_" + secret,
	} {
		if who, err := a.Authenticate(t.Context(), "", s); !errors.Is(err, access.ErrToken) {
			t.Errorf("%q: %+v, %v", s, who, err)
		}
	}
	for _, pair := range [][2]string{{made.ID, flipped}, {other.ID, text}, {other.ID, secret}, {"", text}, {made.ID, ""}} {
		if _, _, err := a.Exchange(t.Context(), "", pair[0], pair[1]); !errors.Is(err, access.ErrToken) {
			t.Errorf("exchange of %q: %v", pair, err)
		}
	}
	var stored []string
	if err := d.SelectContext(t.Context(), &stored, `SELECT sha256 FROM access_token`); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(stored, " "), secret) {
		t.Error("the secret is in the database")
	}
}

func TestWrongInput(t *testing.T) {
	a, _ := open(t, dbtest.SQLite(t))
	ctx := t.Context()
	for _, ns := range []string{"", "Acme", "-a", "a/b", strings.Repeat("a", 64)} {
		if err := a.CreateNamespace(ctx, uptane.Namespace(ns)); !errors.Is(err, access.ErrMalformed) {
			t.Errorf("namespace %q: %v", ns, err)
		}
	}
	if err := a.CreateNamespace(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	if err := a.CreateNamespace(ctx, "acme"); !errors.Is(err, access.ErrNamespaceExists) {
		t.Errorf("second namespace: %v", err)
	}
	if list, err := a.Namespaces(ctx); err != nil || len(list) != 1 || list[0] != "acme" {
		t.Errorf("namespaces %v, %v", list, err)
	}
	read := []access.Scope{access.Read}
	tests := []struct {
		ns, name string
		scopes   []access.Scope
		ttl      time.Duration
		want     error
	}{
		{"acme", "", read, 0, access.ErrMalformed},
		{"acme", "a\x1b[1m", read, 0, access.ErrMalformed},
		{"acme", strings.Repeat("é", 101), read, 0, access.ErrMalformed},
		{"acme", "x", nil, 0, access.ErrMalformed},
		{"acme", "x", []access.Scope{"root"}, 0, access.ErrMalformed},
		{"acme", "x", read, -1, access.ErrMalformed},
		{"nobody", "x", read, 0, access.ErrUnknownNamespace},
	}
	for _, tt := range tests {
		if _, _, err := a.CreateToken(ctx, uptane.Namespace(tt.ns), tt.name, tt.scopes, tt.ttl); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// A token is called by its name for ever, in its own namespace alone.
func TestNamesOfTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, clock := open(t, d)
		ctx := t.Context()
		_, ours := token(t, a, time.Hour)
		if err := a.RevokeToken(ctx, "acme", ours.ID); err != nil {
			t.Fatal(err)
		}
		clock.pass(1000 * time.Hour)
		for ns, want := range map[uptane.Namespace]string{"acme": "test", "other": ""} {
			names, err := a.TokenNames(ctx, ns, []string{ours.ID, "nobody"})
			if err != nil || names[ours.ID] != want || names["nobody"] != "" {
				t.Errorf("in %s: %q, %v", ns, names, err)
			}
		}
		if names, err := a.TokenNames(ctx, "acme", nil); err != nil || len(names) != 0 {
			t.Errorf("of none: %q, %v", names, err)
		}
	})
}

func TestPagesOfTokens(t *testing.T) {
	a, _ := open(t, dbtest.SQLite(t))
	if err := a.CreateNamespace(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, _, err := a.CreateToken(t.Context(), "acme", fmt.Sprint(i), []access.Scope{access.Read}, 0); err != nil {
			t.Fatal(err)
		}
	}
	list, total, err := a.Tokens(t.Context(), "acme", 1, 2)
	if err != nil || total != 5 || len(list) != 2 || list[0].Name != "3" || list[1].Name != "2" {
		t.Errorf("%+v, %d, %v", list, total, err)
	}
	if list, total, err := a.Tokens(t.Context(), "other", 0, 2); err != nil || total != 0 || len(list) != 0 {
		t.Errorf("another namespace sees %+v, %d, %v", list, total, err)
	}
}

// TestFailuresAreLimited: an address that keeps failing is put off. Who is
// right is not, even from there: behind a proxy all have one address, and
// anybody could lock them out.
func TestFailuresAreLimited(t *testing.T) {
	a, _ := open(t, dbtest.SQLite(t))
	text, made := token(t, a, 0)
	bad := "slt_" + made.ID + "_" + strings.Repeat("a", 52)
	var err error
	for n := 0; !errors.Is(err, access.ErrTooMany); n++ {
		if n > 1000 {
			t.Fatal("never put off")
		}
		_, err = a.Authenticate(t.Context(), fmt.Sprintf("[2001:db8::%x]:443", n), bad)
	}
	if _, _, err := a.Exchange(t.Context(), "[2001:db8::1]:9", made.ID, bad); !errors.Is(err, access.ErrTooMany) {
		t.Errorf("exchange from the failing network: %v", err)
	}
	if _, _, err := a.Exchange(t.Context(), "[2001:db8::1]:9", made.ID, text); err != nil {
		t.Errorf("right exchange from the failing network: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), "[2001:db8::1]:443", text); err != nil {
		t.Errorf("right token from the failing network: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), "192.0.2.1:443", text); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), "[2001:db8::1]:443", text); err != nil {
		t.Errorf("a token known already: %v", err)
	}
}

func TestEveryScopeGrantsSomethingAndAdminAll(t *testing.T) {
	admin := access.Admin.Permissions()
	for _, s := range append(access.Scopes(), access.Supplier("brakes")) {
		if len(s.Permissions()) == 0 {
			t.Errorf("%s grants nothing", s)
		}
		for _, p := range s.Permissions() {
			if !slices.Contains(admin, p) {
				t.Errorf("%s grants %s, admin does not", s, p)
			}
			if s == access.Read && !strings.HasSuffix(p, ":read") {
				t.Errorf("read grants %s", p)
			}
		}
	}
}

// FuzzAuthenticate: no text but the one that was handed out is a token.
func FuzzAuthenticate(f *testing.F) {
	a, _ := open(f, dbtest.SQLite(f))
	text, made := token(f, a, 0)
	for _, s := range []string{"slt_x_y", "sla_", "slt_" + made.ID + "_", strings.Repeat("slt_", 1000), "slt_\x00_\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := a.Authenticate(t.Context(), "", s); !errors.Is(err, access.ErrToken) && s != text {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func token(t testing.TB, a *access.Access, ttl time.Duration) (string, access.Token) {
	t.Helper()
	if err := a.CreateNamespace(t.Context(), "acme"); err != nil && !errors.Is(err, access.ErrNamespaceExists) {
		t.Fatal(err)
	}
	text, made, err := a.CreateToken(t.Context(), "acme", "test", []access.Scope{access.Read}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return text, made
}

// A change of a token and what belongs to it happen together, or not at all.
func TestWithin(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a, _ := open(t, d)
		ctx := t.Context()
		if err := a.CreateNamespace(ctx, "default"); err != nil {
			t.Fatal(err)
		}
		full := errors.New("the audit is full")
		refuse := func(context.Context, *sqlx.Tx, string) error { return full }
		if text, _, err := a.CreateToken(ctx, "default", "a", []access.Scope{access.Read}, 0, refuse); !errors.Is(err, full) || text != "" {
			t.Errorf("made %q, %v", text, err)
		}
		if list, n, err := a.Tokens(ctx, "default", 0, 10); err != nil || n != 0 {
			t.Errorf("tokens %+v, %v", list, err)
		}
		seen := ""
		_, token, err := a.CreateToken(ctx, "default", "a", []access.Scope{access.Read}, 0, func(_ context.Context, _ *sqlx.Tx, id string) error { seen = id; return nil })
		if err != nil || seen != token.ID {
			t.Errorf("the audit has %q, the token is %q, %v", seen, token.ID, err)
		}
		if err := a.RevokeToken(ctx, "default", token.ID, refuse); !errors.Is(err, full) {
			t.Error(err)
		}
		if list, _, err := a.Tokens(ctx, "default", 0, 10); err != nil || len(list) != 1 || !list[0].Revoked.IsZero() {
			t.Errorf("tokens %+v, %v", list, err)
		}
		if err := a.RevokeToken(ctx, "default", "nobody", func(context.Context, *sqlx.Tx, string) error {
			t.Error("an act that did not happen is told")
			return nil
		}); !errors.Is(err, access.ErrUnknownToken) {
			t.Error(err)
		}
	})
}
