package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sealift/fixtures"
	"sealift/internal/credentials"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// rider is a device of the load: one ECU with an Ed25519 key.
type rider struct {
	oemid   string
	cert    tls.Certificate
	key     ed25519.PrivateKey
	keyID   string
	image   string // what it says it runs
	counter int64
}

func newRider(oemid string) (*rider, error) {
	r := &rider{oemid: oemid, key: fixtures.Ed25519("bench " + oemid), image: "factory"}
	public, err := uptane.NewKey(r.key.Public())
	r.keyID = string(public.ClientID())
	return r, err
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

// register makes n devices known to a server the way devices do it themselves,
// up to their first metadata.
func (s *server) register(ctx context.Context, n int) ([]*rider, error) {
	archive, err := credentials.Open(filepath.Join(s.dir, "sealift-out", "device.zip"))
	if err != nil {
		return nil, err
	}
	p12, err := archive.AutoprovP12()
	if err != nil {
		return nil, err
	}
	shared, cas, err := credentials.ReadP12(p12, "")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{shared}}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	line1 := &http.Client{Transport: transport, Timeout: time.Minute}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]*rider, n)
	var next atomic.Int64
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				var err error
				if all[i], err = s.enrol(ctx, line1, fmt.Sprintf("bench-%06d", i)); err != nil {
					cancel(fmt.Errorf("registering device %d: %w", i, err))
				}
			}
		})
	}
	done.Wait()
	return all, context.Cause(ctx)
}

// enrol takes one device from nothing to its first metadata.
func (s *server) enrol(ctx context.Context, line1 *http.Client, oemid string) (*rider, error) {
	r, err := newRider(oemid)
	if err != nil {
		return nil, err
	}
	body := object("deviceId", oemid, "ttl", "36000").Uptane()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.gateway+"/devices", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	resp, err := line1.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	p12, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("POST /devices: %s: %.300s, %w", resp.Status, p12, err)
	}
	if r.cert, _, err = credentials.ReadP12(p12, ""); err != nil {
		return nil, err
	}
	manifest, err := r.manifest()
	if err != nil {
		return nil, err
	}
	return r, s.session(ctx, r, ask(http.MethodPost, "/director/ecus", r.registration(), http.StatusCreated),
		ask(http.MethodPut, "/director/manifest", manifest, http.StatusOK),
		ask(http.MethodGet, "/director/targets.json", nil, http.StatusOK))
}

// session asks questions on one connection.
func (s *server) session(ctx context.Context, r *rider, questions ...question) error {
	l, err := dial(ctx, s.gateway, &r.cert)
	if err != nil {
		return err
	}
	defer l.close()
	for _, q := range questions {
		if _, err := l.ask(q); err != nil {
			return err
		}
	}
	return nil
}

// pollAll lets every device poll once.
func (s *server) pollAll(ctx context.Context, all []*rider) error {
	c, err := newCourse(all, 1)
	if err != nil {
		return err
	}
	t := target{name: "the server", address: s.gateway, pid: s.process.Process.Pid}
	_, err = t.turn(ctx, c, false)
	return err
}
