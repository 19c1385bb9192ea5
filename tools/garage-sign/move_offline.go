package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/home"
	"sealift/internal/reposerver"
	"sealift/uptane"
)

// move is `move-offline` under way.
//
// The order is one in which a crash or a refusal loses no key: a key that the
// server gives away is stored and proved first, then the root that replaces it is
// published, and only then the server is told to forget it.
type move struct {
	*call
	h       *home.Home
	r       *reposerver.Server
	root    uptane.Document[metadata.RootType] // the server's
	old     uptane.Key                         // the root key that signs a last time
	oldName string                             // its local name
	fetched bool                               // the server had it
}

func runMoveOffline(c *call) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	m := &move{call: c, h: h}
	if err := m.checkKeys(); err != nil {
		return err
	}
	if m.r, err = c.repository(h); err != nil {
		return err
	}
	for _, step := range []func() error{m.readRoot, m.readTargets, m.findOld, m.checkDirector, m.saveOld} {
		if err := step(); err != nil {
			return err
		}
	}
	if !c.has("new-root") {
		return m.stopHere()
	}
	signed, err := m.sign()
	if err != nil {
		return err
	}
	if err := m.publish(signed); err != nil {
		return err
	}
	m.forget()
	c.say("Moved offline: root version %d names the key %s", signed.Version, c.get("new-root"))
	if h.Config().ServerType != home.Director {
		c.say("Now `targets sign --key-name %s` and `targets push`: until then nobody accepts the server's targets", c.get("new-targets"))
	}
	return nil
}

func (m *move) director() bool { return m.h.Config().ServerType == home.Director }

// checkKeys refuses before anything is asked for.
func (m *move) checkKeys() error {
	switch {
	case m.director() && m.has("new-targets"):
		return explained("the Director signs its targets itself; --new-targets is for the image repository")
	case m.has("new-root") && !m.director() && !m.has("new-targets"):
		return errors.New("--new-root needs --new-targets: a root that is offline protects nothing while the server can sign targets")
	}
	for _, name := range []string{m.get("new-root"), m.get("new-targets")} {
		if name == "" {
			continue
		}
		if _, err := m.h.Keys().Public(name); err != nil {
			return explained("%w; make it with `key generate --name %s`", err, name)
		}
	}
	if name := m.get("new-root"); name != "" && !m.h.Keys().HasPrivate(name) {
		return explained("the private key of %s is not here, and the new root must be signed with it", name)
	}
	return nil
}

// readRoot fetches the root, which must follow from the local one.
func (m *move) readRoot() error {
	err := m.walkRoots(m.h, m.r)
	local, noLocal := m.h.Root()
	if err != nil && !errors.Is(noLocal, home.ErrNotFound) {
		return err
	}
	newest, err := m.r.Root(m.ctx, 0)
	if err != nil {
		return err
	}
	if m.root, err = uptane.OpenRoot(uptane.Uptane, newest, nil, time.Time{}); err != nil {
		return explained("the server's root is not valid: %w", err)
	}
	if noLocal != nil {
		m.warn("there is no local root to verify the server's by; its word is taken for it")
		_, err = m.h.PullRoot(newest, nil, false)
		return err
	}
	if string(local.Signed) != string(m.root.Signed) {
		return explained("the server's root version %d is not the local one, which is version %d; `root pull` says more", m.root.Payload.Version, local.Payload.Version)
	}
	return nil
}

// readTargets makes sure that the newest targets are here: they are what the new
// key signs next, and after the new root nobody could verify the old ones.
func (m *move) readTargets() error {
	if m.director() {
		return nil
	}
	known, err := m.h.Checksum()
	if err != nil {
		return err
	}
	if _, err := m.h.Unsigned(uptane.RoleTargets); err == nil && known == "" {
		return nil // they were begun here
	}
	raw, checksum, err := m.serverTargets(m.h, m.r, false)
	if err != nil || checksum == known {
		return err
	}
	edited, err := m.h.Edited()
	if err != nil || edited && !m.has("new-root") {
		return err // who signs a root later has time to pull
	}
	if edited {
		return explained("the server's targets have changed since they were pulled, and the local ones have, too: `targets pull` and make the change again first")
	}
	if _, err := m.h.PullTargets(raw, checksum); err != nil {
		return untrusted(err)
	}
	return nil
}

// findOld finds out which root key is to be replaced, and whether it is here.
func (m *move) findOld() error {
	role := m.root.Payload.Roles[string(uptane.RoleRoot)]
	id := m.get("old-keyid")
	if id == "" {
		id = role.KeyIDs[len(role.KeyIDs)-1]
	}
	ring, err := uptane.RingOf(uptane.Uptane, &m.root.Payload, uptane.RoleRoot)
	if err != nil {
		return err
	}
	i := slices.Index(role.KeyIDs, id)
	if i < 0 {
		return explained("%s is no root key of version %d", id, m.root.Payload.Version)
	}
	m.old = ring.Keys[i] // in the order of the ids
	m.oldName = m.get("old-root-alias")
	if m.h.Keys().HasPrivate(m.oldName) {
		if err := m.h.Keys().Prove(m.oldName, m.old); err != nil {
			return explained("%w; --old-root-alias must name the root key %s, or a name that is free", err, id)
		}
		return nil
	}
	if name := m.h.Keys().Named(m.old); name != "" {
		m.say("The root key %s is here already, as %s", id, name)
		m.oldName = name
	}
	return nil
}

