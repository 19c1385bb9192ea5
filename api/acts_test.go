package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sealift/access"
	"sealift/api"
	"sealift/internal/home"
	"sealift/keys"
	"sealift/uptane"
)

// actOf says what each route that changes something enters in the audit; after a
// dash, why it enters nothing. Patterns are without the prefixes of older servers.
func actOf() map[string]string {
	const (
		bytes    = "-bytes that nobody gets before somebody signs for them"
		proposal = "-answers what somebody is to sign; nothing has changed"
		refused  = "-is always refused"
		question = "-changes nothing"
		twin     = "-waits for its document, which is entered"
	)
	return map[string]string{
		"PUT /policy": "policy.set", "POST /tokens": "token.create", "DELETE /tokens/:id": "token.revoke",
		"POST /oauth2/token": "-is another form of a token that is there, for a day",

		"POST /objects/:prefix/:rest": bytes, "POST /objects/missing": question, "POST /refs/heads/*name": bytes, "PUT /manifests/:commit": bytes,
		"POST /user_repo/multipart/initiate/*filename": bytes, "PUT /user_repo/multipart/part": bytes, "PUT /user_repo/multipart/complete/*filename": bytes,
		"PUT /user_repo/uploads/*filename": bytes, "PUT /user_repo/multipart/direct": bytes,

		"POST /user_repo": "repo.create", "POST /user_repo/root": "root.publish", "PUT /user_repo/targets": "targets.publish",
		"PUT /user_repo/tuf/:role": twin, "PUT /user_repo/tuf": "tuf.switch",
		"POST /user_repo/targets/*filename": proposal, "PUT /user_repo/targets/*filename": bytes, "PATCH /user_repo/targets/*filename": proposal,
		"DELETE /user_repo/targets/*filename": proposal, "PUT /user_repo/root/rotate": refused, "PATCH /user_repo/proprietary-custom/*filename": proposal, "POST /user_repo/retire": proposal,
		"PUT /user_repo/trusted-delegations": proposal, "PUT /user_repo/trusted-delegations/keys": proposal, "DELETE /user_repo/trusted-delegations/:role": proposal,
		"POST /user_repo/trusted-delegations/:role/split": proposal,
		"PUT /user_repo/proposals/targets":                "targets.propose", "POST /user_repo/proposals/targets/:id/signatures": "targets.cosign",
		"DELETE /user_repo/proposals/targets/:id":                 "targets.withdraw",
		"PATCH /user_repo/trusted-delegations/:role/info":         "delegation.name",
		"PUT /user_repo/trusted-delegations/:role/remote":         "remote.set",
		"PUT /user_repo/trusted-delegations/:role/remote/refresh": "delegation.publish",
		"PUT /user_repo/delegations/:file":                        "delegation.publish",
		"PUT /user_repo/targets/expire/not-before":                "not-before.set",
		"PUT /user_repo/comments/*filename":                       "target.note", "PUT /sboms/*filename": "target.note", "DELETE /sboms/*filename": "target.note",
		"POST /user_repo/list-target-comments": question, "POST /user_repo/search": question,
		"DELETE /user_repo/root/private_keys/:keyid": refused, "DELETE /root/:repository/private_keys/:keyid": refused,
		"DELETE /director/admin/repo/private_keys/:keyid": refused,

		"POST /root-drafts": "root.draft", "DELETE /root-drafts/:id": "root.withdraw", "POST /root-drafts/:id/signatures": "root.sign",
		"POST /root-drafts/:id/publish": "root.publish", "POST /director/admin/repo/root": "root.publish",

		"POST /updates": "update.assign", "POST /updates/devices": "update.assign", "POST /updates/devices/:device": "update.assign",
		"PATCH /updates/:update": "update.cancel", "PATCH /updates/devices/:device/:update": "update.cancel", "POST /multi_target_updates": "update.create",
		"POST /assignments": "update.assign", "PATCH /assignments": "update.cancel", "PATCH /assignments/:device": "update.cancel", "DELETE /assignments/:device": "update.cancel",
		"PUT /admin/devices/:device/multi_target_update/:update": "update.assign",
		"PUT /admin/devices/:device/targets.json":                "device.renew", "PUT /admin/devices/:device/ecus/:ecu/public_key": "ecu.approve",
		"POST /admin/devices/list-installed-targets": question, "POST /admin/images/installed_count": question,

		"PUT /devices/:device": "device.name", "PATCH /devices/:device": "device.name", "POST /devices/:device/reset": "device.reset", "POST /devices/:device/revoke": "device.revoke",
		"POST /issuers": "issuer.add", "POST /issuers/statement": question, "DELETE /issuers/:fingerprint": "issuer.revoke",
		"POST /recovery/adopt": "device.adopt", "POST /recovery/end": "recovery.end",
	}
}

// A route that is added must say what it enters in the audit.
func TestEveryActIsAudited(t *testing.T) {
	routes, err := api.Routes()
	check(t, err)
	known, met := actOf(), map[string]bool{}
	prefixes := strings.NewReplacer("/director/api/v1/", "/", "/device-registry/api/v1/", "/", "/api/v1/director/", "/director/", "/api/v1/", "/", "/api/v2/", "/", "/api/v3/", "/", "/treehub/", "/")
	for _, r := range routes {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			continue
		}
		name := r.Method + " " + prefixes.Replace(r.Pattern)
		if known[name] == "" {
			t.Errorf("%s %s (%s): nobody has said what it enters in the audit", r.Method, r.Pattern, name)
		}
		met[name] = true
	}
	for name := range known {
		if !met[name] {
			t.Errorf("%s is no route", name)
		}
	}
}

