package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/fixtures"
	"sealift/uptane"
)

// The salt and password of the published test vector, and what is derived of them.
const (
	oldSalt     = "QyHon03eqkw="
	oldPassword = "kxHUuCWMLjUcEvsgaf3EfArToM79psmKsAJRMesApwEK9bdVdFNMpfcL7tKJkups"
	oldKeyHex   = "15483511ee568f5b8283746675d5edbfff85e23d0d0cf308d6e53f3223961d54"
	oldNonceHex = "1ffa26ffed47d3e22923b79c754b71f6"
)

const oldCar = "7f3c1c52-9f1d-4f0e-8d38-1d8a3f1f2a11"

// fleetServer plays an ota-tuf server with one device: the same paths, the same
// forms of metadata and of its database.
type fleetServer struct {
	t               *testing.T
	image, director *fleetRepository
	blobs           map[string][]byte
	ecus            []byte // the registration, as sent
}

// fleetRepository is one of its repositories.
type fleetRepository struct {
	t       *testing.T
	id      uptane.Repository
	keys    map[uptane.Role]crypto.Signer
	retired []crypto.Signer
	used    []crypto.Signer // all that ever were in a root
	root    int64
	version int64
	docs    map[string][]byte
	expires time.Time
}

func newFleetServer(t *testing.T) *fleetServer {
	s := &fleetServer{t: t, blobs: map[string][]byte{"app-1": []byte("the first app")},
		image: newFleetRepository(t, uptane.ImageRepository), director: newFleetRepository(t, uptane.DirectorRepository)}
	s.image.rotate(uptane.RoleRoot)
	s.image.rotate(uptane.RoleTargets)
	s.director.rotate(uptane.RoleRoot)
	for range 6 {
		s.republish()
	}
	s.director.publish(nil)
	return s
}

// republish signs the next version of the Image repository's targets.
func (s *fleetServer) republish() {
	at := time.Now().UTC().Truncate(time.Second)
	custom := uptane.Custom{Name: "app", Version: "1", HardwareIDs: []uptane.HardwareID{"board"}, TargetFormat: uptane.FormatBinary, CreatedAt: at, UpdatedAt: at}
	s.image.publish(map[string]uptane.Target{"app-1": s.target("app-1", custom)})
}

func (s *fleetServer) target(name string, custom uptane.Custom) uptane.Target {
	sum := sha256.Sum256(s.blobs[name])
	return uptane.Target{Filename: name, Length: int64(len(s.blobs[name])), Hashes: metadata.Hashes{"sha256": sum[:]}, Custom: custom}
}

func newFleetRepository(t *testing.T, id uptane.Repository) *fleetRepository {
	r := &fleetRepository{t: t, id: id, keys: map[uptane.Role]crypto.Signer{}, docs: map[string][]byte{}, expires: time.Now().UTC().Truncate(time.Second).Add(20 * 24 * time.Hour)}
	for _, role := range []uptane.Role{uptane.RoleRoot, uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		r.keys[role] = fixtures.Ed25519(fmt.Sprintf("old %s %s", id, role))
	}
	if id == uptane.DirectorRepository {
		r.keys[uptane.RoleTargets] = fixtures.Key("rsa2048-1")
	}
	r.putRoot()
	return r
}

// Sign signs with the keys of a role; a root also with those of the root before.
func (r *fleetRepository) Sign(_ context.Context, job uptane.Job, msg []byte) (list []uptane.RawSig, err error) {
	signers := []crypto.Signer{r.keys[job.Role]}
	if job.Role == uptane.RoleRoot {
		signers = append(signers, r.retired...)
	}
	for _, signer := range signers {
		sig, err := uptane.Sign(signer, msg)
		if err != nil {
			return nil, err
		}
		list = append(list, sig)
	}
	return list, nil
}

func sealed[T metadata.Roles](r *fleetRepository, role uptane.Role, payload *T) []byte {
	r.t.Helper()
	doc, err := uptane.Seal(r.t.Context(), uptane.Uptane, r, uptane.Job{Namespace: "default", Repository: r.id, Role: role}, payload)
	must(r.t, err)
	return doc
}

