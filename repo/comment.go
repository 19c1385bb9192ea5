package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// MaxComment bounds a comment, in bytes.
const MaxComment = 4 << 10

var (
	// ErrCommentMissing: nobody said anything about the target.
	ErrCommentMissing = fault.New(fault.NotFound, "missing_entity", "no such comment")
	// ErrSBOMMissing: the target has no bill of materials.
	ErrSBOMMissing = fault.New(fault.NotFound, "sbom_not_found", "no bill of materials")
)

// Note is text about a target: a comment, or where its bill of materials is.
type Note struct {
	Filename string `db:"filename"`
	Text     string `db:"text"`
}

// SetComment keeps what people say about a target, in place of what they said
// before. It answers ErrTargetMissing or ErrInvalid.
func (r *Repo) SetComment(ctx context.Context, ns uptane.Namespace, filename, text, by string) error {
	if len(text) > MaxComment || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return ErrInvalid.Withf("a comment is text of at most %d bytes", MaxComment)
	}
	return r.note(ctx, ns, comments, filename, text, by)
}

// Comment returns it. It answers ErrCommentMissing.
func (r *Repo) Comment(ctx context.Context, ns uptane.Namespace, filename string) (string, error) {
	return r.noted(ctx, ns, comments, filename, ErrCommentMissing)
}

// Comments returns a page of comments on targets whose filename contains text, in
// the order of the filenames, and how many there are.
func (r *Repo) Comments(ctx context.Context, ns uptane.Namespace, text string, limit, offset int) ([]Note, int, error) {
	return r.notes(ctx, ns, comments, text, limit, offset)
}

// CommentsOn returns the comments on those of the targets that have one.
func (r *Repo) CommentsOn(ctx context.Context, ns uptane.Namespace, filenames []string) ([]Note, error) {
	var named []string
	for _, f := range filenames {
		if uptane.CheckFilename(f) == nil {
			named = append(named, f)
		}
	}
	found, err := r.store.notesOn(ctx, ns, comments, named)
	if err != nil {
		return nil, fmt.Errorf("reading comments of %s: %w", ns, err)
	}
	return found, nil
}

// SetSBOM says where the bill of materials of a target is. It answers
// ErrTargetMissing, or ErrInvalid unless uri is an http or https address.
func (r *Repo) SetSBOM(ctx context.Context, ns uptane.Namespace, filename, uri, by string) error {
	if len(uri) > 2048 || !isDownload(uri) {
		return ErrInvalid.With("uri must be an http or https address of at most 2048 bytes")
	}
	return r.note(ctx, ns, sboms, filename, uri, by)
}

// SBOM returns where it is. It answers ErrSBOMMissing.
func (r *Repo) SBOM(ctx context.Context, ns uptane.Namespace, filename string) (string, error) {
	return r.noted(ctx, ns, sboms, filename, ErrSBOMMissing)
}

// SBOMs returns a page of them, and how many there are.
func (r *Repo) SBOMs(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]Note, int, error) {
	return r.notes(ctx, ns, sboms, "", limit, offset)
}

// DropSBOM forgets where the bill of materials of a target is. It answers
// ErrSBOMMissing.
func (r *Repo) DropSBOM(ctx context.Context, ns uptane.Namespace, filename string) error {
	if uptane.CheckFilename(filename) != nil {
		return ErrSBOMMissing
	}
	err := r.acting(ctx, ns, actNote, fmt.Sprintf("no uri of %q", filename), func(ctx context.Context, tx *sqlx.Tx) error {
		gone, err := r.store.dropNote(ctx, tx, ns, sboms, filename)
		if err == nil && !gone {
			err = ErrSBOMMissing
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping bill of materials of %q of %s: %w", filename, ns, err)
	}
	return nil
}

func (r *Repo) note(ctx context.Context, ns uptane.Namespace, kind noteTable, filename, text, by string) error {
	if _, _, err := r.target(ctx, ns, filename); err != nil {
		return err
	}
	err := r.acting(ctx, ns, actNote, fmt.Sprintf("%s of %q", kind.column(), filename), func(ctx context.Context, tx *sqlx.Tx) error {
		return r.store.saveNote(ctx, tx, ns, kind, filename, text, r.now().UnixMilli(), by)
	})
	if err != nil {
		return fmt.Errorf("noting about %q of %s: %w", filename, ns, err)
	}
	return nil
}

func (r *Repo) noted(ctx context.Context, ns uptane.Namespace, kind noteTable, filename string, missing *fault.Fault) (string, error) {
	if uptane.CheckFilename(filename) != nil {
		return "", missing
	}
	text, err := r.store.note(ctx, ns, kind, filename)
	if errors.Is(err, db.ErrNoRows) {
		return "", missing
	}
	if err != nil {
		return "", fmt.Errorf("reading about %q of %s: %w", filename, ns, err)
	}
	return text, nil
}

func (r *Repo) notes(ctx context.Context, ns uptane.Namespace, kind noteTable, text string, limit, offset int) ([]Note, int, error) {
	if !searchable(text) {
		return nil, 0, nil
	}
	total, err := r.store.countNotes(ctx, ns, kind, text)
	if err != nil {
		return nil, 0, fmt.Errorf("counting notes of %s: %w", ns, err)
	}
	list, err := r.store.notes(ctx, ns, kind, text, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("reading notes of %s: %w", ns, err)
	}
	return list, int(total), nil
}
