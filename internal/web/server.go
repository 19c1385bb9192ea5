package web

import (
	"context"
	stdlog "log"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Limits of a connection. There is no limit on the time of a whole request:
// devices download images over slow lines, and build jobs push large objects.
const (
	headerTimeout = 15 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

// Server returns an http.Server for h with the limits both edges share. What
// goes wrong before a request is there, failed handshakes above all, is
// logged with what to do about it. Set TLSConfig for TLS.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          stdlog.New(serverLog{log}, "", 0),
	}
}

// serverLog is the writer behind ErrorLog.
type serverLog struct{ log *slog.Logger }

// quiet is what scanners and health checks do all day.
const quiet = "the connection ended during the handshake, as port scans and health checks do"

// advice turns what net/http and crypto/tls say into what an operator can do.
func advice(text string) string {
	for _, a := range [][2]string{ // the first match counts
		{"unknown certificate authority", "the client does not trust this server: give it the server_ca.pem of this installation"},
		{"remote error: tls: bad certificate", "the client rejects the server certificate: check its server_ca.pem and its clock"},
		{"remote error: tls: expired certificate", "the client holds the server certificate for expired: check the clocks of both"},
		{"remote error: tls: unknown certificate", "the client rejects the server certificate: check its server_ca.pem, its clock and the host name it uses"},
		{"client sent an HTTP request to an HTTPS server", "the client speaks plain HTTP here: its URL must begin with https://"},
		{"first record does not look like a TLS handshake", "the client does not speak TLS here: its URL must begin with https://, and a proxy must not use the PROXY protocol"},
		{"unsupported versions", "the client is too old: TLS 1.2 is the least"},
		{"no cipher suite supported", "the client offers only cipher suites that are not safe any more"},
		{"EOF", quiet},
		{"connection reset by peer", quiet},
		{"i/o timeout", quiet},
	} {
		if strings.Contains(text, a[0]) {
			return a[1]
		}
	}
	return "see the error"
}

func (l serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if !strings.Contains(text, "TLS handshake error") {
		l.log.Error("http server", "error", text)
		return len(line), nil
	}
	level, hint := slog.LevelWarn, advice(text)
	if hint == quiet {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "handshake refused", "error", text, "hint", hint)
	return len(line), nil
}
