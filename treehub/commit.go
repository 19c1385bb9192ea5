package treehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Commit is what is known of a pushed commit.
type Commit struct {
	Checksum ostree.Checksum
	Parent   ostree.Checksum // zero without one
	Subject  string
	// CommittedAt is the committer's claim.
	CommittedAt time.Time
	PushedAt    time.Time
	PushedBy    string
	// Complete: everything below the commit is stored.
	Complete bool
	// Objects and Size, in bytes as stored, are of all the commit needs,
	// itself included; 0 while it is not complete.
	Objects, Size int64
	// Refs are the short names of refs that point to it.
	Refs []string
}

func commitRow(up Upload, c *ostree.Commit, now int64) commitRecord {
	row := commitRecord{Checksum: up.Name.Checksum.String(), Subject: c.Subject,
		CommittedAt: c.Timestamp.UnixMilli(), PushedAt: now, PushedBy: up.By}
	if !c.Parent.IsZero() {
		row.Parent = c.Parent.String()
	}
	return row
}

// Commits returns at most limit commits after offset, the last pushed first,
// and how many there are.
func (t *TreeHub) Commits(ctx context.Context, ns uptane.Namespace, offset, limit int) ([]Commit, int, error) {
	rows, err := t.store.commits(ctx, ns, offset, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("listing commits of %s: %w", ns, err)
	}
	total, err := t.store.countCommits(ctx, ns)
	if err != nil {
		return nil, 0, fmt.Errorf("counting commits of %s: %w", ns, err)
	}
	commits, err := t.describe(ctx, ns, rows)
	return commits, total, err
}

// Commit answers ErrObjectMissing for a commit that was never pushed.
func (t *TreeHub) Commit(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum) (Commit, error) {
	row, err := t.store.commit(ctx, ns, commit)
	if errors.Is(err, db.ErrNoRows) {
		return Commit{}, ErrObjectMissing
	}
	if err != nil {
		return Commit{}, fmt.Errorf("reading commit %s of %s: %w", commit, ns, err)
	}
	list, err := t.describe(ctx, ns, []commitRecord{row})
	if err != nil {
		return Commit{}, err
	}
	return list[0], nil
}

func (t *TreeHub) describe(ctx context.Context, ns uptane.Namespace, rows []commitRecord) ([]Commit, error) {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.Checksum
	}
	refs, err := t.store.refsTo(ctx, ns, names)
	if err != nil {
		return nil, fmt.Errorf("looking for refs of %s: %w", ns, err)
	}
	list := make([]Commit, len(rows))
	for i, row := range rows {
		if row.Complete && row.Objects < 0 { // a crash came before it was measured
			if row.Objects, row.Size, err = t.measure(ctx, ns, row.Checksum); err != nil {
				return nil, err
			}
		}
		if list[i], err = row.commit(refs[row.Checksum]); err != nil {
			return nil, fmt.Errorf("reading commit %s of %s: %w", row.Checksum, ns, err)
		}
	}
	return list, nil
}

func (r commitRecord) commit(refs []string) (Commit, error) {
	c := Commit{Subject: r.Subject, CommittedAt: time.UnixMilli(r.CommittedAt).UTC(),
		PushedAt: time.UnixMilli(r.PushedAt).UTC(), PushedBy: r.PushedBy,
		Complete: r.Complete, Objects: max(r.Objects, 0), Size: max(r.Size, 0), Refs: refs}
	var err error
	if c.Checksum, err = ostree.ParseChecksum(r.Checksum); err != nil || r.Parent == "" {
		return c, err
	}
	c.Parent, err = ostree.ParseChecksum(r.Parent)
	return c, err
}

// measure counts what a complete commit needs and remembers it.
func (t *TreeHub) measure(ctx context.Context, ns uptane.Namespace, checksum string) (objects, size int64, err error) {
	objects, size, err = t.store.measure(ctx, ns, checksum+"."+string(ostree.TypeCommit))
	if err == nil {
		err = t.store.setMeasure(ctx, ns, checksum, objects, size)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("measuring commit %s of %s: %w", checksum, ns, err)
	}
	return objects, size, nil
}

// measureCommits measures those of names that are commits. The objects are
// stored by now, so a failure is no reason to refuse an upload.
func (t *TreeHub) measureCommits(ctx context.Context, ns uptane.Namespace, names []string) {
	for _, name := range names {
		checksum, ok := strings.CutSuffix(name, "."+string(ostree.TypeCommit))
		if !ok {
			continue
		}
		if _, _, err := t.measure(ctx, ns, checksum); err != nil {
			t.log.WarnContext(ctx, "commit not measured", "err", err)
		}
	}
}

// PutManifest keeps the source manifest a commit was built from: any JSON
// object, kept as it came, the last one counts. It answers ErrManifest and
// ErrCommitMissing.
func (t *TreeHub) PutManifest(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum, doc []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(doc, &object); err != nil || object == nil || !utf8.Valid(doc) {
		return ErrManifest
	}
	if err := t.RequireComplete(ctx, ns, commit); err != nil {
		return err
	}
	if err := t.store.setManifest(ctx, ns, commit, string(doc), t.now().UnixMilli()); err != nil {
		return fmt.Errorf("storing manifest of %s of %s: %w", commit, ns, err)
	}
	return nil
}

// Manifest returns what PutManifest kept, or answers ErrNoManifest.
func (t *TreeHub) Manifest(ctx context.Context, ns uptane.Namespace, commit ostree.Checksum) ([]byte, error) {
	doc, err := t.store.manifest(ctx, ns, commit)
	if errors.Is(err, db.ErrNoRows) {
		return nil, ErrNoManifest
	}
	if err != nil {
		return nil, fmt.Errorf("reading manifest of %s of %s: %w", commit, ns, err)
	}
	return []byte(doc), nil
}
