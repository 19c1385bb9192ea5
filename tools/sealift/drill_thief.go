package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"gopkg.in/yaml.v3"

	"sealift/director"
	"sealift/fixtures/fault"
	"sealift/gateway"
	"sealift/internal/web"
	"sealift/uptane"
	model "sealift/uptane/ceremony"
)

// evil is software that nobody signed offline.
const evil = "evil-1"

// thief has a copy of a server, and answers at its address.
type thief struct {
	address string // of the gateway
	s       settings
	*services
	liar   *fault.Liar
	server *http.Server
	own    ed25519.PrivateKey // made by himself
	forged int64              // how often: each forgery is newer than the last
}

// burgle opens the copy in the loot folder of a stage as a server of the thief's
// own, at the address that devices know.
func burgle(ctx context.Context, g *stage) (*thief, error) {
	t := &thief{}
	if err := os.Remove(g.path("loot", backupFile)); err != nil {
		return nil, fmt.Errorf("opening the loot: %w", err)
	}
	var err error
	if t.s, err = g.stolenSettings(); err != nil {
		return nil, err
	}
	t.address = t.s.ListenGateway
	if _, t.own, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	return t, t.takeOver(ctx)
}

// takeOver opens the copy and listens.
func (t *thief) takeOver(ctx context.Context) error {
	log := slog.New(slog.DiscardHandler)
	var err error
	if t.services, err = openServices(ctx, t.s, log, false); err != nil {
		return err
	}
	handler, err := t.Gateway(gateway.Config{Log: log})
	if err != nil {
		return err
	}
	names, err := t.s.names()
	if err != nil {
		return err
	}
	config, err := t.Vault.TLSConfig(ctx, names)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", t.address)
	if err != nil {
		return fmt.Errorf("taking the server's address: %w", err)
	}
	t.liar = fault.New(handler)
	t.server = web.Server(t.liar, log)
	t.server.TLSConfig = config
	go func() { _ = t.server.ServeTLS(l, "", "") }()
	return nil
}

// flee ends what takeOver began.
func (t *thief) flee() error {
	if t.server == nil {
		return nil
	}
	err := errors.Join(t.server.Close(), t.services.close())
	t.server, t.services = nil, nil
	return err
}

// Sign implements uptane.Signer with stolen online keys, and with a key of his own
// for what people sign offline.
func (t *thief) Sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	if model.Online(job.Repository, job.Role) {
		return t.Vault.Sign(ctx, job, msg)
	}
	sig, err := uptane.Sign(t.own, msg)
	return []uptane.RawSig{sig}, err
}

// idea is one way to attack, and the reason for which devices have to refuse.
type idea struct {
	title, means string
	refusal      error
	prepare      func(context.Context, uptane.OEMID) ([]fault.Lie, error)
}

func (t *thief) ideas() []idea {
	return []idea{
		{"an old release", "the stolen Director assigns " + drillApp + "-1, which people have signed once", uptane.ErrRollback, t.oldRelease},
		{"own software", "Director metadata that ask for it, signed with the stolen Director keys", uptane.ErrImage, t.ownSoftware},
		{"own image list", "Image metadata that list it, signed with the stolen snapshot and timestamp keys", uptane.ErrSignature, t.ownImages},
		{"own root", "a root that names the thief's keys, signed with the stolen ones", uptane.ErrSignature, t.ownRoot},
	}
}

// lastIdea is to be the server again, as if nothing had happened.
func (t *thief) lastIdea() idea {
	return idea{"the old server", "", uptane.ErrSignature, func(context.Context, uptane.OEMID) ([]fault.Lie, error) { return nil, nil }}
}

// stolenSettings are those of the stage's server, on the loot.
func (g *stage) stolenSettings() (settings, error) {
	var s settings
	raw, err := os.ReadFile(g.path("sealift-data", "config.yaml"))
	if err != nil {
		return s, fmt.Errorf("reading the server's settings: %w", err)
	}
	var saved map[string]any
	if err := yaml.Unmarshal(raw, &saved); err != nil {
		return s, fmt.Errorf("reading the server's settings: %w", err)
	}
	of := func(name string) string { text, _ := saved[name].(string); return text }
	s = settings{Data: g.path("loot"), MasterKey: of("master-key"), ListenGateway: of("listen-gateway"), ListenAPI: of("listen-api"),
		GatewayURL: of("gateway-url"), APIURL: of("api-url"), Dev: true}
	return s, nil
}

func (t *thief) device(ctx context.Context, name uptane.OEMID) (uptane.DeviceID, error) {
	known, err := t.Registry.Device(ctx, defaultNamespace, string(name))
	return known.ID, err
}

func (t *thief) oldRelease(ctx context.Context, name uptane.OEMID) ([]fault.Lie, error) {
	id, err := t.device(ctx, name)
	if err != nil {
		return nil, err
	}
	target, err := t.Repo.Target(ctx, defaultNamespace, drillApp+"-1")
	if err != nil {
		return nil, err
	}
	old := director.Image{Filename: target.Filename, SHA256: target.SHA256(), Length: target.Length}
	update, err := t.Director.CreateUpdate(ctx, defaultNamespace, "", map[uptane.HardwareID]director.UpdateTarget{drillBoard: {To: old}})
	if err != nil {
		return nil, err
	}
	_, err = t.Director.Assign(ctx, defaultNamespace, director.AssignRequest{Update: update.ID, Devices: []uptane.DeviceID{id}})
	return nil, err
}

