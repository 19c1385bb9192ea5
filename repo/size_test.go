package repo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/uptane"
)

// What comes near the limits of devices is told before it stops them.
func TestSizesAreWatched(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w, s := newWorld(t, d)
		r := w.pull(s)
		x := w.ostreeTarget("brakes", "1")
		x.Custom.Extra = map[string]json.RawMessage{"notes": json.RawMessage(`"` + strings.Repeat("x", 6<<20) + `"`)}
		r.add(x).mustPush(s)
		list, err := s.Sizes(t.Context(), ns)
		if err != nil || len(list) != 4 {
			t.Fatal(list, err)
		}
		for _, size := range list {
			if size.High() != (size.Role == uptane.RoleTargets) || size.Bytes == 0 || size.Limit == 0 {
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
