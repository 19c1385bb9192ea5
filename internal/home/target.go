package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// ErrDirector marks what cannot be done in a home of the Director.
var ErrDirector = errors.New("the Director makes its own targets; this is for the image repository")

// InitTargets writes unsigned targets without any target.
func (h *Home) InitTargets(version int64, expires time.Time) error {
	if h.config.ServerType == Director {
		return ErrDirector
	}
	v := canonical.Fields(
		canonical.Member{Name: "_type", Value: canonical.Text("Targets")},
		canonical.Member{Name: "targets", Value: canonical.Fields()},
		canonical.Member{Name: "version", Value: canonical.Int(version)},
	)
	return h.setUnsigned(uptane.RoleTargets, withTime(v, "expires", expires))
}

// AddTarget writes t into the unsigned targets, over one of the same name. Its
// creation and update time become now and its release counter at least one more
// than the highest among the targets that share a hardware id with it.
func (h *Home) AddTarget(t uptane.Target) error {
	if h.config.ServerType == Director {
		return ErrDirector
	}
	v, err := h.unsigned(uptane.RoleTargets)
	if err != nil {
		return err
	}
	if v, err = withTarget(v, t, h.opts.Now()); err != nil {
		return err
	}
	return h.setUnsigned(uptane.RoleTargets, v)
}

// withTarget returns targets with t in them, as AddTarget says. A counter that t
// has is kept if it is higher.
func withTarget(v canonical.Value, t uptane.Target, now time.Time) (canonical.Value, error) {
	now = now.UTC().Truncate(time.Second)
	t.Custom.CreatedAt, t.Custom.UpdatedAt = now, now
	targets := object(v, "targets")
	t.Custom.ReleaseCounter = max(t.Custom.ReleaseCounter, highestCounter(targets, t.Custom.HardwareIDs)+1)
	file, err := t.File()
	if err != nil {
		return v, fmt.Errorf("adding target: %w", err)
	}
	entry, err := canonical.Of(file, ascii)
	if err != nil {
		return v, fmt.Errorf("adding target %q: %w", t.Filename, err)
	}
	return v.With("targets", targets.With(t.Filename, entry)), nil
}

// highestCounter looks at the targets of any of the hardware ids. A target
// without a counter, as older tools write it, counts as 0.
func highestCounter(targets canonical.Value, ids []uptane.HardwareID) int64 {
	var highest int64
	for _, m := range targets.Members() {
		custom, _ := m.Value.Member("custom")
		listed, _ := custom.Member("hardwareIds")
		for _, item := range listed.Items() {
			id, _ := item.Text()
			for _, own := range ids {
				if id == string(own) {
					highest = max(highest, intOf(custom, "releaseCounter"))
				}
			}
		}
	}
	return highest
}

// DeleteTarget takes a target out of the unsigned targets. Errors wrap
// ErrNotFound.
func (h *Home) DeleteTarget(filename string) error {
	v, err := h.unsigned(uptane.RoleTargets)
	if err != nil {
		return err
	}
	if v, err = withoutTarget(v, filename); err != nil {
		return err
	}
	return h.setUnsigned(uptane.RoleTargets, v)
}

func withoutTarget(v canonical.Value, filename string) (canonical.Value, error) {
	targets := object(v, "targets")
	if member(targets, filename) == nil {
		return v, fmt.Errorf("deleting target %q: %w", filename, ErrNotFound)
	}
	return v.With("targets", targets.Without(filename)), nil
}

// OpenTargets verifies targets that the server sent against the local root.
// They may have expired: that is why somebody is about to sign new ones.
func (h *Home) OpenTargets(raw []byte) (uptane.Document[metadata.TargetsType], error) {
	var none uptane.Document[metadata.TargetsType]
	root, err := h.Root()
	if err != nil {
		return none, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, &root.Payload, uptane.RoleTargets)
	if err != nil {
		return none, err
	}
	return uptane.Open[metadata.TargetsType](uptane.Uptane, raw, uptane.RoleTargets, ring, time.Time{})
}

