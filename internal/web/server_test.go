package web_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sealift/internal/web"
)

// syncBuffer is a log the server writes while the test waits for a line.
type syncBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	lines chan string
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines <- string(p)
	return b.buf.Write(p)
}

func TestRefusedHandshakesAreExplained(t *testing.T) {
	out := &syncBuffer{lines: make(chan string, 20)}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config = web.Server(http.NotFoundHandler(), log)
	s.StartTLS()
	defer s.Close()
	address := s.Listener.Addr().String()

	tests := []struct {
		name, want string
		try        func(context.Context) error
	}{
		{"foreign CA", "server_ca.pem", func(context.Context) error {
			c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"})
			if err == nil {
				_ = c.Close()
			}
			return nil
		}},
		{"plain HTTP", "https://", func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			return err
		}},
		{"port scan", "level=DEBUG", func(context.Context) error {
			c, err := net.Dial("tcp", address)
			if err == nil {
				err = c.Close()
			}
			return err
		}},
	}
	for _, tt := range tests {
		if err := tt.try(t.Context()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		line := <-out.lines
		if !strings.Contains(line, "handshake refused") || !strings.Contains(line, tt.want) {
			t.Errorf("%s: %s, want %q", tt.name, line, tt.want)
		}
	}
}
