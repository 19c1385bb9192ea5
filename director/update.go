package director

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/internal/fault"
	"sealift/uptane"
)

// Limits of an update.
const (
	maxHardwareIDs = 100
	maxUpdateName  = 200
	maxURI         = 2000
	maxCorrelation = 255
)

// Image names an image by what is compared everywhere. SHA256 is lower-case
// hex, of an OSTree image its commit.
type Image struct {
	Filename string
	SHA256   string
	Length   int64
}

// UpdateTarget is what the ECUs of one hardware id get.
type UpdateTarget struct {
	// To is the image. Of a new update SHA256 may be empty; if not, it and
	// Length must be those of the Image repository.
	To Image
	// From restricts the update to ECUs that run this image; SHA256 may be
	// empty. Nil takes ECUs with any image.
	From *Image
	// URI is where devices download the image from; empty is the image's own
	// place, usually the Image repository.
	URI string
}

// Update is a multi-target update.
type Update struct {
	ID          string // UUID
	Name        string // for people, may be empty
	Correlation string // what devices call it in their reports
	Targets     map[uptane.HardwareID]UpdateTarget
	CreatedAt   time.Time
	CreatedBy   string
	// Counts is how many assignments are in which status.
	Counts map[Status]int
}

// CreateUpdate stores which image each hardware id gets. Nothing is assigned
// yet. Every image must be in the Image repository's targets and made for the
// hardware id; if not, ErrInvalidUpdate names it. Of images whose metadata have
// expired it answers ErrTargetsExpired.
func (d *Director) CreateUpdate(ctx context.Context, ns uptane.Namespace, name string, targets map[uptane.HardwareID]UpdateTarget) (Update, error) {
	if len(targets) == 0 || len(targets) > maxHardwareIDs {
		return Update{}, ErrInvalidUpdate.Withf("it must have 1 to %d hardware ids", maxHardwareIDs)
	}
	if len(name) > maxUpdateName || !plain(name) {
		return Update{}, ErrInvalidUpdate.Withf("its name must be at most %d characters of text", maxUpdateName)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Update{}, fmt.Errorf("creating update: %w", err)
	}
	u := Update{
		ID: id.String(), Name: name, Correlation: "urn:here-ota:mtu:" + id.String(),
		Targets: map[uptane.HardwareID]UpdateTarget{}, CreatedAt: d.now(), CreatedBy: d.actor(ctx),
	}
	rows := make([]updateTargetRow, 0, len(targets))
	for hw, t := range targets {
		row, err := d.resolve(ctx, ns, hw, t)
		if err != nil {
			return Update{}, fmt.Errorf("creating update: %w", err)
		}
		row.Update = u.ID
		rows = append(rows, row)
		if u.Targets[hw], err = row.updateTarget(); err != nil {
			return Update{}, fmt.Errorf("creating update: %w", err)
		}
	}
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := d.store.addUpdate(ctx, tx, ns, u, rows); err != nil {
			return err
		}
		return d.act(ctx, tx, ns, "update.create", "update %s: %s", u.ID, imagesOf(rows))
	})
	if err != nil {
		return Update{}, fmt.Errorf("creating update: %w", err)
	}
	u.Counts = map[Status]int{}
	return u, nil
}

