package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"sealift/internal/db"
	"sealift/uptane"
)

// Ending is something of the vault that ends.
type Ending struct {
	// Thing is its name for programs: director/root, image/root, ca/server,
	// ca/server-root, ca/server-next, ca/device, ca/device-root, ca/own/ID,
	// certificate/server, certificate/bootstrap/ID.
	Thing   string
	Name    string // for people
	Version int    // of a root
	Ends    time.Time
	// Online says that the server renews it by itself, to the end of what it is
	// issued by.
	Online bool
}

// Endings are when the current roots, the CAs and the bootstrap certificates of a
// namespace end; for "" those of the server: its CAs and the certificates of its
// listeners. What is revoked is left out, and a bootstrap certificate that has ended
// while another is good.
func (v *Vault) Endings(ctx context.Context, ns uptane.Namespace) ([]Ending, error) {
	if ns == "" {
		list, err := v.authorityEndings(ctx, "", map[string]string{
			"ca/server-root": kindServerRoot, "ca/server-next": kindServerRootNext, "ca/server": kindServer})
		return append(list, v.leafEndings()...), err
	}
	list, err := v.authorityEndings(ctx, ns, map[string]string{"ca/device-root": kindDeviceRoot, "ca/device": kindDevice})
	if err != nil {
		return nil, err
	}
	for repo, name := range map[uptane.Repository]string{uptane.ImageRepository: "root of the Image repository", uptane.DirectorRepository: "root of the Director"} {
		state, err := v.rootState(ctx, ns, repo)
		if err != nil {
			return nil, err
		}
		if state.version > 0 {
			list = append(list, Ending{Thing: string(repo) + "/root", Name: name,
				Version: state.version, Ends: state.payload.Expires})
		}
	}
	issuers, err := v.Issuers(ctx, ns)
	if err != nil {
		return nil, err
	}
	for _, i := range issuers {
		if i.Revoked.IsZero() {
			list = append(list, Ending{Thing: "ca/own/" + i.Fingerprint[:12], Name: "your CA " + clip(i.Certificate.Subject.String()), Ends: i.Certificate.NotAfter.UTC()})
		}
	}
	shared, err := v.bootstrapEndings(ctx, ns)
	return append(list, shared...), err
}

func (v *Vault) authorityEndings(ctx context.Context, ns uptane.Namespace, kinds map[string]string) ([]Ending, error) {
	var list []Ending
	for thing, kind := range kinds {
		row, err := v.store.lastAuthority(ctx, ns, kind)
		if errors.Is(err, db.ErrNoRows) {
			continue
		}
		var cert *x509.Certificate
		if err == nil {
			cert, err = x509.ParseCertificate(row.Certificate)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", thing, err)
		}
		list = append(list, Ending{Thing: thing, Name: "CA " + cert.Subject.CommonName, Ends: cert.NotAfter.UTC()})
	}
	return list, nil
}

// leafEndings are those of the listeners of this process.
func (v *Vault) leafEndings() []Ending {
	var list []Ending
	v.leaves.Range(func(key, _ any) bool {
		l := key.(*serverLeaf)
		l.mu.Lock()
		defer l.mu.Unlock()
		list = append(list, Ending{Thing: "certificate/server", Name: "certificate for " + l.names.String(), Ends: l.cert.Leaf.NotAfter.UTC(), Online: true})
		return true
	})
	return list
}

func (v *Vault) bootstrapEndings(ctx context.Context, ns uptane.Namespace) ([]Ending, error) {
	all, err := v.Bootstraps(ctx, ns)
	if err != nil {
		return nil, err
	}
	var good, ended []Ending
	for _, b := range all {
		if !b.Revoked.IsZero() || b.MaxUses > 0 && b.Uses >= b.MaxUses {
			continue
		}
		e := Ending{Thing: "certificate/bootstrap/" + b.Fingerprint[:12], Name: "shared certificate of new devices", Ends: b.NotAfter}
		if b.Name != "" {
			e.Name += " " + clip(b.Name)
		}
		if b.NotAfter.After(v.now()) {
			good = append(good, e)
		} else {
			ended = append(ended, e)
		}
	}
	if len(good) == 0 {
		return ended, nil
	}
	return good, nil
}
