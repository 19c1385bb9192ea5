package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/keys/pki"
	"sealift/uptane"
)

// bootstrapName is the common name of every bootstrap certificate.
const bootstrapName = "sealift-provisioning"

// BootstrapRequest asks for a certificate with which devices ask for theirs.
type BootstrapRequest struct {
	Namespace uptane.Namespace
	Name      string        // for people: which production line, which image
	Life      time.Duration // 0 is five years
	MaxUses   int64         // certificates it may ask for; 0 is no limit
	PerHour   int64         // certificates it may ask for within an hour; 0 is no limit
}

// Bootstrap is a bootstrap certificate and how it has been used.
type Bootstrap struct {
	Fingerprint      string
	Name             string
	NotAfter         time.Time
	Issued           time.Time
	Revoked          time.Time // zero: it is in force
	MaxUses, PerHour int64     // 0 is no limit
	Uses             int64
}

// IssueBootstrap makes a bootstrap certificate and returns it with its key as
// a PKCS#12 archive with an empty password, the server roots inside. The
// private key is not kept.
func (v *Vault) IssueBootstrap(ctx context.Context, r BootstrapRequest) ([]byte, Bootstrap, error) {
	if !r.Namespace.Valid() {
		return nil, Bootstrap{}, errNamespace.Withf("%.80q", r.Namespace)
	}
	if r.MaxUses < 0 || r.PerHour < 0 || r.Life < 0 {
		return nil, Bootstrap{}, errTTL.With("limits of a bootstrap certificate are not negative")
	}
	life := r.Life
	if life == 0 {
		life = pki.BootstrapLife
	}
	id := Identity{Namespace: r.Namespace, Kind: KindBootstrap}
	made, err := v.makeClient(ctx, &id, bootstrapName, life)
	if err != nil {
		return nil, Bootstrap{}, fmt.Errorf("issuing bootstrap certificate: %w", err)
	}
	act, err := v.act(ctx, r.Namespace, "bootstrap.issue", "certificate %s, %q, until %s", id.Fingerprint, r.Name, id.NotAfter.Format(time.DateOnly))
	if err != nil {
		return nil, Bootstrap{}, err
	}
	err = v.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		return errors.Join(
			v.store.addCertificate(ctx, tx, id, made.issuer, made.cert, act.At),
			v.store.addBootstrap(ctx, tx, id.Fingerprint, r),
			v.store.addAct(ctx, tx, act))
	})
	if err != nil {
		return nil, Bootstrap{}, fmt.Errorf("issuing bootstrap certificate: %w", err)
	}
	return made.p12, Bootstrap{Fingerprint: id.Fingerprint, Name: r.Name, NotAfter: id.NotAfter, Issued: act.At,
		MaxUses: r.MaxUses, PerHour: r.PerHour}, nil
}

// Bootstraps lists the bootstrap certificates of a namespace, oldest first.
func (v *Vault) Bootstraps(ctx context.Context, ns uptane.Namespace) ([]Bootstrap, error) {
	rows, err := v.store.bootstraps(ctx, ns)
	if err != nil {
		return nil, fmt.Errorf("reading bootstrap certificates: %w", err)
	}
	list := make([]Bootstrap, len(rows))
	for i, r := range rows {
		list[i] = Bootstrap{Fingerprint: r.Fingerprint, Name: r.Name, NotAfter: time.UnixMilli(r.NotAfter).UTC(),
			Issued: time.UnixMilli(r.Created).UTC(), Revoked: maybeTime(r.Revoked), MaxUses: r.MaxUses, PerHour: r.PerHour, Uses: r.Uses}
	}
	return list, nil
}
