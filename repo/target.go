package repo

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/db"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// Item is a visible target as lists show it.
type Item struct {
	Filename  string
	Role      uptane.Role     // targets, or the delegated role that names it
	Entry     json.RawMessage // hashes, length and custom as signed, canonical
	Stored    bool            // its bytes are here
	AddedAt   time.Time
	UpdatedAt time.Time
}

// Target returns a target of the visible metadata: of the top level, or of the
// role in which clients find it. It answers ErrTargetMissing, and ErrTargetBuried
// where not every client finds it.
func (r *Repo) Target(ctx context.Context, ns uptane.Namespace, filename string) (uptane.Target, error) {
	row, role, err := r.target(ctx, ns, filename)
	if err != nil {
		return uptane.Target{}, err
	}
	t := uptane.Target{Filename: filename, Length: row.Length, Hashes: metadata.Hashes{}}
	if role != uptane.RoleTargets {
		t.Delegated = role
		if err := r.requireSearched(ctx, ns, role); err != nil {
			return t, fmt.Errorf("reading target %q of %s: %w", filename, ns, err)
		}
	}
	if t.Until, err = r.until(ctx, ns, role); err != nil {
		return t, fmt.Errorf("reading the end of target %q of %s: %w", filename, ns, err)
	}
	sum, err := hex.DecodeString(row.SHA256)
	if err != nil {
		return t, fmt.Errorf("reading hash of target %q of %s: %w", filename, ns, err)
	}
	t.Hashes["sha256"] = sum
	var entry struct {
		Custom json.RawMessage `json:"custom"`
	}
	if err = json.Unmarshal([]byte(row.Entry), &entry); err == nil && entry.Custom != nil {
		err = t.Custom.UnmarshalJSON(entry.Custom)
	}
	if err != nil {
		return t, fmt.Errorf("reading target %q of %s: %w", filename, ns, err)
	}
	return t, nil
}

// Item returns a target as lists show it. It answers ErrTargetMissing.
func (r *Repo) Item(ctx context.Context, ns uptane.Namespace, filename string) (Item, error) {
	row, role, err := r.target(ctx, ns, filename)
	item := itemOf(row)
	item.Role = role
	return item, err
}

// Targets returns a page of the visible targets whose filename or name contains
// text, in any case, least recently changed first, and how many there are.
func (r *Repo) Targets(ctx context.Context, ns uptane.Namespace, text string, limit, offset int) ([]Item, int, error) {
	if !searchable(text) {
		return nil, 0, nil // nothing has such a name
	}
	total, err := r.store.countTargets(ctx, ns, text)
	if err != nil {
		return nil, 0, fmt.Errorf("counting targets of %s: %w", ns, err)
	}
	rows, err := r.store.targets(ctx, ns, text, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	items := make([]Item, len(rows))
	for i, row := range rows {
		items[i] = itemOf(row)
	}
	return items, int(total), nil
}

// searchable reports whether any name can contain text.
func searchable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}

// Commits calls fn for each commit that a visible target names, and stops at its
// first error. It is what TreeHub must keep for the repository's sake.
func (r *Repo) Commits(ctx context.Context, ns uptane.Namespace, fn func(ostree.Checksum) error) error {
	sums, err := r.store.commits(ctx, ns)
	if err != nil {
		return fmt.Errorf("reading commits of %s: %w", ns, err)
	}
	for _, s := range sums {
		sum, err := ostree.ParseChecksum(s)
		if err != nil {
			return fmt.Errorf("reading commits of %s: %w", ns, err)
		}
		if err := fn(sum); err != nil {
			return err
		}
	}
	return nil
}

// target returns what clients find under a name, and in which role.
func (r *Repo) target(ctx context.Context, ns uptane.Namespace, filename string) (targetRow, uptane.Role, error) {
	if uptane.CheckFilename(filename) != nil { // no database can know it
		return targetRow{}, "", ErrTargetMissing
	}
	role := uptane.RoleTargets
	row, err := r.store.target(ctx, r.store.db, ns, filename)
	if errors.Is(err, db.ErrNoRows) {
		row, role, err = r.find(ctx, ns, filename)
	}
	if err != nil {
		return row, "", fmt.Errorf("reading target %q of %s: %w", filename, ns, err)
	}
	return row, role, nil
}

func itemOf(row targetRow) Item {
	return Item{Filename: row.Filename, Role: uptane.RoleTargets, Entry: json.RawMessage(row.Entry), Stored: row.Image != "",
		AddedAt: time.UnixMilli(row.AddedAt), UpdatedAt: time.UnixMilli(row.UpdatedAt)}
}
