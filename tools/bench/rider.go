package main

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"sealift/fixtures"
	"sealift/keys/pki"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// rider is a device of the load: one ECU with an Ed25519 key, and a P-256
// certificate for TLS.
type rider struct {
	oemid      string
	cert       tls.Certificate
	key        ed25519.PrivateKey
	keyID      string
	image      string // what it says it runs
	counter    int64
	registered bool
}

// newRider makes a device of a fleet.
func newRider(oemid string, fleet pki.Authority) (*rider, error) {
	r := &rider{oemid: oemid, key: fixtures.Ed25519("bench " + oemid), image: "factory"}
	public, err := uptane.NewKey(r.key.Public())
	if err != nil {
		return nil, err
	}
	r.keyID = string(public.ClientID())
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	leaf, err := fleet.NewClient(time.Now(), oemid, 365*24*time.Hour, key.Public())
	if err != nil {
		return nil, err
	}
	r.cert = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return r, nil
}

func (r *rider) serial() string { return r.keyID } // as clients do by default

func object(pairs ...any) canonical.Value {
	var members []canonical.Member
	for i := 0; i < len(pairs); i += 2 {
		v, ok := pairs[i+1].(canonical.Value)
		if !ok {
			v = canonical.Text(pairs[i+1].(string))
		}
		members = append(members, canonical.Member{Name: pairs[i].(string), Value: v})
	}
	return canonical.Fields(members...)
}

func (r *rider) registration() []byte {
	public := strings.ToUpper(hex.EncodeToString(r.key.Public().(ed25519.PublicKey)))
	ecu := object("clientKey", object("keytype", "ED25519", "keyval", object("public", public)), "ecu_serial", r.serial(), "hardware_identifier", "bench-board")
	return object("ecus", canonical.List(ecu), "primary_ecu_serial", r.serial()).Uptane()
}

// manifest is the next one: signed twice, as a whole and as the ECU's own report.
func (r *rider) manifest() ([]byte, error) {
	r.counter++
	report, err := r.sign(object("attacks_detected", "", "ecu_serial", r.serial(),
		"installed_image", object("fileinfo", object("hashes", object("sha256", strings.Repeat("5a", 32)), "length", canonical.Int(1)), "filepath", r.image),
		"previous_timeserver_time", "1970-01-01T00:00:00Z", "report_counter", strconv.FormatInt(r.counter, 10), "timeserver_time", "1970-01-01T00:00:00Z"))
	if err != nil {
		return nil, err
	}
	whole, err := r.sign(object("ecu_version_manifests", object(r.serial(), report), "primary_ecu_serial", r.serial()))
	return whole.Uptane(), err
}

func (r *rider) sign(payload canonical.Value) (canonical.Value, error) {
	sig, err := uptane.Sign(r.key, payload.Uptane())
	if err != nil {
		return payload, err
	}
	return object("signatures", canonical.List(object("keyid", r.keyID, "method", "ed25519", "sig", base64.StdEncoding.EncodeToString(sig.Sig))), "signed", payload), nil
}
