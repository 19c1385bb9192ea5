package repo

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/treehub/ostree"
	"sealift/uptane"
	"sealift/uptane/canonical"
)

// changes is what a push does to the table of visible targets.
type changes struct {
	saved   []targetRow // added and changed
	added   []targetRow
	removed []targetRow
}

// checkTop is check of a push, whose targets replace all at the top level.
func (r *Repo) checkTop(ctx context.Context, ns uptane.Namespace, d uptane.Document[metadata.TargetsType], missing *[]string) (changes, []string, error) {
	old, err := r.store.allTargets(ctx, r.store.db, ns)
	if err != nil {
		return changes{}, nil, fmt.Errorf("reading targets of %s: %w", ns, err)
	}
	return r.check(ctx, ns, d, old, missing)
}

// check holds each target of targets metadata against the rules and against what
// is visible of the same role. Reasons to refuse it are collected; an error is an
// accident. That the bytes of a target are not here is a reason, or goes to
// missing unless that is nil.
func (r *Repo) check(ctx context.Context, ns uptane.Namespace, d uptane.Document[metadata.TargetsType], old map[string]targetRow, missing *[]string) (changes, []string, error) {
	var c changes
	entries, err := entriesOf(d.Signed)
	if err != nil {
		return c, nil, err
	}
	var fresh []string // not in the table as they are
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if was, ok := old[name]; !ok || was.Entry != entries[name] {
			fresh = append(fresh, name)
		}
	}
	k := checker{repo: r, ns: ns, now: r.now().UnixMilli(), missing: missing}
	if k.contents, err = r.store.contents(ctx, ns, fresh); err != nil {
		return c, nil, fmt.Errorf("reading contents of filenames of %s: %w", ns, err)
	}
	if k.images, err = r.store.imagesOf(ctx, ns, fresh); err != nil {
		return c, nil, fmt.Errorf("reading images of %s: %w", ns, err)
	}
	var reasons []string
	for _, name := range fresh {
		was, known := old[name]
		row, reason, err := k.target(ctx, name, d.Payload.Targets[name], was, known)
		if err != nil {
			return c, nil, err
		}
		if reason != "" {
			reasons = append(reasons, fmt.Sprintf("target item error %s: %s", name, reason))
		}
		row.Entry = entries[name]
		c.saved = append(c.saved, row)
		if !known {
			c.added = append(c.added, row)
		}
	}
	for name, was := range old {
		if _, still := entries[name]; !still {
			c.removed = append(c.removed, was)
		}
	}
	return c, reasons, nil
}

// entriesOf returns each target's entry in canonical form.
func entriesOf(signed []byte) (map[string]string, error) {
	v, err := canonical.Parse(signed, canonical.Options{ASCII: true})
	if err != nil {
		return nil, fmt.Errorf("reading targets again: %w", err)
	}
	list, _ := v.Member("targets")
	entries := make(map[string]string, len(list.Members()))
	for _, m := range list.Members() {
		entries[m.Name] = string(m.Value.Uptane())
	}
	return entries, nil
}

// checker knows what the targets of one push are held against.
type checker struct {
	repo     *Repo
	ns       uptane.Namespace
	contents map[string]content
	images   map[string][]imageRow
	now      int64
	missing  *[]string // targets whose bytes are not here; nil: those are refused
}

// absent is what becomes of a target whose bytes are not here.
func (k checker) absent(name, reason string) string {
	if reason == "" || k.missing == nil {
		return reason
	}
	*k.missing = append(*k.missing, name+": "+reason)
	return ""
}

// target returns the row of a target that is new or changed, or why it is
// refused.
func (k checker) target(ctx context.Context, name string, file *metadata.TargetFiles, was targetRow, known bool) (targetRow, string, error) {
	row := targetRow{Filename: name, AddedAt: k.now}
	if known {
		row.AddedAt = was.AddedAt
	}
	t, err := uptane.TargetOf(name, file)
	if err != nil {
		return row, err.Error(), nil
	}
	row.SHA256, row.Length, row.URI = t.SHA256(), t.Length, t.Custom.URI
	row.Name, row.Version, row.Format = t.Custom.Name, t.Custom.Version, t.Custom.TargetFormat
	row.Hardware, row.MadeAt = hardwareText(t.Custom.HardwareIDs), madeAt(t.Custom, row.AddedAt)
	if t.IsOSTree() {
		row.Format = uptane.FormatOSTree
	}
	if reason := checkEntry(t, file.Custom != nil, known); reason != "" {
		return row, reason, nil
	}
	if c, ok := k.contents[name]; ok && (c.SHA256 != row.SHA256 || c.Length != row.Length) {
		return row, fmt.Sprintf("the name stands for other content (sha256 %s, %d bytes) for ever; use a new name or version", c.SHA256, c.Length), nil
	}
	if t.IsOSTree() {
		reason, err := k.commit(ctx, row.SHA256)
		return row, k.absent(name, reason), err
	}
	if known && was.Image != "" { // the content is the same for ever
		row.Image = was.Image
		return row, "", nil
	}
	uploaded := t.Custom.CLIUploaded != nil && *t.Custom.CLIUploaded
	image, reason := k.image(name, row.SHA256, row.Length)
	row.Image = image
	if image == "" && uploaded {
		return row, k.absent(name, reason), nil
	}
	return row, "", nil
}

// checkEntry applies the rules that need no more than the entry itself.
func checkEntry(t uptane.Target, custom, known bool) string {
	c := t.Custom
	switch {
	case len(t.Hashes) != 1:
		return "hashes has more than sha256, which not every client reads"
	case !custom && known:
		return ""
	case !custom:
		return "custom is missing"
	case c.ECUs != nil:
		return "custom.ecuIdentifiers belongs into Director metadata; devices match no image that has it"
	case c.Name == "" || c.Version == "":
		return "custom.name or custom.version is missing"
	case c.HardwareIDs == nil:
		return "custom.hardwareIds is missing"
	case c.CreatedAt.IsZero() || c.UpdatedAt.IsZero():
		return "custom.createdAt or custom.updatedAt is missing"
	case c.TargetFormat != "" && c.TargetFormat != uptane.FormatOSTree && c.TargetFormat != uptane.FormatBinary:
		return fmt.Sprintf("custom.targetFormat is %q, not OSTREE or BINARY", c.TargetFormat)
	case c.URI != "" && !isDownload(c.URI):
		return "custom.uri is no http or https address"
	}
	return ""
}

func isDownload(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// commit demands that TreeHub has the whole commit.
func (k checker) commit(ctx context.Context, sha256 string) (reason string, err error) {
	sum, err := ostree.ParseChecksum(sha256)
	if err != nil {
		return "hashes.sha256 is no commit", nil
	}
	err = k.repo.cfg.Complete(ctx, k.ns, sum)
	if f := fault.Of(err); f != nil {
		if f.Cause() != "" {
			return f.Cause(), nil
		}
		return f.Description(), nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for commit %s of %s: %w", sha256, k.ns, err)
	}
	return "", nil
}

// image finds the upload that a target means.
func (k checker) image(name, sha256 string, length int64) (id, reason string) {
	uploads := k.images[name]
	for _, i := range uploads {
		if i.SHA256 == sha256 && i.Length == length {
			return i.ID, ""
		}
	}
	if len(uploads) == 0 {
		return "", "its bytes were never uploaded"
	}
	last := uploads[len(uploads)-1]
	return "", fmt.Sprintf("the uploaded bytes have sha256 %s and length %d, the metadata says %s and %d", last.SHA256, last.Length, sha256, length)
}
