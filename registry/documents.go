package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sealift/internal/db"
	"sealift/uptane"
)

// Limits of what a device may send, in bytes and items. The edge reads no more.
const (
	MaxSystemInfo = 1 << 20
	MaxNetwork    = 16 << 10
	MaxConfig     = 256 << 10
	MaxPackages   = 4 << 20
	MaxEvents     = 1 << 20

	maxPackageItems = 20000
	maxEventItems   = 1000
	maxText         = 512
	maxEvent        = 16 << 10 // bytes of one event

	// What is kept of a device, the newest of each.
	keptEvents  = 5000
	keptHistory = 2000
)

// Document is something a device says of itself.
type Document struct {
	Body      string
	UpdatedAt time.Time
}

// Kinds of documents.
const (
	kindSystem  = "system_info"
	kindNetwork = "network"
	kindConfig  = "config"
)

// PutSystemInfo stores the hardware description, any JSON object or array.
// What did not change is not written again.
func (r *Registry) PutSystemInfo(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, body []byte) error {
	compact, err := compactJSON(body, MaxSystemInfo)
	if err != nil {
		return err
	}
	return r.putDocument(ctx, ns, device, kindSystem, compact)
}

// Network is where a device says it is.
type Network struct {
	Hostname  string `json:"hostname"`
	LocalIPv4 string `json:"local_ipv4"`
	MAC       string `json:"mac"`
}

// PutNetwork stores the network description of a device.
func (r *Registry) PutNetwork(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, body []byte) error {
	if _, err := compactJSON(body, MaxNetwork); err != nil {
		return err
	}
	var n Network
	if err := json.Unmarshal(body, &n); err != nil {
		return ErrMalformed.With("network: " + err.Error())
	}
	if len(n.Hostname) > maxText || len(n.LocalIPv4) > maxText || len(n.MAC) > maxText {
		return ErrMalformed.With("network: a value is too long")
	}
	out, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("writing network: %w", err)
	}
	return r.putDocument(ctx, ns, device, kindNetwork, string(out))
}

// PutConfig stores the device's configuration (TOML) with its secrets masked:
// the client sends passwords in clear.
func (r *Registry) PutConfig(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, body []byte) error {
	if len(body) > MaxConfig {
		return ErrMalformed.With("config: too long")
	}
	text := string(body)
	if !printable(text) {
		return ErrMalformed.With("config: it is not text")
	}
	return r.putDocument(ctx, ns, device, kindConfig, mask(text))
}

func (r *Registry) putDocument(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, kind, body string) error {
	old, err := r.store.document(ctx, r.db, ns, device, kind)
	if err == nil && old.Body == body {
		return nil
	}
	if err != nil && !errors.Is(err, db.ErrNoRows) {
		return fmt.Errorf("reading %s: %w", kind, err)
	}
	return wrap("storing "+kind, r.store.putDocument(ctx, r.db, ns, device, kind, body, r.now()))
}

// SystemInfo is what PutSystemInfo stored; an empty object before that.
func (r *Registry) SystemInfo(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (Document, error) {
	return r.document(ctx, ns, device, kindSystem, "{}")
}

// NetworkInfo is what PutNetwork stored; an empty object before that.
func (r *Registry) NetworkInfo(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (Document, error) {
	return r.document(ctx, ns, device, kindNetwork, "{}")
}

// Configuration is what PutConfig stored, secrets masked; empty before that.
func (r *Registry) Configuration(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (Document, error) {
	return r.document(ctx, ns, device, kindConfig, "")
}

func (r *Registry) document(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, kind, otherwise string) (Document, error) {
	d, err := r.store.document(ctx, r.db, ns, device, kind)
	if errors.Is(err, db.ErrNoRows) {
		return Document{Body: otherwise}, nil
	}
	return d, wrap("reading "+kind, err)
}

// compactJSON checks size, depth of nothing but JSON, and removes white space.
func compactJSON(body []byte, limit int) (string, error) {
	if len(body) > limit {
		return "", ErrMalformed.Withf("more than %d bytes", limit)
	}
	if !utf8.Valid(body) {
		return "", ErrMalformed.With("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return "", ErrMalformed.With(err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", ErrMalformed.With("something follows the JSON value")
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return "", ErrMalformed.With(err.Error())
	}
	if bytes.Contains(out.Bytes(), []byte(`\u0000`)) {
		return "", ErrMalformed.With("it contains NUL")
	}
	return out.String(), nil
}

// printable says whether text is UTF-8 without control characters but white
// space: fit for the database.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r'
	})
}

// Package is software that a device reports as installed.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// PutPackages replaces the list of installed software.
func (r *Registry) PutPackages(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, body []byte) error {
	if _, err := compactJSON(body, MaxPackages); err != nil {
		return err
	}
	list, err := readPackages(body)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Name == "" || len(p.Name) > maxText || len(p.Version) > maxText || !printable(p.Name) || !printable(p.Version) {
			return ErrMalformed.Withf("packages: a name has 1 to %d bytes, a version at most as many, both printable", maxText)
		}
	}
	return wrap("storing packages", r.replacePackages(ctx, ns, device, list))
}

// readPackages stops at the first package too many: a list of empty ones would
// take twenty times its bytes.
func readPackages(body []byte) ([]Package, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return nil, ErrMalformed.With("packages: an array is expected")
	}
	var list []Package
	for d.More() {
		if len(list) == maxPackageItems {
			return nil, ErrMalformed.Withf("packages: more than %d", maxPackageItems)
		}
		var p Package
		if err := d.Decode(&p); err != nil {
			return nil, ErrMalformed.With("packages: " + err.Error())
		}
		list = append(list, p)
	}
	return list, nil
}

// Packages lists the installed software of a device by name.
func (r *Registry) Packages(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, nameContains string, offset, limit int) ([]Package, int, error) {
	list, total, err := r.store.packages(ctx, r.db, ns, device, nameContains, offset, limit)
	return list, total, wrap("listing packages", err)
}