// PullTargets verifies what the server sent and makes it the unsigned targets,
// with checksum, the server's name for this state, to be given back at the push.
//
// Targets older than those pulled or pushed last are refused with
// uptane.ErrRollback, and so are others of the same version: whoever holds the
// server, but no offline key, could otherwise have images signed anew that were
// taken out. Without unsigned targets there is nothing to compare with.
func (h *Home) PullTargets(raw []byte, checksum string) (int64, error) {
	doc, err := h.OpenTargets(raw)
	if err == nil {
		err = h.checkProgress(doc)
	}
	if err != nil {
		return 0, err
	}
	v, err := canonical.Parse(doc.Signed, ascii)
	if err != nil {
		return 0, err
	}
	if err := h.writeDocument(h.publishedPath(), doc.Raw); err != nil {
		return 0, err
	}
	if err := h.setUnsigned(uptane.RoleTargets, v); err != nil {
		return 0, err
	}
	return doc.Payload.Version, h.setChecksum(checksum)
}

// checkProgress holds what the server sent against what it is known to have had.
func (h *Home) checkProgress(doc uptane.Document[metadata.TargetsType]) error {
	last, err := h.Checksum()
	if err != nil || last == "" { // nothing pulled or pushed yet
		return err
	}
	v, err := h.unsigned(uptane.RoleTargets)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	known, sent := intOf(v, "version"), doc.Payload.Version
	switch {
	case sent < known:
		return fmt.Errorf("the server sent targets version %d, it had version %d before: %w; "+
			"if the server went back to an older state on purpose, remove %s and pull again",
			sent, known, uptane.ErrRollback, h.unsignedPath(uptane.RoleTargets))
	case sent == known && ChecksumOf(doc.Raw) != last:
		return fmt.Errorf("the server sent other targets of version %d than it had before: %w; "+
			"if that is so on purpose, remove %s and pull again", sent, uptane.ErrRollback, h.unsignedPath(uptane.RoleTargets))
	}
	return nil
}

// Pushed notes that the server took a signed role: the next version is one more
// than this. For targets, checksum, or that of the document where the server
// gave none, is the precondition of the next push.
func (h *Home) Pushed(r uptane.Role, s Signed, checksum string) error {
	v, err := h.unsigned(r)
	if err == nil && intOf(v, "version") < s.Version {
		err = h.setUnsigned(r, v.With("version", canonical.Int(s.Version)))
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if r != uptane.RoleTargets {
		return nil
	}
	if err := h.writeDocument(h.publishedPath(), s.Uptane); err != nil {
		return err
	}
	if checksum == "" {
		checksum = ChecksumOf(s.Uptane)
	}
	return h.setChecksum(checksum)
}

// ChecksumOf is how a server names a role document: SHA-256 of its canonical
// form in lower-case hex.
func ChecksumOf(doc []byte) string {
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:])
}

// Checksum is that of the targets the server had when they were pulled or pushed
// last, "" when neither has happened.
func (h *Home) Checksum() (string, error) {
	raw, err := readFile(h.checksumPath(), maxKeyFile)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	sum := strings.TrimSpace(string(raw))
	if !validChecksum(sum) {
		return "", fmt.Errorf("reading %s: not one line of 64 hex digits: %w", h.checksumPath(), uptane.ErrMalformed)
	}
	return sum, nil
}

func (h *Home) setChecksum(sum string) error {
	if sum == "" {
		if err := os.Remove(h.checksumPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing old checksum: %w", err)
		}
		return nil
	}
	if !validChecksum(sum) {
		return fmt.Errorf("reading checksum %q of the server: %w", sum, uptane.ErrMalformed)
	}
	return writeFile(h.checksumPath(), []byte(sum), 0o600)
}

func validChecksum(sum string) bool { return uptane.KeyID(sum).Valid() }
