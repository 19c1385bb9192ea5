package drill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing/fstest"
	"time"

	"sealift/fixtures/device"
	"sealift/internal/credentials"
	"sealift/internal/hub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// board is the hardware id of all devices of a drill.
const board = "board"

// pusher pushes one commit after the other to a ref of its own.
type pusher struct {
	s      *server
	w      *witness
	ref    string
	dir    *ostree.Dir
	client *http.Client
	last   ostree.Checksum // that the ref was acknowledged to point to
	sent   int             // commits
}

func newPusher(s *server, ref string) *pusher {
	s.t.Helper()
	p := &pusher{s: s, w: s.witness(object), ref: ref}
	var err error
	p.dir, err = ostree.InitDir(s.t.TempDir())
	must(s.t, err)
	p.client = s.client(p.w)
	return p
}

// hub is the TreeHub as a build sees it that has just begun: one that saw
// failures goes slowly.
func (p *pusher) hub() *hub.Hub {
	p.s.t.Helper()
	h, err := hub.New(hub.Config{URL: p.s.api + "/api/v3", Client: p.client, Jobs: 4, Force: true})
	if err != nil {
		panic(err)
	}
	return h
}

// work pushes until done is closed. A push that has begun is brought to its end.
func (p *pusher) work(ctx context.Context, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		commit, err := p.commit(ctx)
		if err != nil {
			return err
		}
		for err := p.push(ctx, commit); err != nil; err = p.push(ctx, commit) {
			if !rest(ctx, 50*time.Millisecond) {
				return fmt.Errorf("pushing to %s: %w", p.ref, errors.Join(err, ctx.Err()))
			}
		}
		p.last = commit
		p.sent++
	}
}

// commit writes a tree of files that all pushers share and others that none does.
func (p *pusher) commit(ctx context.Context) (ostree.Checksum, error) {
	tree := fstest.MapFS{}
	for i := range 6 {
		tree[fmt.Sprintf("usr/own-%d/file", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint(p.ref, p.sent, i)), Mode: 0o644}
		tree[fmt.Sprintf("usr/shared-%d/file", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint(p.sent, i)), Mode: 0o644}
	}
	return p.dir.Commit(ctx, tree, ostree.CommitOptions{Subject: p.ref, Timestamp: time.Unix(1e9, 0), Parent: p.last})
}

// push is one attempt, in one life of the server.
func (p *pusher) push(ctx context.Context, commit ostree.Checksum) error {
	ctx, end := p.s.alive(ctx)
	defer end()
	h := p.hub()
	if _, err := ostree.Copy(ctx, p.dir, h, commit, ostree.CopyOptions{Jobs: 4}); err != nil {
		return err
	}
	return h.SetRef(ctx, p.ref, commit)
}

// verify demands that every object and ref that was acknowledged is there, as
// far as a push came at all.
func (p *pusher) verify(ctx context.Context) (objects int) {
	p.s.t.Helper()
	h := p.hub()
	for _, a := range p.w.of(http.MethodPost, "/objects/") {
		_, path, _ := strings.Cut(a.path, "/objects/")
		name, err := ostree.ParseObjectPath(path)
		if err != nil {
			continue // objects/missing
		}
		has, err := h.Has(ctx, name)
		must(p.s.t, err)
		if !has {
			p.s.t.Errorf("object %s was acknowledged and is lost", name)
		}
		objects++
	}
	if got, err := h.Ref(ctx, p.ref); p.sent > 0 && (err != nil || got != p.last) {
		p.s.t.Errorf("ref %s points to %s, %s was acknowledged: %v", p.ref, got, p.last, err)
	}
	return objects
}

// car is a device that polls.
type car struct {
	*device.Device
	s    *server
	w    *witness
	id   uptane.DeviceID
	next int // release that it gets next
}

