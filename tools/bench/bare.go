package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
)

// bareCommand is the argument with which bench is the bare handler, in a process
// of its own.
const bareCommand = "bare-handler"

// bareConfig comes on the handler's standard input; it ends with that.
type bareConfig struct {
	Address, Chain, Key, Clients string
	ECUs                         map[string]ed25519.PublicKey
	Targets                      []byte
}

// bareSigned is what one party signed.
type bareSigned struct {
	Signatures []struct{ Sig []byte }
	Signed     json.RawMessage
}

func (s bareSigned) verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && len(s.Signatures) == 1 && ed25519.Verify(key, s.Signed, s.Signatures[0].Sig)
}

// takeManifest does the least that anybody can do with a manifest: it verifies
// the signatures.
func (c bareConfig) takeManifest(w http.ResponseWriter, r *http.Request) {
	var whole bareSigned
	var manifest struct {
		Primary string                `json:"primary_ecu_serial"`
		ECUs    map[string]bareSigned `json:"ecu_version_manifests"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
	if err == nil {
		err = json.Unmarshal(body, &whole)
	}
	if err == nil {
		err = json.Unmarshal(whole.Signed, &manifest)
	}
	good := err == nil && len(manifest.ECUs) > 0 && whole.verify(c.ECUs[manifest.Primary])
	for serial, report := range manifest.ECUs {
		good = good && report.verify(c.ECUs[serial])
	}
	if !good {
		w.WriteHeader(http.StatusBadRequest)
	}
}

// runBare serves until in ends.
func runBare(in io.Reader) error {
	d := json.NewDecoder(in)
	var c bareConfig
	if err := d.Decode(&c); err != nil {
		return err
	}
	clients, err := os.ReadFile(c.Clients)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(clients)
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /director/manifest", c.takeManifest)
	mux.HandleFunc("GET /director/targets.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(c.Targets)
	})
	s := &http.Server{Addr: c.Address, Handler: mux, TLSConfig: &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = s.Close()
	}()
	if err := s.ListenAndServeTLS(c.Chain, c.Key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bare is a running bare handler.
type bare struct {
	address string
	process *exec.Cmd
	in      io.Closer
}

func startBare(ctx context.Context, id identity, devices []*rider, targets []byte) (*bare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bare{}
	if b.address, err = freeAddress(); err != nil {
		return nil, err
	}
	c := bareConfig{b.address, id.chain, id.key, id.clients, map[string]ed25519.PublicKey{}, targets}
	for _, d := range devices {
		c.ECUs[d.serial()] = d.key.Public().(ed25519.PublicKey)
	}
	b.process = exec.CommandContext(ctx, self, bareCommand)
	pin(b.process)
	b.process.Stderr = os.Stderr
	in, err := b.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	b.in = in
	if err := b.process.Start(); err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(in).Encode(c), reachable(ctx, b.address)); err != nil {
		b.stop()
		return nil, fmt.Errorf("starting the bare handler: %w", err)
	}
	return b, nil
}

func (b *bare) stop() {
	_ = b.in.Close()
	_ = b.process.Wait()
}
