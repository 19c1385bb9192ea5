package api_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/access"
	"sealift/fixtures/device"
	"sealift/internal/home"
	"sealift/uptane"
)

// proposal is what an edit answers: metadata to be signed.
type proposal struct {
	Code  string
	Cause struct {
		Unsigned  string   `json:"unsigned_metadata_base64"`
		KeyIDs    []string `json:"required_key_ids"`
		Threshold int
	}
}

// signProposal does what an edit asks for: the payload is signed offline and
// pushed. It returns the payload.
func (e *repoEdge) signProposal(resp *http.Response, body string) string {
	e.t.Helper()
	var p proposal
	if err := json.Unmarshal([]byte(body), &p); err != nil || resp.StatusCode != 412 || p.Code != "role_keys_not_found" || p.Cause.Threshold != 1 {
		e.t.Fatalf("%s %s: %d %s, want a proposal", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, body)
	}
	payload, err := base64.StdEncoding.DecodeString(p.Cause.Unsigned)
	if err != nil {
		e.t.Fatal(err)
	}
	if k, err := uptane.NewKey(e.sign.Public()); err != nil || len(p.Cause.KeyIDs) != 1 || p.Cause.KeyIDs[0] != string(k.ID()) {
		e.t.Errorf("keys that are to sign: %v", p.Cause.KeyIDs)
	}
	resp, _ = e.ask("GET", "/targets.json", "reader", nil)
	sum := resp.Header.Get("x-ats-role-checksum")
	resp, body = e.ask("PUT", "/targets", "signer", frame(e.t, payload, e.sign), "x-ats-role-checksum", sum)
	e.want(204, "", resp, body)
	return string(payload)
}

func frame(t *testing.T, payload []byte, s crypto.Signer) []byte {
	t.Helper()
	sig, err := uptane.Sign(s, payload)
	if err != nil {
		t.Fatal(err)
	}
	return uptane.Frame(uptane.Uptane, payload, sig)
}

// delegated is metadata of a role with targets of these names.
func delegated(t *testing.T, role uptane.Role, s crypto.Signer, version int64, names ...string) []byte {
	t.Helper()
	p := metadata.Targets(time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)).Signed
	p.Version = version
	for _, name := range names {
		sum, now := sha256.Sum256([]byte(name)), time.Now().UTC().Truncate(time.Second)
		file, err := uptane.Target{Filename: name, Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: uptane.Custom{Name: "Brakes", Version: "1",
			HardwareIDs: []uptane.HardwareID{"ecu-b"}, TargetFormat: uptane.FormatOSTree, CreatedAt: now, UpdatedAt: now}}.File()
		if err != nil {
			t.Fatal(err)
		}
		p.Targets[name] = file
	}
	return seal(t, role, &p, s)
}

