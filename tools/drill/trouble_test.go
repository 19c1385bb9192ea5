package drill_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"sealift/fixtures/device"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// trouble is something that stops and goes on.
type trouble struct {
	name       string
	begin, end func()
	// What is not possible meanwhile.
	noWrites, noReads, noBlobs bool
	// How it is told, as status and code; "" is any of 5xx.
	told string
}

// scene is what one server is asked while there is trouble: everybody who writes
// does so.
type scene struct {
	t                       *testing.T
	s                       *server
	trouble                 trouble
	idle, reporter, newcome *car
	operator                *operator
	build                   *http.Client
	builds                  *witness
	old, fresh              sample // objects
	half                    chan struct{}
	goOn                    chan struct{}
}

// sample is one object and its bytes.
type sample struct {
	name ostree.ObjectName
	raw  []byte
}

// play takes servers of the same data through trouble. Meanwhile each answers what
// it cannot do with 5xx and the id of the error; afterwards the very same requests
// succeed, and nothing that was acknowledged is lost. It returns how many requests
// were refused. Image app-1 must be there.
func play(t *testing.T, trouble trouble, servers ...*server) int {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	var scenes []*scene
	var reports sync.WaitGroup
	for i, s := range servers {
		c := newScene(ctx, t, s, trouble, fmt.Sprintf("%s-%d", trouble.name, i))
		scenes = append(scenes, c)
		reports.Go(func() { _, _ = c.reporter.Poll(ctx) }) // what failed is seen by the witness
		select {
		case <-c.half:
		case <-ctx.Done():
			t.Fatalf("%s: the device does not install", trouble.name)
		}
	}
	trouble.begin()
	for _, c := range scenes {
		close(c.goOn)
	}
	reports.Wait()
	together(scenes, func(c *scene) { c.ask(ctx) })
	rest(ctx, time.Second) // what a server remembers for a second it has forgotten now
	together(scenes, func(c *scene) {
		c.ask(ctx)
		c.change(ctx)
	})
	trouble.end()
	n := 0
	for _, c := range scenes {
		n += c.after(ctx)
	}
	return n
}

// together lets all scenes do something at once.
func together(scenes []*scene, do func(*scene)) {
	var all sync.WaitGroup
	for _, c := range scenes {
		all.Go(func() { do(c) })
	}
	all.Wait()
}

func newScene(ctx context.Context, t *testing.T, s *server, trouble trouble, name string) *scene {
	t.Helper()
	c := &scene{t: t, s: s, trouble: trouble, half: make(chan struct{}), goOn: make(chan struct{}), builds: s.witness(object)}
	archive := s.archive()
	c.idle, c.newcome = newCar(s, archive, name+"-idle"), newCar(s, archive, name+"-new")
	c.reporter = newCar(s, archive, name+"-reporter", func(d *device.Config) {
		d.Install = func(context.Context, uptane.ECUSerial, device.Image) error {
			close(c.half) // it has the image, and has yet to report
			<-c.goOn
			return nil
		}
	})
	c.operator = newOperator(s, 1)
	c.build = s.client(c.builds)
	for _, known := range []*car{c.idle, c.reporter} {
		_, err := known.Poll(ctx)
		must(t, err)
	}
	must(t, c.operator.find(ctx, c.idle))
	must(t, c.operator.assign(ctx, c.reporter))
	c.old, c.fresh = newSample(ctx, t, name+" old"), newSample(ctx, t, name+" new")
	c.post(ctx, c.old)
	if len(c.builds.refused()) > 0 || c.reporter.next != 2 {
		t.Fatalf("%s: the server is in trouble before it begins", name)
	}
	return c
}

// newSample makes a file object of about a megabyte, which does not compress.
func newSample(ctx context.Context, t *testing.T, text string) sample {
	t.Helper()
	dir, err := ostree.InitDir(t.TempDir())
	must(t, err)
	commit, err := dir.Commit(ctx, fstest.MapFS{"file": {Data: noise(text, 1<<20), Mode: 0o644}}, ostree.CommitOptions{Subject: text, Timestamp: time.Unix(1e9, 0)})
	must(t, err)
	files, err := filepath.Glob(filepath.Join(dir.Path(), "objects", "*", "*.filez"))
	if err != nil || len(files) != 1 {
		t.Fatalf("commit %s has files %q, %v", commit, files, err)
	}
	folder, base := filepath.Split(files[0])
	name, err := ostree.ParseObjectPath(filepath.Base(folder) + "/" + base)
	must(t, err)
	raw, err := os.ReadFile(files[0])
	must(t, err)
	return sample{name, raw}
}

// noise is the same for the same text.
func noise(text string, n int) []byte {
	raw := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(text))).Read(raw)
	return raw
}

// post sends an object as a build does; what comes of it the witness sees.
func (c *scene) post(ctx context.Context, o sample) {
	c.send(ctx, http.MethodPost, "/api/v3/objects/"+o.name.Path(), o.raw)
}

