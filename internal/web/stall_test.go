package web_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"sealift/internal/web"
)

// impatient is the patience of servers whose clients stall; what must end is
// given a hundred times that. patient is what a slow test machine needs.
const (
	impatient = 100 * time.Millisecond
	patient   = 5 * time.Second
	atLast    = 100 * impatient
)

// large is more than the buffers between a server and a client take in.
const large = 24 << 20

// stallServer serves one large object; each answer that ends is told to done.
func stallServer(t *testing.T, patience time.Duration, done chan<- struct{}) *httptest.Server {
	t.Helper()
	bucket := memblob.OpenBucket(nil)
	t.Cleanup(func() { _ = bucket.Close() })
	if err := bucket.WriteAll(t.Context(), "a", bytes.Repeat([]byte{'x'}, large), nil); err != nil {
		t.Fatal(err)
	}
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Patience: patience, Routes: []web.Route{
		{Method: "GET", Pattern: "/a", Permission: web.Public, Raw: func(w http.ResponseWriter, r *http.Request) {
			if err := web.ServeObject(w, r, bucket, "a", web.Object{}); err != nil {
				web.Error(w, r, err)
			}
			done <- struct{}{}
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func dial(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestAnswersNobodyTakesEnd: a client that asks and does not read must not
// hold a file and a goroutine for good.
func TestAnswersNobodyTakesEnd(t *testing.T) {
	done := make(chan struct{}, 1)
	server := stallServer(t, impatient, done)
	wait := func(what string) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(atLast):
			t.Errorf("%s: the answer is still being written", what)
		}
	}
	conn := dial(t, server)
	if _, err := io.WriteString(conn, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	wait("HTTP/1")
	resp, err := server.Client().Get(server.URL + "/a")
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()
	wait("HTTP/2")
}

// TestAnswersThatAreTakenAreWhole, over connections that carry several.
func TestAnswersThatAreTakenAreWhole(t *testing.T) {
	done := make(chan struct{}, 4)
	server := stallServer(t, patient, done)
	h1 := server.Client().Transport.(*http.Transport).Clone()
	h1.ForceAttemptHTTP2, h1.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	h1.TLSClientConfig.NextProtos = nil
	for _, client := range []*http.Client{server.Client(), {Transport: h1}} {
		for range 2 {
			resp, err := client.Get(server.URL + "/a")
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if _ = resp.Body.Close(); n != large || err != nil {
				t.Errorf("HTTP/%d: %d bytes, %v", resp.ProtoMajor, n, err)
			}
		}
		client.CloseIdleConnections()
	}
}

// TestBodiesNobodyReadsEnd: who announces a body and does not send it gets an
// answer and loses the connection, whatever the path.
func TestBodiesNobodyReadsEnd(t *testing.T) {
	server := stallServer(t, impatient, make(chan struct{}, 3))
	for _, request := range []string{"POST /nowhere", "GET /nowhere", "DELETE /a"} {
		conn := dial(t, server)
		if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nbegun", request); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(atLast)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: no answer: %v", request, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if _, err := in.ReadByte(); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("%s: %d, then %v instead of the end", request, resp.StatusCode, err)
		}
	}
}
