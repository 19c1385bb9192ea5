package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sealift/internal/fault"
	"sealift/repo"
	"sealift/treehub"
	"sealift/treehub/ostree"
	"sealift/uptane"
)

// When the ends of offline documents are spoken of: there must be time for
// people to come together and sign.
const (
	targetsNotice = 14 * 24 * time.Hour
	rootNotice    = 45 * 24 * time.Hour
)

// newest are the signed targets that were made last, of the top level and of
// delegated roles, the newest first.
type newest struct {
	list  []repo.Package
	total int
}

func (s *server) newestTargets(ctx context.Context, ns uptane.Namespace) (out newest, err error) {
	out.list, out.total, err = s.repo.Packages(ctx, ns, repo.PackageQuery{}, repo.PackageOrder{Down: true}, maxStatusTargets, 0)
	return out, err
}

// offer is the newest image of each hardware id.
func (n newest) offer() signedImages {
	images := signedImages{newest: map[uptane.HardwareID]string{}, top: map[uptane.HardwareID]string{}, whole: len(n.list) == n.total}
	for _, t := range n.list {
		for _, id := range t.HardwareIDs {
			if images.newest[id] == "" {
				images.newest[id] = t.Filename
			}
			if images.top[id] == "" && t.Origin == uptane.RoleTargets.Filename(0) {
				images.top[id] = t.Filename
			}
		}
	}
	return images
}

// commitLine is a pushed commit and whether somebody signed it.
type commitLine struct {
	Checksum ostree.Checksum `json:"checksum"`
	Subject  string          `json:"subject"`
	PushedAt *time.Time      `json:"pushedAt"`
	PushedBy string          `json:"pushedBy"`
	Complete bool            `json:"complete"`
	Refs     []string        `json:"refs"`
	Targets  []string        `json:"targets"` // file names of signed targets
	Level    level           `json:"level"`
	Text     string          `json:"text"`
}

func (s *server) commitLines(ctx context.Context, ns uptane.Namespace, targets newest) ([]commitLine, error) {
	list, _, err := s.treehub.Commits(ctx, ns, 0, maxStatusCommits)
	if err != nil {
		return nil, err
	}
	named := map[ostree.Checksum][]string{}
	for _, t := range targets.list {
		if sum, err := ostree.ParseChecksum(t.SHA256); err == nil {
			named[sum] = append(named[sum], t.Filename)
		}
	}
	if len(targets.list) < targets.total { // an old target may name a commit that was pushed again
		err = s.repo.Commits(ctx, ns, func(sum ostree.Checksum) error {
			if named[sum] == nil {
				named[sum] = []string{}
			}
			return nil
		})
	}
	now := s.now()
	return mapped(list, func(c treehub.Commit) commitLine {
		files, ok := named[c.Checksum]
		return lineOf(now, c, files, ok)
	}), err
}

func lineOf(now time.Time, c treehub.Commit, files []string, signed bool) commitLine {
	line := commitLine{
		Checksum: c.Checksum, Subject: c.Subject, PushedAt: instant(c.PushedAt), PushedBy: c.PushedBy,
		Complete: c.Complete, Refs: append([]string{}, c.Refs...), Targets: append([]string{}, files...), Level: levelOK,
	}
	pushed := fmt.Sprintf("commit %s pushed %s", short(c.Checksum.String()), ago(now, c.PushedAt))
	switch {
	case !c.Complete:
		line.Level, line.Text = levelWarning, pushed+", objects of it are missing: push it again"
	case len(files) > 0:
		line.Text = pushed + ", signed as " + strings.Join(files, ", ")
	case signed:
		line.Text = pushed + ", signed"
	default:
		line.Level, line.Text = levelHint, pushed+", no signed target names it"
	}
	return line
}

// document is a metadata document that is in force.
type document struct {
	Version int        `json:"version"`
	Expires *time.Time `json:"expires"`
	Bytes   int        `json:"bytes"`           // of it
	Limit   int        `json:"limit"`           // what devices read of it at most
	Error   string     `json:"error,omitempty"` // why there is none
}

type imageStatus struct {
	Root      document            `json:"root"`
	Targets   document            `json:"targets"`
	Snapshot  document            `json:"snapshot"`
	Timestamp document            `json:"timestamp"`
	Count     int                 `json:"targetCount"`
	TUF       tufState            `json:"tuf"`
	untrusted bool                // the targets, by the keys of the root
	walls     []repo.DocumentSize // documents that come near what devices read
}

type directorStatus struct {
	Root document `json:"root"`
}

