package repo_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// What comes near the limits of devices is told before it stops them: root and
// targets when they are published, and who asks is told all.
func TestSizesAreWatched(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, _ := newWorld(t, d)
		var said bytes.Buffer
		w.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		s := w.server()
		x := w.ostreeTarget("brakes", "1")
		x.Custom.Extra = map[string]json.RawMessage{"notes": json.RawMessage(`"` + strings.Repeat("x", 6<<20) + `"`)}
		for range 150 { // less than three quarters of 64 KiB
			w.addKey(uptane.RoleRoot, public(t, newKey(t)))
		}
		w.putRoot(s)
		w.pull(s).add(w.named("small")).mustPush(s)
		if strings.Contains(said.String(), "come near") {
			t.Errorf("too early: %s", said.String())
		}
		for range 70 {
			w.addKey(uptane.RoleRoot, public(t, newKey(t)))
		}
		w.putRoot(s)
		w.pull(s).add(x).mustPush(s)
		for _, want := range []string{"role=root bytes=", "limit=65536 percent=", "role=targets bytes=", "limit=8388608 percent=75"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("nothing is said of %s: %s", want, said.String())
			}
		}
		list, err := s.Sizes(t.Context(), ns)
		if err != nil || len(list) != 4 {
			t.Fatal(list, err)
		}
		for _, size := range list {
			if size.High() != (size.Role == uptane.RoleTargets || size.Role == uptane.RoleRoot) || size.Bytes == 0 || size.Limit == 0 {
				t.Errorf("%+v", size)
			}
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(s.Collector())
		families, err := registry.Gather()
		if err != nil || len(families) != 2 || families[0].GetName() != "sealift_metadata_bytes" || len(families[0].GetMetric()) != 4 {
			t.Errorf("%v, %v", families, err)
		}
	})
}
