package api_test

import (
	"net/http"
	"strings"
	"testing"

	"sealift/access"
	"sealift/internal/home"
)

const tufSwitch = "/api/v1/user_repo/tuf"

// Who may read does not decide who else may; the switch is in the audit, and
// what TUF clients miss is in the overview.
func TestSwitchingTUF(t *testing.T) {
	s := newServer(t)
	if st := s.get(tufSwitch); at(st, "enabled") != false || at(st, "rootVersion") != 1.0 || at(st, "tufRootVersion") != 1.0 || at(st, "behind") != 1.0 {
		t.Errorf("at first: %v", st)
	}
	s.ask(access.Read, http.StatusForbidden, "PUT", tufSwitch, `{"enabled":true}`)
	for _, body := range []string{`{"enabled":true,"public":true}`, `{"anonymous":true}`, `{"enabled":"yes"}`, `[]`} {
		s.ask(access.Admin, http.StatusBadRequest, "PUT", tufSwitch, body)
	}
	s.ask(access.Read, http.StatusNotFound, "GET", "/tuf/metadata/1.root.json", "")
	s.ask(access.Read, http.StatusNotFound, "GET", "/tuf/targets/x", "")
	if st := s.ask(access.Admin, http.StatusOK, "PUT", tufSwitch, `{"enabled":true}`); at(st, "enabled") != true || at(st, "anonymous") != false {
		t.Errorf("switched on: %v", st)
	}
	acts, err := s.vault.Acts(t.Context(), ns, "", 1)
	check(t, err)
	if acts[0].Action != "tuf.switch" || !strings.HasPrefix(acts[0].Actor, "token:") || acts[0].Detail != "enabled true, anonymous false" {
		t.Errorf("%+v", acts[0])
	}
	s.get("/tuf/metadata/1.root.json")
	s.expect("", "warning tuf_behind: TUF clients see targets version 0, devices 1")
	s.ask(access.Read, http.StatusNotFound, "GET", "/tuf/public/default/metadata/1.root.json", "")

	// The TUF document of what is visible comes late, and ends it.
	signed, err := s.image.Signed("targets")
	check(t, err)
	s.ask(access.Admin, http.StatusNoContent, "PUT", tufSwitch+"/targets", string(signed.TUF))
	s.get("/tuf/metadata/timestamp.json")
	if said := s.findings(""); strings.Contains(said, "tuf") {
		t.Errorf("nothing is missing, but it says %s", said)
	}
	s.ask(access.Admin, http.StatusOK, "PUT", tufSwitch, `{"enabled":true,"anonymous":true}`)
	s.get("/tuf/public/default/metadata/1.root.json")
	s.ask(access.Read, http.StatusNotFound, "GET", "/tuf/public/other/metadata/1.root.json", "")
	s.ask(access.Read, http.StatusNotFound, "HEAD", "/tuf/public/default/targets/x", "")
}

// Where TUF is on a root needs its twin; where a twin is refused, the reasons
// are told as those of a root are.
func TestRootsOfTUFClients(t *testing.T) {
	s := newServer(t)
	s.ask(access.Admin, http.StatusOK, "PUT", tufSwitch, `{"enabled":true}`)
	_, err := s.image.IncrementVersion("root")
	check(t, err)
	signed, err := s.image.SignRoot(t.Context(), home.Signing{Version: 2})
	check(t, err)
	refused := s.ask(access.Admin, http.StatusPreconditionFailed, "POST", "/api/v1/user_repo/root", string(signed.Uptane))
	if at(refused, "code") != "tuf_twin_missing" {
		t.Errorf("%v", refused)
	}
	s.ask(access.Admin, http.StatusOK, "PUT", tufSwitch, `{}`)
	s.ask(access.Admin, http.StatusOK, "POST", "/api/v1/user_repo/root", string(signed.Uptane))
	refused = s.ask(access.Admin, http.StatusPreconditionFailed, "PUT", tufSwitch, `{"enabled":true}`)
	if at(refused, "code") != "tuf_twin_missing" || !strings.Contains(at(refused, "cause").(string), "root version 2 comes next") {
		t.Errorf("%v", refused)
	}
	other, err := s.image.SignRoot(t.Context(), home.Signing{Version: 2, Expires: s.now().AddDate(2, 0, 0)})
	check(t, err)
	refused = s.ask(access.Admin, http.StatusBadRequest, "PUT", tufSwitch+"/root", string(other.TUF))
	if at(refused, "cause", "code") != "invalid_root_role" {
		t.Errorf("%v", refused)
	}
	s.ask(access.Admin, http.StatusNoContent, "PUT", tufSwitch+"/root", string(signed.TUF))
	s.ask(access.Admin, http.StatusNoContent, "PUT", tufSwitch+"/root", string(signed.TUF))
	s.ask(access.Admin, http.StatusConflict, "PUT", tufSwitch+"/root", string(other.TUF))
	s.ask(access.Admin, http.StatusOK, "PUT", tufSwitch, `{"enabled":true}`)
}
