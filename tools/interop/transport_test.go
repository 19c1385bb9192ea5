//go:build aktualizr

package interop

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealift/fixtures/fault"
	"sealift/internal/web"
	"sealift/keys/pki"
)

// hangingMetadata: a server that never answers costs a device three minutes, the
// client's own limits, and nothing else.
func hangingMetadata(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-9", hwid: "board"})
	b.patience = 6 * time.Minute
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(fault.Hold("/director/targets.json"))
	start := time.Now()
	s := l.observe(t, b, "once")
	took := time.Since(start)
	s.refusedMetadata(t, "Director metadata update failed", "Timeout was reached")
	if n := s.asked("/director/targets.json"); n != 3 || took < 3*time.Minute {
		t.Errorf("%d attempts in %v, want 3 of a minute each", n, took)
	}
	l.recovers(t, b, id, "truck-9-primary", "app-1")
	return fmt.Sprintf("targets.json: 3 attempts, given up after %v; then app-1", took.Round(time.Second))
}

// slowImage: a download at 2 KB/s is broken off for its speed, taken up again and
// reported.
func slowImage(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-9b", hwid: "board"})
	b.patience = 6 * time.Minute
	l.uploadBinary(t, "app", "1", "board", strings.Repeat("0123456789abcdef", 1<<16))
	update := l.launch(t, id, map[string]string{"board": "app-1"})
	l.Tell(fault.Lie{Path: "/repo/targets/app-1", Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		honest.ServeHTTP(trickle{w, r}, r)
	}})
	start := time.Now()
	s := l.observe(t, b, "once")
	took := time.Since(start)
	s.says(t, "Continuing incomplete download", "Download unsuccessful after 3 attempts")
	s.failedUpdate(t, "DOWNLOAD_FAILED")
	if whole, rest := s.asked("/repo/targets/", 200), s.asked("/repo/targets/", 206); whole != 1 || rest != 2 {
		t.Errorf("%d downloads, %d taken up again, want 1 and 2: %v", whole, rest, s.requests)
	}
	l.ended(t, update, "truck-9b-primary", "failed")
	l.launch(t, id, map[string]string{"board": "app-1"})
	l.recovers(t, b, id, "truck-9b-primary", "app-1")
	return fmt.Sprintf("2 KB/s: 3 attempts, 2 resumed, DOWNLOAD_FAILED after %v; then app-1", took.Round(time.Second))
}

// trickle writes 2 KB in a second.
type trickle struct {
	http.ResponseWriter
	r *http.Request
}

func (w trickle) Write(p []byte) (n int, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n < len(p) && err == nil {
		select {
		case <-w.r.Context().Done():
			return n, w.r.Context().Err()
		case <-tick.C:
		}
		var more int
		more, err = w.ResponseWriter.Write(p[n:min(n+200, len(p))])
		n += more
		if err == nil {
			err = http.NewResponseController(w.ResponseWriter).Flush()
		}
	}
	return n, err
}

// withheldRoot: a device does not notice that there is a newer root.
func withheldRoot(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-9c", hwid: "board"})
	l.uploadBinary(t, "app", "1", "board", "application one")
	l.putRoot(t, directors, l.root(t, directors, 2, time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)))
	l.Tell(fault.Status("/director/2.root.json", http.StatusNotFound))
	l.launch(t, id, map[string]string{"board": "app-1"})
	s := l.observe(t, b, "once")
	if got := l.installed(t, id)["truck-9c-primary"]; got != "app-1" || s.asked("/director/2.root.json", 404) != 1 {
		t.Errorf("it runs %q; requests %v\n%s", got, s.requests, s.log)
	}
	l.uploadBinary(t, "app", "2", "board", "application two")
	l.launch(t, id, map[string]string{"board": "app-2"})
	l.Honest()
	s = l.observe(t, b, "once")
	if got := l.installed(t, id)["truck-9c-primary"]; got != "app-2" || s.asked("/director/2.root.json", 200) != 1 || s.asked("/director/3.root.json", 404) != 1 {
		t.Errorf("it runs %q; requests %v\n%s", got, s.requests, s.log)
	}
	return "unnoticed, app-1 installed; then 2.root.json and app-2"
}

