package acceptance

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"sealift/uptane"
	"sealift/uptane/canonical"
)

// What it takes for identifiers, in bytes (include/libaktualizr/types.h).
const (
	maxSerial     = 64
	maxHardwareID = 200
)

// model is aktualizr as a reader of metadata: what it refuses, and what it
// understands otherwise than a strict client. The facts are from its source,
// src/libaktualizr/uptane: metawithkeys.cc, root.cc, tuf.cc, imagerepository.cc,
// directorrepository.cc, and utilities/types.cc. Its JSON reader is lenient in
// ways that nobody should rely on; the strict client, which reads first, is not.
type model struct{ repo uptane.Repository }

// form is what it refuses whoever signed.
func (m model) form(d document) *Refusal {
	if d.signed.Kind() != canonical.Object {
		return m.refuse(d, RuleForm, "it has no member signed")
	}
	if r := m.head(d); r != nil {
		return r
	}
	if r := m.signatures(d); r != nil {
		return r
	}
	switch {
	case d.role == uptane.RoleRoot:
		return m.root(d)
	case d.role == uptane.RoleSnapshot:
		return m.snapshot(d)
	case d.role == uptane.RoleTimestamp:
		return m.timestamp(d)
	}
	return m.targets(d)
}

func (m model) refuse(d document, rule Rule, format string, args ...any) *Refusal {
	return refuse(Aktualizr, rule, d.role, format, args...)
}

// head: the type is compared with regard to case but in a root, the version is a
// 32-bit integer, the expiry 20 characters that are compared as text.
func (m model) head(d document) *Refusal {
	want := "Targets"
	if d.role.TopLevel() {
		want = strings.ToUpper(string(d.role[:1])) + string(d.role[1:])
	}
	name := text(d.signed, "_type")
	if name != want && !(d.role == uptane.RoleRoot && strings.EqualFold(name, want)) {
		return m.refuse(d, RuleType, "_type is %q, not %q", name, want)
	}
	v, _ := d.signed.Member("version")
	if n, ok := v.Int(); !ok || n < 0 || n > uptane.MaxVersion {
		return m.refuse(d, RuleVersion, "version is no integer of 32 bits")
	}
	if s := text(d.signed, "expires"); len(s) != 20 || s[19] != 'Z' {
		return m.refuse(d, RuleExpires, "expires is %q, not 20 characters that end in Z", s)
	}
	return nil
}

// signatures: one bad entry makes it refuse the document, whoever made it.
func (m model) signatures(d document) *Refusal {
	list, _ := d.value.Member("signatures")
	var seen []string
	for _, s := range list.Items() {
		id := text(s, "keyid")
		if slices.Contains(seen, id) {
			return m.refuse(d, RuleTwiceSign, "two signatures of key %.80q", id)
		}
		seen = append(seen, id)
		method := strings.ToLower(text(s, "method"))
		if method != "rsassa-pss" && method != "rsassa-pss-sha256" && method != "ed25519" {
			return m.refuse(d, RuleMethod, "the signature of key %.80q has the method %.80q", id, text(s, "method"))
		}
		sig, err := base64.StdEncoding.DecodeString(text(s, "sig"))
		if err != nil || method == "ed25519" && len(sig) != 64 {
			return m.refuse(d, RuleEncoding, "the signature of key %.80q is not the base64 of one", id)
		}
	}
	return nil
}

// keys: one key of another type makes it refuse the document, unused or not.
func (m model) keys(d document, keys canonical.Value) *Refusal {
	for _, k := range keys.Members() {
		switch kind := text(k.Value, "keytype"); strings.ToLower(kind) {
		case "rsa", "ed25519":
		default:
			return m.refuse(d, RuleKeyType, "key %.80q is of type %.80q; it knows RSA and Ed25519", k.Name, kind)
		}
	}
	return nil
}

func (m model) trust(d document, name string, role canonical.Value) *Refusal {
	v, _ := role.Member("threshold")
	if n, ok := v.Int(); !ok || n < 1 || n > 1000 {
		return m.refuse(d, RuleTrust, "the threshold of %.80q is not between 1 and 1000", name)
	}
	return nil
}