// What people do over the api is in the audit under the name of their token, with
// the change itself or not at all.
func TestActsOverHTTP(t *testing.T) {
	s, ctx := newServer(t), t.Context()
	admin := func(method, path, body string, status int) any {
		t.Helper()
		return s.ask(access.Admin, status, method, path, body)
	}
	s.release("os-1", "board")
	d := s.newDevice("car", "board", nil)
	check(t, d.Provision(ctx))
	_, err := d.Poll(ctx)
	check(t, err)
	before, err := s.vault.Acts(ctx, ns, "", 1)
	check(t, err)

	admin("PUT", "/api/v1/policy", `{"minTargetsLifeDays":0}`, 200)
	admin("PUT", tufSwitch, `{"enabled":true}`, 200)
	admin("PUT", "/api/v1/user_repo/targets/expire/not-before", `{"expireAt":"2030-01-01T00:00:00Z"}`, 204)
	admin("PUT", "/api/v1/user_repo/comments/os-1", `{"comment":"good"}`, 200)
	admin("PUT", "/api/v1/sboms/os-1", `{"uri":"https://example.com/sbom"}`, 200)
	admin("DELETE", "/api/v1/sboms/os-1", "", 204)
	admin("PATCH", "/api/v1/devices/car", `{"deviceName":"the red one"}`, 200)
	id := at(s.get("/api/v1/devices/car"), "uuid").(string)
	admin("PUT", "/api/v1/admin/devices/"+id+"/targets.json", "", 202)
	s.assign("car", "board", "os-1")
	admin("PATCH", "/api/v1/assignments/"+id, "", 204)
	serial := at(s.get("/api/v1/devices/car/overview"), "ecus", 0, "ecuSerial").(string)
	admin("PUT", "/api/v1/admin/devices/"+id+"/ecus/"+serial+"/public_key", fmt.Sprintf(`{"keyId":%q}`, strings.Repeat("ab", 32)), 204)
	s.propose()
	admin("POST", "/api/v1/devices/car/reset", "", 204)

	list, err := s.vault.Acts(ctx, ns, "", 1000)
	check(t, err)
	list = list[:slices.IndexFunc(list, func(a keys.Act) bool { return a.ID == before[0].ID })]
	slices.Reverse(list)
	got := []string{}
	for _, a := range list {
		if !strings.HasPrefix(a.Actor, "token:") || a.At.After(s.now()) || a.Detail == "" {
			t.Errorf("%+v", a)
		}
		got = append(got, a.Action)
	}
	want := []string{"policy.set", "tuf.switch", "not-before.set", "target.note", "target.note", "target.note", "device.name", "device.renew",
		"update.create", "update.assign", "update.cancel", "ecu.approve", "targets.propose", "targets.withdraw", "targets.propose", "targets.cosign", "targets.publish",
		"device.reset", "device.forget"}
	if !slices.Equal(got, want) {
		t.Errorf("the audit has\n%q, not\n%q", got, want)
	}
	admin("PATCH", "/api/v1/devices/nobody", `{"deviceName":"x"}`, 404)
	admin("PUT", "/api/v1/sboms/os-2", `{"uri":"https://example.com/sbom"}`, 404)
	if after, err := s.vault.Acts(ctx, ns, "", 1); err != nil || after[0].ID != list[len(list)-1].ID {
		t.Errorf("what was refused is in the audit: %+v, %v", after, err)
	}
}

// propose proposes targets twice, gives the first up, and signs the second.
func (s *server) propose() {
	s.t.Helper()
	sum, err := s.image.Checksum()
	check(s.t, err)
	signed, err := s.image.SignTargets(s.t.Context(), home.Signing{Keys: []string{"targets"}, Expires: s.now().AddDate(5, 0, 0)})
	check(s.t, err)
	e, err := uptane.ParseEnvelope(uptane.Uptane, signed.Uptane)
	check(s.t, err)
	var parts struct{ Signatures json.RawMessage }
	check(s.t, json.Unmarshal(signed.Uptane, &parts))
	body := fmt.Sprintf(`{"uptane":%s}`, uptane.Frame(uptane.Uptane, e.Signed))
	const path = "/api/v1/user_repo/proposals/targets"
	for i := range 2 {
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.url+path, strings.NewReader(body))
		check(s.t, err)
		r.Header.Set("Authorization", "Bearer "+s.tokens[access.Admin])
		r.Header.Set("x-ats-role-checksum", sum)
		resp, err := http.DefaultClient.Do(r)
		check(s.t, err)
		check(s.t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			s.t.Fatalf("proposing: %s", resp.Status)
		}
		id := at(s.get(path), "id").(string)
		if i == 0 {
			s.ask(access.Admin, http.StatusNoContent, "DELETE", path+"/"+id, "")
			continue
		}
		s.ask(access.Admin, http.StatusOK, "POST", path+"/"+id+"/signatures", fmt.Sprintf(`{"uptane":%s}`, parts.Signatures))
	}
}