// brokenDownloads: what an interrupted or refused download leaves is mended.
func brokenDownloads(t *testing.T) string {
	l := startLiar(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-10", hwid: "board"})
	at := func(release int) string { return fmt.Sprintf("/repo/targets/app-%d", release) }
	once := func(lie fault.Lie) fault.Lie { lie.Times = 1; return lie }
	noRange := fault.Lie{Path: at(2), Answer: func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		whole := r.Clone(r.Context())
		whole.Header.Del("Range")
		honest.ServeHTTP(w, whole)
	}}
	wordy := fault.Lie{Path: at(3), Answer: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "<html>come back later</html>", http.StatusServiceUnavailable)
	}}
	for i, c := range []struct {
		lies     []fault.Lie
		statuses []int
		says     string
	}{
		{[]fault.Lie{once(fault.Truncate(at(1), 5000))}, []int{200, 206}, "Continuing incomplete download"},
		{[]fault.Lie{once(fault.Truncate(at(2), 5000)), noRange}, []int{200, 200, 200}, "The image server doesn't support byte range requests"},
		{[]fault.Lie{once(wordy)}, []int{503, 206, 200}, "The target's calculated hash did not match"},
		{[]fault.Lie{once(fault.Status(at(4), http.StatusServiceUnavailable))}, []int{503, 200}, ""},
	} {
		version := strconv.Itoa(i + 1)
		l.uploadBinary(t, "app", version, "board", strings.Repeat("release "+version+"\n", 2000))
		update := l.launch(t, id, map[string]string{"board": "app-" + version})
		l.Tell(c.lies...)
		s := l.observe(t, b, "once")
		s.says(t, c.says)
		var statuses []int
		for _, r := range s.requests {
			if strings.HasPrefix(r.Path, "/repo/targets/") {
				statuses = append(statuses, r.Status)
			}
		}
		if fmt.Sprint(statuses) != fmt.Sprint(c.statuses) {
			t.Errorf("app-%s: answered %v, want %v\n%s", version, statuses, c.statuses, s.log)
		}
		if got := l.installed(t, id)["truck-10-primary"]; got != "app-"+version {
			t.Errorf("it runs %q, want app-%s\n%s", got, version, s.log)
		}
		l.ended(t, update, "truck-10-primary", "installed")
		l.Honest()
	}
	return "cut: resumed with 206; no ranges: from 0; 503 with a body: spoilt, mended (with none, as ours: not spoilt)"
}

// elsewhere is a download server that is not ours, though devices trust it.
type elsewhere struct {
	url    string
	blobs  map[string][]byte
	asked  []string // paths
	client string   // common name of the certificate that came last
}

func (l *liar) elsewhere(t *testing.T) *elsewhere {
	t.Helper()
	e := &elsewhere{blobs: map[string][]byte{}}
	tls, err := l.services.Vault.TLSConfig(t.Context(), pki.Names{DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := web.Server(e, slog.New(slog.DiscardHandler))
	server.TLSConfig = tls
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	e.url = "https://" + listener.Addr().String()
	return e
}

// ServeHTTP serves /N/NAME after N redirects.
func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked = append(e.asked, r.URL.Path)
	if len(r.TLS.PeerCertificates) > 0 {
		e.client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	hops, _ := strconv.Atoi(path.Base(path.Dir(r.URL.Path)))
	name := path.Base(r.URL.Path)
	if hops > 0 {
		http.Redirect(w, r, fmt.Sprintf("%s/%d/%s", e.url, hops-1, name), http.StatusFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(e.blobs[name]))
}

// customURI: images that lie elsewhere.
func customURI(t *testing.T) string {
	l := startLiar(t)
	far, farther := l.elsewhere(t), l.elsewhere(t)
	b, id := l.newDevice(t, boardOptions{name: "truck-11", hwid: "board"})
	list := func(version, uri string) (content string) {
		content = "application " + version
		far.blobs["app-"+version], farther.blobs["app-"+version] = []byte(content), []byte(content)
		l.server.sign(t, "add", "--name", "app", "--version", version, "--length", strconv.Itoa(len(content)), "--sha256", sha256Hex(content), "--hardwareids", "board", "--url", uri)
		return content
	}
	for _, c := range []struct {
		version, image, director string
		from                     *elsewhere
		hops                     int
		fails                    bool
	}{
		{version: "1", image: far.url + "/0/app-1", from: far},
		{version: "2", director: far.url + "/0/app-2", from: far},
		{version: "3", image: far.url + "/0/app-3", director: farther.url + "/0/app-3", from: farther},
		{version: "4", image: far.url + "/10/app-4", from: far, hops: 10},
		{version: "5", image: far.url + "/11/app-5", from: far, hops: 10, fails: true},
	} {
		if c.image != "" {
			list(c.version, c.image)
		} else {
			l.uploadBinary(t, "app", c.version, "board", "application "+c.version)
			far.blobs["app-"+c.version] = []byte("application " + c.version)
		}
		far.asked, farther.asked, far.client, farther.client = nil, nil, "", ""
		var update string
		if c.director != "" {
			update = l.launchFrom(t, id, "board", "app-"+c.version, c.director)
		} else {
			update = l.launch(t, id, map[string]string{"board": "app-" + c.version})
		}
		s := l.observe(t, b, "once")
		attempts := 1
		if c.fails {
			attempts = 3
			s.says(t, "Number of redirects hit maximum amount")
			s.failedUpdate(t, "DOWNLOAD_FAILED")
			l.ended(t, update, "truck-11-primary", "failed")
		} else {
			l.ended(t, update, "truck-11-primary", "installed")
		}
		if len(far.asked)+len(farther.asked) != len(c.from.asked) || len(c.from.asked) != attempts*(c.hops+1) || s.asked("/repo/targets/") > 0 {
			t.Errorf("app-%s: the servers were asked %q and %q, ours %v", c.version, far.asked, farther.asked, s.requests)
		}
		if c.from.client != "truck-11" {
			t.Errorf("app-%s: the certificate of %q came", c.version, c.from.client)
		}
	}
	l.launchFrom(t, id, "board", "app-5", far.url+"/0/app-5") // the Director leads it around the chain
	l.recovers(t, b, id, "truck-11-primary", "app-5")
	return "image's, Director's, of both the Director's; 10 redirects followed, 11: DOWNLOAD_FAILED; it shows its certificate there"
}