// An operator trusts a supplier, who then brings images on its own; the operator
// gives it a name, looks at what it has, and ends it.
func TestSuppliersOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	supplier := newSigner(t)
	key, err := uptane.NewKey(supplier.Public())
	if err != nil {
		t.Fatal(err)
	}
	const trusted = "/trusted-delegations"
	role := []byte(fmt.Sprintf(`[{"name":"brakes","keyids":[%q],"paths":["brakes/*"],"threshold":1,"terminating":true}]`, key.ID()))
	resp, body := e.ask("PUT", "/targets", "signer", e.targets(1, nil))
	e.want(204, "", resp, body)
	resp, body = e.ask("PUT", "/delegations/brakes.json", "signer", delegated(t, "brakes", supplier, 1))
	e.want(400, "delegations_not_defined", resp, body)
	resp, body = e.ask("PUT", trusted, "signer", role)
	e.want(400, "trusted_delegations_invalid", resp, body)
	resp, body = e.ask("PUT", trusted, "signer", []byte(`[{"name":"brakes"}]`))
	e.want(400, "keyids is missing", resp, body)
	resp, body = e.ask("PUT", trusted, "signer", bytes.Replace(role, []byte(`"brakes"`), []byte(`"Root"`), 1))
	e.want(400, "invalid_delegation_role_name", resp, body)
	resp, body = e.ask("PUT", trusted+"/keys", "signer", []byte(`[{"keytype":"ECPRIME256V1","keyval":{"public":"00"}}]`))
	e.want(400, "invalid_entity", resp, body)
	resp, body = e.ask("PUT", trusted+"/keys", "signer", []byte("["+string(key.Wire(uptane.Uptane))+"]"))
	e.signProposal(resp, body)
	resp, body = e.ask("PUT", trusted, "signer", role)
	e.signProposal(resp, body)
	resp, body = e.ask("GET", trusted, "reader", nil)
	e.want(200, `"name":"brakes"`, resp, body)
	resp, body = e.ask("GET", trusted+"/keys", "reader", nil)
	e.want(200, `"keyval"`, resp, body)
	resp, body = e.ask("GET", trusted+"/info", "reader", nil)
	e.want(200, `{"brakes":{"lastFetched":null,"remoteUri":null,"friendlyName":null,"expires":null,"parent":"targets","version":0`, resp, body)
	resp, body = e.ask("GET", "/delegations/brakes.json", "reader", nil)
	e.want(404, "delegations_not_found", resp, body)

	doc := delegated(t, "brakes", supplier, 1, "brakes/a", "brakes/b")
	resp, body = e.ask("PUT", "/delegations/brakes.json", "reader", doc)
	e.want(403, "forbidden", resp, body)
	resp, body = e.ask("PUT", "/delegations/brakes.json", "signer", delegated(t, "brakes", e.sign, 1, "brakes/a"))
	e.want(400, "payload_signature_invalid", resp, body)
	resp, body = e.ask("PUT", "/delegations/brakes.json", "signer", delegated(t, "brakes", supplier, 1, "radio/a"))
	e.want(400, "invalid_delegated_target", resp, body)
	resp, _ = e.ask("PUT", "/delegations/..%2Fbrakes.json", "signer", doc)
	if resp.StatusCode/100 != 4 {
		t.Errorf("a path for a name: %d", resp.StatusCode)
	}
	resp, body = e.ask("PUT", "/delegations/brakes.json", "signer", gzipped(doc), "Content-Encoding", "gzip")
	e.want(204, "", resp, body)
	resp, body = e.ask("GET", "/delegations/brakes.json", "reader", nil)
	e.want(200, "", resp, body)
	if body != string(doc) || resp.Header.Get("x-ats-role-checksum") != sumOf(doc) || resp.Header.Get("x-ats-tuf-repo-id") == "" {
		t.Errorf("%s %v", body, resp.Header)
	}
	resp, body = e.ask("PUT", "/delegations/brakes.json", "signer", delegated(t, "brakes", supplier, 1, "brakes/a"))
	e.want(409, "invalid_version_bump", resp, body)
	resp, body = e.ask("GET", "/snapshot.json", "reader", nil)
	e.want(200, `"brakes.json":{"version":1}`, resp, body)

	resp, body = e.ask("GET", "/delegations_items?nameContains=B", "reader", nil)
	e.want(200, `"targetFilename":"brakes/a","delegatedRoleName":"brakes","clientTargetItem":{`, resp, body)
	e.want(200, `"total":2,"offset":0,"limit":50`, resp, body)
	resp, body = e.ask("GET", "/delegations_items/brakes%2Fb", "reader", nil)
	e.want(200, `[{"targetFilename":"brakes/b"`, resp, body)
	resp, body = e.ask("GET", "/delegations_items/brakes/c", "reader", nil)
	e.want(400, "invalid_delegated_target", resp, body)
	resp, body = e.ask("GET", "/target_items/brakes/b", "reader", nil)
	e.want(200, `"filename":"brakes/b"`, resp, body)
	resp, body = e.ask("HEAD", "/targets/brakes/b", "reader", nil)
	e.want(200, "", resp, body)
	resp, body = e.ask("HEAD", "/targets/brakes/c", "reader", nil)
	e.want(404, "", resp, body)
	resp, body = e.ask("DELETE", "/targets/brakes/b", "signer", nil)
	e.want(404, "whoever signs for it can change it", resp, body)

	resp, body = e.ask("PATCH", trusted+"/brakes/info", "signer", []byte(`{"friendlyName":"Brakes Ltd"}`))
	e.want(200, "", resp, body)
	resp, body = e.ask("PATCH", trusted+"/brakes/info", "signer", []byte(`{"friendlyName":"x","remoteUri":"http://x/"}`))
	e.want(400, "immutable_fields_specified", resp, body)
	resp, body = e.ask("PATCH", trusted+"/brakes/info", "signer", []byte(`{}`))
	e.want(400, "invalid_delegation_role_name", resp, body)
	resp, body = e.ask("GET", trusted+"/brakes/info", "reader", nil)
	e.want(200, `"friendlyName":"Brakes Ltd"`, resp, body)
	resp, body = e.ask("PUT", trusted+"/brakes/remote", "signer", []byte(`{"uri":"http://127.0.0.1:1/x"}`))
	e.want(502, "delegation_remote_fetch_failed", resp, body)
	resp, body = e.ask("PUT", trusted+"/brakes/remote/refresh", "signer", nil)
	e.want(412, "missing_remote_delegation_uri", resp, body)

	// Whatever is edited, what is signed next keeps the delegation.
	resp, body = e.ask("POST", "/targets/own-1", "signer", []byte(`{"uri":"https://example.com/own","checksum":{"method":"sha256","hash":"`+strings.Repeat("ab", 32)+`"},"name":"own","version":"1","hardwareIds":["ecu"],"length":9}`))
	if signed := e.signProposal(resp, body); !strings.Contains(signed, `"name":"brakes"`) {
		t.Errorf("the delegation is gone: %s", signed)
	}
	resp, body = e.ask("GET", "/delegations/brakes.json", "reader", nil)
	e.want(200, "", resp, body)

	for _, c := range [][2]string{{`{"origin":[],"hardwareIds":[],"hashes":[],"filenames":[]}`, `"total":3`}, {"", `"total":3`}, {`{"origin":["brakes"]}`, `"total":2`},
		{`{"originNot":"brakes"}`, `"filename":"own-1","origin":"targets.json","length":9,"hashes":{"sha256":"abab`}, {`{"hardwareIds":["ecu-b"]}`, `"total":2`},
		{`{"nameContains":"RAK"}`, `"total":2`}, {`{"name":"own","version":"2"}`, `"total":0`}, {`{"filenames":["brakes/a"]}`, `"total":1`}, {`{"hasSBOM":true}`, `"total":0`}} {
		resp, body = e.ask("POST", e.url+"/api/v2/user_repo/search?sortBy=filename&sortDirection=asc", "reader", []byte(c[0]))
		e.want(200, c[1], resp, body)
	}
	resp, body = e.ask("POST", e.url+"/api/v2/user_repo/search?sortBy=x", "reader", nil)
	e.want(400, "CreatedAt, Filename", resp, body)
	resp, body = e.ask("GET", e.url+"/api/v2/user_repo/packages/brakes/a?originNot=brakes", "reader", nil)
	e.want(404, "target_not_found", resp, body)
	resp, body = e.ask("GET", e.url+"/api/v2/user_repo/packages/brakes%2Fa", "reader", nil)
	e.want(200, `"origin":"brakes"`, resp, body)
	resp, body = e.ask("GET", e.url+"/api/v2/user_repo/hardwareids-packages", "reader", nil)
	e.want(200, `"values":["ecu","ecu-b"]`, resp, body)
	resp, body = e.ask("GET", e.url+"/api/v2/user_repo/grouped-search?nameContains=brakes&hardwareIds=ecu-b,x", "reader", nil)
	e.want(200, `"values":[{"name":"Brakes","versions":["1"],"hardwareIds":["ecu-b"],"origins":["brakes"]`, resp, body)

	resp, body = e.ask("DELETE", trusted+"/brakes", "signer", nil)
	if signed := e.signProposal(resp, body); !strings.Contains(signed, `"delegations":{"keys":{},"roles":[]}`) {
		t.Errorf("%s", signed)
	}
	resp, body = e.ask("DELETE", trusted+"/brakes", "signer", nil)
	e.want(204, "", resp, body)
	resp, body = e.ask("GET", "/target_items/brakes/b", "reader", nil)
	e.want(404, "target_not_found", resp, body)
}

