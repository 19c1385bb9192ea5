package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sealift/internal/db"
	"sealift/keys/record"
	"sealift/uptane"
)

// maxSigned bounds a document that a proof is asked for.
const maxSigned = 16 << 20

// newAudit is `sealift audit`.
func newAudit() *cobra.Command {
	audit := &cobra.Command{Use: "audit", Short: "Who did and signed what, and the proof that nothing of it was changed",
		Long: `Every use of an online key and every administrative act is a leaf of one growing tree of hashes.
Each second the server seals what was added; the head of the tree is in every new timestamp.json, so
that each device and mirror is a witness, and goes to whatever serve --record-heads names.`}
	audit.AddCommand(newAuditList(), newAuditVerify(), newAuditProve(), newAuditCheck())
	return audit
}

type actAnswer struct {
	ID, Actor, ActorName, Action, Detail string
	At                                   time.Time
}

// who is the actor by id and, where it is a token, by name.
func (a actAnswer) who() string {
	if a.ActorName == "" {
		return plain(a.Actor)
	}
	return plain(a.Actor) + " (" + plain(a.ActorName) + ")"
}

func newAuditList() *cobra.Command {
	var f operatorFlags
	var before string
	var limit int
	c := f.speak(&cobra.Command{Use: "list", Short: "List administrative acts, newest first", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		var list struct{ Values []actAnswer }
		query := url.Values{"before": {before}, "limit": {strconv.Itoa(limit)}}
		raw, err := k.get(c.Context(), "/api/v1/audit?"+query.Encode(), &list)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			for _, a := range list.Values {
				fmt.Fprintf(w, "%s  %-20s %-20s %s\n", a.At.Format(time.RFC3339), a.who(), plain(a.Action), plain(a.Detail))
			}
			if len(list.Values) == limit {
				fmt.Fprintf(w, "older ones: --before %s\n", plain(list.Values[limit-1].ID))
			}
			return nil
		})
	})
	f.bind(c)
	c.Flags().StringVar(&before, "before", "", "list those before the act with this id")
	c.Flags().IntVar(&limit, "limit", 50, "how many, at most 1000")
	return c
}

// newAuditVerify is `sealift audit verify`. It looks at the database alone, so
// that it can be run on a copy, by somebody who does not trust the server.
func newAuditVerify() *cobra.Command {
	var s settings
	var heads []string
	c := &cobra.Command{Use: "verify", Short: "Work the record out anew and name the first bad leaf, also while the server runs", Args: args(cobra.NoArgs),
		Long: `Reads every signature and every act that is in the database, works the tree of hashes out anew and
holds it against what was sealed. A changed, deleted, added or moved row is named.

Whoever can write the whole database can also write a new tree. Give heads that were told outside
with --heads: files of timestamp.json that devices or mirrors have, or what --record-heads collected.`,
		Example: `  sealift audit verify --heads timestamp.json --heads heads.txt`,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if _, err := s.load(c); err != nil {
				return err
			}
			var witnesses []record.Head
			for _, path := range heads {
				list, err := readHeads(path)
				if err != nil {
					return err
				}
				witnesses = append(witnesses, list...)
			}
			d, err := s.openDatabase(c.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			return auditVerify(c.Context(), record.New(record.Config{DB: d}), witnesses, c.OutOrStdout())
		},
	}
	s.bindData(c)
	c.Flags().StringArrayVar(&heads, "heads", nil, "file with heads that were told outside (repeatable)")
	return c
}

// openDatabase opens the database alone to read it, beside a server that may run on
// it.
func (s settings) openDatabase(ctx context.Context) (*db.DB, error) {
	if s.DatabaseURL == "" {
		if _, err := os.Stat(s.sqliteFile()); err != nil {
			return nil, usage(fmt.Errorf("there is no database in %s; name the data folder with --data", s.Data))
		}
	}
	d, err := db.OpenToRead(ctx, s.databaseURL())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return d, nil
}

func readHeads(path string) ([]record.Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(err)
	}
	defer func() { _ = f.Close() }()
	list, err := record.ParseHeads(f)
	if err == nil && len(list) == 0 {
		err = usage(fmt.Errorf("%s names no head of a record", path))
	}
	return list, err
}

