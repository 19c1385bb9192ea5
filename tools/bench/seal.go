package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/keys"
	"sealift/uptane"
)

const (
	leastSeal   = 9 // turns
	mostSeal    = 41
	mostLeaf    = 201 // what is added is small beside what it is added to
	sealTime    = 8 * time.Second
	sealsATurn  = 200
	signsATurn  = 300
	signingNS   = uptane.Namespace("default")
	sealedECUs  = 3 // in the document
	leafPatient = 15 * time.Second
)

func sealMeasure() measure {
	return measure{name: "seal", limit: 60 * time.Second, run: measureSeal, figures: []figure{
		{Name: "seal_by_ed25519", Unit: "x", Op: "<=", Goal: 4}, {Name: "seal_durable_by_ed25519", Unit: "x"},
		{Name: "record_leaf", Unit: "us", Op: "<", Goal: 5}, {Name: "record_seal_leaf", Unit: "us"}}}
}

// measureSeal measures what it takes to make a document for a device: encoding,
// signing, proving the signature, framing, reading it back; then with the durable row of the
// record that goes before each signature; and what being a leaf adds to that row.
func measureSeal(ctx context.Context, r *results) error {
	dir, err := os.MkdirTemp("", "sealift-bench-seal-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	with, err := newSigningDesk(ctx, filepath.Join(dir, "with"))
	if err != nil {
		return err
	}
	defer with.db.Close()
	without, err := newSigningDesk(ctx, filepath.Join(dir, "without"))
	if err != nil {
		return err
	}
	defer without.db.Close()
	if err := withoutLeaves(ctx, without.db); err != nil {
		return err
	}
	if err := measureSealing(ctx, r, with.vault); err != nil {
		return err
	}
	if err := errors.Join(neverFlush(ctx, with.db), neverFlush(ctx, without.db)); err != nil {
		return err
	}
	return measureLeaf(ctx, r, with, without)
}

func measureSealing(ctx context.Context, r *results, vault *keys.Vault) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	targets := directorTargets()
	job := uptane.Job{Namespace: signingNS, Repository: uptane.DirectorRepository, Role: uptane.RoleTargets}
	held, err := uptane.HoldKey(key)
	if err != nil {
		return err
	}
	desk := deskOf{uptane.RoleTargets: held}
	doc, err := uptane.Seal(ctx, uptane.Uptane, desk, job, targets)
	if err != nil {
		return err
	}
	msg, err := uptane.Payload(uptane.Uptane, uptane.RoleTargets, targets)
	if err != nil {
		return err
	}
	var ratios, durable, bares, rows []float64
	err = interleave(ctx, leastSeal, mostSeal, sealTime, func(n int) error {
		bare, err := timed(sealsATurn, func() error { _, err := key.Sign(nil, msg, crypto.Hash(0)); return err })
		if err != nil {
			return err
		}
		whole, err := timed(sealsATurn, func() error { _, err := uptane.Seal(ctx, uptane.Uptane, desk, job, targets); return err })
		if err != nil {
			return err
		}
		row, err := timed(sealsATurn/10, func() error { _, err := uptane.Seal(ctx, uptane.Uptane, vault, job, targets); return err })
		if err == nil && n > 0 {
			ratios, durable = append(ratios, whole/bare), append(durable, row/bare)
			bares, rows = append(bares, bare), append(rows, row)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.take("seal_by_ed25519", ratios, "a document of %d bytes: encoded, signed twice and compared, framed, read back; the bare signature takes %.3g us", len(doc), median(bares))
	r.take("seal_durable_by_ed25519", durable, "the same by the vault, each signature on disk in the record before it is made, SQLite: %.3g us", median(rows))
	return nil
}

// measureLeaf measures what the record adds to signing, in processor time and
// without the disk's flush; and then what gathering a leaf takes.
func measureLeaf(ctx context.Context, r *results, with, without signingDesk) error {
	var added, seal []float64
	err := interleave(ctx, leastSeal, mostLeaf, leafPatient, func(n int) error {
		with, err := with.sign(ctx, signsATurn)
		if err != nil {
			return err
		}
		without, err := without.sign(ctx, signsATurn)
		if err == nil && n > 0 {
			added = append(added, with-without)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := with.vault.Record().Seal(ctx); err != nil {
		return err
	}
	err = interleave(ctx, 3, leastSeal, leafPatient, func(n int) error {
		if _, err := with.sign(ctx, signsATurn); err != nil {
			return err
		}
		used := processTime()
		sealed, err := with.vault.Record().Seal(ctx)
		if err == nil && !sealed {
			err = errors.New("nothing was to be sealed")
		}
		if err == nil && n > 0 {
			seal = append(seal, float64((processTime()-used).Nanoseconds())/1000/signsATurn)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.take("record_leaf", added, "processor time that the indexes of the record add to a signature by the vault, in turns of %d, nothing flushed; a poll that changes nothing signs nothing", signsATurn)
	r.take("record_seal_leaf", seal, "processor time of the sealer for each leaf, in batches of %d, beside whoever signs", signsATurn)
	return nil
}

// timed is how many microseconds of processor time one of n calls takes.
func timed(n int, do func() error) (float64, error) {
	used := processTime()
	for range n {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return float64((processTime() - used).Nanoseconds()) / 1000 / float64(n), nil
}

// directorTargets is what the Director says to a device with Secondaries.
func directorTargets() *metadata.TargetsType {
	targets := metadata.Targets(farOff()).Signed
	targets.Version = 1
	for i := range sealedECUs {
		name, sum := fmt.Sprintf("image-%d", i), sha256.Sum256([]byte{byte(i)})
		file, err := uptane.Target{Filename: name, Length: 1 << 20, Hashes: metadata.Hashes{"sha256": sum[:]},
			Custom: uptane.Custom{ECUs: map[uptane.ECUSerial]uptane.HardwareID{uptane.ECUSerial(fmt.Sprintf("%x", sum)): "board"}}}.File()
		if err != nil {
			panic(err) // it is well formed
		}
		targets.Targets[name] = file
	}
	return &targets
}

// signingDesk is a vault that signs for the Director.
type signingDesk struct {
	db    *db.DB
	vault *keys.Vault
}

func newSigningDesk(ctx context.Context, dir string) (s signingDesk, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return s, err
	}
	kek, err := keys.CreateFileKEK(filepath.Join(dir, "master.key"), nil)
	if err != nil {
		return s, err
	}
	if s.db, err = db.Open(ctx, filepath.Join(dir, "server.db")); err != nil {
		return s, err
	}
	if s.vault, err = keys.New(ctx, keys.Config{DB: s.db, KEK: kek}); err != nil {
		return s, err
	}
	root, signer := metadata.Root(farOff()).Signed, newSigner()
	root.Keys, root.Roles = nil, nil
	key, err := uptane.NewKey(signer.Public())
	if err == nil {
		err = uptane.AddKey(&root, uptane.RoleRoot, key)
	}
	for _, role := range []uptane.Role{uptane.RoleTargets, uptane.RoleSnapshot, uptane.RoleTimestamp} {
		if err == nil {
			key, err = s.vault.GenerateOnline(ctx, signingNS, uptane.DirectorRepository, role, "")
		}
		if err == nil {
			err = uptane.AddKey(&root, role, key)
		}
	}
	if err != nil {
		return s, err
	}
	doc, err := signedBy(uptane.RoleRoot, &root, signer)
	if err != nil {
		return s, err
	}
	return s, s.vault.PutRoot(ctx, signingNS, uptane.DirectorRepository, doc)
}

// sign signs n times and returns the processor time of one, in microseconds.
func (s signingDesk) sign(ctx context.Context, n int) (float64, error) {
	used := processTime()
	for i := range n {
		job := uptane.Job{Namespace: signingNS, Repository: uptane.DirectorRepository, Role: uptane.RoleTargets}
		if _, err := s.vault.Sign(ctx, job, fmt.Appendf(nil, "document %d of %d", i, used)); err != nil {
			return 0, err
		}
	}
	return float64((processTime() - used).Nanoseconds()) / 1000 / float64(n), nil
}
