// Package keys is the custody of Sealift: private keys of online roles, root
// metadata of both repositories, CAs and certificates, and the record of
// every signature.
//
// # Online keys
//
// A [Vault] makes Ed25519 or RSA keys for the Director's targets, snapshot
// and timestamp and the Image repository's snapshot and timestamp, keeps them
// sealed, in a PKCS#11 token or in a key service, and signs with them ([Vault.Sign]) once a root names
// them. Only [Vault.Export] returns a private key of a role, to a local command;
// no route leads there. Root keys, and the targets key of
// the Image repository, are never here: a root that names one of ours there
// is refused. A public key serves one namespace, repository and role for ever.
//
// # Who is a device
//
// [Vault.Identify] decides by the certificate table alone: the fingerprint of
// the certificate says namespace and device, never a subject. Certificates
// enter the table when they are issued here, or at first contact when a CA of
// the customer's own ([Vault.AddIssuer]) has issued them.
//
// # Replicas
//
// Any number of processes may share the database. What a Vault remembers is
// checked against the database at most once a second, and a change made
// through the same Vault is seen at once; in between, requests that change
// nothing do not touch the database.
package keys

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"sealift/internal/db"
	"sealift/internal/hsm"
	"sealift/keys/record"
	"sealift/uptane"
)

//go:embed schema
var schema embed.FS

// Config is what a Vault needs.
type Config struct {
	// DB and KEK are required.
	DB  *db.DB
	KEK KEK
	// Token names where private keys of online roles are from now on: a PKCS#11 token,
	// such as pkcs11:token=NAME, in which they are made, or the beginning of an alias in
	// a key service, such as awskms:///alias/NAME, where people make them; "" seals them
	// in the database. Keys that are elsewhere stay there and go on signing.
	Token string
	// Service has the keys of a key service; nil where none is known.
	Service hsm.Service
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log is where refusals and warnings go; nil means slog.Default.
	Log *slog.Logger
	// Actor names who acts in ctx, for the audit; nil means "local".
	Actor func(ctx context.Context) string
	// Enrol finds or makes the device of that name at its first contact with
	// a certificate of a customer's own CA; nil refuses such devices.
	Enrol func(context.Context, uptane.Namespace, uptane.OEMID) (uptane.DeviceID, error)
}

// Vault signs for online roles, keeps roots and decides who is a device.
// Each use of a key is in the record before its signature leaves the Vault.
// It implements uptane.Signer and uptane.Roots. Safe for concurrent use.
type Vault struct {
	store store
	seals *seals
	now   func() time.Time
	log   *slog.Logger
	actor func(context.Context) string
	enrol func(context.Context, uptane.Namespace, uptane.OEMID) (uptane.DeviceID, error)

	record *record.Log

	stamps stamps
	away   outages
	clock  clock
	known  knownCerts
	roots  sync.Map // repoKey -> *rootState
	leaves sync.Map // *serverLeaf -> struct{}: the certificates of listeners

	unknown, forged atomic.Uint64
	strangers       rate.Sometimes // keeps a fleet of another server from filling the log
}

var (
	_ uptane.Signer = (*Vault)(nil)
	_ uptane.Roots  = (*Vault)(nil)
)

// New migrates the tables of the vault and opens it. A KEK that does not open
// what is sealed in the database is an error.
func New(ctx context.Context, c Config) (*Vault, error) {
	if c.DB == nil || c.KEK == nil {
		return nil, errors.New("opening vault: no database or no key-encryption key")
	}
	if err := db.Migrate(ctx, c.DB, "keys", schema); err != nil {
		return nil, err
	}
	v := &Vault{store: store{c.DB}, now: c.Now, log: c.Log, actor: c.Actor, enrol: c.Enrol,
		strangers: rate.Sometimes{First: 10, Interval: sayAgain}}
	v.clock.said.Interval = sayAgain
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.Default()
	}
	if v.actor == nil {
		v.actor = func(context.Context) string { return "local" }
	}
	v.record = record.New(record.Config{DB: c.DB, Now: v.now, Log: v.log})
	var err error
	if v.seals, err = openSeals(ctx, v.store, c.KEK, c.Token, hsm.Surroundings{Service: c.Service}, v.now()); err != nil {
		return nil, fmt.Errorf("opening vault: %w", err)
	}
	return v, nil
}

// Record is the tree of hashes over all that was signed and done.
func (v *Vault) Record() *record.Log { return v.record }

// Counters are numbers since the start, for monitoring.
type Counters struct {
	// Unknown certificates: neither in the table nor of a CA of ours.
	Unknown uint64
	// Forged certificates: of our own device CA, yet never issued here. Other
	// than zero means that a key of the CA is in foreign hands, or that an old
	// backup was restored.
	Forged uint64
}

// Counters returns how often certificates were refused.
func (v *Vault) Counters() Counters {
	return Counters{Unknown: v.unknown.Load(), Forged: v.forged.Load()}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