func (m model) root(d document) *Refusal {
	keys, okKeys := d.signed.Member("keys")
	roles, okRoles := d.signed.Member("roles")
	if !okKeys || !okRoles {
		return m.refuse(d, RuleRoles, "keys or roles are missing")
	}
	if r := m.keys(d, keys); r != nil {
		return r
	}
	have := map[string]bool{}
	for _, role := range roles.Members() {
		name := strings.ToLower(role.Name)
		if !uptane.Role(name).TopLevel() {
			continue // it has no use for them
		}
		have[name] = true
		if r := m.trust(d, role.Name, role.Value); r != nil {
			return r
		}
	}
	need := []uptane.Role{uptane.RoleRoot, uptane.RoleTargets}
	if m.repo == uptane.ImageRepository {
		need = append(need, uptane.RoleSnapshot, uptane.RoleTimestamp)
	}
	for _, role := range need {
		if !have[string(role)] {
			return m.refuse(d, RuleRoles, "it has no keys of %s", role)
		}
	}
	return nil
}

func (m model) timestamp(d document) *Refusal {
	meta, _ := d.signed.Member("meta")
	snapshot, _ := meta.Member("snapshot.json")
	hashes, _ := snapshot.Member("hashes")
	okLength, okVersion := isInt32(snapshot, "length"), isInt32(snapshot, "version")
	if hashes.Kind() != canonical.Object || !okLength || !okVersion {
		return m.refuse(d, RuleMeta, "snapshot.json lacks hashes, or a length or version of 32 bits")
	}
	if _, ok := hashOf(hashes); !ok {
		return m.refuse(d, RuleMeta, "no hash of snapshot.json is one that it knows")
	}
	return nil
}

func (m model) snapshot(d document) *Refusal {
	meta, _ := d.signed.Member("meta")
	if meta.Kind() != canonical.Object {
		return m.refuse(d, RuleMeta, "meta is no object")
	}
	for _, file := range meta.Members() {
		if !isInt32(file.Value, "version") {
			return m.refuse(d, RuleMeta, "%.80q has no version of 32 bits", file.Name)
		}
		if length, _ := file.Value.Member("length"); length.Kind() == canonical.Object {
			return m.refuse(d, RuleMeta, "the length of %.80q is an object", file.Name)
		}
		name := file.Name
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			name = name[:i]
		}
		if lower := strings.ToLower(name); lower != name && uptane.Role(lower).TopLevel() {
			return m.refuse(d, RuleName, "%.80q is a reserved name in another case", file.Name)
		}
	}
	return nil
}

// targets: of either repository and of delegations.
func (m model) targets(d document) *Refusal {
	list, _ := d.signed.Member("targets")
	ecus := map[string]string{}
	for _, t := range list.Members() {
		if r := m.target(d, t, ecus); r != nil {
			return r
		}
	}
	if m.repo == uptane.DirectorRepository {
		if r := m.director(d, len(list.Members())); r != nil {
			return r
		}
	}
	delegations, _ := d.signed.Member("delegations")
	if delegations.Kind() != canonical.Object {
		return nil
	}
	keys, _ := delegations.Member("keys")
	if r := m.keys(d, keys); r != nil {
		return r
	}
	roles, _ := delegations.Member("roles")
	for _, role := range roles.Items() {
		name := text(role, "name")
		if uptane.Role(strings.ToLower(name)).TopLevel() {
			return m.refuse(d, RuleName, "a delegation is called %.80q, which is reserved", name)
		}
		if r := m.trust(d, name, role); r != nil {
			return r
		}
	}
	return nil
}