// get demands that a path of the api answers, or does not.
func (c *scene) get(ctx context.Context, path string, possible bool) []byte {
	a := c.send(ctx, http.MethodGet, path, nil)
	switch {
	case possible && a.status != http.StatusOK:
		c.t.Errorf("%s: GET %s: %d %s", c.trouble.name, path, a.status, a.body)
	case !possible:
		c.trouble.check(c.t, "GET "+path, a)
	}
	return a.body
}

// send sends one request of a build.
func (c *scene) send(ctx context.Context, method, path string, body []byte) (a answer) {
	req, err := http.NewRequestWithContext(ctx, method, c.s.api+path, bytes.NewReader(body))
	var res *http.Response
	if err == nil {
		req.Header.Set("Content-Type", "application/octet-stream")
		res, err = c.build.Do(req)
	}
	if err == nil {
		defer res.Body.Close()
		a.body, err = io.ReadAll(res.Body)
		a = answerOf(res, a.body)
	}
	if err != nil {
		c.t.Errorf("%s: %v", c.trouble.name, err)
	}
	return a
}

// check demands that an answer says that the server is in trouble.
func (tr trouble) check(t *testing.T, what string, a answer) {
	t.Helper()
	if a.status < 500 || a.header == "" || a.told != a.header {
		t.Errorf("%s: %s: status %d, error id %q in the header, body %.200s; want 5xx and the id in both", tr.name, what, a.status, a.header, a.body)
	}
	if told := fmt.Sprint(a.status, " ", a.code); tr.told != "" && told != tr.told {
		t.Errorf("%s: %s: %s, want %s", tr.name, what, told, tr.told)
	}
}

// ask asks for what is there.
func (c *scene) ask(ctx context.Context) {
	if _, err := c.idle.Poll(ctx); (err == nil) == c.trouble.noReads {
		c.t.Errorf("%s: a device polls: %v", c.trouble.name, err)
	}
	c.get(ctx, "/api/v1/devices", !c.trouble.noReads)
}

// change makes a build push, a new device come and a known one get an image.
func (c *scene) change(ctx context.Context) {
	tr := c.trouble
	c.get(ctx, "/api/v3/objects/"+c.old.name.Path(), !tr.noReads && !tr.noBlobs)
	c.post(ctx, c.fresh)
	if _, err := c.newcome.Poll(ctx); (err == nil) == tr.noWrites {
		c.t.Errorf("%s: a new device comes: %v", tr.name, err)
	}
	if err := c.operator.assign(ctx, c.idle); (err == nil) == tr.noWrites {
		c.t.Errorf("%s: an operator assigns: %v", tr.name, err)
	}
	c.refusedAsExpected()
}

// refusedAsExpected demands a refusal of everything that is not possible, and of
// nothing else.
func (c *scene) refusedAsExpected() {
	c.t.Helper()
	want := map[string]bool{"POST /api/v3/objects/": true, "POST /events": c.trouble.noWrites, "PUT /director/manifest": c.trouble.noWrites,
		"POST /devices": c.trouble.noWrites, "POST /api/v1/updates": c.trouble.noWrites}
	seen := map[string]bool{}
	for _, r := range c.refused() {
		c.trouble.check(c.t, r.String(), r.answer)
		for name := range want {
			seen[name] = seen[name] || strings.HasPrefix(r.String(), name)
		}
	}
	for name, refused := range want {
		if seen[name] != refused {
			c.t.Errorf("%s: %s was refused: %t, want %t", c.trouble.name, name, seen[name], refused)
		}
	}
}

// refused are the writes that were not possible, those of a build last.
func (c *scene) refused() []refused {
	var all []refused
	for _, w := range []*witness{c.idle.w, c.reporter.w, c.newcome.w, c.operator.w, c.builds} {
		all = append(all, w.refused()...)
	}
	return all
}

// after sends everything again that was refused, byte for byte, and looks whether
// the server and its clients have got over it.
func (c *scene) after(ctx context.Context) (refusals int) {
	c.t.Helper()
	list := c.refused()
	for _, r := range list {
		a, err := r.again(ctx)
		again := strings.HasPrefix(r.String(), "POST /api/v3/objects/") && a.status == http.StatusConflict // sent twice
		if err != nil || a.status/100 != 2 && !again {
			c.t.Errorf("%s: %s, sent again: %d %.200s, %v", c.trouble.name, r, a.status, a.body, err)
		}
	}
	if raw := c.get(ctx, "/api/v3/objects/"+c.fresh.name.Path(), true); !bytes.Equal(raw, c.fresh.raw) {
		c.t.Errorf("%s: the object that was sent again is another", c.trouble.name)
	}
	for _, v := range []*car{c.reporter, c.newcome, c.idle} {
		r, err := v.Poll(ctx)
		if err != nil || v == c.idle && r.Outcome != device.Installed {
			c.t.Errorf("%s: %s polls: %q, %v", c.trouble.name, v.OEMID(), r.Outcome, err)
		}
		v.verify(ctx, c.operator.client)
	}
	c.operator.verify(ctx)
	return len(list)
}