func (s *server) imageStatus(ctx context.Context, ns uptane.Namespace, count int) (imageStatus, error) {
	out := imageStatus{Count: count}
	var err error
	if out.Root, err = s.rootDocument(ctx, ns, uptane.ImageRepository); err != nil {
		return out, err
	}
	for name, to := range map[string]*document{"targets.json": &out.Targets, "snapshot.json": &out.Snapshot, "timestamp.json": &out.Timestamp} {
		doc, err := s.repo.Metadata(ctx, ns, name)
		if *to, err = documentOf(doc, err); err != nil {
			return out, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	out.untrusted = errors.Is(s.repo.RequireTrusted(ctx, ns), repo.ErrTargetsUntrusted)
	sizes, err := s.repo.Sizes(ctx, ns)
	if err != nil {
		return out, err
	}
	for _, size := range sizes {
		to := map[uptane.Role]*document{uptane.RoleRoot: &out.Root, uptane.RoleTargets: &out.Targets, uptane.RoleSnapshot: &out.Snapshot,
			uptane.RoleTimestamp: &out.Timestamp}[size.Role]
		if to != nil {
			to.Bytes, to.Limit = size.Bytes, size.Limit
		}
		if size.High() {
			out.walls = append(out.walls, size)
		}
	}
	tuf, err := s.repo.TUF(ctx, ns)
	if fault.Of(err) != nil { // no repository or root
		err = nil
	}
	out.TUF = viewTUF(tuf)
	return out, err
}

func (s *server) directorStatus(ctx context.Context, ns uptane.Namespace) (directorStatus, error) {
	root, err := s.rootDocument(ctx, ns, uptane.DirectorRepository)
	return directorStatus{root}, err
}

func (s *server) rootDocument(ctx context.Context, ns uptane.Namespace, r uptane.Repository) (document, error) {
	version, err := s.vault.RootVersion(ctx, ns, r)
	var expires time.Time
	if err == nil {
		expires, err = s.vault.RootExpires(ctx, ns, r)
	}
	if f := fault.Of(err); f != nil {
		return document{Error: f.Error()}, nil
	}
	return document{Version: version, Expires: instant(expires)}, err
}

// documentOf reads what is told of a document; that it cannot be served is
// told, too.
func documentOf(doc repo.Document, err error) (document, error) {
	if f := fault.Of(err); f != nil {
		return document{Error: f.Description()}, nil
	}
	if err != nil {
		return document{}, err
	}
	var head struct {
		Signed struct {
			Version int       `json:"version"`
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	err = json.Unmarshal(doc.Bytes, &head)
	return document{Version: head.Signed.Version, Expires: instant(head.Signed.Expires)}, err
}

// serverFindings are about the server as a whole: what stops every device, and
// what a newcomer does next.
func (s *server) serverFindings(ctx context.Context, ns uptane.Namespace, st status) ([]finding, error) {
	now := s.now()
	list := slices.Concat(
		expiry(now, "image root", "root_expiring", st.Image.Root, rootNotice, "sign and push a new one: garage-sign root sign, garage-sign root push"),
		expiry(now, "image targets", "targets_expiring", st.Image.Targets, targetsNotice, "sign them again: garage-sign targets pull, sign, push"),
		expiry(now, "image snapshot", "snapshot_expiring", st.Image.Snapshot, 0, ""),
		expiry(now, "image timestamp", "timestamp_expiring", st.Image.Timestamp, 0, ""),
		ofTrust(st.Image), ofTUF(st.Image.TUF), ofSizes(st.Image.walls),
		expiry(now, "Director root", "root_expiring", st.Director.Root, rootNotice, "sign and push a new one"),
		unsigned(st))
	update, err := s.ofNewestUpdate(ctx, ns, st.Updates)
	if err != nil {
		return nil, err
	}
	shared, err := s.ofBootstraps(ctx, ns)
	if err != nil {
		return nil, err
	}
	restored, err := s.recovery(ctx, ns)
	if err != nil {
		return nil, err
	}
	held, err := s.vault.Custody(ctx, ns)
	if err != nil {
		return nil, err
	}
	list = slices.Concat(list, ofAway(s.vault.Unusable(held, false)), update, shared, ofRecovery(restored))
	list = append(list, s.ofStrangers(restored.Lasts)...)
	return byUrgency(append([]finding{}, list...)), nil
}

// ofStrangers is about certificates that are not in the table. After a restored
// backup there are some.
func (s *server) ofStrangers(recovering bool) []finding {
	switch n := s.vault.Counters(); {
	case n.Forged > 0 && !recovering:
		return []finding{{Code: "forged_certificates", Level: levelError,
			Text:   fmt.Sprintf("%d requests came with certificates of our own device CA that were never issued here", n.Forged),
			Advice: "either an old backup was restored, or a key of the CA is in foreign hands"}}
	case n.Unknown > 0:
		return []finding{{Code: "unknown_certificates", Level: levelHint,
			Text: fmt.Sprintf("%d requests since the start came with certificates this server does not know", n.Unknown)}}
	}
	return nil
}

// expiry is about a document that is missing, has expired or is about to.
func expiry(now time.Time, name, code string, d document, notice time.Duration, advice string) []finding {
	if d.Error != "" || d.Expires == nil {
		return []finding{{Code: "metadata_missing", Level: levelError, Text: fmt.Sprintf("there is no %s%s", name, after(": ", d.Error))}}
	}
	left := d.Expires.Sub(now)
	switch {
	case left <= 0:
		return []finding{finding{Code: strings.Replace(code, "expiring", "expired", 1), Level: levelError, Advice: advice,
			Text: fmt.Sprintf("%s version %d expired at %s: no device installs anything", name, d.Version, clock(now, *d.Expires))}.since(*d.Expires)}
	case left < notice:
		return []finding{{Code: code, Level: levelWarning, Advice: advice,
			Text: fmt.Sprintf("%s version %d expires in %s", name, d.Version, span(left))}}
	}
	return nil
}

// ofTrust is about a root that came before targets signed with its keys.
func ofTrust(st imageStatus) []finding {
	if !st.untrusted {
		return nil
	}
	return []finding{{Code: "targets_untrusted", Level: levelError,
		Text:   fmt.Sprintf("targets version %d are not signed by the keys that root version %d names: no device installs anything", st.Targets.Version, st.Root.Version),
		Advice: "sign targets with the new key and push them: garage-sign targets sign, garage-sign targets push"}}
}

// ofSizes warns before a document is too large for devices, which stops them all.
func ofSizes(walls []repo.DocumentSize) []finding {
	return mapped(walls, func(w repo.DocumentSize) finding {
		return finding{Code: "metadata_large", Level: levelWarning,
			Text:   fmt.Sprintf("metadata of %s have %d bytes, %d %% of what devices read", w.Role, w.Bytes, w.Percent()),
			Advice: "remove targets that no device needs, or split them into delegated roles"}
	})
}

// unsigned says what is missing on the way from a build to a device.
func unsigned(st status) []finding {
	var list []finding
	if len(st.Commits) > 0 && st.Commits[0].Level != levelOK {
		list = append(list, finding{Code: "commit_not_signed", Level: st.Commits[0].Level, Text: st.Commits[0].Text,
			Advice: "sign it: sealift target add, or garage-sign targets add, sign and push"}.since(*st.Commits[0].PushedAt))
	}
	if st.Image.Count == 0 && len(st.Commits) == 0 {
		list = append(list, finding{Code: "no_images", Level: levelHint, Text: "nothing has been pushed or signed yet", Advice: "garage-push with build.zip, or sealift target add"})
	}
	if st.Devices.Total == 0 {
		list = append(list, finding{Code: "no_devices", Level: levelHint, Text: "no device has provisioned itself yet", Advice: "bake device.zip into an image, or try sealift demo device"})
	}
	return list
}

// ofNewestUpdate is about an update that went to no device, most often because
// it was made for hardware ids that none has.
func (s *server) ofNewestUpdate(ctx context.Context, ns uptane.Namespace, updates []updateLine) ([]finding, error) {
	if len(updates) == 0 || len(updates[0].Counts) > 0 {
		return nil, nil
	}
	there, total, err := s.director.HardwareIDs(ctx, ns, maxHardwareIDs, 0)
	if err != nil {
		return nil, err
	}
	u := updates[0]
	wanted := slices.Sorted(maps.Keys(u.Packages))
	if total > len(there) || slices.ContainsFunc(wanted, func(id uptane.HardwareID) bool { return slices.Contains(there, id) }) {
		return []finding{{Code: "update_not_assigned", Level: levelHint, Text: fmt.Sprintf("the newest update %s is assigned to no device", u.ID)}}, nil
	}
	return []finding{{Code: "hardware_mismatch", Level: levelWarning,
		Text: fmt.Sprintf("the newest update %s is for hardware id %s, but devices have %s", u.ID, quoted(wanted), orNone(quoted(there)))}}, nil
}

func orNone(text string) string {
	if text == "" {
		return "none yet"
	}
	return text
}

// ofBootstraps is about the shared certificates that new devices come with.
func (s *server) ofBootstraps(ctx context.Context, ns uptane.Namespace) ([]finding, error) {
	list, err := s.vault.Bootstraps(ctx, ns)
	if err != nil {
		return nil, err
	}
	now := s.now()
	var why string
	for _, b := range list {
		switch {
		case !b.Revoked.IsZero():
			why = "was revoked at " + clock(now, b.Revoked)
		case !b.NotAfter.After(now):
			why = "expired at " + clock(now, b.NotAfter)
		case b.MaxUses > 0 && b.Uses >= b.MaxUses:
			why = fmt.Sprintf("has been used %d times, as often as it may be", b.Uses)
		default:
			return nil, nil // one at least works
		}
	}
	if why == "" {
		return nil, nil
	}
	return []finding{{Code: "no_shared_certificate", Level: levelWarning, Text: "no new device can provision itself: the last shared certificate " + why}}, nil
}
