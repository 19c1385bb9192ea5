package keys

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/time/rate"
)

// trouble explains an error of package tls to an operator.
type trouble struct {
	part  string // of the error's text
	words string
	level slog.Level
}

// troubles is in order: the first that fits is told. "remote error" means
// that the client broke off and why it says it did.
func troubles() []trouble {
	return []trouble{
		{"remote error: tls: unknown certificate authority", "the client does not trust this server: it has no server_ca.pem of this server, or one from before the CA was replaced", slog.LevelWarn},
		{"remote error: tls: bad certificate", "the client refuses our certificate: it was given another server's CA, or uses a name or address that the certificate does not have (--hostname, --ip)", slog.LevelWarn},
		{"remote error: tls: unknown certificate", "the client refuses our certificate: it was given another server's CA, or uses a name or address that the certificate does not have (--hostname, --ip)", slog.LevelWarn},
		{"remote error: tls: expired certificate", "the client finds our certificate expired or not yet valid: look at the clocks of both", slog.LevelWarn},
		{"remote error: tls: revoked certificate", "the client finds our certificate revoked", slog.LevelWarn},
		{"remote error: tls: protocol version not supported", "the client does not speak TLS 1.2 or later", slog.LevelWarn},
		{"client offered only unsupported versions", "the client does not speak TLS 1.2 or later", slog.LevelWarn},
		{"no cipher suite supported", "the client and this server have no cipher in common", slog.LevelWarn},
		{"client didn't provide a certificate", "the client has no certificate: is it provisioned?", slog.LevelWarn},
		{"invalid signature by the client certificate", "the client's certificate and private key do not belong together", slog.LevelWarn},
		{"failed to parse client certificate", "the client's certificate is malformed", slog.LevelWarn},
		{"client sent an HTTP request to an HTTPS server", "the client speaks plain HTTP; its URL must begin with https://", slog.LevelWarn},
		{"first record does not look like a TLS handshake", "the client does not speak TLS at all", slog.LevelWarn},
		{"i/o timeout", "the client was silent for too long", slog.LevelInfo},
		{"connection reset by peer", "the client went away", slog.LevelDebug},
		{"EOF", "the client went away; port scans and load balancers do so", slog.LevelDebug},
	}
}

// HandshakeLog returns what belongs into http.Server.ErrorLog: it tells why
// handshakes fail in words an operator can act on, each kind at most once in
// ten seconds, and passes all else on as a warning.
func (v *Vault) HandshakeLog() *log.Logger {
	return log.New(&handshakes{log: v.log, said: map[string]*rate.Sometimes{}}, "", 0)
}

type handshakes struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]*rate.Sometimes
}

// Write takes one line of net/http.
func (h *handshakes) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	rest, ok := strings.CutPrefix(text, "http: TLS handshake error from ")
	if !ok {
		h.log.Warn("http server", "err", text)
		return len(line), nil
	}
	remote, reason, _ := strings.Cut(rest, ": ")
	t := trouble{part: "other", words: "the handshake failed", level: slog.LevelWarn}
	for _, known := range troubles() {
		if strings.Contains(reason, known.part) {
			t = known
			break
		}
	}
	h.sometimes(t.part).Do(func() {
		h.log.Log(context.Background(), t.level, "refused a connection: "+t.words, "remote", remote, "err", reason)
	})
	return len(line), nil
}

func (h *handshakes) sometimes(kind string) *rate.Sometimes {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.said[kind]
	if s == nil {
		s = &rate.Sometimes{Interval: sayAgain}
		h.said[kind] = s
	}
	return s
}
