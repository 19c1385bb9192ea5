package registry_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/registry"
	"sealift/uptane"
)

const ns = uptane.Namespace("default")

func open(t *testing.T, d *db.DB) *registry.Registry {
	t.Helper()
	r, err := registry.New(t.Context(), registry.Config{DB: d, FlushEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A device comes, is found by id and by name, and only in its own namespace.
func TestDeviceIsKnownOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := open(t, d)
		var wg sync.WaitGroup
		ids := make([]uptane.DeviceID, 8)
		for i := range ids {
			wg.Add(1)
			go func() {
				defer wg.Done()
				ids[i], _, _ = r.EnsureDevice(context.Background(), ns, "truck-1")
			}()
		}
		wg.Wait()
		for _, id := range ids {
			if id == "" || id != ids[0] {
				t.Fatalf("8 callers at once got %v", ids)
			}
		}
		for _, name := range []string{"truck-1", string(ids[0])} {
			if got := must[registry.Device](t)(r.Device(t.Context(), ns, name)); got.ID != ids[0] || got.Status != "NotSeen" {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if _, err := r.Device(t.Context(), "other", "truck-1"); !errors.Is(err, registry.ErrUnknownDevice) {
			t.Errorf("another namespace saw the device: %v", err)
		}
		if _, _, err := r.EnsureDevice(t.Context(), ns, "no spaces"); !errors.Is(err, registry.ErrName) {
			t.Errorf("a name with a space: %v", err)
		}
	})
}

func TestLastSeenIsGathered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := must[*registry.Registry](t)(registry.New(t.Context(), registry.Config{DB: d, FlushEvery: time.Hour}))
		const fleet = 1100 // more than one statement's worth
		last := uptane.DeviceID(fmt.Sprint("id", fleet-1))
		if err := d.Tx(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
			for i := range fleet {
				if _, err := tx.ExecContext(ctx, `INSERT INTO registry_device (namespace, id, oemid, name, status, created_at) VALUES ($1, $2, $2, $2, 'NotSeen', 1)`, ns, fmt.Sprint("id", i)); err != nil {
					return err
				}
				r.Seen(ns, uptane.DeviceID(fmt.Sprint("id", i)))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := must[registry.Device](t)(r.Device(t.Context(), ns, string(last))); !got.LastSeen.IsZero() {
			t.Error("last seen was written at once")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		var unseen int
		if err := d.Get(&unseen, `SELECT COUNT(*) FROM registry_device WHERE last_seen = 0`); err != nil || unseen != 0 {
			t.Errorf("%d devices were not written: %v", unseen, err)
		}
	})
}

func TestWhatADeviceSaysOfItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, ctx := open(t, d), t.Context()
		dev, _, err := r.EnsureDevice(ctx, ns, "truck-1")
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"system info": r.PutSystemInfo(ctx, ns, dev, []byte(`{ "id" : "vm", "children":[] }`)),
			"network":     r.PutNetwork(ctx, ns, dev, []byte(`{"hostname":"h","local_ipv4":"10.0.0.1","mac":"aa:bb"}`)),
			"config":      r.PutConfig(ctx, ns, dev, []byte("[provision]\np12_password = \"hunter2\"\n[p11]\npass = \"1234\"\n[pacman]\ntype = \"none\"\n")),
			"packages":    r.PutPackages(ctx, ns, dev, []byte(`[{"name":"vim","version":"9"},{"name":"bash","version":"5"},{"name":"vim","version":"9"}]`)),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := must[registry.Document](t)(r.SystemInfo(ctx, ns, dev)); got.Body != `{"id":"vm","children":[]}` {
			t.Errorf("system info is %s", got.Body)
		}
		config := must[registry.Document](t)(r.Configuration(ctx, ns, dev)).Body
		if strings.Contains(config, "hunter2") || strings.Contains(config, "1234") || !strings.Contains(config, `type = "none"`) {
			t.Errorf("stored configuration:\n%s", config)
		}
		if err := r.PutPackages(ctx, ns, dev, []byte(`[{"name":"bash","version":"5"},{"name":"zsh","version":"1"}]`)); err != nil {
			t.Fatal(err)
		}
		list, total, err := r.Packages(ctx, ns, dev, "", 0, 10)
		if err != nil || total != 2 || list[0].Name != "bash" || list[1].Name != "zsh" {
			t.Errorf("packages: %v %d %v", list, total, err)
		}
	})
}

