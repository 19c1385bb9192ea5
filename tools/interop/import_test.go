//go:build aktualizr

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/fixtures/oldserver"
	"sealift/uptane"
)

func TestImport(t *testing.T) {
	scenario(t, "22", "the fleet moves from an old server, then new keys", movedFleet)
}

// The gateway answers to both on one address; old devices know the first alone.
const oldName, newName = "localhost", "new.localhost"

// removal is the move of a fleet from an old server.
type removal struct {
	*server
	settings []string
	port     string
	old      *oldserver.Server
	stopOld  func()
}

// startOld plays the old server, with what its operator has in files.
func startOld(t *testing.T) *removal {
	t.Helper()
	port, api := freePort(t), freePort(t)
	m := &removal{server: &server{dir: t.TempDir(), log: &logBook{}, gateway: "https://" + oldName + ":" + port, api: "https://localhost:" + api}, port: port}
	m.settings = []string{
		"SEALIFT_LISTEN_GATEWAY=127.0.0.1:" + port, "SEALIFT_LISTEN_API=127.0.0.1:" + api, "SEALIFT_LISTEN_METRICS=",
		"SEALIFT_GATEWAY_URL=https://" + newName + ":" + port, "SEALIFT_API_URL=" + m.api, "SEALIFT_DEV=true", "SEALIFT_LOG_FORMAT=json", "SEALIFT_LOG_LEVEL=debug",
		"DB_ENCRYPTION_SALT=" + oldserver.Salt, "DB_ENCRYPTION_PASSWORD=" + oldserver.Password,
	}
	m.old = oldserver.New(time.Now(), oldName)
	var err error
	_, m.stopOld, err = m.old.Listen("127.0.0.1:" + port)
	must(t, err)
	t.Cleanup(m.stopOld)
	mkdir(t, m.at("sealift-out"), 0o700)
	must(t, m.old.DeviceArchive(m.gateway).Write(m.at("sealift-out", "device.zip")))
	chain, key := m.old.GatewayPair()
	for name, text := range map[string][]byte{"old-devices-ca.pem": m.old.DeviceCA(), "old-chain.pem": chain, "old.key": key} {
		write(t, m.at(name), string(text))
	}
	return m
}

func (m *removal) at(names ...string) string {
	return filepath.Join(append([]string{m.dir}, names...)...)
}

// made is a board with credentials that were made for it beforehand, as the
// scripts of OTA CE do.
func (m *removal) made(t *testing.T, name string) *board {
	t.Helper()
	b := newBoard(t, m.server, boardOptions{name: name, hwid: "board", mode: "DeviceCred"})
	key, cert, cas, err := pkcs12.DecodeChain(m.old.P12(name), "")
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	write(t, filepath.Join(b.dir, "import", "client.pem"), text("CERTIFICATE", cert.Raw))
	write(t, filepath.Join(b.dir, "import", "pkey.pem"), text("PRIVATE KEY", der))
	write(t, filepath.Join(b.dir, "import", "root.crt"), text("CERTIFICATE", cas[0].Raw))
	write(t, filepath.Join(b.dir, "import", "gateway.url"), m.gateway)
	return b
}

// age is what happens to the old server while a device is off: other keys for
// almost everything, a supplier.
func (m *removal) age() {
	m.old.Image.Change(uptane.RoleRoot, oldserver.Signers(2, "anna", "ben", "clara"))
	m.old.Image.AddOffline()
	m.old.Image.Rotate(uptane.RoleTargets)
	m.old.Image.Rotate(uptane.RoleTimestamp)
	m.old.Director.Rotate(uptane.RoleRoot)
	m.old.Director.Rotate(uptane.RoleTargets)
	m.old.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(1, "radio"), "radio-*", "board", "radio-1")
	m.old.Upload("sensor-1", []byte("the first sensor firmware"), "sensor")
}

