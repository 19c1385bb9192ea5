package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// workers is how many requests are under way at once.
const workers = 8

// target is a server that devices of the load ask. It answers all devices with
// HTTP/1.1, as a curl without HTTP/2 gets it.
type target struct {
	name    string
	address string
	pid     int // its children count too
}

// line is a connection of one device. It does what a device must, and no more
// than that: the machine should be busy with the server.
type line struct {
	conn *tls.Conn
	in   *bufio.Reader
}

// dial opens a connection as OpenSSL does it: without a session of before, and
// with X25519.
func dial(ctx context.Context, address string, cert *tls.Certificate) (*line, error) {
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	conn := tls.Client(plain, &tls.Config{
		Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.X25519},
		InsecureSkipVerify: true, // it is this machine, and verifying is the client's work
	})
	if err := errors.Join(plain.SetDeadline(deadline), conn.HandshakeContext(ctx)); err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return &line{conn, bufio.NewReader(conn)}, nil
}

func (l *line) close() { _ = l.conn.Close() }

// handshake says in words what a connection is made of. Servers that are held
// against one another must agree in it.
func (t target) handshake(ctx context.Context, cert *tls.Certificate) (string, error) {
	l, err := dial(ctx, t.address, cert)
	if err != nil {
		return "", fmt.Errorf("connecting to %s: %w", t.name, err)
	}
	defer l.close()
	s := l.conn.ConnectionState()
	key, ok := s.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("connecting to %s: its key is a %T", t.name, s.PeerCertificates[0].PublicKey)
	}
	return fmt.Sprintf("%s, %s, %s, %d certificates, the first with %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite),
		s.CurveID, len(s.PeerCertificates), key.Params().Name), nil
}

// question is a request in the bytes of the wire, and the answer it must get.
type question struct {
	bytes []byte
	want  int
}

func ask(method, path string, body []byte, want int) question {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: ota.example.com:8443\r\nUser-Agent: bench\r\nAccept: */*\r\n", method, path)
	if body != nil {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return question{append([]byte(head+"\r\n"), body...), want}
}

// ask sends a question and reads the whole answer.
func (l *line) ask(q question) ([]byte, error) {
	if _, err := l.conn.Write(q.bytes); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != q.want {
		err = fmt.Errorf("%.60q is answered %s, want %d: %.300s", q.bytes, resp.Status, q.want, body)
	}
	return body, err
}

// idleCycle is what a device asks that has nothing to do.
func idleCycle(manifest []byte) [3]question {
	return [3]question{
		ask(http.MethodPut, "/director/manifest", manifest, http.StatusOK),
		ask(http.MethodGet, "/director/2.root.json", nil, http.StatusNotFound),
		ask(http.MethodGet, "/director/targets.json", nil, http.StatusOK),
	}
}

// course is a number of cycles for each of some devices, signed ahead. Cycles
// of one device come one after the other.
type course struct {
	devices []*rider
	cycles  [][][3]question // of each device
}

func newCourse(devices []*rider, laps int) (course, error) {
	c := course{devices: devices, cycles: make([][][3]question, len(devices))}
	for i, d := range devices {
		for range laps {
			manifest, err := d.manifest()
			if err != nil {
				return c, err
			}
			c.cycles[i] = append(c.cycles[i], idleCycle(manifest))
		}
	}
	return c, nil
}

// lines are connections that stay, one a device. Nil means a new one for each
// request.
type lines []*line

func (t target) connect(ctx context.Context, devices []*rider) (lines, error) {
	var all lines
	for _, d := range devices {
		l, err := dial(ctx, t.address, &d.cert)
		if err != nil {
			all.close()
			return nil, fmt.Errorf("connecting to %s: %w", t.name, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func (all lines) close() {
	for _, l := range all {
		l.close()
	}
}

// sample is what one turn of a course measured.
type sample struct {
	rate float64 // cycles a second
	cpu  float64 // cycles a second of the server's CPU time
	load float64 // how much of one core the load took
}

// turn sends a course to a server, over lines if there are any.
func (t target) turn(ctx context.Context, c course, kept lines) (sample, error) {
	before, err := cpuSeconds(t.pid)
	if err != nil {
		return sample{}, err
	}
	own, begin := ownCPU(), time.Now()
	failed := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { failed[w] = t.work(ctx, c, kept, w) })
	}
	all.Wait()
	took := time.Since(begin).Seconds()
	own = ownCPU() - own
	if err := errors.Join(failed...); err != nil {
		return sample{}, fmt.Errorf("asking %s: %w", t.name, err)
	}
	after, err := cpuSeconds(t.pid)
	done := float64(len(c.devices) * len(c.cycles[0]))
	return sample{done / took, done / max(after-before, 1.0/ticks), own / took}, err
}

// work does the part of a course that is worker w's.
func (t target) work(ctx context.Context, c course, kept lines, w int) error {
	for lap := range c.cycles[0] {
		for i := w; i < len(c.devices); i += workers {
			for _, q := range c.cycles[i][lap] {
				if err := t.once(ctx, c.devices[i], q, kept, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t target) once(ctx context.Context, d *rider, q question, kept lines, i int) error {
	if kept != nil {
		_, err := kept[i].ask(q)
		return err
	}
	l, err := dial(ctx, t.address, &d.cert)
	if err != nil {
		return err
	}
	defer l.close()
	_, err = l.ask(q)
	return err
}