// A device that got no answer sends its packages again, changed, to another replica:
// one of the lists is stored, not a mixture.
func TestPackagesAtTwoReplicas(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		servers := []*registry.Registry{open(t, d), open(t, d)}
		dev, _, err := servers[0].EnsureDevice(t.Context(), ns, "truck-1")
		if err != nil {
			t.Fatal(err)
		}
		for round := range 10 {
			var all sync.WaitGroup
			for i, r := range servers {
				var list []string
				for n := range 20 {
					list = append(list, fmt.Sprintf(`{"name":"p%d","version":"%d"}`, n, round*10+i*(n%2)))
				}
				all.Go(func() {
					if err := r.PutPackages(t.Context(), ns, dev, []byte("["+strings.Join(list, ",")+"]")); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			list, total, err := servers[0].Packages(t.Context(), ns, dev, "", 0, 100)
			if err != nil || total != 20 {
				t.Fatalf("round %d: %d packages, %v: %v", round, total, err, list)
			}
		}
	})
}

func TestMalformedReportsChangeNothing(t *testing.T) {
	r, ctx := open(t, dbtest.SQLite(t)), t.Context()
	dev, _, _ := r.EnsureDevice(ctx, ns, "truck-1")
	for name, err := range map[string]error{
		"trailing data":    r.PutSystemInfo(ctx, ns, dev, []byte(`{}{}`)),
		"not UTF-8":        r.PutSystemInfo(ctx, ns, dev, []byte("\"\xff\"")),
		"NUL":              r.PutSystemInfo(ctx, ns, dev, []byte(`"\u0000"`)),
		"oversize":         r.PutSystemInfo(ctx, ns, dev, []byte(`"`+strings.Repeat("a", registry.MaxSystemInfo)+`"`)),
		"network array":    r.PutNetwork(ctx, ns, dev, []byte(`[]`)),
		"package unnamed":  r.PutPackages(ctx, ns, dev, []byte(`[{"name":"","version":"1"}]`)),
		"config not text":  r.PutConfig(ctx, ns, dev, []byte{0}),
		"packages no list": r.PutPackages(ctx, ns, dev, []byte(`{"name":"x"}`)),
	} {
		if !errors.Is(err, registry.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _ := r.SystemInfo(ctx, ns, dev); got.Body != "{}" {
		t.Errorf("something was stored: %s", got.Body)
	}
	if err := r.PutEvents(ctx, ns, dev, []byte("["+strings.Repeat("{},", 1000)+"{}]")); !errors.Is(err, registry.ErrTooManyEvents) {
		t.Errorf("1001 events: %v", err)
	}
}

// A batch is stored once, however often it is sent, and an unreadable element
// does not hold up the others.
func TestEventsAreStoredOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, ctx := open(t, d), t.Context()
		dev, _, _ := r.EnsureDevice(ctx, ns, "truck-1")
		batch := []byte(`[{"deviceTime":"2026-11-21T23:01:19Z","event":{"correlationId":"u1","ecu":"p","success":true},"eventType":{"id":"EcuDownloadCompleted","version":0},"id":"e1"},
			{"id":7}, {"deviceTime":"1970","event":{"ecu":"p"},"eventType":{"id":"EcuDownloadStarted","version":0},"id":"e2"},
			{"event":{"text":"\u0000"},"eventType":{"id":"X","version":0},"id":"e3"}, {"event":{"text":"` + "\xff" + `"},"eventType":{"id":"X","version":0},"id":"e4"}]`)
		for range 3 {
			for _, body := range [][]byte{batch, []byte(`{}`), []byte(`[{"id"`), nil, []byte("\xff")} {
				if err := r.PutEvents(ctx, ns, dev, body); err != nil {
					t.Fatalf("%q: %v", body, err)
				}
			}
		}
		if _, total, err := r.Events(ctx, ns, dev, "", 0, 10); err != nil || total != 2 {
			t.Errorf("%d events, %v", total, err)
		}
		list, total, err := r.Events(ctx, ns, dev, "u1", 0, 10)
		if err != nil || total != 1 || list[0].ID != "e1" || list[0].ECU != "p" {
			t.Errorf("of the update: %+v %d %v", list, total, err)
		}
	})
}

