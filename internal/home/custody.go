package home

import (
	"context"
	"encoding/pem"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// SealRoot signs a root that was put together elsewhere, in the flavours of this
// home. Neither it nor the unsigned root is stored: [Home.KeepRoot] does that
// once the server has it.
func (h *Home) SealRoot(ctx context.Context, root *metadata.RootType, keys []string) (Signed, error) {
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, root)
	if err != nil {
		return Signed{}, err
	}
	v, err := canonical.Parse(payload, ascii)
	if err != nil {
		return Signed{}, err
	}
	return h.seal(ctx, uptane.RoleRoot, v, Signing{Keys: keys, Version: root.Version, Expires: root.Expires}, RootLife, rootTwin)
}

// KeepRoot makes a signed root the local one.
func (h *Home) KeepRoot(s Signed) error { return h.setSigned(uptane.RoleRoot, s) }

// ReplaceKeys makes key the only one of a role in a root.
func ReplaceKeys(root *metadata.RootType, role uptane.Role, key uptane.Key) error {
	ring, err := uptane.RingOf(uptane.Uptane, root, role)
	if err != nil {
		return err
	}
	for _, old := range ring.Keys {
		if old != key {
			uptane.RemoveKey(root, role, old)
		}
	}
	root.Roles[string(role)].Threshold = 1
	return uptane.AddKey(root, role, key)
}

// NextRoot is a copy of root to be edited, one version on and with the usual
// life.
func (h *Home) NextRoot(root uptane.Document[metadata.RootType]) (*metadata.RootType, error) {
	next, err := uptane.ParsePayload[metadata.RootType](uptane.Uptane, uptane.RoleRoot, root.Signed)
	if err != nil {
		return nil, err
	}
	next.Version++
	next.Expires = h.opts.Now().UTC().Truncate(time.Second).Add(RootLife)
	return next, nil
}

// ParsePublic reads a public key: the object of a .pub file, or PEM.
func ParsePublic(raw []byte) (uptane.Key, error) {
	if block, _ := pem.Decode(raw); block != nil && block.Type == "PUBLIC KEY" {
		return uptane.ParseSPKI(block.Bytes)
	}
	return uptane.ParseKey(raw)
}
