package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sealift/access"
	"sealift/api"
)

const day = 24 * time.Hour

// guardian is that of a replica and what it writes into its log.
func (s *server) guardian() (*api.Guardian, *bytes.Buffer) {
	said := &bytes.Buffer{}
	c := s.config
	c.Log = slog.New(slog.NewTextHandler(said, nil))
	return api.NewGuardian(c), said
}

// thing is what the page says of one thing.
func (s *server) thing(name string) any {
	s.t.Helper()
	for _, e := range at(s.get("/api/v1/expiry"), "things").([]any) {
		if at(e, "thing") == name {
			return e
		}
	}
	s.t.Fatalf("the page has no %s: %v", name, s.get("/api/v1/expiry"))
	return nil
}

// Targets signed for 31 days are forecast 30, 14, 7 days and one ahead and when they
// have ended, once over two replicas and their restarts; each step is on the page
// and in numbers. An update is assigned with the date, then refused with what to do.
func TestForecast(t *testing.T) {
	s := newServer(t)
	s.release("os-1", "board")
	d := s.newDevice("truck", "board", nil)
	check(t, d.Provision(t.Context()))
	_, err := d.Poll(t.Context())
	check(t, err)
	expires := s.at.Add(31 * day)
	if e := s.thing("image/targets"); at(e, "level") != "ok" || at(e, "expires") != expires.Format(time.RFC3339) || at(e, "version") != 2.0 {
		t.Errorf("of targets is said %v, they end %s", e, expires)
	}
	for _, name := range []string{"image/root", "director/root", "ca/server", "ca/server-root", "ca/device", "certificate/server", "image/snapshot", "image/timestamp"} {
		if e := s.thing(name); at(e, "level") != "ok" || at(e, "text") == "" {
			t.Errorf("in the beginning is said %v", e)
		}
	}

	assign := func(status int) any {
		body := fmt.Sprintf(`{"targets":{"board":"os-1"},"devices":[%q]}`, at(s.get("/api/v1/devices/truck"), "uuid"))
		return s.ask(access.Admin, status, http.MethodPost, "/api/v1/updates", body)
	}
	s.wait(time.Hour)
	warning := at(assign(http.StatusCreated), "warnings", 0)
	if at(warning, "code") != "targets_expiring" || !strings.Contains(at(warning, "text").(string), expires.Format(time.RFC3339)) {
		t.Errorf("assigned with %v, want the date %s", warning, expires)
	}

	for _, step := range []struct {
		left  time.Duration
		days  int
		level string
	}{{30*day - time.Hour, 30, "warning"}, {20 * day, 30, "warning"}, {13 * day, 14, "warning"}, {6 * day, 7, "error"}, {6 * time.Hour, 1, "error"}, {-time.Hour, 0, "error"}} {
		s.wait(expires.Add(-step.left).Sub(s.now()))
		one, first := s.guardian()
		two, second := s.guardian()
		check(t, one.Announce(t.Context()))
		check(t, two.Announce(t.Context()))
		lines := strings.Count(first.String(), "thing=image/targets ")
		want := 1
		if step.left == 20*day {
			want = 0 // no step
		}
		if lines != want || second.Len() > 0 {
			t.Errorf("%s before the end is said %q and %q", step.left, first, second)
		}
		if lines > 0 && (!strings.Contains(first.String(), fmt.Sprintf("days=%d ", step.days)) || !strings.Contains(first.String(), "targets pull, targets sign")) {
			t.Errorf("%s before the end is said %q", step.left, first)
		}
		e := s.thing("image/targets")
		notices := at(e, "told").([]any)
		if at(e, "level") != step.level || at(notices[len(notices)-1], "days") != float64(step.days) || at(e, "advice") == nil {
			t.Errorf("%s before the end the page says %v", step.left, e)
		}
		metrics := prometheus.NewRegistry()
		metrics.MustRegister(one)
		found, err := metrics.Gather()
		check(t, err)
		if n := len(found[0].GetMetric()); n < 10 {
			t.Errorf("%d numbers", n)
		}
		for _, m := range found[0].GetMetric() {
			if m.GetLabel()[1].GetValue() == "people" && m.GetLabel()[2].GetValue() == "image/targets" && m.GetGauge().GetValue() != step.left.Seconds() {
				t.Errorf("the number is %v, want %v", m.GetGauge().GetValue(), step.left.Seconds())
			}
		}
	}

	refused := assign(http.StatusConflict)
	if at(refused, "code") != "targets_expired" || !strings.Contains(fmt.Sprint(at(refused, "cause")), "targets sign") {
		t.Errorf("after the end: %v", refused)
	}
	s.signUntil(s.now().AddDate(2, 0, 0))
	e := s.thing("image/targets")
	root := at(s.thing("image/root"), "expires").(string)[:10]
	if at(e, "level") != "hint" || !strings.Contains(at(e, "text").(string), root) || at(e, "told") != nil {
		t.Errorf("signed for longer than the root, to %s: %v", root, e)
	}
}

// A token that builds need is forecast before it ends, and no more once it is revoked.
func TestTokensAreForecast(t *testing.T) {
	s := newServer(t)
	token := s.ask(access.Admin, http.StatusCreated, http.MethodPost, "/api/v1/tokens", `{"name":"yocto","scopes":["repo:sign"],"days":40}`)
	id := at(token, "id").(string)
	if e := s.thing("token/" + id); at(e, "level") != "ok" || !strings.Contains(at(e, "text").(string), `API token "yocto" is good for`) {
		t.Errorf("in the beginning: %v", e)
	}
	s.wait(35 * day)
	if e := s.thing("token/" + id); at(e, "level") != "error" || !strings.Contains(at(e, "advice").(string), "sealift token revoke "+id) {
		t.Errorf("five days before: %v", e)
	}
	s.ask(access.Admin, http.StatusNoContent, http.MethodDelete, "/api/v1/tokens/"+id, "")
	for _, e := range at(s.get("/api/v1/expiry"), "things").([]any) {
		if at(e, "thing") == "token/"+id {
			t.Errorf("revoked, it is still forecast: %v", e)
		}
	}
}

// The policy of a namespace is an operator's, and in the audit.
func TestPolicyOfANamespace(t *testing.T) {
	s := newServer(t)
	set := func(scope access.Scope, status int, days string) any {
		return s.ask(scope, status, http.MethodPut, "/api/v1/policy", `{"minTargetsLifeDays":`+days+`}`)
	}
	if p := s.get("/api/v1/policy"); at(p, "minTargetsLifeDays") != 0.0 {
		t.Errorf("in the beginning: %v", p)
	}
	set(access.Read, http.StatusForbidden, "90")
	for _, bad := range []string{"-1", "3651", "null", `"x"`, "1.5"} {
		set(access.Admin, http.StatusBadRequest, bad)
	}
	if p := set(access.Admin, http.StatusOK, "90"); at(p, "minTargetsLifeDays") != 90.0 {
		t.Errorf("it is set to %v", p)
	}
	if act := at(s.get("/api/v1/audit"), "values", 0); at(act, "action") != "policy.set" || !strings.Contains(at(act, "detail").(string), "90 days") {
		t.Errorf("the audit has %v", act)
	}
	if p := at(s.get("/api/v1/expiry"), "policy"); at(p, "minTargetsLifeDays") != 90.0 {
		t.Errorf("the page has %v", p)
	}
}