func auditVerify(ctx context.Context, log *record.Log, witnesses []record.Head, w io.Writer) error {
	damages := 0
	r, err := log.Verify(ctx, witnesses, func(record.Result) {}, func(d record.Damage) {
		damages++
		fmt.Fprintln(w, "DAMAGED  "+plain(d.String()))
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%10d  leaves in %d batches\n%10d  heads from outside compared\n", r.Leaves, r.Batches, r.Witnesses)
	if damages > 0 {
		return fmt.Errorf("%d damages: the record was tampered with, or the database is of an older backup", damages)
	}
	if r.Overdue > 0 {
		fmt.Fprintf(w, "%10d  rows wait for a running server to seal them, for more than a minute; nothing protects them until then\n", r.Overdue)
	}
	if r.Batches == 0 {
		fmt.Fprintln(w, "nothing is sealed yet: a running server seals once a second")
		return nil
	}
	fmt.Fprintf(w, "whole: head %x of %d batches\n", r.Head.Hash[:], r.Head.Size)
	if r.Witnesses == 0 {
		fmt.Fprintln(w, "Whoever can write the whole database could have written all of it anew: compare it with a timestamp.json that a device has, --heads FILE")
	}
	return nil
}

func newAuditProve() *cobra.Command {
	var f operatorFlags
	var timestamp, out string
	c := f.speak(&cobra.Command{Use: "prove DOCUMENT", Short: "Get the proof that a document was signed here, for somebody who has a later timestamp.json", Args: args(cobra.ExactArgs(1)),
		Example: `  sealift audit prove targets.json --timestamp timestamp.json
  sealift audit check proof.json targets.json --timestamp timestamp.json   # needs no server`},
		func(k *client, c *cobra.Command, given []string) error {
			msg, err := readMessage(given[0])
			if err != nil {
				return err
			}
			sum := sha256.Sum256(msg)
			path := "/api/v1/record/proofs/" + hex.EncodeToString(sum[:])
			if timestamp != "" {
				heads, err := readHeads(timestamp)
				if err != nil {
					return err
				}
				path += "?size=" + strconv.FormatInt(heads[len(heads)-1].Size, 10)
			}
			var proof record.Proof
			raw, err := k.get(c.Context(), path, &proof)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, raw, 0o644); err != nil {
				return fmt.Errorf("writing the proof: %w", err)
			}
			_, err = fmt.Fprintf(k.out, "%s proves it for the tree of %d batches: signed %s\n", out, proof.Size, time.UnixMilli(proof.Leaf.At).UTC().Format(time.RFC3339))
			return err
		})
	f.bind(c)
	c.Flags().StringVar(&timestamp, "timestamp", "", "the timestamp.json whose head it is to be proved against (default: the present head)")
	c.Flags().StringVar(&out, "out", "proof.json", "file to write")
	return c
}

// newAuditCheck is `sealift audit check`. It needs neither server nor network.
func newAuditCheck() *cobra.Command {
	var timestamp string
	c := &cobra.Command{Use: "check PROOF DOCUMENT", Short: "Check a proof, with nothing but a timestamp.json that a device has verified", Args: args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, given []string) error {
			text, err := os.Open(given[0])
			if err != nil {
				return usage(err)
			}
			defer func() { _ = text.Close() }()
			proof, err := record.ParseProof(text)
			if err != nil {
				return err
			}
			msg, err := readMessage(given[1])
			if err != nil {
				return err
			}
			heads, err := readHeads(timestamp)
			if err != nil {
				return err
			}
			if err := proof.Check(msg, heads[len(heads)-1]); err != nil {
				return err
			}
			l := proof.Leaf
			_, err = fmt.Fprintf(c.OutOrStdout(), "proved: %s of the %s repository was signed %s in namespace %s with key %s under root %d\n",
				plain(l.Role), plain(l.Repository), time.UnixMilli(l.At).UTC().Format(time.RFC3339), plain(l.Namespace), plain(l.KeyID), l.RootVersion)
			return err
		}}
	c.Flags().StringVar(&timestamp, "timestamp", "timestamp.json", "the timestamp.json, or a file with the head")
	return c
}

// readMessage reads what the signatures of a document are about.
func readMessage(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxSigned))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	msg, err := uptane.Message(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is no signed document: %w", path, err)
	}
	return msg, nil
}
