package api_test

import (
	"net/http"
	"testing"
	"time"

	"sealift/access"
)

// An operator looks for devices, names one and reads what it says of itself,
// under both prefixes and by either name.
func TestRegistryRoutes(t *testing.T) {
	s, ctx := newServer(t), t.Context()
	s.release("os-1", "board")
	d := s.newDevice("truck-1", "board", nil)
	_, err := d.Poll(ctx)
	check(t, err)
	s.assign("truck-1", "board", "os-1")
	_, err = d.Poll(ctx)
	check(t, err)
	s.wait(time.Minute)
	check(t, d.Reboot(ctx))
	_, err = d.Poll(ctx)
	check(t, err)
	_, err = s.newDevice("bus-1", "other", nil).Poll(ctx)
	check(t, err)

	total := func(query string, want float64) {
		t.Helper()
		if got := at(s.get("/api/v1/devices?"+query), "total"); got != want {
			t.Errorf("%s finds %v, want %v", query, got, want)
		}
	}
	total("", 2)
	total("deviceId=truck-1", 1)
	total("deviceId=truck", 0)
	total("nameContains=RUCK", 1)
	total("hardwareIds=board,nothing", 1)
	total("hardwareIds=board,other", 2)
	total("status=UpToDate", 2)
	total("status=Error", 0)
	for _, query := range []string{"tags=a=b", "groupId=1", "notSeenSinceHours=-1", "notSeenSinceHours=9999999999", "limit=-1"} {
		s.ask(access.Read, http.StatusBadRequest, http.MethodGet, "/api/v1/devices?"+query, "")
	}

	id := at(s.get("/device-registry/api/v1/devices/truck-1"), "uuid").(string)
	path := "/api/v1/devices/" + id
	s.ask(access.Read, http.StatusForbidden, http.MethodPatch, path, `{"notes":"x"}`)
	s.ask(access.Admin, http.StatusOK, http.MethodPatch, path, `{"notes":"in the yard"}`)
	s.ask(access.Admin, http.StatusOK, http.MethodPatch, path, `{"deviceName":"Old truck"}`)
	if dev := s.get(path); at(dev, "notes") != "in the yard" || at(dev, "deviceName") != "Old truck" || at(dev, "deviceId") != "truck-1" || at(dev, "lastSeen") == nil {
		t.Errorf("after PATCH: %v", dev)
	}
	s.ask(access.Admin, http.StatusOK, http.MethodPut, path, `{"deviceName":"truck"}`)
	if dev := s.get(path); at(dev, "notes") != nil {
		t.Errorf("PUT without notes left %v", at(dev, "notes"))
	}
	s.ask(access.Admin, http.StatusBadRequest, http.MethodPut, path, `{"notes":"no name"}`)
	s.ask(access.Admin, http.StatusBadRequest, http.MethodPatch, path, `{}`)
	s.ask(access.Read, http.StatusNotFound, http.MethodGet, "/api/v1/devices/nobody/packages", "")

	s.readReports(path, id)
}

// readReports reads what the device of that path said of itself after its
// first update.
func (s *server) readReports(path, id string) {
	t := s.t
	t.Helper()
	if network := s.get(path + "/system_info/network"); at(network, "deviceUuid") != id || at(network, "hostname") == nil {
		t.Errorf("network: %v", network)
	}
	if info, ok := s.get(path + "/system_info").(map[string]any); !ok || len(info) == 0 {
		t.Errorf("system info: %v", info)
	}
	if toml, ok := s.get(path + "/system_info/config").(string); !ok || toml == "" {
		t.Errorf("config: %q", toml)
	}
	if at(s.get(path+"/packages"), "values", 0, "packageId", "name") == nil {
		t.Error("no package")
	}
	events, _ := s.get(path + "/events").([]any)
	newest := at(events, 0)
	if at(newest, "eventType", "id") != "EcuInstallationCompleted" || at(newest, "payload", "success") != true || at(newest, "ecu") == nil {
		t.Errorf("newest event: %v", newest)
	}
	correlation, _ := at(newest, "payload", "correlationId").(string)
	if of, _ := s.get(path + "/events?correlationId=" + correlation).([]any); len(of) != len(events) || len(of) != 5 {
		t.Errorf("%d events of the update, %d in all", len(of), len(events))
	}
	if none, _ := s.get(path + "/events?correlationId=other").([]any); len(none) != 0 {
		t.Errorf("events of another update: %v", none)
	}
	if page, _ := s.get(path + "/events?limit=2&offset=1").([]any); len(page) != 2 || at(page, 0, "eventId") != at(events, 1, "eventId") {
		t.Errorf("a page of events: %v", page)
	}
	history := s.get(path + "/installation_history")
	if at(history, "values", 0, "kind") != "report" || at(history, "values", 0, "detail", "result", "success") != true || at(history, "values", 0, "correlationId") != correlation {
		t.Errorf("history: %v", history)
	}
	over := s.get(path + "/overview")
	if at(over, "ecus", 0, "filename") != "os-1" || at(over, "ecus", 0, "primary") != true || at(over, "lastReport", "detail", "result", "success") != true || at(over, "manifestAt") == nil {
		t.Errorf("overview: %v", over)
	}
}
