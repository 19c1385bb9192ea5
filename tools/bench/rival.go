package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sealift/keys/pki"
)

// identity is how a rival proves itself, in files: the same kinds of keys and
// as many certificates as the server's, and the CA of its devices.
type identity struct{ root, chain, key, clients string }

func newIdentity(dir string, clients *x509.Certificate) (identity, error) {
	id := identity{filepath.Join(dir, "root.pem"), filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "clients.pem")}
	now := time.Now()
	root, err := pki.NewServerRoot(now, "rival root")
	if err != nil {
		return id, err
	}
	issuer, err := pki.NewServerIntermediate(now, "rival", root)
	if err != nil {
		return id, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return id, err
	}
	leaf, err := issuer.NewServer(now, pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, key.Public())
	if err != nil {
		return id, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return id, err
	}
	return id, errors.Join(
		os.WriteFile(id.root, certificates(root.Cert), 0o600),
		os.WriteFile(id.chain, certificates(leaf, issuer.Cert), 0o600),
		os.WriteFile(id.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(id.clients, certificates(clients), 0o600))
}

func certificates(list ...*x509.Certificate) (out []byte) {
	for _, c := range list {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// findNginx returns where nginx is; Debian has it where only root looks.
func findNginx() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("nginx is not installed; on Debian, make deps installs it")
}

// nginx is a throw-away nginx.
type nginx struct {
	address string
	process *exec.Cmd
}

// nginxConfig serves the folder www with what makes nginx fast: no log, files
// kept open, and no sessions to come back to, which no device of the load does
// and which would cost it a third. It answers with the same protocols and ciphers
// as the server. A PUT is answered with 200, as no static
// server would do better.
const nginxConfig = `daemon off;
USERworker_processes 1;
pid DIR/nginx.pid;
error_log DIR/nginx.log;
events { worker_connections 1024; }
http {
	access_log off;
	default_type application/json;
	sendfile on;
	open_file_cache max=10000 inactive=60s;
	open_file_cache_errors on;
	client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	server {
		listen ADDRESS ssl HTTP2;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_session_tickets off;
		ssl_session_cache none;
		ssl_certificate CHAIN;
		ssl_certificate_key KEY;
		ssl_client_certificate CLIENTS;
		ssl_verify_client on;
		ssl_verify_depth 3;
		root DIR/www;
		location = /director/manifest { return 200; }
		location /treehub/ { alias TREEHUB/; }
	}
}
`

// startNginx serves dir/www, and an OSTree repository below /treehub/ if there is
// one, under mutual TLS.
func startNginx(ctx context.Context, dir string, id identity, treehub string, pinned bool) (*nginx, error) {
	program, err := findNginx()
	if err != nil {
		return nil, err
	}
	n := &nginx{}
	if n.address, err = freeAddress(); err != nil {
		return nil, err
	}
	user, http2 := "", ""
	if os.Getuid() == 0 {
		user = "user root; " // else the worker may not read the folder
	}
	if treehub == "" {
		treehub = filepath.Join(dir, "none")
	} else {
		http2 = "http2"
	}
	text := strings.NewReplacer("USER", user, "DIR", dir, "ADDRESS", n.address, "HTTP2", http2,
		"CHAIN", id.chain, "KEY", id.key, "CLIENTS", id.clients, "TREEHUB", treehub).Replace(nginxConfig)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	n.process = exec.CommandContext(ctx, program, "-p", dir, "-e", filepath.Join(dir, "nginx.log"), "-c", path)
	n.process.Cancel = func() error { return n.process.Process.Signal(os.Interrupt) } // its worker ends with it then
	if pinned {
		pin(n.process)
	}
	if err := n.process.Start(); err != nil {
		return nil, err
	}
	if err := reachable(ctx, n.address); err != nil {
		n.stop()
		said, _ := os.ReadFile(filepath.Join(dir, "nginx.log"))
		return nil, fmt.Errorf("starting nginx: %w\n%s", err, said)
	}
	return n, nil
}

func (n *nginx) stop() {
	_ = n.process.Process.Signal(os.Interrupt)
	_ = n.process.Wait() // it ends by a signal
}

// reachable waits until something listens.
func reachable(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