func (m model) target(d document, t canonical.Member, ecus map[string]string) *Refusal {
	if n, ok := integer(t.Value, "length"); !ok || n < 0 {
		return m.refuse(d, RuleTarget, "%.80q has no length", t.Name)
	}
	hashes, _ := t.Value.Member("hashes")
	if sum, err := hex.DecodeString(text(hashes, "sha256")); err != nil || len(sum) != 32 {
		return m.refuse(d, RuleTarget, "%.80q has no sha256, which later manifests need", t.Name)
	}
	custom, ok := t.Value.Member("custom")
	if ok && custom.Kind() != canonical.Object && custom.Kind() != canonical.Null {
		return m.refuse(d, RuleTarget, "custom of %.80q is no object", t.Name)
	}
	for _, name := range []string{"targetFormat", "uri"} {
		if v, _ := custom.Member(name); v.Kind() == canonical.Object || v.Kind() == canonical.Array {
			return m.refuse(d, RuleTarget, "custom.%s of %.80q is no text", name, t.Name)
		}
	}
	ids, hardware := custom.Member("hardwareIds")
	for _, id := range ids.Items() {
		if s, ok := id.Text(); !ok || len(s) > maxHardwareID {
			return m.refuse(d, RuleTarget, "%.80q has a hardware id that is no text of at most %d bytes", t.Name, maxHardwareID)
		}
	}
	assigned, listed := custom.Member("ecuIdentifiers")
	if m.repo == uptane.ImageRepository {
		if listed {
			return m.refuse(d, RuleECUs, "%.80q has custom.ecuIdentifiers, so it matches no entry of the Director", t.Name)
		}
		return nil
	}
	if hardware {
		return m.refuse(d, RuleHardware, "%.80q has custom.hardwareIds, so it matches no image", t.Name)
	}
	if len(assigned.Members()) == 0 {
		return m.refuse(d, RuleECUs, "%.80q names no ECU, so nobody installs it", t.Name)
	}
	for _, e := range assigned.Members() {
		if id, ok := e.Value.Member("hardwareId"); len(e.Name) < 1 || len(e.Name) > maxSerial || !ok || id.Kind() != canonical.String || len(text(e.Value, "hardwareId")) > maxHardwareID {
			return m.refuse(d, RuleECUs, "ECU %.80q of %.80q has no serial of 1 to %d bytes or no hardware id of at most %d", e.Name, t.Name, maxSerial, maxHardwareID)
		}
		if other, ok := ecus[e.Name]; ok {
			return m.refuse(d, RuleECUTwice, "ECU %.80q is in %.80q and %.80q", e.Name, other, t.Name)
		}
		ecus[e.Name] = t.Name
	}
	return nil
}

// director: no delegations, and an id under which failures are reported.
func (m model) director(d document, targets int) *Refusal {
	delegations, _ := d.signed.Member("delegations")
	if roles, _ := delegations.Member("roles"); len(roles.Items()) > 0 {
		return m.refuse(d, RuleDelegates, "Director targets delegate")
	}
	custom, _ := d.signed.Member("custom")
	if id, _ := custom.Member("correlationId"); id.Kind() == canonical.Object || id.Kind() == canonical.Array {
		return m.refuse(d, RuleReport, "custom.correlationId is no text")
	}
	if targets > 0 && text(custom, "correlationId") == "" {
		return m.refuse(d, RuleReport, "targets are listed without custom.correlationId: no failure would be reported")
	}
	return nil
}

func text(v canonical.Value, name string) string {
	m, _ := v.Member(name)
	s, _ := m.Text()
	return s
}

// isInt32 reports whether a member is an integer of 32 bits; for others its reader
// throws.
func isInt32(v canonical.Value, name string) bool {
	n, ok := integer(v, name)
	return ok && n >= math.MinInt32 && n <= math.MaxInt32
}

func integer(v canonical.Value, name string) (int64, bool) {
	m, _ := v.Member(name)
	return m.Int()
}

// hashOf returns the SHA-256 or else SHA-512 in an object of hashes, lower case.
func hashOf(hashes canonical.Value) (string, bool) {
	for _, name := range []string{"sha256", "sha512"} {
		if s := text(hashes, name); s != "" {
			return strings.ToLower(s), true
		}
	}
	return "", false
}