func newCar(s *server, archive *credentials.Archive, name string, edit ...func(*device.Config)) *car {
	s.t.Helper()
	c := &car{s: s, w: s.witness(report), next: 1}
	config := device.Config{Archive: archive, Gateway: s.gateway, OEMID: uptane.OEMID(name),
		Primary: device.ECU{HardwareID: board}, Wrap: c.w.around, Backoff: 20 * time.Millisecond, Patience: patience}
	for _, e := range edit {
		e(&config)
	}
	var err error
	c.Device, err = device.New(config)
	must(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// work polls until done is closed and, if anything went wrong last, until a poll
// succeeds.
func (c *car) work(ctx context.Context, done <-chan struct{}) error {
	for {
		_, err := c.Poll(ctx)
		var refused *device.Refusal
		if errors.As(err, &refused) {
			return fmt.Errorf("%s: %w", c.OEMID(), err)
		}
		if err == nil {
			select {
			case <-done:
				return nil
			default:
			}
		}
		if !rest(ctx, 400*time.Millisecond) {
			return fmt.Errorf("%s: %w", c.OEMID(), errors.Join(err, ctx.Err()))
		}
	}
}

// verify demands that all the device was told is stored is there.
func (c *car) verify(ctx context.Context, client *http.Client) (manifests, events int) {
	c.s.t.Helper()
	sent := c.w.of(http.MethodPut, "/director/manifest")
	if len(sent) == 0 {
		c.s.t.Errorf("%s: no manifest was acknowledged", c.OEMID())
		return 0, 0
	}
	c.verifyInstalled(ctx, client, sent[len(sent)-1].body)
	c.verifyReports(ctx, client, sent)
	return len(sent), c.verifyEvents(ctx, client)
}

// verifyInstalled holds what the server says an ECU runs against the last
// manifest it took.
func (c *car) verifyInstalled(ctx context.Context, client *http.Client, last []byte) {
	c.s.t.Helper()
	m, err := uptane.ParseManifest(last)
	must(c.s.t, err)
	var overview struct {
		ECUs []struct{ EcuSerial, Filename string }
	}
	must(c.s.t, c.s.ask(ctx, client, http.MethodGet, "/api/v1/devices/"+string(c.OEMID())+"/overview", nil, &overview))
	for _, r := range m.Reports {
		for _, e := range overview.ECUs {
			if e.EcuSerial == string(r.Serial) && e.Filename != r.Filepath {
				c.s.t.Errorf("%s runs %s, as an acknowledged manifest says; the server says %s", c.OEMID(), r.Filepath, e.Filename)
			}
		}
	}
}

// verifyReports looks for every installation report in the assignment it ended.
func (c *car) verifyReports(ctx context.Context, client *http.Client, sent []acknowledged) {
	c.s.t.Helper()
	for _, a := range sent {
		m, err := uptane.ParseManifest(a.body)
		must(c.s.t, err)
		if m.Install == nil || !m.Install.Result.Success {
			continue
		}
		update := strings.TrimPrefix(m.Install.CorrelationID, "urn:here-ota:mtu:")
		var list struct{ Values []struct{ Status string } }
		must(c.s.t, c.s.ask(ctx, client, http.MethodGet, "/api/v1/updates/"+update+"/devices", nil, &list))
		if len(list.Values) != 1 || list.Values[0].Status != "installed" {
			c.s.t.Errorf("%s reported update %s installed and was heard; the server says %+v", c.OEMID(), update, list.Values)
		}
	}
}

func (c *car) verifyEvents(ctx context.Context, client *http.Client) int {
	c.s.t.Helper()
	var list []struct{ EventID string }
	must(c.s.t, c.s.ask(ctx, client, http.MethodGet, "/api/v1/devices/"+string(c.OEMID())+"/events?limit=1000", nil, &list))
	stored := map[string]bool{}
	for _, e := range list {
		stored[e.EventID] = true
	}
	n := 0
	for _, a := range c.w.of(http.MethodPost, "/events") {
		var sent []struct{ ID string }
		must(c.s.t, json.Unmarshal(a.body, &sent))
		for _, e := range sent {
			n++
			if !stored[e.ID] {
				c.s.t.Errorf("%s: event %s was acknowledged and is lost", c.OEMID(), e.ID)
			}
		}
	}
	return n
}

// operator gives devices the next release, one after the other.
type operator struct {
	s        *server
	w        *witness
	client   *http.Client
	cars     []*car
	releases int
	assigned map[string]uptane.DeviceID // update -> device, as acknowledged
}

func newOperator(s *server, releases int) *operator {
	w := s.witness(assignment)
	return &operator{s: s, w: w, client: s.client(w), releases: releases, assigned: map[string]uptane.DeviceID{}}
}

func (o *operator) work(ctx context.Context, done <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-done:
			return nil
		default:
		}
		c := o.cars[i%len(o.cars)]
		if err := o.assign(ctx, c); err != nil {
			var no *refusal
			switch {
			case !errors.As(err, &no):
				c.next++ // it may have been done; nobody said so
			case no.status < 500 && no.status != http.StatusNotFound: // not provisioned yet
				return err
			}
		}
		if !rest(ctx, 150*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// find learns the device's id.
func (o *operator) find(ctx context.Context, c *car) error {
	if c.id != "" {
		return nil
	}
	var d struct{ UUID string }
	err := o.s.ask(ctx, o.client, http.MethodGet, "/api/v1/devices/"+string(c.OEMID()), nil, &d)
	c.id = uptane.DeviceID(d.UUID)
	return err
}

// assign gives a device the release after the one it has.
func (o *operator) assign(ctx context.Context, c *car) error {
	if c.next > o.releases {
		return nil
	}
	if err := o.find(ctx, c); err != nil {
		return err
	}
	var made struct {
		UpdateID string
		Affected []uptane.DeviceID
	}
	err := o.s.ask(ctx, o.client, http.MethodPost, "/api/v1/updates", map[string]any{
		"targets": map[string]string{board: fmt.Sprintf("app-%d", c.next)}, "devices": []uptane.DeviceID{c.id}}, &made)
	if err != nil {
		return err
	}
	if len(made.Affected) > 0 {
		o.assigned[made.UpdateID] = c.id
		c.next++
	}
	return nil
}

func (o *operator) verify(ctx context.Context) int {
	o.s.t.Helper()
	for update, id := range o.assigned {
		var list struct{ Values []struct{ DeviceID string } }
		must(o.s.t, o.s.ask(ctx, o.client, http.MethodGet, "/api/v1/updates/"+update+"/devices", nil, &list))
		if len(list.Values) != 1 || list.Values[0].DeviceID != string(id) {
			o.s.t.Errorf("update %s was assigned to %s and acknowledged; its devices are %+v", update, id, list.Values)
		}
	}
	return len(o.assigned)
}
