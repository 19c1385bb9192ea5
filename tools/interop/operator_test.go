//go:build aktualizr

package interop

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sign adds one target and publishes it as a Yocto build does.
func (s *server) sign(t *testing.T, add ...string) {
	t.Helper()
	zip, home := filepath.Join(s.dir, "sealift-out", "build.zip"), t.TempDir()
	repo := []string{"--repo", "tufrepo", "--home-dir", home}
	step := func(args ...string) { s.run(t, nil, "garage-sign", append(args, repo...)...) }
	step("init", "--credentials", zip)
	step("targets", "pull")
	if add[0] == "upload" {
		step(append([]string{"targets", "upload"}, add[1:7]...)...)
		add = append([]string{"add-uploaded"}, add[1:]...)
	}
	step(append([]string{"targets"}, add...)...)
	step("targets", "sign", "--expire-after", "1Y", "--key-name=targets")
	step("targets", "push")
}

// uploadBinary makes a binary image known as NAME-VERSION.
func (s *server) uploadBinary(t *testing.T, name, version, hwids, content string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	write(t, file, content)
	s.sign(t, "upload", "-i", file, "--name", name, "--version", version, "--hardwareids", hwids)
}

// launch assigns images, by hardware id, to a device and returns the update's id.
func (s *server) launch(t *testing.T, device string, targets map[string]string) string {
	t.Helper()
	return s.assign(t, device, targets)
}

// launchFrom assigns an image that is to be downloaded elsewhere.
func (s *server) launchFrom(t *testing.T, device, hwid, target, uri string) string {
	t.Helper()
	return s.assign(t, device, map[string]any{hwid: map[string]any{"to": map[string]any{"target": target, "uri": uri}}})
}

func (s *server) assign(t *testing.T, device string, targets any) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": t.Name(), "targets": targets, "devices": []string{device}})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.ask(t, http.MethodPost, "/api/v1/updates", body)
	var out struct {
		ID       string   `json:"updateId"`
		Affected []string `json:"affected"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || status != http.StatusCreated || len(out.Affected) != 1 {
		t.Fatalf("assigning to %s: %d\n%s", device, status, answer)
	}
	return out.ID
}

// device is what the registry knows of the device that calls itself name; with
// "" of the only one.
func (s *server) device(t *testing.T, name string) (id, oemid string) {
	t.Helper()
	var page struct {
		Values []struct {
			UUID     string `json:"uuid"`
			DeviceID string `json:"deviceId"`
		} `json:"values"`
	}
	query := ""
	if name != "" {
		query = "?deviceId=" + name
	}
	s.get(t, "/api/v1/devices"+query, &page)
	if len(page.Values) != 1 {
		t.Fatalf("the registry has %d devices for %q", len(page.Values), name)
	}
	return page.Values[0].UUID, page.Values[0].DeviceID
}

// installed is what each ECU of a device last reported, by serial.
func (s *server) installed(t *testing.T, device string) map[string]string {
	t.Helper()
	var ecus []struct {
		ID    string `json:"id"`
		Image struct {
			Filepath string `json:"filepath"`
		} `json:"image"`
	}
	s.get(t, "/api/v1/admin/devices/"+device, &ecus)
	out := map[string]string{}
	for _, e := range ecus {
		out[e.ID] = e.Image.Filepath
	}
	return out
}

// assignments is the status of each ECU of an update, by serial.
func (s *server) assignments(t *testing.T, update string) map[string]string {
	t.Helper()
	var page struct {
		Values []struct {
			ECU    string `json:"ecu"`
			Status string `json:"status"`
		} `json:"values"`
	}
	s.get(t, "/api/v1/updates/"+update+"/devices", &page)
	out := map[string]string{}
	for _, a := range page.Values {
		out[a.ECU] = a.Status
	}
	return out
}

// events counts the events of a device by type.
func (s *server) events(t *testing.T, device string) map[string]int {
	t.Helper()
	var list []struct {
		EventType struct {
			ID string `json:"id"`
		} `json:"eventType"`
	}
	s.get(t, "/api/v1/devices/"+device+"/events", &list)
	out := map[string]int{}
	for _, e := range list {
		out[e.EventType.ID]++
	}
	return out
}

// realTool runs one of the real client's own tools.
func (s *server) realTool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	c := exec.Command(filepath.Join(real, name), args...)
	c.Dir = s.dir
	out, err := c.CombinedOutput()
	return strings.ToValidUTF8(string(out), "?"), err
}
