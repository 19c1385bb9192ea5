package gateway_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/internal/db/dbtest"
	"sealift/keys"
	"sealift/uptane/canonical"
)

// bare sends what it is told to, over TLS, and shows what came.
type bare struct {
	t      *testing.T
	url    string
	client *http.Client
}

// bare is a client with the certificate of an archive, none for nil.
func (w *whole) bare(t *testing.T, p12 []byte) bare {
	t.Helper()
	trust := &tls.Config{InsecureSkipVerify: true} // the server's certificate has tests of its own
	if p12 != nil {
		key, leaf, more, err := pkcs12.DecodeChain(p12, "")
		must(t, err)
		pair := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
		for _, ca := range more { // clients send all that they have
			pair.Certificate = append(pair.Certificate, ca.Raw)
		}
		trust.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: trust, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return bare{t, w.url, &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b bare) ask(method, path, body string, header ...string) (*http.Response, []byte) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	must(b.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(r)
	must(b.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(b.t, err)
	if resp.StatusCode/100 == 3 || resp.Header.Get("Content-Encoding") != "" {
		b.t.Errorf("%s %s: %d %v: clients get no redirect, no 304 and nothing compressed", method, path, resp.StatusCode, resp.Header)
	}
	return resp, raw
}

// want sends a request that must have a status.
func (b bare) want(status int, method, path, body string, header ...string) []byte {
	b.t.Helper()
	resp, raw := b.ask(method, path, body, header...)
	if resp.StatusCode != status {
		b.t.Errorf("%s %s: %d %s, want %d", method, path, resp.StatusCode, raw, status)
	}
	return raw
}

// provisioned asks for a device's certificate and returns the archive.
func (w *whole) provisioned(t *testing.T, oemid, ttl string) []byte {
	t.Helper()
	shared, _, err := w.vault.IssueBootstrap(t.Context(), keys.BootstrapRequest{Namespace: "default", Name: "line of " + oemid})
	must(t, err)
	return w.bare(t, shared).want(200, "POST", "/devices", fmt.Sprintf(`{"deviceId":%q,"ttl":%s}`, oemid, ttl))
}

// registration is a list of one ECU, as clients send it.
func registration(t *testing.T, serial string) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	return fmt.Sprintf(`{"ecus":[{"clientKey":{"keytype":"ED25519","keyval":{"public":%q}},"ecu_serial":%q,"hardware_identifier":"ecu"}],"primary_ecu_serial":%q}`,
		strings.ToUpper(hex.EncodeToString(public)), serial, serial)
}

// pbmac1 is the object identifier of a MAC that aktualizr's OpenSSL does not know.
const pbmac1 = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e"

// What an unmodified client gets when it is provisioned: an archive that it can
// read, whichever way its tools write the life, and a registration that may come
// again.
func TestWhatProvisioningMustNotBreak(t *testing.T) {
	w := newWhole(t, dbtest.SQLiteURL(t))
	for name, ttl := range map[string]string{"text": `"36000"`, "number": `36000`} {
		p12 := w.provisioned(t, "truck-"+name, ttl)
		key, leaf, more, err := pkcs12.DecodeChain(p12, "") // no password
		must(t, err)
		if leaf.Subject.CommonName != "truck-"+name || key == nil || len(p12) > 64<<10 || bytes.Contains(p12, []byte(pbmac1)) {
			t.Errorf("ttl as %s: an archive of %d bytes for %q", name, len(p12), leaf.Subject)
		}
		// Clients trust every CA in it as a server's.
		trusted := x509.NewCertPool()
		for _, ca := range more {
			if ca.CheckSignatureFrom(ca) != nil || !ca.IsCA {
				t.Errorf("%v is no root", ca.Subject)
			}
			trusted.AddCert(ca)
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{RootCAs: trusted})
		if err != nil {
			t.Fatalf("the server is not trusted with what is in the archive: %v", err)
		}
		_ = conn.Close()
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: trusted, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			t.Error("the device CA is in the archive: whoever has it could be the server")
		}
	}

	b := w.bare(t, w.provisioned(t, "truck-1", `"36000"`))
	list := registration(t, "s1")
	b.want(201, "POST", "/director/ecus", list)
	for _, path := range []string{"/director/ecus", "/director/ecus/", "//director//ecus"} { // its answer got lost; other spellings
		b.want(200, "POST", path, list)
	}
	b.want(200, "GET", "/director/targets.json", "")
}

// After a reboot the first events and the first manifest come without a
// certificate. If they were accepted the device would delete its result.
func TestNothingIsTakenWithoutACertificate(t *testing.T) {
	w := newWhole(t, dbtest.SQLiteURL(t))
	b := w.bare(t, w.provisioned(t, "truck-1", `"36000"`))
	b.want(201, "POST", "/director/ecus", registration(t, "s1"))
	event := `[{"deviceTime":"2026-11-21T23:01:19Z","event":{"ecu":"s1","success":true},"eventType":{"id":"EcuInstallationCompleted","version":0},"id":"e1"}]`
	nobody := w.bare(t, nil) // the handshake must not fail either: it is the answer that counts
	nobody.want(401, "POST", "/events", event)
	nobody.want(401, "PUT", "/director/manifest", `{}`)
	known, err := w.registry.Device(t.Context(), "default", "truck-1")
	must(t, err)
	count := func() int {
		t.Helper()
		_, total, err := w.registry.Events(t.Context(), "default", known.ID, "", 0, 10)
		must(t, err)
		return total
	}
	if n := count(); n != 0 {
		t.Errorf("%d events of nobody are stored", n)
	}
	b.want(204, "POST", "/events", event)
	b.want(204, "POST", "/events", event)
	if n := count(); n != 1 {
		t.Errorf("%d events are stored", n)
	}
}

// A client sends a batch again, every ten seconds and for ever, unless the answer
// is a success, 404 or 413. What cannot be read today cannot be read tomorrow.
func TestEventsAreNeverSentForEver(t *testing.T) {
	w := newWhole(t, dbtest.SQLiteURL(t))
	b := w.bare(t, w.provisioned(t, "truck-1", `"36000"`))
	b.want(201, "POST", "/director/ecus", registration(t, "s1"))
	for name, body := range map[string]string{
		"nothing": "", "empty": "[]", "no JSON": "garbage", "cut off": `[{"id":"e1"`, "no list": `{"id":"e1"}`, "numbers": "[1,2]", "null": "null",
		"without id": `[{"event":{},"eventType":{"id":"X","version":0}}]`, "not UTF-8": "[{\"id\":\"e\xff\",\"event\":{},\"eventType\":{\"id\":\"X\",\"version\":0}}]",
		"a member twice": `[{"id":"e1","id":"e2","event":{},"eventType":{"id":"X","version":0}}]`, "control": `[{"id":"e\u0000","event":{},"eventType":{"id":"X","version":0}}]`,
		"deep": strings.Repeat("[", 10_000), "very many": "[" + strings.Repeat("{},", 5000) + "{}]", "large": "[" + strings.Repeat(" ", 2<<20) + "]",
	} {
		for _, path := range []string{"/events", "/events/"} {
			if resp, raw := b.ask("POST", path, body); resp.StatusCode/100 != 2 && resp.StatusCode != 404 && resp.StatusCode != 413 {
				t.Errorf("%s: %d %s", name, resp.StatusCode, raw)
			}
		}
	}
}

// Metadata come as the bytes that are hashed, never compressed or left out; a root
// that does not exist is an error, whatever its number.
func TestMetadataAsClientsReadThem(t *testing.T) {
	w := newWhole(t, dbtest.SQLiteURL(t))
	b := w.bare(t, w.provisioned(t, "truck-1", `"36000"`))
	b.want(201, "POST", "/director/ecus", registration(t, "s1"))
	docs := map[string][]byte{}
	for _, repository := range []string{"/repo/", "/director/"} {
		for _, name := range []string{"1.root.json", "timestamp.json", "snapshot.json", "targets.json"} {
			resp, raw := b.ask("GET", repository+name, "")
			if resp.StatusCode != 200 {
				t.Fatalf("%s%s: %d %s", repository, name, resp.StatusCode, raw)
			}
			same, err := canonical.Normalize(raw, canonical.Options{ASCII: true})
			if err != nil || !bytes.Equal(same, raw) {
				t.Errorf("%s%s is not in canonical form: %v", repository, name, err)
			}
			again := b.want(200, "GET", repository+name, "", "Accept-Encoding", "gzip, br", "If-None-Match", resp.Header.Get("ETag"), "If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")
			if !bytes.Equal(again, raw) {
				t.Errorf("%s%s is another one when asked for otherwise", repository, name)
			}
			docs[repository+name] = raw
		}
		var timestamp struct {
			Signed struct {
				Meta map[string]struct {
					Hashes  map[string]string
					Length  *int
					Version *int
				}
			}
		}
		must(t, json.Unmarshal(docs[repository+"timestamp.json"], &timestamp))
		named, snapshot := timestamp.Signed.Meta["snapshot.json"], docs[repository+"snapshot.json"]
		if sum := fmt.Sprintf("%x", sha256.Sum256(snapshot)); named.Hashes["sha256"] != sum || named.Length == nil || *named.Length != len(snapshot) || named.Version == nil {
			t.Errorf("%s: the timestamp names %+v of a snapshot of %d bytes with sha256 %s", repository, named, len(snapshot), sum)
		}
		for _, name := range []string{"2.root.json", "3.root.json", "99999.root.json", "0.root.json", "-1.root.json", "root.json/2", "x.json"} {
			if resp, raw := b.ask("GET", repository+name, ""); resp.StatusCode != 404 {
				t.Errorf("%s%s: %d %s, want 404", repository, name, resp.StatusCode, raw)
			}
		}
	}
	for _, q := range [][2]string{{"PUT", "/director/manifest/"}, {"POST", "//events"}, {"PUT", "/system_info/"}, {"PUT", "//core//installed/"}, {"POST", "/system_info/config/"}, {"PUT", "/system_info/network/"}} {
		if resp, raw := b.ask(q[0], q[1], "[]"); resp.StatusCode == 404 || resp.StatusCode == 405 { // ask refuses a redirect
			t.Errorf("%s %s: %d %s", q[0], q[1], resp.StatusCode, raw)
		}
	}
}
