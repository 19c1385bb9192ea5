package repo

import (
	"context"
	"crypto/md5" //nolint:gosec // as the parts were announced
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"gocloud.dev/gcerrors"

	"sealift/internal/db"
	"sealift/uptane"
)

// targets holds the tables against the visible targets. A push that becomes
// visible meanwhile makes it begin anew.
func (v *verification) targets(ctx context.Context) error {
	for range maxTries {
		before, err := v.repository(ctx, v.ns)
		if err != nil {
			return err
		}
		rows, err := v.store.allTargets(ctx, v.store.db, v.ns)
		if err != nil {
			return err
		}
		tuf, err := v.store.tufTargets(ctx, v.ns)
		if err != nil {
			return err
		}
		after, err := v.repository(ctx, v.ns)
		if err != nil {
			return err
		}
		if before.Push == after.Push && before.TUFPush == after.TUFPush {
			return errors.Join(v.visible(ctx, before, rows), v.tufTargets(ctx, tuf))
		}
	}
	return ErrBusy
}

func (v *verification) visible(ctx context.Context, repository repositoryRow, rows map[string]targetRow) error {
	entries := map[string]string{}
	if repository.Push != "" {
		push, err := v.store.push(ctx, v.ns, repository.Push)
		if errors.Is(err, db.ErrNoRows) || err == nil && push.PublishedAt == 0 {
			v.damaged("push "+repository.Push, "it is the visible one, and is not there or not published")
			return nil
		}
		if err != nil {
			return err
		}
		e, err := uptane.ParseEnvelope(uptane.Uptane, push.Document)
		if err != nil {
			return nil // told already
		}
		if entries, err = entriesOf(e.Signed); err != nil {
			return nil
		}
	}
	var names []string
	for name := range entries {
		if _, ok := rows[name]; !ok {
			v.damaged("target "+name, "the visible targets have it, the table does not")
		}
		names = append(names, name)
	}
	contents, err := v.store.contents(ctx, v.ns, names)
	if err != nil {
		return err
	}
	for name, t := range rows {
		v.account.Looked("targets", 1)
		if entry, ok := entries[name]; !ok || entry != t.Entry {
			v.damaged("target "+name, "the visible targets say otherwise than the table, or do not have it")
		}
		if c := contents[name]; c.SHA256 != t.SHA256 || c.Length != t.Length {
			v.damaged("target "+name, "what the name stands for is noted with other content, or not at all")
		}
		if t.Format == uptane.FormatOSTree {
			if err := v.completeTarget(ctx, t); err != nil {
				return err
			}
		}
		if err := v.named(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// named verifies that the image a target names is there and is the target's.
func (v *verification) named(ctx context.Context, t targetRow) error {
	if t.Image == "" {
		return nil
	}
	i, err := v.store.image(ctx, v.ns, t.Image)
	if errors.Is(err, db.ErrNoRows) {
		v.damaged("target "+t.Filename, "its image %s is not there", t.Image)
		return nil
	}
	if err == nil && (i.SHA256 != t.SHA256 || i.Length != t.Length || i.Filename != t.Filename || i.IdleSince != 0) {
		v.damaged("target "+t.Filename, "its image %s is another one, or is about to be deleted", t.Image)
	}
	return err
}

func (v *verification) tufTargets(ctx context.Context, rows []tufTargetRow) error {
	for _, t := range rows {
		i, err := v.store.image(ctx, v.ns, t.Image)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if err != nil || i.SHA256 != t.SHA256 {
			v.damaged("TUF target "+t.Filename, "its image %s is not there, or is another one", t.Image)
		}
	}
	return nil
}

// images reads every uploaded image.
func (v *verification) images(ctx context.Context) error {
	for after := ""; ; {
		page, err := v.store.imagesAfter(ctx, v.ns, after, verifyPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, i := range page {
			after = i.ID
			v.account.Looked("images", 1)
			what := fmt.Sprintf("image %s of %s", i.ID, i.Filename)
			if err := v.blob(ctx, what, i.Blob, i.Length, sha256.New(), i.SHA256); err != nil {
				return err
			}
		}
	}
}

// parts reads what was sent of uploads that are under way.
func (v *verification) parts(ctx context.Context) error {
	list, err := v.store.allParts(ctx, v.ns)
	if err != nil {
		return err
	}
	for _, p := range list {
		v.account.Looked("parts of uploads", 1)
		what := fmt.Sprintf("part %d of upload %s", p.Part, p.Upload)
		if err := v.blob(ctx, what, p.Blob, p.Size, md5.New(), p.MD5); err != nil { //nolint:gosec // see above
			return err
		}
	}
	return nil
}

// blob reads a blob and holds it against its row. One whose row has gone
// meanwhile is nobody's damage.
func (v *verification) blob(ctx context.Context, what, key string, size int64, sum hash.Hash, want string) error {
	r, err := v.bucket.NewReader(ctx, key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		still, err := v.store.hasBlob(ctx, key)
		if err == nil && still {
			v.damaged(what, "its blob %s is gone", key)
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("opening blob %s: %w", key, err)
	}
	defer func() { _ = r.Close() }()
	n, err := io.Copy(sum, r)
	if err != nil {
		return fmt.Errorf("reading blob %s: %w", key, err)
	}
	v.account.Read(n)
	if got := hex.EncodeToString(sum.Sum(nil)); n != size || got != want {
		v.damaged(what, "its blob %s has %d bytes with checksum %s, not %d with %s", key, n, got, size, want)
	}
	return nil
}