func (r *fleetRepository) putRoot() {
	r.t.Helper()
	root := metadata.Root(r.expires).Signed
	r.root++
	root.Version = r.root
	root.Keys, root.Roles = nil, nil
	for role, signer := range r.keys {
		key, err := uptane.NewKey(signer.Public())
		must(r.t, err)
		must(r.t, uptane.AddKey(&root, role, key))
		if !slices.ContainsFunc(r.used, func(u crypto.Signer) bool { return reflect.DeepEqual(u, signer) }) {
			r.used = append(r.used, signer)
		}
	}
	r.docs[fmt.Sprintf("%d.root.json", r.root)] = sealed(r, uptane.RoleRoot, &root)
	r.retired = nil
}

// rotate gives a role a new key.
func (r *fleetRepository) rotate(role uptane.Role) {
	if role == uptane.RoleRoot {
		r.retired = []crypto.Signer{r.keys[role]}
	}
	r.keys[role] = fixtures.Ed25519(fmt.Sprintf("old %s %s %d", r.id, role, r.root+1))
	r.putRoot()
}

// publish signs the next version of everything but root.
func (r *fleetRepository) publish(targets map[string]uptane.Target) {
	r.t.Helper()
	r.version++
	payload := metadata.Targets(r.expires).Signed
	payload.Version = r.version
	for name, target := range targets {
		file, err := target.File()
		must(r.t, err)
		payload.Targets[name] = file
	}
	if r.id == uptane.DirectorRepository {
		custom := uptane.DirectorCustom{VehicleID: oldCar}
		if len(targets) > 0 {
			custom.CorrelationID = fmt.Sprintf("urn:here-ota:mtu:%d", r.version)
		}
		custom.SetOn(&payload)
	}
	r.docs["targets.json"] = sealed(r, uptane.RoleTargets, &payload)
	r.docs["snapshot.json"] = sealed(r, uptane.RoleSnapshot, uptane.NewSnapshot(r.version, r.expires, r.version, nil))
	timestamp, err := uptane.NewTimestamp(uptane.Uptane, r.version+40, r.expires, r.docs["snapshot.json"])
	must(r.t, err)
	r.docs["timestamp.json"] = sealed(r, uptane.RoleTimestamp, timestamp)
}

// RoundTrip plays its gateway.
func (s *fleetServer) RoundTrip(q *http.Request) (*http.Response, error) {
	answer := func(status int, body []byte) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Request: q, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
	var body []byte
	if q.Body != nil {
		body, _ = io.ReadAll(q.Body)
	}
	path := q.URL.Path
	if q.Method != http.MethodGet {
		if path == "/director/ecus" {
			s.ecus = body
		}
		return answer(http.StatusOK, nil)
	}
	if name, ok := strings.CutPrefix(path, "/repo/targets/"); ok {
		return answer(http.StatusOK, s.blobs[name])
	}
	docs, name := s.image.docs, strings.TrimPrefix(path, "/repo/")
	if rest, ok := strings.CutPrefix(path, "/director/"); ok {
		docs, name = s.director.docs, rest
	}
	if docs[name] == nil {
		return answer(http.StatusNotFound, nil)
	}
	return answer(http.StatusOK, docs[name])
}

// offer lets the Director give the device an image.
func (s *fleetServer) offer(serial uptane.ECUSerial, name string) {
	t := s.target(name, uptane.Custom{ECUs: map[uptane.ECUSerial]uptane.HardwareID{serial: "board"}})
	s.director.publish(map[string]uptane.Target{name: t})
}

