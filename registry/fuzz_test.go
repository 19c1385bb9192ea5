package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sealift/fixtures"
	"sealift/internal/db/dbtest"
	"sealift/registry"
	"sealift/uptane"
)

func fuzzed(f *testing.F) *registry.Registry {
	f.Helper()
	r, err := registry.New(context.Background(), registry.Config{DB: dbtest.SQLite(f), FlushEvery: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	return r
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`[{"deviceTime":"2026-11-21T23:01:19Z","event":{"ecu":"p"},"eventType":{"id":"X","version":0},"id":"e1"}]`))
	f.Add([]byte(`[{}]`))
	f.Add([]byte(`[`))
	r := fuzzed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		err := r.PutEvents(context.Background(), ns, "d", body)
		if err != nil && !errors.Is(err, registry.ErrTooManyEvents) {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// FuzzReports: what a device says of its hardware, network and packages is
// refused as malformed or comes back as JSON and text that a database and a
// reader can bear, and costs no more memory than a multiple of its size.
func FuzzReports(f *testing.F) {
	for i, s := range []string{`{"a":[1,null]}`, `{"hostname":"h","local_ipv4":"10.0.0.1","mac":"00:00"}`, `[{"name":"a","version":"1"}]`} {
		f.Add(uint8(i), []byte(s))
	}
	r, ctx := fuzzed(f), context.Background()
	puts := []func(context.Context, uptane.Namespace, uptane.DeviceID, []byte) error{r.PutSystemInfo, r.PutNetwork, r.PutPackages}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		var err error
		cost := fixtures.Allocated(func() { err = puts[int(kind)%len(puts)](ctx, ns, "d", body) })
		if limit := uint64(4<<20 + 100*len(body)); cost > limit {
			t.Errorf("%d bytes cost %d", len(body), cost)
		}
		if err != nil {
			if !errors.Is(err, registry.ErrMalformed) {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		system, errSystem := r.SystemInfo(ctx, ns, "d")
		network, errNetwork := r.NetworkInfo(ctx, ns, "d")
		packages, _, errPackages := r.Packages(ctx, ns, "d", "", 0, 1)
		if err := errors.Join(errSystem, errNetwork, errPackages); err != nil || !json.Valid([]byte(system.Body)) || !json.Valid([]byte(network.Body)) {
			t.Errorf("%q: %v, system %q, network %q", body, err, system.Body, network.Body)
		}
		for _, p := range packages {
			if p.Name == "" || strings.ContainsAny(p.Name+p.Version, "\x00\x1b") {
				t.Errorf("%q: a package %q %q", body, p.Name, p.Version)
			}
		}
	})
}

// FuzzConfig: however a device spells its configuration, no secret of it is kept.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"[provision]\np12_password = \"x\"\n[p11]\npass = 'y'\npin = 1\n", "tls = {password = \"x\"}", "secrets = [\n\"a\",\n\"b\"]",
		`"pass\u0077ord" = "x"`, "a . token = \"x\"", "[tokens]\na = \"x\"", "[[private]]\na=[[1]]", "path = \"C:\\dir\"\npass = \"x\"", "a = \"\"\"\npass = x\"\"\"", "a=1\rpass=2",
	} {
		f.Add(s)
	}
	r, ctx := fuzzed(f), context.Background()
	f.Fuzz(func(t *testing.T, text string) {
		if err := r.PutConfig(ctx, ns, "d", []byte(text)); err != nil {
			if !errors.Is(err, registry.ErrMalformed) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		kept, err := r.Configuration(ctx, ns, "d")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.FieldsFuncSeq(kept.Body, func(r rune) bool { return r == '\n' || r == '\r' }) {
			name, value, _ := strings.Cut(line, "=")
			if secretive(name) && !harmless(strings.Trim(value, " \t")) {
				t.Errorf("%q is kept as %q", text, kept.Body)
			}
		}
		var values map[string]any
		if toml.Unmarshal([]byte(kept.Body), &values) == nil && leaks(values) {
			t.Errorf("%q is kept as %q", text, kept.Body)
		}
	})
}

func secretive(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"pass", "pin", "secret", "token", "private"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func harmless(value string) bool {
	return value == "" || value == `""` || value == "''" || value == `"(masked)"`
}

func leaks(values map[string]any) bool {
	for name, v := range values {
		if inner, ok := v.(map[string]any); ok && leaks(inner) {
			return true
		}
		if s, ok := v.(string); ok && secretive(name) && s != "" && s != "(masked)" {
			return true
		}
	}
	return false
}
