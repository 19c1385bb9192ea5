package api_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/access"
	"sealift/api"
	"sealift/director"
	"sealift/internal/db/dbtest"
	"sealift/internal/fault"
	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
)

// directorEdge is a running Director behind the API's routes.
type directorEdge struct {
	t        *testing.T
	url      string
	director *director.Director
}

// signedImages is an Image repository whose every image is for "board" and
// whose hash is a digit.
type signedImages struct{}

func (signedImages) Target(_ context.Context, _ uptane.Namespace, filename string) (uptane.Target, error) {
	if !strings.HasPrefix(filename, "os-") {
		return uptane.Target{}, fault.New(fault.NotFound, "missing_entity", "no such target")
	}
	sum, err := hex.DecodeString(strings.Repeat(filename[3:4]+"0", 32))
	return uptane.Target{Filename: filename, Length: 5, Hashes: metadata.Hashes{"sha256": sum},
		Custom: uptane.Custom{HardwareIDs: []uptane.HardwareID{"board"}, TargetFormat: uptane.FormatBinary}}, err
}

func newDirectorEdge(t *testing.T) *directorEdge {
	t.Helper()
	d := dbtest.SQLite(t)
	kek, err := keys.CreateFileKEK(filepath.Join(t.TempDir(), "master.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	vault, err := keys.New(t.Context(), keys.Config{DB: d, KEK: kek})
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	root.Keys, root.Roles = nil, nil
	rootKey := newSigner(t)
	add := func(role uptane.Role, k uptane.Key, err error) {
		if err == nil {
			err = uptane.AddKey(&root, role, k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k, err := uptane.NewKey(rootKey.Public())
	add(uptane.RoleRoot, k, err)
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		k, err := vault.GenerateOnline(t.Context(), "default", uptane.DirectorRepository, role, "ed25519")
		add(role, k, err)
	}
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, &root)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := uptane.Sign(rootKey, payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.PutRoot(t.Context(), "default", uptane.DirectorRepository, uptane.Frame(uptane.Uptane, payload, sig)); err != nil {
		t.Fatal(err)
	}
	e := &directorEdge{t: t}
	e.director, err = director.New(t.Context(), director.Config{DB: d, Signer: vault, Roots: vault, Keys: vault, Images: signedImages{}})
	if err != nil {
		t.Fatal(err)
	}
	identify := func(q *http.Request) (web.Caller, error) {
		scope := access.WriteDirector
		if q.Header.Get("Authorization") == "Bearer reader" {
			scope = access.Read
		}
		return web.Caller{Kind: web.Token, Namespace: "default", Token: "1", Permissions: scope.Permissions()}, nil
	}
	h, err := api.DirectorHandler(e.director, identify, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	e.url = srv.URL
	return e
}

// device registers a device with one ECU, "board".
func (e *directorEdge) device(id string) {
	e.t.Helper()
	public := hex.EncodeToString(newSigner(e.t).Public().(ed25519.PublicKey))
	body := fmt.Sprintf(`{"primary_ecu_serial":"%[1]s-p","ecus":[{"ecu_serial":"%[1]s-p","hardware_identifier":"board",
		"clientKey":{"keytype":"ED25519","keyval":{"public":"%[2]s"}}}]}`, id, public)
	if _, err := e.director.RegisterECUs(e.t.Context(), "default", uptane.DeviceID(id), uptane.OEMID(id), []byte(body)); err != nil {
		e.t.Fatal(err)
	}
}

// call sends a request and returns the decoded answer, which must have that
// status.
func (e *directorEdge) call(status int, method, path, body string, header ...string) any {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	if resp.StatusCode != status {
		e.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, raw)
	}
	var v any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &v); err != nil {
			e.t.Fatalf("%s %s answers %s: %v", method, path, raw, err)
		}
	}
	return v
}

// at walks into decoded JSON.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (e *directorEdge) expect(what string, got, want any) {
	e.t.Helper()
	if !reflect.DeepEqual(got, want) {
		e.t.Errorf("%s is %v, want %v", what, got, want)
	}
}

const os1 = `{"targets":{"board":{"to":{"target":"os-1","checksum":{"method":"sha256","hash":"` +
	`1010101010101010101010101010101010101010101010101010101010101010"},"targetLength":5,"generateDiff":false}}}}`

// TestMultiTargetUpdates is the session of a client of this family: create,
// assign, look, cancel.
func TestMultiTargetUpdates(t *testing.T) {
	e := newDirectorEdge(t)
	e.device("d1")
	e.device("d2")
	for _, prefix := range []string{"/api/v1", "/director/api/v1"} {
		id, _ := e.call(201, "POST", prefix+"/multi_target_updates", os1).(string)
		got := e.call(200, "GET", prefix+"/multi_target_updates/"+id, "")
		e.expect("to", at(got, "board", "to", "target"), "os-1")

		assign := fmt.Sprintf(`{"correlationId":"urn:here-ota:campaign:1","devices":["d1","d2","none"],"mtuId":"%s","dryRun":`, id)
		e.expect("dry run", e.call(200, "POST", prefix+"/assignments", assign+"true}"), []any{"d1", "d2"})
		e.expect("affected", e.call(200, "GET", prefix+"/assignments/devices?ids=d1,none&targetSpecId="+id, ""), []any{"d1"})
		res := e.call(201, "POST", prefix+"/assignments", assign+"false}")
		e.expect("affected", at(res, "affected"), []any{"d1", "d2"})
		e.expect("not affected", at(res, "notAffected", "none", "unknown", "code"), "device_missing_primary_ecu")
		res = e.call(400, "POST", prefix+"/assignments", assign+"false}")
		e.expect("again", at(res, "notAffected", "d1", "d1-p", "code"), "not_affected_running_assignment")

		if _, err := e.director.Metadata(t.Context(), "default", "d1", "targets.json"); err != nil {
			t.Fatal(err)
		}
		queue := e.call(200, "GET", prefix+"/assignments/d1", "")
		e.expect("in flight", at(queue, 0, "inFlight"), true)
		e.expect("correlation", at(queue, 0, "correlationId"), "urn:here-ota:campaign:1")
		e.expect("file", at(queue, 0, "targets", "d1-p", "image", "filepath"), "os-1")
		e.expect("queues", at(e.call(200, "GET", prefix+"/assignments?ids=d2,x", ""), "d2", 0, "inFlight"), false)

		e.expect("cancelled", e.call(200, "PATCH", prefix+"/assignments", `["d1","d2","none"]`), []any{"d2"})
		e.expect("code", at(e.call(409, "PATCH", prefix+"/assignments/d1", ""), "code"), "assignment_in_flight_devices")
		e.call(204, "PATCH", prefix+"/assignments/d1", "", "x-trx-force", "true")
		e.call(200, "PUT", prefix+"/admin/devices/d1/multi_target_update/"+id, "")
		e.call(400, "PUT", prefix+"/admin/devices/d1/multi_target_update/"+id, "")
		e.call(204, "DELETE", prefix+"/assignments/d1", "")
	}
	e.expect("code", at(e.call(400, "POST", "/api/v1/multi_target_updates", strings.Replace(os1, "os-1", "xx-1", 1)), "code"), "invalid_mtu")
	e.call(400, "POST", "/api/v1/multi_target_updates", `{"targets":{}}`)
	e.call(404, "GET", "/api/v1/multi_target_updates/none", "")
	e.call(403, "POST", "/api/v1/multi_target_updates", os1, "Authorization", "Bearer reader")
	e.call(200, "GET", "/api/v1/assignments/d1", "", "Authorization", "Bearer reader")
}

// TestUpdates is a session with one call an update.
func TestUpdates(t *testing.T) {
	e := newDirectorEdge(t)
	e.device("d1")
	e.device("d2")
	res := e.call(201, "POST", "/api/v1/updates", `{"name":"first","targets":{"board":"os-1"},"devices":["d1","x"]}`)
	id, _ := at(res, "updateId").(string)
	e.expect("affected", at(res, "affected"), []any{"d1"})
	e.expect("correlation", at(res, "correlationId"), "urn:here-ota:mtu:"+id)

	u := e.call(200, "GET", "/api/v1/updates/"+id, "")
	e.expect("name", at(u, "name"), "first")
	e.expect("packages", at(u, "packages", "board"), "os-1")
	e.expect("counts", at(u, "assignments", "assigned"), 1.0)
	e.expect("list", at(e.call(200, "GET", "/api/v1/updates?limit=5", ""), "values", 0, "updateId"), id)
	devices := e.call(200, "GET", "/api/v1/updates/"+id+"/devices", "")
	e.expect("total", at(devices, "total"), 1.0)
	e.expect("device", at(devices, "values", 0, "deviceId"), "d1")

	e.expect("cause", at(e.call(400, "POST", "/api/v1/updates/devices/d1", os1), "cause"), "d1-p: not_affected_running_assignment")
	other, _ := e.call(200, "POST", "/api/v1/updates/devices/d2", os1).(string)
	e.call(404, "POST", "/api/v1/updates/devices/none", os1)
	e.call(400, "POST", "/api/v1/updates/devices/d2", strings.Replace(os1, "{", `{"scheduledFor":"2030-01-01T00:00:00Z",`, 1))
	e.expect("status", at(e.call(200, "GET", "/api/v1/updates/devices/d2/"+other, ""), "status"), "Assigned")
	e.call(204, "PATCH", "/api/v1/updates/devices/d2/"+other, "")
	e.expect("status", at(e.call(200, "GET", "/api/v1/updates/devices/d2", ""), "values", 0, "status"), "Cancelled")
	e.call(404, "GET", "/api/v1/updates/devices/d2/"+id, "")
	e.call(204, "PATCH", "/api/v1/updates/"+id, "")
	e.call(404, "PATCH", "/api/v1/updates/none", "")
	e.expect("counts", at(e.call(200, "GET", "/api/v1/updates/"+id, ""), "assignments", "cancelled"), 1.0)
}

// TestDirectorInventory: devices, ECUs, keys and history.
func TestDirectorInventory(t *testing.T) {
	e := newDirectorEdge(t)
	e.device("d1")
	e.expect("ids", at(e.call(200, "GET", "/api/v1/admin/devices", ""), "values"), []any{"d1"})
	e.expect("primary", at(e.call(200, "GET", "/api/v1/admin/devices?primaryHardwareId=board", ""), "values", 0, "primaryEcu"), "d1-p")
	e.expect("hardware", at(e.call(200, "GET", "/api/v1/admin/devices/hardware_identifiers", ""), "values"), []any{"board"})
	e.expect("ecus", at(e.call(200, "GET", "/api/v1/admin/devices/ecus", ""), "values", 0, "d1", 0, "primary"), true)
	e.expect("installed", at(e.call(200, "POST", "/api/v1/admin/devices/list-installed-targets", `["d1","x"]`), "values"), map[string]any{"d1": []any{}, "x": []any{}})
	e.expect("ecu", at(e.call(200, "GET", "/api/v1/admin/devices/d1", ""), 0, "hardwareId"), "board")
	e.call(404, "GET", "/api/v1/admin/devices/none", "")
	e.call(202, "PUT", "/api/v1/admin/devices/d1/targets.json", "")
	e.expect("key", at(e.call(200, "GET", "/api/v1/admin/devices/d1/ecus/d1-p/public_key", ""), "keytype"), "ED25519")
	e.call(404, "GET", "/api/v1/admin/devices/d1/ecus/none/public_key", "")
	e.call(204, "PUT", "/api/v1/admin/devices/d1/ecus/d1-p/public_key", `{"keyId":"`+strings.Repeat("ab", 32)+`"}`)
	e.call(400, "PUT", "/api/v1/admin/devices/d1/ecus/d1-p/public_key", `{"keyId":"x"}`)
	e.expect("history", at(e.call(200, "GET", "/api/v1/admin/devices/d1/history", ""), "values", 0, "action"), "ecu_key_approved")
	e.expect("counts", e.call(200, "POST", "/api/v1/admin/images/installed_count", `{"filepaths":["os-1"]}`), map[string]any{})
	e.expect("root", at(e.call(200, "GET", "/api/v1/admin/repo/1.root.json", ""), "signed", "version"), 1.0)
	e.expect("root", at(e.call(200, "GET", "/api/v1/admin/repo/root.json", ""), "signed", "version"), 1.0)
	e.call(404, "GET", "/api/v1/admin/repo/2.root.json", "")
	e.call(404, "GET", "/api/v1/admin/repo/targets.json", "")
}