// privateKey is the path of a private key at servers that give them away.
func (m *move) privateKey(key uptane.Key) string {
	if m.director() {
		return "private_keys/" + m.listedID(key)
	}
	return "root/private_keys/" + m.listedID(key)
}

// listedID is what the root calls a key.
func (m *move) listedID(key uptane.Key) string {
	for id, model := range m.root.Payload.Keys {
		if public, err := model.ToPublicKey(); err == nil {
			if k, err := uptane.NewKey(public); err == nil && k == key {
				return id
			}
		}
	}
	return string(key.ID())
}

// checkDirector makes sure that a Director can go on signing by itself.
func (m *move) checkDirector() error {
	if !m.director() {
		return nil
	}
	ring, err := uptane.RingOf(uptane.Uptane, &m.root.Payload, uptane.RoleTargets)
	if err != nil {
		return err
	}
	for _, key := range ring.Keys {
		_, err := m.r.Must(m.ctx, http.MethodGet, m.privateKey(key), nil, nil)
		switch {
		case err == nil:
		case withheld(err) && m.h.Keys().HasPrivate(m.oldName):
			m.warn("the server does not show whether it has the Director's targets key, as one that gives no key away should not")
			return nil
		default:
			return explained("the Director's targets key must be online before its root goes offline: %w", err)
		}
	}
	return nil
}

// saveOld brings the old root key here, unless it is here.
func (m *move) saveOld() error {
	if m.h.Keys().HasPrivate(m.oldName) {
		return nil
	}
	a, err := m.r.Must(m.ctx, http.MethodGet, m.privateKey(m.old), nil, nil)
	if withheld(err) {
		return explained("%w\nThe server does not have the root key %s, or gives no private key away: it is offline already, with whoever holds it. "+
			"Put its files into %s/keys as %s.pub and %s.sec, and run this again to replace it", err, m.listedID(m.old), m.h.Dir(), m.oldName, m.oldName)
	}
	if err != nil {
		return err
	}
	if err := m.h.Keys().ImportPair(m.oldName, a.Body, m.old, m.sealing()); err != nil {
		return err
	}
	m.fetched = true
	m.say("Saved the server's root key as %s; the copy can sign", m.oldName)
	return nil
}

// stopHere ends a move without a new root: the key is here, the server has it no
// longer, and what to sign is left to people.
func (m *move) stopHere() error {
	m.forget()
	m.warn("the root key is here; the root itself is unchanged, sign and push one when you need it (root sign, root push)")
	return nil
}

// sign makes the root in which the new keys take the place of the old.
func (m *move) sign() (home.Signed, error) {
	next, err := m.h.NextRoot(m.root)
	if err != nil {
		return home.Signed{}, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &m.root.Payload, uptane.RoleRoot)
	if err != nil {
		return home.Signed{}, err
	}
	for role, name := range map[uptane.Role]string{uptane.RoleRoot: m.get("new-root"), uptane.RoleTargets: m.get("new-targets")} {
		if name == "" {
			continue
		}
		key, err := m.h.Keys().Public(name)
		if err == nil {
			err = home.ReplaceKeys(next, role, key)
		}
		if err != nil {
			return home.Signed{}, err
		}
	}
	signers := []string{m.get("new-root"), m.oldName}
	for _, key := range ring.Keys { // more of them, if the root demands more than one
		if name := m.h.Keys().Named(key); name != "" && !slices.Contains(signers, name) && len(signers) <= ring.Threshold {
			signers = append(signers, name)
		}
	}
	signed, err := m.h.SealRoot(m.ctx, next, signers)
	if err != nil {
		return signed, err
	}
	if _, err := uptane.OpenRoot(uptane.Uptane, signed.Uptane, &m.root.Payload, time.Time{}); err != nil {
		return signed, explained("the new root would not be accepted, nothing was changed: %w", err)
	}
	return signed, nil
}

func (m *move) publish(signed home.Signed) error {
	err := m.r.PutRoot(m.ctx, signed)
	if reposerver.Refused(err, "invalid_root_role") {
		return explained("the server refuses this root; nothing was changed there: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w\nIf the root arrived all the same, `root pull` fetches it", err)
	}
	return m.h.KeepRoot(signed)
}

// forget tells the server to drop a key that it gave away. Many have done so by
// themselves when they took the new root.
func (m *move) forget() {
	if !m.fetched {
		return
	}
	path := m.privateKey(m.old)
	_, err := m.r.Must(m.ctx, http.MethodDelete, path, nil, nil)
	if err != nil && !withheld(err) {
		m.warn(fmt.Sprintf("the server may still have the private key: %v", err))
	}
}
