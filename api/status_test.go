package api_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"sealift/access"
	"sealift/api"
	"sealift/director"
	"sealift/fixtures/device"
	"sealift/keys"
	"sealift/registry"
	"sealift/uptane"
)

// A newcomer goes from an empty server to an updated device and asks at each
// step what is the matter.
func TestStatusLeadsANewcomer(t *testing.T) {
	s, ctx := newServer(t), t.Context()
	s.expect("", "no_images", "no_devices")

	commit := s.push("os-1")
	s.wait(4 * time.Minute)
	s.expect("", "commit "+commit.String()[:10]+" pushed 4 min ago, no signed target names it")
	s.release("os-2", "board")
	if text := at(s.get("/api/v1/status"), "commits", 0, "text"); !strings.HasSuffix(text.(string), "signed as os-2") {
		t.Errorf("the newest commit: %v", text)
	}

	d := s.newDevice("truck-1", "board", nil)
	check(t, d.Provision(ctx))
	_, err := d.Poll(ctx)
	check(t, err)
	s.expect("truck-1", "hint not_assigned: runs an image of unknown name", "os-2 is signed for it and not assigned")

	s.assign("truck-1", "board", "os-2")
	s.expect("truck-1", "waiting assigned: os-2 assigned just now")
	s.wait(20 * time.Minute)
	s.expect("truck-1", "warning not_polled: not polled since 10:46 UTC, so it does not know of its update")

	r, err := d.Poll(ctx)
	check(t, err)
	if r.Outcome != device.Rebooting {
		t.Fatalf("the device is %s", r.Outcome)
	}
	s.wait(3 * time.Hour)
	s.expect("truck-1", "warning waiting_for_reboot: os-2 installed, waiting for reboot since 11:06 UTC")
	check(t, d.Reboot(ctx))
	_, err = d.Poll(ctx)
	check(t, err)
	s.expect("truck-1", "ok up_to_date: runs os-2")
	fleet := at(s.get("/api/v1/status"), "devices")
	if at(fleet, "total") != 1.0 || at(fleet, "byStatus", "UpToDate") != 1.0 || at(fleet, "listed", 0, "deviceId") != "truck-1" {
		t.Errorf("the fleet: %v", fleet)
	}
}

// What stops one device, as its operator reads it.
func TestWhyADeviceDoesNotUpdate(t *testing.T) {
	s, ctx := newServer(t), t.Context()
	s.release("os-1", "board")

	broken := s.newDevice("broken", "board", func(context.Context, uptane.ECUSerial, device.Image) error { return errors.New("no space left") })
	check(t, broken.Provision(ctx))
	s.assign("broken", "board", "os-1")
	_, _ = broken.Poll(ctx) // the simulation also says what went wrong
	_ = broken.Reboot(ctx)
	_, _ = broken.Poll(ctx)
	s.expect("broken", "error failed: installing os-1 failed at 10:42 UTC: ")

	stranger := s.newDevice("stranger", "toaster", nil)
	_, err := stranger.Poll(ctx)
	check(t, err)
	s.expect("stranger", `warning hardware_mismatch: no signed target for its hardware id "toaster"; those there are, are for "board"`)

	s.ask(access.Admin, http.StatusNoContent, http.MethodPost, "/api/v1/devices/stranger/revoke", "")
	s.expect("stranger", "error certificate_revoked: its certificate was revoked at 10:42 UTC")
	s.wait(2 * time.Second) // what the gateway remembers of certificates
	if _, err := stranger.Poll(ctx); err == nil {
		t.Error("a revoked device was served")
	}
	if id := at(s.get("/api/v1/devices/stranger/certificates"), "values", 0, "revokedAt"); id == nil {
		t.Error("the certificate is not shown as revoked")
	}

	s.ask(access.Read, http.StatusForbidden, http.MethodPost, "/api/v1/devices/stranger/reset", "")
	s.ask(access.Admin, http.StatusNoContent, http.MethodPost, "/api/v1/devices/stranger/reset", "")
	s.expect("stranger", "waiting device_reset: reset at 10:42 UTC")
	again := s.newDevice("stranger", "board", nil) // re-flashed: other keys, the same name
	_, err = again.Poll(ctx)
	check(t, err)
	s.expect("stranger", "os-1 is signed for it and not assigned")

	s.ask(access.Admin, http.StatusNotFound, http.MethodPost, "/api/v1/devices/nobody/reset", "")
}

func TestDiagnosisInWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 42, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	good := []keys.Certificate{{Identity: keys.Identity{NotAfter: now.Add(365 * day)}, Issued: before(5 * day)}}
	ecu := director.ECU{Serial: "p", HardwareID: "board", Primary: true, RegisteredAt: before(4 * day),
		Installed: &director.Image{Filename: "os-1", SHA256: "aa"}, InstalledAt: before(3 * day)}
	assigned := director.Assignment{Serial: "p", HardwareID: "board", Correlation: "c", Status: director.Assigned, CreatedAt: before(5 * time.Minute), Image: director.Image{Filename: "os-2"}}
	offered := assigned
	offered.Status, offered.CreatedAt, offered.OfferedAt = director.Offered, before(4*time.Hour), before(3*time.Hour)
	ended := func(status director.Status, hardware uptane.HardwareID) director.Assignment {
		a := offered
		a.Status, a.HardwareID, a.EndedAt, a.Code, a.Description = status, hardware, before(time.Hour), "INSTALL_FAILED", "no space"
		return a
	}
	event := func(kind string, age time.Duration, payload string) registry.Event {
		return registry.Event{Type: kind, ECU: "p", Correlation: "c", ReceivedAt: before(age), Payload: payload}
	}
	seen := registry.Device{OEMID: "truck", CreatedAt: before(5 * day), ActivatedAt: before(4 * day), LastSeen: before(time.Minute)}
	healthy := api.Patient{Now: now, Device: seen, ManifestAt: before(time.Minute), ECUs: []director.ECU{ecu}, Certificates: good}
	for name, c := range map[string]struct {
		change func(*api.Patient)
		want   [3]string
	}{
		"well": {func(*api.Patient) {}, [3]string{"ok", "up_to_date", "runs os-1"}},
		"known, no certificate": {func(p *api.Patient) { p.Certificates, p.ECUs, p.ManifestAt = nil, nil, time.Time{} },
			[3]string{"waiting", "certificate_missing", "made known 5 days ago; it has no certificate yet"}},
		"expired": {func(p *api.Patient) {
			p.Certificates = []keys.Certificate{{Identity: keys.Identity{NotAfter: before(2 * day)}}}
		}, [3]string{"error", "certificate_expired", "its certificate expired at 20 Nov 10:42 UTC; the gateway turns it away"}},
		"never seen": {func(p *api.Patient) {
			p.ECUs, p.ManifestAt, p.Device.LastSeen, p.Device.ActivatedAt = nil, time.Time{}, time.Time{}, time.Time{}
		}, [3]string{"warning", "never_seen", "never seen: it got a certificate 5 days ago and has not called the gateway with it"}},
		"not registered": {func(p *api.Patient) { p.ECUs, p.ManifestAt, p.Device.ActivatedAt = nil, time.Time{}, time.Time{} },
			[3]string{"warning", "not_registered", "last heard of 1 min ago, but it has not registered its ECUs"}},
		"silent": {func(p *api.Patient) { p.Device.LastSeen, p.ManifestAt = before(3*day), before(3*day) },
			[3]string{"warning", "not_polled", "not polled since 19 Nov 10:42 UTC"}},
		"no manifest": {func(p *api.Patient) { p.ManifestAt = time.Time{} },
			[3]string{"warning", "no_manifest", "it registered its ECUs but has not sent a manifest that was accepted"}},
		"not fetched": {func(p *api.Patient) {
			a := assigned
			a.CreatedAt = before(time.Hour)
			p.Open = []director.Assignment{a}
		}, [3]string{"warning", "not_fetched", "os-2 assigned 1 h ago; it has called since, but not asked for its targets"}},
		"no progress": {func(p *api.Patient) { p.Open = []director.Assignment{offered} },
			[3]string{"warning", "no_progress", "os-2 offered at 07:42 UTC, but no progress has been reported"}},
		"downloading": {func(p *api.Patient) {
			p.Open, p.Events = []director.Assignment{offered}, []registry.Event{event("EcuDownloadStarted", 2*time.Minute, "{}")}
		}, [3]string{"waiting", "in_progress", "os-2: downloading since 10:40 UTC"}},
		"download failed": {func(p *api.Patient) {
			p.Open, p.Events = []director.Assignment{offered}, []registry.Event{event("EcuDownloadCompleted", 2*time.Minute, `{"success":false}`)}
		}, [3]string{"error", "step_failed", "os-2: EcuDownloadCompleted failed at 10:40 UTC"}},
		"waiting for reboot": {func(p *api.Patient) {
			p.Device.LastSeen, p.ManifestAt = before(2*time.Hour), before(3*time.Hour)
			p.Open, p.Events = []director.Assignment{offered}, []registry.Event{event("EcuInstallationApplied", 2*time.Hour, "{}")}
		}, [3]string{"warning", "waiting_for_reboot", "os-2 installed, waiting for reboot since 08:42 UTC"}},
		"failed": {func(p *api.Patient) { p.Ended = []director.Assignment{ended(director.Failed, "board")} },
			[3]string{"error", "failed", "installing os-2 failed at 09:42 UTC: INSTALL_FAILED: no space"}},
		"other hardware now": {func(p *api.Patient) { p.Ended = []director.Assignment{ended(director.Cancelled, "old-board")} },
			[3]string{"warning", "hardware_mismatch", `os-2 was for hardware id "old-board", but the ECU has "board" now`}},
		"attack": {func(p *api.Patient) { p.ECUs = []director.ECU{ecu}; p.ECUs[0].Attacks = "rollback" },
			[3]string{"error", "attack_reported", "the ECU reports an attack: rollback"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy
			c.change(&p)
			if got := api.Diagnose(p); len(got) == 0 || !reflect.DeepEqual(got[0], c.want) {
				t.Errorf("said %q, want first %q", got, c.want)
			}
		})
	}
}