// The life of a target that people edit from a console: uploaded in each of the
// old ways, commented on, changed, retired. Each change is signed offline.
func TestEditsOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	resp, body := e.ask("PUT", "/targets", "signer", e.targets(1, nil))
	e.want(204, "", resp, body)
	query := "?name=fw&version=%d&hardwareIds=ecu,ecu-2"
	resp, body = e.ask("PUT", "/targets/fw-1"+fmt.Sprintf(query, 1), "signer", []byte("first"))
	if signed := e.signProposal(resp, body); !strings.Contains(signed, `"cliUploaded":true`) || !strings.Contains(signed, `"releaseCounter":1`) {
		t.Errorf("%s", signed)
	}
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, err := m.CreateFormFile("file", "fw.bin")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write([]byte("second"))
	_ = m.Close()
	resp, body = e.ask("PUT", "/targets/fw-2"+fmt.Sprintf(query, 2), "signer", form.Bytes(), "Content-Type", m.FormDataContentType())
	if signed := e.signProposal(resp, body); !strings.Contains(signed, `"releaseCounter":2`) {
		t.Errorf("%s", signed)
	}
	for name, want := range map[string]string{"fw-1": "first", "fw-2": "second"} {
		if resp, body = e.ask("GET", "/targets/"+name, "reader", nil); body != want {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	resp, body = e.ask("PUT", "/targets/fw-2"+fmt.Sprintf(query, 2), "signer", []byte("other"))
	e.want(409, "conflicting_entity", resp, body)
	resp, body = e.ask("PUT", "/targets/fw-3"+fmt.Sprintf(query, 3), "signer", nil)
	e.want(411, "content_length_required", resp, body)
	resp, body = e.ask("PUT", "/targets/fw-3", "signer", []byte("x"))
	e.want(400, "name and version", resp, body)
	resp, body = e.ask("PUT", "/targets/fw-3"+fmt.Sprintf(query, 3)+"&fileUri=http://127.0.0.1:1/x", "signer", nil)
	e.want(502, "delegation_remote_fetch_failed", resp, body)

	// The address of a direct upload is good once.
	resp, body = e.ask("PUT", "/uploads/fw-3", "signer", []byte("third"))
	e.want(302, "", resp, body)
	place := resp.Header.Get("Location")
	resp, body = e.ask("PUT", strings.Replace(place, "token=", "token=0", 1), "", []byte("third"))
	e.want(403, "invalid_part_url", resp, body)
	resp, body = e.ask("PUT", place, "", []byte("longer"))
	e.want(400, "invalid_upload", resp, body)
	resp, body = e.ask("PUT", place, "", []byte("third"))
	e.want(200, "", resp, body)
	resp, body = e.ask("PUT", place, "", []byte("third"))
	e.want(404, "upload_not_found", resp, body)
	resp, body = e.ask("PUT", "/targets", "signer", e.targets(4, []byte("x")), "x-ats-role-checksum", "")
	e.want(428, "", resp, body)

	resp, body = e.ask("PUT", "/comments/fw-1", "signer", []byte(`{"comment":"good \u00e4"}`))
	e.want(200, "1", resp, body)
	resp, body = e.ask("PUT", "/comments/fw-9", "signer", []byte(`{"comment":"x"}`))
	e.want(404, "target_not_found", resp, body)
	resp, body = e.ask("GET", "/comments/fw-1", "reader", nil)
	e.want(200, `{"comment":"good ä"}`, resp, body)
	resp, body = e.ask("GET", "/comments/fw-2", "reader", nil)
	e.want(404, "missing_entity", resp, body)
	resp, body = e.ask("GET", "/comments?nameContains=FW", "reader", nil)
	e.want(200, `"values":[{"filename":"fw-1","comment":"good ä"}],"total":1`, resp, body)
	resp, body = e.ask("POST", "/list-target-comments", "reader", []byte(`["fw-2","fw-1","../x"]`))
	e.want(200, `[{"filename":"fw-1","comment":"good ä"}]`, resp, body)

	sboms := e.url + "/api/v1/sboms"
	resp, body = e.ask("PUT", sboms+"/fw-1", "signer", []byte(`{"uri":"https://example.com/fw-1.json"}`))
	e.want(200, `{"uri":"https://example.com/fw-1.json"}`, resp, body)
	resp, body = e.ask("PUT", sboms+"/fw-1", "signer", []byte(`{"uri":"javascript:x"}`))
	e.want(400, "invalid_entity", resp, body)
	resp, body = e.ask("GET", sboms+"/raw/fw-1", "reader", nil)
	if e.want(302, "", resp, body); resp.Header.Get("Location") != "https://example.com/fw-1.json" {
		t.Errorf("%v", resp.Header)
	}
	resp, body = e.ask("GET", sboms, "reader", nil)
	e.want(200, `"total":1`, resp, body)
	resp, body = e.ask("DELETE", sboms+"/fw-1", "signer", nil)
	e.want(204, "", resp, body)
	resp, body = e.ask("GET", sboms+"/fw-1", "reader", nil)
	e.want(404, "sbom_not_found", resp, body)

	resp, body = e.ask("PATCH", "/proprietary-custom/fw-1", "signer", []byte(`{"track":"beta","name":"evil","n":{"b":1}}`))
	if signed := e.signProposal(resp, body); !strings.Contains(signed, `"track":"beta"`) || strings.Contains(signed, "evil") {
		t.Errorf("%s", signed)
	}
	resp, body = e.ask("PATCH", "/targets/fw-1", "signer", []byte(`{"uri":"https://example.com/fw","hardwareIds":[],"proprietaryCustom":{"only":true}}`))
	if signed := e.signProposal(resp, body); strings.Contains(signed, "beta") || !strings.Contains(signed, `"only":true`) || !strings.Contains(signed, `"uri":"https://example.com/fw"`) {
		t.Errorf("%s", signed)
	}
	resp, body = e.ask("PATCH", "/targets/fw-1", "signer", []byte(`{"hardwareIds":[]}`))
	e.want(200, `"filename":"fw-1"`, resp, body)
	resp, body = e.ask("PATCH", "/targets/fw-1", "signer", []byte(`{"hardwareIds":[],"uri":"file:///x"}`))
	e.want(400, "no http or https address", resp, body)
	resp, body = e.ask("PATCH", "/proprietary-custom/fw-1", "signer", []byte(`{"x":1.5}`))
	e.want(400, "invalid_entity", resp, body)

	resp, body = e.ask("POST", "/retire", "signer", []byte(`{"superseded":true,"dryRun":true}`))
	e.want(200, `{"filenames":["fw-1"]}`, resp, body)
	resp, body = e.ask("POST", "/retire", "signer", []byte(`{"superseded":true}`))
	e.signProposal(resp, body)
	resp, body = e.ask("GET", "/targets/fw-1", "reader", nil)
	e.want(404, "target_not_found", resp, body)
	resp, body = e.ask("DELETE", "/targets/fw-1", "signer", nil)
	e.want(404, "target_not_found", resp, body)

	until := time.Now().AddDate(0, 6, 0).UTC().Truncate(time.Second)
	resp, body = e.ask("PUT", "/targets/expire/not-before", "signer", []byte(`{"expireAt":"`+until.Format(time.RFC3339)+`"}`))
	e.want(204, "", resp, body)
	if acts, err := e.vault.Acts(t.Context(), "default", "", 1); err != nil || len(acts) != 1 || acts[0].Action != "not-before.set" || acts[0].Actor != "token:1" {
		t.Errorf("%+v, %v", acts, err)
	}
	for _, name := range []string{"snapshot", "timestamp"} {
		resp, body = e.ask("GET", "/"+name+".json", "reader", nil)
		e.want(200, `"expires":"`+until.Format(time.RFC3339)+`"`, resp, body)
	}
	resp, body = e.ask("DELETE", "/targets/fw-2", "signer", nil)
	if signed := e.signProposal(resp, body); !strings.Contains(signed, until.Format(time.RFC3339)) {
		t.Errorf("%s", signed)
	}
}

// The top level has become large: targets move into a role, unless a car with
// Secondaries needs them where they are.
func TestSplitOverHTTP(t *testing.T) {
	s := newServer(t)
	supplier := newSigner(t)
	key, err := uptane.NewKey(supplier.Public())
	check(t, err)
	s.release("gateway-1", "hw-alone")
	s.release("gateway-2", "hw-alone")
	s.release("brakes-1", "hw-pair")
	check(t, s.image.Delegate(home.Delegation{Name: "gateways", Paths: []string{"gateway-*", "brakes-*"}, Keys: []uptane.Key{key}, Threshold: 1}))
	s.sign()
	pair, err := device.New(device.Config{Archive: s.archive, OEMID: "pair", Primary: device.ECU{HardwareID: "hw-pair"},
		Secondaries: []device.ECU{{HardwareID: "hw-s"}}, Now: s.now, Backoff: time.Millisecond})
	check(t, err)
	t.Cleanup(pair.Close)
	alone := s.newDevice("alone", "hw-alone", nil)
	for _, d := range []*device.Device{pair, alone} {
		_, err = d.Poll(t.Context())
		check(t, err)
	}

	const split = "/api/v1/user_repo/trusted-delegations/gateways/split"
	said := s.ask(access.Admin, http.StatusConflict, http.MethodPost, split, `{}`)
	if code, cause := at(said, "code"), fmt.Sprint(at(said, "cause")); code != "split_refused" || !strings.Contains(cause, "hw-pair") || strings.Contains(cause, "hw-alone") {
		t.Errorf("%v", said)
	}
	s.ask(access.Admin, http.StatusConflict, http.MethodPost, split, `{"paths":["none/*"]}`)
	s.ask(access.Read, http.StatusForbidden, http.MethodPost, split, `{}`)
	said = s.ask(access.Admin, http.StatusOK, http.MethodPost, split, `{"paths":["gateway-*"]}`)
	if fmt.Sprint(at(said, "moved")) != "[gateway-1 gateway-2]" {
		t.Errorf("%v", said)
	}
	role, err := base64.StdEncoding.DecodeString(at(said, "unsigned_delegation_base64").(string))
	check(t, err)
	top, err := base64.StdEncoding.DecodeString(at(said, "unsigned_targets_base64").(string))
	check(t, err)
	if strings.Contains(string(top), `"gateway-1"`) || !strings.Contains(string(top), `"brakes-1"`) {
		t.Errorf("%s", top)
	}
	s.ask(access.Admin, http.StatusNoContent, http.MethodPut, "/api/v1/user_repo/delegations/gateways.json", string(frame(t, role, supplier)))
	for _, name := range []string{"gateway-1", "gateway-2"} {
		check(t, s.image.DeleteTarget(name))
	}
	s.sign()

	s.assign("alone", "hw-alone", "gateway-2")
	if res, err := alone.Poll(t.Context()); err != nil || res.Outcome != device.Rebooting {
		t.Errorf("the image of the role: %+v, %v", res, err)
	}
	s.assign("pair", "hw-pair", "brakes-1")
	if res, err := pair.Poll(t.Context()); err != nil || res.Outcome != device.Rebooting {
		t.Errorf("the image of the top level: %+v, %v", res, err)
	}
}
