//go:build aktualizr

package acceptance_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// The model's referee is the real client: it refuses what the gate refuses, and
// takes what the gate takes. AKTUALIZR_BIN is the folder of its programs.
func TestRealClientAgrees(t *testing.T) {
	client := os.Getenv("AKTUALIZR_BIN")
	if client == "" {
		t.Skip("AKTUALIZR_BIN is not set")
	}
	root := sign(t, uptane.Uptane, uptane.RoleRoot, all().root(t, 1), "root")
	p := targetsOf(t, 5)
	targets := sign(t, uptane.Uptane, uptane.RoleTargets, p, "targets")
	long := strings.Repeat("x", 65<<10)
	const signatures = `"signatures":[`
	for name, tt := range map[string]struct{ root, targets []byte }{
		"good":               {root, targets},
		"type in lower case": {root, resign(t, targets, `"Targets"`, `"targets"`, "targets")},
		"no method":          {root, swap(t, targets, `"method":"ed25519",`, ``)},
		"stray method":       {root, swap(t, targets, signatures, signatures+`{"keyid":"ab","method":"ecdsa","sig":""},`)},
		"hex":                {root, hexed(t, targets)},
		"signed twice":       {root, doubled(t, targets)},
		"ecdsa key":          {resign(t, root, `"keys":{`, `"keys":{"0":{"keytype":"ecdsa","keyval":{"public":"00"}},`, "root"), targets},
		"fraction":           {root, resign(t, targets, `05Z"`, `05.5Z"`, "targets")},
		"version as text":    {root, resign(t, targets, `"version":5`, `"version":"5"`, "targets")},
		"33 bits":            {root, resign(t, targets, `"version":5`, `"version":2147483648`, "targets")},
		"65 KiB of root":     {resign(t, root, `"version":1`, `"version":1,"x":"`+long+`"`, "root"), targets},
		"65 KiB of targets":  {root, resign(t, targets, `"version":5`, `"version":5,"x":"`+long+`"`, "targets")},
		"threshold 0":        {resign(t, root, `"threshold":1`, `"threshold":0`, "root"), targets},
		"raw UTF-8":          {root, resign(t, targets, `"version":5`, `"version":5,"x":"ü"`, "targets")},
		"long hardware id": {root, resign(t, targets, `"targets":{}`, `"targets":{"fw":{"custom":{"hardwareIds":["`+strings.Repeat("h", 201)+`"]},"hashes":{"sha256":"`+
			strings.Repeat("ab", 32)+`"},"length":1}}`, "targets")},
		"long serial": {root, resign(t, targets, `"targets":{}`, `"targets":{"fw":{"custom":{"ecuIdentifiers":{"`+strings.Repeat("s", 65)+`":{"hardwareId":"h"}}},"hashes":{"sha256":"`+
			strings.Repeat("ab", 32)+`"},"length":1}}`, "targets")},
		"float": {root, resign(t, targets, `"version":5`, `"version":5,"x":0.1`, "targets")},
	} {
		t.Run(name, func(t *testing.T) {
			gate := acceptance.Form(uptane.Uptane, uptane.DirectorRepository, uptane.RoleRoot, tt.root)
			if gate == nil {
				gate = acceptance.Form(uptane.Uptane, uptane.DirectorRepository, uptane.RoleTargets, tt.targets)
			}
			said := ask(t, filepath.Join(client, "aktualizr"), tt.root, tt.targets)
			if taken := strings.Contains(said, "No new updates found in Uptane metadata"); taken != (gate == nil) {
				t.Errorf("the gate says %v, the client:\n%s", gate, said)
			}
		})
	}
}

// ask lets the client read both documents as a Director's, and returns its log.
func ask(t *testing.T, client string, root, targets []byte) string {
	t.Helper()
	director := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := filepath.Base(r.URL.Path); {
		case name == "1.root.json":
			_, _ = w.Write(root)
		case name == "targets.json":
			_, _ = w.Write(targets)
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer director.Close()
	dir := t.TempDir()
	key := person("device")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	must(t, err)
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: cert}, "client.pem": {Type: "CERTIFICATE", Bytes: cert}, "pkey.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	config := fmt.Sprintf("[logger]\nloglevel = 1\n[tls]\nserver = %q\n[import]\nbase_path = %q\ntls_cacert_path = \"ca.pem\"\ntls_pkey_path = \"pkey.pem\"\ntls_clientcert_path = \"client.pem\"\n"+
		"[provision]\nprimary_ecu_serial = \"s\"\nprimary_ecu_hardware_id = \"h\"\n[storage]\npath = %q\n[pacman]\ntype = \"none\"\nimages_path = %q\n"+
		"[bootloader]\nreboot_sentinel_dir = %q\nreboot_command = \"/bin/true\"\n[uptane]\nkey_type = \"ED25519\"\n",
		director.URL, dir, filepath.Join(dir, "storage"), filepath.Join(dir, "images"), filepath.Join(dir, "session"))
	path := filepath.Join(dir, "sota.toml")
	must(t, os.WriteFile(path, []byte(config), 0o600))
	out, err := exec.CommandContext(t.Context(), client, "-c", path, "once").CombinedOutput()
	if err != nil {
		t.Logf("the client ended with %v", err)
	}
	return string(out)
}