// dump writes what an operator fetches of it.
func (s *fleetServer) dump(dir string) {
	s.t.Helper()
	for _, r := range []*fleetRepository{s.image, s.director} {
		place := filepath.Join(dir, string(r.id))
		must(s.t, os.MkdirAll(place, 0o700))
		for name, doc := range r.docs {
			if r == s.image || strings.HasSuffix(name, "root.json") {
				s.write(filepath.Join(place, name), doc)
			}
		}
	}
	s.write(filepath.Join(dir, "keys.sql"), []byte(s.keyTable(nil)))
	s.write(filepath.Join(dir, "director.sql"), []byte(s.deviceTables()))
	for name, content := range s.blobs { // as its local storage has it
		sum := sha256.Sum256([]byte(name))
		text := hex.EncodeToString(sum[:])
		place := filepath.Join(dir, "blobs", strings.Repeat("a", 64), text[:2], text[2:])
		must(s.t, os.MkdirAll(filepath.Dir(place), 0o700))
		s.write(place, content)
	}
}

func (s *fleetServer) write(path string, text []byte) {
	s.t.Helper()
	must(s.t, os.WriteFile(path, text, 0o600))
}

// keyTable is a dump of the table keys; leave keeps a key out of it.
func (s *fleetServer) keyTable(leave crypto.Signer) string {
	var rows []string
	for _, r := range []*fleetRepository{s.image, s.director} {
		for _, signer := range r.used {
			if leave != nil && reflect.DeepEqual(signer, leave) {
				continue
			}
			key, err := uptane.NewKey(signer.Public())
			must(s.t, err)
			rows = append(rows, fmt.Sprintf("('%s','repo','ROOT','%s','%s','%s')", key.ID(), key.Algorithm(),
				escapeSQL(string(key.Wire(uptane.Uptane))), encryptOld(s.t, privateObject(s.t, signer))))
		}
	}
	return "-- MariaDB dump\nCREATE TABLE `keys` (\n `key_id` varchar(254) NOT NULL,\n `repo_id` char(36),\n `role_type` enum('ROOT'),\n" +
		" `key_type` enum('RSA'),\n `public_key` text,\n `private_key` text,\n PRIMARY KEY (`key_id`)\n);\nINSERT INTO `keys` VALUES " + strings.Join(rows, ",") + ";\n"
}

func escapeSQL(text string) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, "\n", `\n`).Replace(text)
}

// privateObject is how the key server writes a private key.
func privateObject(t *testing.T, signer crypto.Signer) string {
	switch key := signer.(type) {
	case ed25519.PrivateKey:
		return fmt.Sprintf(`{"keyval":{"private":"%x"},"keytype":"ED25519"}`, []byte(key))
	case *rsa.PrivateKey:
		text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		return fmt.Sprintf(`{"keyval":{"private":%q},"keytype":"RSA"}`, text)
	}
	t.Fatalf("a key of type %T", signer)
	return ""
}

// encryptOld encrypts as the key server does.
func encryptOld(t *testing.T, plain string) string {
	key, err := hex.DecodeString(oldKeyHex)
	must(t, err)
	nonce, err := hex.DecodeString(oldNonceHex)
	must(t, err)
	block, err := aes.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	must(t, err)
	return base64.StdEncoding.EncodeToString(aead.Seal(nil, nonce, []byte(plain), nil))
}

func (s *fleetServer) deviceTables() string {
	var sent struct {
		Primary string `json:"primary_ecu_serial"`
		ECUs    []struct {
			Serial   string          `json:"ecu_serial"`
			Hardware string          `json:"hardware_identifier"`
			Key      json.RawMessage `json:"clientKey"`
		} `json:"ecus"`
	}
	must(s.t, json.Unmarshal(s.ecus, &sent))
	var rows []string
	for _, e := range sent.ECUs {
		rows = append(rows, fmt.Sprintf("('default','%s','%s','%s','%s',0)", oldCar, e.Serial, escapeSQL(string(e.Key)), e.Hardware))
	}
	return "INSERT INTO `ecus` (`namespace`,`device_id`,`ecu_serial`,`public_key`,`hardware_identifier`,`deleted`) VALUES " + strings.Join(rows, ",") + ";\n" +
		fmt.Sprintf("INSERT INTO `provisioned_devices` (`namespace`,`id`,`primary_ecu_id`,`deleted`) VALUES ('default','%s','%s',0);\n", oldCar, sent.Primary)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