// software is evil as targets list it, for an ECU if there is one.
func (t *thief) software(targets *metadata.TargetsType, ecus map[uptane.ECUSerial]uptane.HardwareID) {
	image := uptane.Target{Filename: evil, Length: int64(len(evil)), Hashes: metadata.Hashes{"sha256": make([]byte, 32)},
		Custom: uptane.Custom{Name: evil, Version: "1", TargetFormat: uptane.FormatBinary, ReleaseCounter: 99, ECUs: ecus, HardwareIDs: []uptane.HardwareID{drillBoard}}}
	if ecus != nil {
		image.Custom = uptane.Custom{TargetFormat: uptane.FormatBinary, ReleaseCounter: 99, ECUs: ecus}
	}
	file, err := image.File()
	if err != nil {
		panic(err) // our own
	}
	targets.Targets = map[string]*metadata.TargetFiles{evil: file}
}

// forge makes documents of a repository that are newer than all before.
func (t *thief) forge(ctx context.Context, repo uptane.Repository, from fault.Set, edit func(*metadata.TargetsType)) (fault.Set, error) {
	t.forged++
	n := t.forged
	return fault.Forgery{Signer: t, Namespace: defaultNamespace, Repository: repo,
		Targets:   func(p *metadata.TargetsType) { p.Version += n; edit(p) },
		Snapshot:  func(p *metadata.SnapshotType) { p.Version += n },
		Timestamp: func(p *metadata.TimestampType) { p.Version += n }}.Make(ctx, from)
}

// documents are what the stolen server would serve.
func (t *thief) documents(read func(name string) ([]byte, error)) (fault.Set, error) {
	set := fault.Set{}
	for _, name := range []string{"timestamp.json", "snapshot.json", "targets.json"} {
		doc, err := read(name)
		if err != nil {
			return nil, err
		}
		set[name] = doc
	}
	return set, nil
}

// ownSoftware lets the Director ask for evil.
func (t *thief) ownSoftware(ctx context.Context, name uptane.OEMID) ([]fault.Lie, error) {
	id, err := t.device(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := t.Director.Cancel(ctx, defaultNamespace, id, true); err != nil {
		return nil, err
	}
	_, ecus, err := t.Director.Device(ctx, defaultNamespace, id)
	if err != nil {
		return nil, err
	}
	from, err := t.documents(func(name string) ([]byte, error) { return t.Director.Metadata(ctx, defaultNamespace, id, name) })
	if err != nil {
		return nil, err
	}
	set, err := t.forge(ctx, uptane.DirectorRepository, from, func(p *metadata.TargetsType) {
		t.software(p, map[uptane.ECUSerial]uptane.HardwareID{ecus[0].Serial: drillBoard})
	})
	return append(set.Lies("/director/"), fault.Serve("/repo/targets/"+evil, []byte(evil))), err
}

// ownImages lets both repositories list evil.
func (t *thief) ownImages(ctx context.Context, name uptane.OEMID) ([]fault.Lie, error) {
	lies, err := t.ownSoftware(ctx, name)
	if err != nil {
		return nil, err
	}
	from, err := t.documents(func(name string) ([]byte, error) {
		doc, err := t.Repo.Metadata(ctx, defaultNamespace, name)
		return doc.Bytes, err
	})
	if err != nil {
		return nil, err
	}
	set, err := t.forge(ctx, uptane.ImageRepository, from, func(p *metadata.TargetsType) { t.software(p, nil) })
	return append(lies, set.Lies("/repo/")...), err
}

// ownRoot serves the next Director root, which names the thief's key for root.
func (t *thief) ownRoot(ctx context.Context, _ uptane.OEMID) ([]fault.Lie, error) {
	raw, err := t.Vault.Root(ctx, defaultNamespace, uptane.DirectorRepository, 0)
	if err != nil {
		return nil, err
	}
	root, err := fault.Read[metadata.RootType](raw, uptane.RoleRoot)
	if err != nil {
		return nil, err
	}
	key, err := uptane.NewKey(t.own.Public())
	if err != nil {
		return nil, err
	}
	root.Version++
	if err := uptane.AddKey(root, uptane.RoleRoot, key); err != nil {
		return nil, err
	}
	signer := everyKey{t}
	doc, err := fault.Sign(ctx, signer, uptane.Job{Namespace: defaultNamespace, Repository: uptane.DirectorRepository, Role: uptane.RoleRoot}, root)
	return []fault.Lie{fault.Serve(fmt.Sprintf("/director/%d.root.json", root.Version), doc)}, err
}

// everyKey signs with all stolen keys of a repository and the thief's own.
type everyKey struct{ t *thief }

func (e everyKey) Sign(ctx context.Context, job uptane.Job, msg []byte) ([]uptane.RawSig, error) {
	var all []uptane.RawSig
	for _, role := range model.Roles() {
		job.Role = role
		sigs, err := e.t.Sign(ctx, job, msg)
		if err != nil {
			return nil, err
		}
		for _, s := range sigs {
			if !slices.ContainsFunc(all, func(known uptane.RawSig) bool { return known.Key == s.Key }) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

func joined(words []string) string { return strings.Join(words, " ") }

// linesWith are the lines of a tool's output that have one of these texts in them.
func linesWith(out string, texts ...string) (list []string) {
	for line := range strings.Lines(out) {
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) }) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