// imagesOf says which hardware ids get which image.
func imagesOf(rows []updateTargetRow) string {
	var list []string
	for _, row := range rows {
		list = append(list, fmt.Sprintf("%s gets %q", row.HardwareID, row.Filename))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// resolve looks the image of one hardware id up and checks what was asked.
func (d *Director) resolve(ctx context.Context, ns uptane.Namespace, hw uptane.HardwareID, t UpdateTarget) (updateTargetRow, error) {
	if !hw.Valid() {
		return updateTargetRow{}, ErrInvalidUpdate.Withf("hardware id %q is not 1 to 200 printable characters", hw)
	}
	if err := checkURI(t.URI); err != nil {
		return updateTargetRow{}, ErrInvalidUpdate.Withf("uri of hardware id %q: %v", hw, err)
	}
	target, refused := d.image(ctx, ns, t.To.Filename, hw)
	if refused != nil && errors.Is(refused, ErrTargetsExpired) {
		return updateTargetRow{}, refused // nothing is wrong with the update
	}
	if refused != nil {
		return updateTargetRow{}, ErrInvalidUpdate.Withf("hardware id %q, image %q: %s", hw, t.To.Filename, reason(refused)).Wrap(refused)
	}
	have := imageOf(target)
	if t.To.SHA256 != "" && (!strings.EqualFold(t.To.SHA256, have.SHA256) || t.To.Length != have.Length) {
		return updateTargetRow{}, ErrInvalidUpdate.Withf("image %q of the Image repository has another checksum or length", t.To.Filename)
	}
	raw, err := encodeTarget(target)
	if err != nil {
		return updateTargetRow{}, fmt.Errorf("storing image %q: %w", t.To.Filename, err)
	}
	row := updateTargetRow{HardwareID: hw, Filename: t.To.Filename, Target: raw, URI: t.URI}
	if t.From != nil {
		row.FromFilename, row.FromSHA256 = t.From.Filename, strings.ToLower(t.From.SHA256)
	}
	return row, nil
}

// image asks the Image repository for a target that suits a hardware id. The
// fault says why there is none.
func (d *Director) image(ctx context.Context, ns uptane.Namespace, filename string, hw uptane.HardwareID) (uptane.Target, *fault.Fault) {
	target, err := d.images.Target(ctx, ns, filename)
	if f := fault.Of(err); f != nil {
		if errors.Is(f, ErrTargetsExpired) {
			return target, ErrTargetsExpired.Withf("%s; %s", f.Cause(), signAgain("the role"))
		}
		if f.Kind() == fault.NotFound {
			return target, refuseNoTarget.With(filename)
		}
		return target, f
	}
	if err != nil {
		d.log.Error("asking the Image repository", "namespace", ns, "target", filename, "error", err)
		return target, refuseUnavailable.With(filename)
	}
	if !target.Until.IsZero() && !d.now().Before(target.Until) {
		return target, ErrTargetsExpired.Withf("%s: they ended %s; %s", filename, target.Until.Format(time.RFC3339), signAgain(target.Delegated))
	}
	if !slices.Contains(target.Custom.HardwareIDs, hw) {
		return target, refuseHardware.Withf("%s is made for %q, not for %q", filename, target.Custom.HardwareIDs, hw)
	}
	return target, nil
}

// signAgain is what to do about metadata that have expired.
func signAgain(role uptane.Role) string {
	if role == "" {
		return "sign the targets again with a later date: garage-sign targets pull, targets sign, targets push"
	}
	return fmt.Sprintf("whoever signs for %s signs its metadata again with a later date: garage-sign delegations pull, sign, push", role)
}

// Update returns one update with the counts of its assignments.
func (d *Director) Update(ctx context.Context, ns uptane.Namespace, id string) (Update, error) {
	u, err := d.store.update(ctx, ns, id)
	if errors.Is(err, db.ErrNoRows) {
		return Update{}, ErrUnknownUpdate.With(id)
	}
	if err != nil {
		return Update{}, fmt.Errorf("reading update %s: %w", id, err)
	}
	return u, nil
}

// Updates returns a page of all updates, newest first, and how many there are.
func (d *Director) Updates(ctx context.Context, ns uptane.Namespace, limit, offset int) ([]Update, int, error) {
	list, total, err := d.store.updates(ctx, ns, limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("listing updates: %w", err)
	}
	return list, total, nil
}

func checkURI(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURI || !plain(text) || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return errors.New("it must be an absolute http or https URL without user")
	}
	return nil
}

// plain reports whether s is printable ASCII, as whatever is signed must be.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// reason is what a fault says, in one line.
func reason(f *fault.Fault) string {
	if f.Cause() == "" {
		return f.Description()
	}
	return f.Description() + ": " + f.Cause()
}