// move ends the old server, and serves what it had from one of ours.
func (m *removal) move(t *testing.T) {
	t.Helper()
	m.old.Dump(m.at("old"))
	m.stopOld()
	must(t, os.RemoveAll(m.at("sealift-out")))
	m.run(t, m.settings, "sealift", "init", "--for-import")
	out := m.run(t, m.settings, "sealift", "import", "old", "--blobs", "old/blobs", "--device-ca", "old-devices-ca.pem")
	if !strings.Contains(out, "Imported. Devices are served.") {
		t.Fatalf("import: %s", out)
	}
	var operator struct{ Token, CA string }
	raw, err := os.ReadFile(m.at("sealift-out", "operator.json"))
	must(t, err)
	must(t, json.Unmarshal(raw, &operator))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(operator.CA))
	m.token, m.client = operator.Token, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 30 * time.Second}
	m.serve(t, append(m.settings, "SEALIFT_GATEWAY_CERT="+m.at("old-chain.pem"), "SEALIFT_GATEWAY_KEY="+m.at("old.key")))
}

// query asks the storage of a device that is at rest; columns are separated by |.
func (b *board) query(t *testing.T, statement string) (rows []string) {
	t.Helper()
	out, err := exec.Command("sqlite3", filepath.Join(b.dir, "storage", "sql.db"), statement).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v\n%s", statement, err, out)
	}
	return strings.Fields(string(out))
}

// metadata are the versions that a device has stored: "director root", 3.
func (b *board) metadata(t *testing.T) map[string]int {
	t.Helper()
	versions := map[string]int{}
	for _, row := range b.query(t, `SELECT r.repo_string||'/'||t.meta_string, MAX(json_extract(CAST(m.meta AS TEXT), '$.signed.version'))
		FROM meta m JOIN repo_types r ON r.repo = m.repo JOIN meta_types t ON t.meta = m.meta_type GROUP BY 1`) {
		name, number, _ := strings.Cut(row, "|")
		n := 0
		_, err := fmt.Sscan(number, &n)
		must(t, err)
		versions[name] = n
	}
	return versions
}

// runs is what a device itself says to have installed, on one of its ECUs.
func (b *board) runs(t *testing.T, serial string) string {
	t.Helper()
	return strings.Join(b.query(t, `SELECT name FROM installed_versions WHERE is_current = 1 AND ecu_serial = '`+serial+`'`), " ")
}

// identity is what a device keeps for ever: its names, keys and certificate.
func (b *board) identity(t *testing.T) string {
	t.Helper()
	return strings.Join(slices.Concat(
		b.query(t, `SELECT device_id, is_registered FROM device_info`),
		b.query(t, `SELECT serial FROM ecus ORDER BY id`),
		b.query(t, `SELECT hex(private), hex(public) FROM primary_keys`),
		b.query(t, `SELECT hex(client_cert), hex(client_pkey), hex(ca_cert) FROM tls_creds`)), "\n")
}

// polls runs a cycle in which nothing is refused, on either side, and nobody
// registers or is provisioned.
func (m *removal) polls(t *testing.T, b *board) {
	t.Helper()
	mark := m.log.mark()
	log := b.once(t)
	expect(t, m.server, mark, "PUT /director/manifest 200", "GET /director/targets.json 200")
	for _, r := range m.log.requests(mark) {
		missingRoot := r.Status == http.StatusNotFound && strings.HasSuffix(r.Path, ".root.json")
		if r.Status >= 400 && !missingRoot || r.Path == "/devices" || r.Path == "/director/ecus" {
			t.Errorf("%s: %s\n%s", b.name, r, log)
		}
	}
	if rolledBack(log) || strings.Contains(log, "Failed to ") {
		t.Errorf("%s refused something:\n%s", b.name, log)
	}
}

// installs assigns images to a device, by hardware id, and polls until it has
// reported; the serial of a Secondary ends with its kind and number.
func (m *removal) installs(t *testing.T, b *board, images map[string]string) {
	t.Helper()
	id, _ := m.device(t, b.name)
	update := m.launch(t, id, images)
	m.polls(t, b)
	m.polls(t, b)
	for serial, status := range m.assignments(t, update) {
		kind := "sensor"
		if serial == b.name+"-primary" {
			kind = "board"
		}
		if have := m.installed(t, id)[serial]; have != images[kind] || b.runs(t, serial) != images[kind] || !strings.EqualFold(status, "installed") {
			t.Errorf("%s of %s reports %q and runs %q, want %q; its assignment is %q", serial, b.name, have, b.runs(t, serial), images[kind], status)
		}
	}
}

