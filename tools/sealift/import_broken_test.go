package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"sealift/fixtures/device"
	"sealift/fixtures/oldserver"
	"sealift/keys"
	"sealift/uptane"
)

// TestAnImportThatBrokeOffIsFinished: an import is interrupted after each of its
// steps, and before the last; devices get nothing in between.
func TestAnImportThatBrokeOffIsFinished(t *testing.T) {
	engines(t, func(t *testing.T, database string) {
		m := newMove(t, database)
		m.polls(m.car("car", m.old.Gateway()), device.NothingNew)
		m.old.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(1, "radio"), "radio-*", "board", "radio-1")
		m.old.Dump(m.o.dir)
		m.o.OnlineTargets = true
		steps := []string{"Tried on a copy", "Done: signing homes", "Done: roots", "Done: images", "Done: targets", "Done: delegated", "Done: devices", "Done: CAs"}
		if database != "" { // each opens sealed keys, which takes its time
			steps = []string{"Done: roots", "Done: targets", "Done: CAs"}
		}
		for _, said := range steps {
			if out, err := m.importsUntil(said); err == nil || !strings.Contains(err.Error(), "devices get nothing until the same command has succeeded") {
				t.Fatalf("interrupted after %q: %s, %v", said, out, err)
			}
			m.unserved(said)
		}
		must(t, os.WriteFile(m.o.Out, nil, 0o600)) // in the way of the archives
		if _, err := m.imports(); err == nil {
			t.Fatal("archives without a folder")
		}
		m.unserved("archives")
		must(t, os.Remove(m.o.Out))
		out, err := m.imports()
		if err != nil || !strings.Contains(out, "broke off: it goes on from there") || !strings.Contains(out, "WARNING: with this one whoever takes the server can sign any image") {
			t.Fatalf("%s, %v", out, err)
		}
		v := m.open()
		defer func() { must(t, v.close()) }()
		m.polls(m.car("car", m.gateway(v)), device.NothingNew)
		if list, err := v.Vault.OnlineKeys(t.Context(), defaultNamespace, uptane.ImageRepository, uptane.RoleTargets); err != nil || len(list) != 1 {
			t.Errorf("the targets key that was asked for: %v, %v", list, err)
		}
		car := m.car("car", m.gateway(v))
		m.assign(v, car, "radio-1")
		m.polls(car, device.Installed)
	})
}

// unserved: devices get nothing.
func (m *move) unserved(when string) {
	m.t.Helper()
	v := m.open()
	defer func() { must(m.t, v.close()) }()
	issuers, err := v.Vault.Issuers(m.t.Context(), defaultNamespace)
	must(m.t, err)
	want := http.StatusUnauthorized
	if len(issuers) > 0 {
		want = http.StatusServiceUnavailable
	}
	for _, path := range []string{"/repo/timestamp.json", "/repo/1.root.json", "/director/targets.json"} {
		if status := m.get(v, path); status != want {
			m.t.Errorf("%s after %s of half an import: %d, want %d", path, when, status, want)
		}
	}
}

// TestAServerInUseIsNotOverwritten: two chains of roots cannot become one.
func TestAServerInUseIsNotOverwritten(t *testing.T) {
	m := newMove(t, "")
	for _, dir := range []string{m.s.Data, m.s.MasterKey, m.o.Offline, m.o.Out} {
		must(t, os.RemoveAll(dir))
	}
	must(t, runInit(t.Context(), m.s, initOptions{Offline: m.o.Offline, Out: m.o.Out, KeyType: "ed25519"}, io.Discard))
	m.old.Dump(m.o.dir)
	before := m.traces()
	for _, dry := range []bool{true, false} {
		m.o.DryRun = dry
		if _, err := m.imports(); !errors.Is(err, keys.ErrImportConflict) || !strings.Contains(err.Error(), "sealift init --for-import") || !strings.Contains(err.Error(), "nothing was imported") {
			t.Errorf("into a server in use: %v", err)
		}
	}
	if after := m.traces(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
	v := m.open()
	defer func() { must(t, v.close()) }()
	if n, err := v.Vault.RootVersion(t.Context(), defaultNamespace, uptane.ImageRepository); n != 1 || err != nil {
		t.Errorf("root %d, %v", n, err)
	}
}