// A device cannot pile up events: the newest are kept.
func TestEventsAreBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, ctx := open(t, d), t.Context()
		dev, _, _ := r.EnsureDevice(ctx, ns, "truck-1")
		other, _, _ := r.EnsureDevice(ctx, ns, "truck-2")
		event := func(id, text string) string {
			return `{"id":"` + id + `","eventType":{"id":"X","version":0},"deviceTime":"2026-11-21T23:01:19Z","event":{"note":"` + text + `"}}`
		}
		if err := r.PutEvents(ctx, ns, other, []byte("["+event("theirs", "")+"]")); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ExecContext(ctx, `INSERT INTO registry_event (namespace, device, id, type, version, ecu, correlation, payload, device_time, received_at)
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
			SELECT $1, $2, 'old-' || CAST(i AS TEXT), 'X', 0, '', '', '{}', 0, i FROM n`, string(ns), string(dev)); err != nil {
			t.Fatal(err)
		}
		var list []string
		for i := range 300 {
			list = append(list, event(fmt.Sprintf("new-%03d", i), ""))
		}
		if err := r.PutEvents(ctx, ns, dev, []byte("["+strings.Join(list, ",")+"]")); err != nil {
			t.Fatal(err)
		}
		newest, total, err := r.Events(ctx, ns, dev, "", 0, 1)
		if err != nil || total != 5000 || newest[0].ID != "new-299" {
			t.Errorf("%d events, newest %+v, %v", total, newest, err)
		}
		if err := r.PutEvents(ctx, ns, dev, []byte("["+event("huge", strings.Repeat("x", 17<<10))+"]")); err != nil {
			t.Errorf("a huge event is left out, not refused: %v", err)
		}
		if list, _, _ := r.Events(ctx, ns, dev, "", 0, 1); list[0].ID != "new-299" {
			t.Errorf("newest %s", list[0].ID)
		}
		if _, total, err := r.Events(ctx, ns, other, "", 0, 1); err != nil || total != 1 {
			t.Errorf("another device has %d, %v", total, err)
		}
	})
}

// A list of very many empty packages is refused before it takes its room.
func TestDensePackagesAreCheap(t *testing.T) {
	r := open(t, dbtest.SQLite(t))
	dev, _, _ := r.EnsureDevice(t.Context(), ns, "truck-1")
	body := []byte("[" + strings.Repeat("{},", 1<<20) + "{}]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := r.PutPackages(t.Context(), ns, dev, body)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, registry.ErrMalformed) || used > 48<<20 {
		t.Errorf("%v after %d MiB", err, used>>20)
	}
}

// The Director's transaction carries the registry's rows: both or neither.
func TestJournalIsPartOfTheTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, ctx := open(t, d), t.Context()
		dev, _, _ := r.EnsureDevice(ctx, ns, "truck-1")
		change := uptane.Change{
			At:           time.Now(),
			Registration: &uptane.Registration{Primary: "p", ECUs: []uptane.ECU{{Serial: "p", HardwareID: "board"}, {Serial: "s", HardwareID: "sensor"}}},
			Installed:    []uptane.ECUReport{{Serial: "p", Filepath: "img-1", SHA256: "00", Length: 1}},
			Report:       &uptane.InstallReport{CorrelationID: "u1", Result: uptane.Result{Success: true, Code: "OK"}},
			Status:       "UpToDate",
		}
		gone := errors.New("rolled back")
		record := func(end error) error {
			return d.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
				if err := r.Record(ctx, tx, ns, dev, change); err != nil {
					return err
				}
				return end
			})
		}
		if err := record(gone); !errors.Is(err, gone) {
			t.Fatal(err)
		}
		if _, total, _ := r.History(ctx, ns, dev, 0, 10); total != 0 {
			t.Errorf("%d entries survived a rollback", total)
		}
		if err := record(nil); err != nil {
			t.Fatal(err)
		}
		list, total, err := r.History(ctx, ns, dev, 0, 10)
		if err != nil || total != 3 || list[0].Kind != "report" || list[2].Kind != "registered" {
			t.Errorf("history: %+v %d %v", list, total, err)
		}
		found, _, err := r.Devices(ctx, ns, registry.Search{HardwareIDs: []uptane.HardwareID{"camera", "sensor"}, NotSeenSince: time.Now(), Status: "UpToDate", NameContains: "TRUCK"}, 0, 10)
		if err != nil || len(found) != 1 || found[0].ActivatedAt.IsZero() {
			t.Errorf("search: %+v %v", found, err)
		}
		if found, _, _ := r.Devices(ctx, ns, registry.Search{HardwareIDs: []uptane.HardwareID{"camera"}}, 0, 10); len(found) != 0 {
			t.Errorf("no device has a camera, but %v", found)
		}
		if found, _, _ := r.Devices(ctx, ns, registry.Search{NameContains: "%"}, 0, 10); len(found) != 0 {
			t.Error("a wildcard of the caller's was taken as one")
		}
	})
}