// red counts the keys that the doctor says came from elsewhere.
func (m *removal) red(t *testing.T) int {
	t.Helper()
	out, err := m.command(t.Context(), m.settings, "sealift", "doctor").CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Count(string(out), "came from another server")
}

// movedFleet: devices that were provisioned, registered and updated by an old
// server, which have stored what it signed, go on at ours.
func movedFleet(t *testing.T) string {
	m := startOld(t)
	early, made := newBoard(t, m.server, boardOptions{name: "truck-22a", hwid: "board"}), m.made(t, "truck-22b")
	for _, b := range []*board{early, made} {
		b.once(t)
		m.old.Offer(uptane.OEMID(b.name), uptane.ECUSerial(b.name+"-primary"), "board", "app-1")
		log := b.once(t)
		if got := b.runs(t, b.name+"-primary"); got != "app-1" {
			t.Fatalf("with the old server %s runs %q\n%s", b.name, got, log)
		}
	}
	m.age()
	late := newBoard(t, m.server, boardOptions{name: "truck-22c", hwid: "board", secondaries: 1})
	late.once(t)
	m.old.Offer("truck-22c", "truck-22c-sensor-1", "sensor", "sensor-1")
	late.once(t)
	never := newBoard(t, m.server, boardOptions{name: "truck-22e", hwid: "board"}) // in a warehouse
	fleet := []*board{early, made, late}
	before, seen := map[*board]string{}, map[*board]map[string]int{}
	for _, b := range fleet {
		before[b], seen[b] = b.identity(t), b.metadata(t)
	}
	if got := late.runs(t, "truck-22c-sensor-1"); got != "sensor-1" || seen[early]["images/root"] != 1 || seen[late]["images/root"] != 4 {
		t.Fatalf("with the old server: sensor runs %q; %v; %v", got, seen[early], seen[late])
	}

	m.move(t)
	for _, b := range fleet {
		m.polls(t, b)
	}
	m.installs(t, made, map[string]string{"board": "radio-1"}) // as the supplier signed it
	m.uploadBinary(t, "app", "2", "board", "application two")  // with the old key, sealed for builds
	m.installs(t, early, map[string]string{"board": "app-2"})
	m.installs(t, late, map[string]string{"board": "app-2", "sensor": "sensor-1"})
	for _, b := range fleet {
		if b.identity(t) != before[b] {
			t.Errorf("%s has another identity", b.name)
		}
		for role, version := range b.metadata(t) {
			if was := seen[b][role]; version < was || version == was && !strings.HasSuffix(role, "root") {
				t.Errorf("%s has %s %d, after %d of the old server", b.name, role, version, was)
			}
		}
	}
	red := m.red(t)

	// New keys for everything; who trusts the first roots walks all the way.
	m.run(t, m.settings, "sealift", "root", "rotate", "--role", "all", "--offline", "sealift-offline", "--yes")
	if left := m.red(t); red == 0 || left != 0 {
		t.Errorf("%d keys of the old server were red, then %d", red, left)
	}
	m.run(t, []string{"GARAGE_SIGN_PASSPHRASE=" + offlinePassphrase, "GARAGE_SIGN_ARCHIVE_PASSPHRASE=interop build"}, "garage-sign", "export-credentials",
		"--home-dir", "sealift-offline", "--repo", "image", "--key-name", "targets-2", "--reseal", "--output", "sealift-out/build.zip")
	m.uploadBinary(t, "app", "3", "board", "application three")
	late.writeSecondaries(t, 2) // a Secondary out of the box begins with the first root
	late.once(t)
	for _, b := range fleet {
		m.installs(t, b, map[string]string{"board": "app-3"})
	}
	if got := late.metadata(t); got["images/root"] != 5 || got["director/root"] != 4 {
		t.Errorf("after the rotation: %v", got)
	}

	// And one that was never at the old server.
	fresh := newBoard(t, m.server, boardOptions{name: "truck-22d", hwid: "board"})
	fresh.once(t)
	m.installs(t, fresh, map[string]string{"board": "app-3"})
	mark := m.log.mark()
	stop := never.daemon(t)
	eventually(t, "the old shared certificate is refused", func() bool { return m.log.saw(mark, "POST /devices 403") > 0 })
	stop()
	return fmt.Sprintf("%d devices, %d red keys replaced, no certificate changed", len(fleet), red)
}
