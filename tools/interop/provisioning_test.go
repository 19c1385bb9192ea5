//go:build aktualizr

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/fixtures/fault"
)

// randomNames: a device that chooses its own name chooses another where the name
// is taken.
func randomNames(t *testing.T) string {
	l := startLiar(t)
	taken := fault.Lie{Path: "/devices", Times: 2, Answer: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"code":"device_already_registered","description":"a device of this name is registered"}`))
	}}
	l.Tell(taken)
	b := newBoard(t, l.server, boardOptions{hwid: "board"})
	stop := b.daemon(t)
	defer stop()
	eventually(t, "the third name is accepted", func() bool { return l.log.saw(0, "PUT /director/manifest 200") >= 1 })
	stop()
	var names []string
	for _, body := range l.ear.take("/devices") {
		var request struct {
			DeviceID string `json:"deviceId"`
		}
		must(t, json.Unmarshal(body, &request))
		names = append(names, request.DeviceID)
	}
	id, name := l.device(t, "")
	if len(names) != 3 || len(slices.Compact(slices.Sorted(slices.Values(names)))) != 3 || names[2] != name {
		t.Errorf("it asked for %q and is called %q", names, name)
	}
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.once(t, b)
	for ecu, image := range l.installed(t, id) {
		if image != "app-1" {
			t.Errorf("%s runs %q", ecu, image)
		}
	}
	return strings.Join(names, ", ") + "; then app-1"
}

// once runs a cycle.
func (l *liar) once(t *testing.T, b *board) sayings { return l.observe(t, b, "once") }

// certProvider runs the real client's tool that makes credentials at the factory
// and puts them where the board imports them.
func (b *board) certProvider(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command(filepath.Join(real, "aktualizr-cert-provider"), append([]string{"-c", filepath.Join(b.dir, "device.zip"), "-l", b.dir, "-d", "/import", "-r", "-u"}, args...)...)
	c.Dir, c.Env = b.dir, b.env()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("aktualizr-cert-provider: %v\n%s", err, out)
	}
}

// madeCredentials: credentials made at the factory, by this server or by a CA of
// the customer's.
func madeCredentials(t *testing.T) string {
	l := startLiar(t)
	l.uploadBinary(t, "app", "1", "board", "application one")
	shared := newBoard(t, l.server, boardOptions{hwid: "board", mode: "DeviceCred"})
	l.Requests()
	shared.certProvider(t)
	if asked := l.Requests(); len(asked) != 1 || asked[0].Path != "/devices" || asked[0].Status != http.StatusOK {
		t.Errorf("the tool asked %v", asked)
	}
	if body := string(slices.Concat(l.ear.take("/devices")...)); !strings.Contains(body, `"ttl":36000`) {
		t.Errorf("its request is %s", body)
	}
	l.once(t, shared)
	id, name := l.device(t, "")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.runs(t, shared, id, "app-1")

	ca := filepath.Join(t.TempDir(), "fleet")
	openssl(t, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", ca+".key", "-out", ca+".pem", "-subj", "/CN=Fleet", "-days", "30")
	fleet := newBoard(t, l.server, boardOptions{name: "truck-1b", hwid: "board", mode: "DeviceCred"})
	fleet.certProvider(t, "--fleet-ca", ca+".pem", "--fleet-ca-key", ca+".key", "--certificate-cn", "truck-1b", "--days", "30")
	if out, err := exec.Command("openssl", "x509", "-in", filepath.Join(fleet.dir, "import", "client.pem"), "-noout", "-ext", "extendedKeyUsage").CombinedOutput(); err == nil && strings.Contains(string(out), "Client") {
		t.Errorf("the tool's certificates have extensions now: %s", out)
	}
	if s := l.once(t, fleet); s.asked("/director/ecus", http.StatusUnauthorized) == 0 || s.asked("/director/ecus", http.StatusOK)+s.asked("/director/ecus", http.StatusCreated) > 0 {
		t.Errorf("a stranger's CA: %v", s.requests)
	}
	added := l.run(t, l.operator(), "sealift", "ca", "add", ca+".pem", "--key", ca+".key")
	mark := l.log.mark()
	stop := fleet.daemon(t) // who came before is looked at again within a second
	defer stop()
	eventually(t, "the device is let in", func() bool { return l.log.saw(mark, "PUT /director/manifest 200") > 0 })
	stop()
	id, _ = l.device(t, "truck-1b")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.runs(t, fleet, id, "app-1")
	l.run(t, l.operator(), "sealift", "ca", "remove", strings.TrimSpace(added[strings.LastIndex(added, "CA ")+3:]))
	if s := l.once(t, fleet); s.asked("/director/manifest", http.StatusUnauthorized) == 0 || s.asked("/director/targets.json", http.StatusOK) > 0 {
		t.Errorf("after the CA was removed: %v", s.requests)
	}
	return fmt.Sprintf("from this server as %s; own CA: 401, sealift ca add, app-1, ca remove, 401", name)
}

// runs: after a cycle the Primary runs an image.
func (l *liar) runs(t *testing.T, b *board, id, image string) {
	t.Helper()
	s := l.once(t, b)
	for ecu, got := range l.installed(t, id) {
		if got != image {
			t.Errorf("%s runs %q, want %q\n%s", ecu, got, image, s.log)
		}
	}
}

func (s *server) operator() []string {
	return []string{"SEALIFT_OPERATOR=" + filepath.Join(s.dir, "sealift-out", "operator.json")}
}

func openssl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// p12Variants: which encodings of the credentials devices can read.
func p12Variants(t *testing.T) string {
	l := startLiar(t)
	var read, refused []string
	for _, c := range []struct {
		name    string
		encoder *pkcs12.Encoder // nil: as the server has it
		unread  bool
	}{
		{"as served", nil, false}, {"Modern2023", pkcs12.Modern2023, false}, {"LegacyDES", pkcs12.LegacyDES, false},
		{"LegacyRC2", pkcs12.LegacyRC2, false}, {"Passwordless", pkcs12.Passwordless, false}, {"Modern2026", pkcs12.Modern2026, true},
	} {
		if c.encoder != nil {
			l.Tell(fault.Lie{Path: "/devices", Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
				answer := httptest.NewRecorder()
				honest.ServeHTTP(answer, r)
				key, leaf, roots, err := pkcs12.DecodeChain(answer.Body.Bytes(), "")
				if err == nil {
					var p12 []byte
					p12, err = c.encoder.Encode(key, leaf, roots, "")
					_, _ = w.Write(p12)
				}
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}})
		}
		b := newBoard(t, l.server, boardOptions{name: "truck-1c-" + strings.ReplaceAll(c.name, " ", "-"), hwid: "board"})
		s := l.once(t, b)
		if provisioned := s.asked("/director/manifest", http.StatusOK) > 0; provisioned == c.unread {
			t.Errorf("%s: %v\n%s", c.name, s.requests, s.log)
		}
		if !c.unread {
			read = append(read, c.name)
			continue
		}
		s.says(t, "Could not parse file from")
		refused = append(refused, c.name)
		l.Honest() // the same name, once more: no ECU is registered for it
		if s := l.once(t, b); s.asked("/director/manifest", http.StatusOK) == 0 {
			t.Errorf("honest again: %v\n%s", s.requests, s.log)
		}
	}
	return fmt.Sprintf("read: %s; not: %s, provisioned honestly after", strings.Join(read, ", "), strings.Join(refused, ", "))
}
