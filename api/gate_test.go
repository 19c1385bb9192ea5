package api_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealift/uptane"
)

// signText signs a payload as a tool would that has the right keys and knows none
// of the rules.
func signText(t *testing.T, payload string, s crypto.Signer) string {
	t.Helper()
	sig, err := uptane.Sign(s, []byte(payload))
	check(t, err)
	return string(uptane.Frame(uptane.Uptane, []byte(payload), sig))
}

func payloadOf(t *testing.T, doc []byte) string {
	t.Helper()
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	check(t, err)
	return string(e.Signed)
}

func replaced(t *testing.T, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %s", text, old)
	}
	return strings.Replace(text, old, with, 1)
}

// deviceRule is a way to stop unmodified devices. line is its number in the list
// of rules that break them when ignored.
type deviceRule struct {
	line     int
	name     string
	root     bool                            // the document is a root, not targets
	edit     func(*testing.T, string) string // of the payload, signed afterwards
	envelope func(*testing.T, string) string // of the signed document
	refused  string                          // "judge rule", or a code of its own
}

func in(old, with string) func(*testing.T, string) string {
	return func(t *testing.T, text string) string { return replaced(t, text, old, with) }
}

func inHex(t *testing.T, doc string) string {
	e, err := uptane.ParseEnvelope(uptane.Uptane, []byte(doc))
	check(t, err)
	_, rest, _ := strings.Cut(doc, `"sig":"`)
	old, _, _ := strings.Cut(rest, `"`)
	return replaced(t, doc, old, fmt.Sprintf("%x", e.Signatures[0].Sig))
}

func deviceRules() []deviceRule {
	long := strings.Repeat("x", 65<<10)
	const entry = `"hashes":{"sha256":"`
	return []deviceRule{
		{line: 1, name: "type in lower case", edit: in(`"Targets"`, `"targets"`), refused: "aktualizr type"},
		{line: 1, name: "type of another role", root: true, edit: in(`"Root"`, `"Targets"`), refused: "aktualizr type"},
		{line: 2, name: "no method", envelope: in(`"method":"ed25519",`, ``), refused: "aktualizr signature-method"},
		{line: 2, name: "unknown method", envelope: in(`"method":"ed25519"`, `"method":"ecPrime256v1"`), refused: "aktualizr signature-method"},
		{line: 2, name: "unknown method of an unknown key", envelope: in(`"signatures":[`, `"signatures":[{"keyid":"ab","method":"ecdsa","sig":""},`), refused: "aktualizr signature-method"},
		{line: 2, name: "unknown method in a root", root: true, envelope: in(`"signatures":[`, `"signatures":[{"keyid":"ab","method":"ecdsa","sig":""},`), refused: "aktualizr signature-method"},
		{line: 2, name: "one key twice", envelope: func(t *testing.T, doc string) string {
			_, rest, _ := strings.Cut(doc, "[")
			sig, _, _ := strings.Cut(rest, "]")
			return replaced(t, doc, sig, sig+","+sig)
		}, refused: "aktualizr signature-duplicate"},
		{line: 3, name: "signature in hex", envelope: inHex, refused: "aktualizr signature-encoding"},
		{line: 4, name: "ecdsa key in a root", root: true, edit: in(`"keys":{`, `"keys":{"0":{"keytype":"ecdsa","keyval":{"public":"00"}},`), refused: "aktualizr key-type"},
		{line: 3, name: "signature of a root in hex", root: true, envelope: inHex, refused: "aktualizr signature-encoding"},
		{line: 4, name: "ecdsa key of a delegation", edit: in(`"keys":{`, `"keys":{"0":{"keytype":"ECPRIME256V1","keyval":{"public":"00"}},`), refused: "aktualizr key-type"},
		{line: 4, name: "reserved name of a delegation", edit: func(t *testing.T, p string) string {
			return regexp.MustCompile(`"name":"[a-z]+","paths"`).ReplaceAllString(p, `"name":"Snapshot","paths"`)
		}, refused: "aktualizr name"},
		{line: 4, name: "delegation that no number of signatures reaches", edit: in(`"threshold":1`, `"threshold":2`), refused: "uptane key"},
		{line: 5, name: "fraction of a second", edit: in(`Z","targets"`, `.5Z","targets"`), refused: "aktualizr expires-format"},
		{line: 5, name: "offset instead of Z", edit: in(`:00Z","targets"`, `+00:00","targets"`), refused: "aktualizr expires-format"},
		{line: 5, name: "fraction in a root", root: true, edit: in(`Z","keys"`, `.5Z","keys"`), refused: "aktualizr expires-format"},
		{line: 5, name: "20 letters", edit: in(`2099-01-01T00:00:00Z`, `xxxxxxxxxxxxxxxxxxxZ`), refused: "uptane form"},
		{line: 7, name: "beyond ASCII", edit: in(`"name":"a"`, `"name":"ü"`), refused: "uptane json-ascii"},
		{line: 7, name: "beyond ASCII, escaped", edit: in(`"name":"a"`, `"name":"\u00fc"`), refused: "uptane json-ascii"},
		{line: 7, name: "float", edit: in(`"length":1`, `"length":1.0`), refused: "uptane json-integer"},
		{line: 7, name: "member twice", edit: in(`"version":`, `"version":1,"version":`), refused: "uptane json-duplicate-member"},
		{line: 7, name: "member in another case", edit: in(`"version":`, `"Version":1,"version":`), refused: "uptane json-case-variant"},
		{line: 8, name: "ECUs in the Image repository", edit: in(`"hardwareIds":["h"]`, `"ecuIdentifiers":{"s":{"hardwareId":"h"}}`), refused: "aktualizr ecu-identifiers"},
		{line: 8, name: "no hardware ids", edit: in(`"hardwareIds":["h"],`, ``), refused: "invalid_offline_targets"},
		{line: 8, name: "hardware ids are no list", edit: in(`"hardwareIds":["h"]`, `"hardwareIds":"h"`), refused: "invalid_offline_targets"},
		{line: 8, name: "hardware id of 201 bytes", edit: in(`["h"]`, `["`+strings.Repeat("h", 201)+`"]`), refused: "aktualizr target"},
		{line: 9, name: "no sha256", edit: in(entry, `"hashes":{"md5":"`), refused: "aktualizr target"},
		{line: 9, name: "another hash than sha256", edit: in(entry, `"hashes":{"sha512":"`+strings.Repeat("ab", 32)), refused: "aktualizr target"},
		{line: 9, name: "another length under an old name", edit: in(`"length":1`, `"length":2`), refused: "invalid_offline_targets"},
		{line: 9, name: "new content under an old name", edit: in(entry+"aa", entry+"bb"), refused: "invalid_offline_targets"},
		{line: 11, name: "version goes back", edit: func(t *testing.T, p string) string { return p[:strings.LastIndex(p, `"version"`)] + `"version":1}` }, refused: "invalid_version_bump"},
		{line: 11, name: "version of more than 32 bits", edit: func(t *testing.T, p string) string {
			return p[:strings.LastIndex(p, `"version"`)] + `"version":2147483648}`
		}, refused: "aktualizr version"},
		{line: 11, name: "targets of 8 MiB", edit: in(`"version":`, `"text":"`+strings.Repeat(long, 127)+`","version":`), refused: "body_too_large"},
		{line: 11, name: "root of 65 KiB", root: true, edit: in(`"version":`, `"text":"`+long+`","version":`), refused: "aktualizr size"},
		{line: 14, name: "root that leaves one out", root: true, edit: func(t *testing.T, p string) string { return p[:strings.LastIndex(p, `"version"`)] + `"version":99}` }, refused: "uptane version"},
	}
}

// gateDesk is where one kind of document is pushed: targets, metadata of a
// supplier, or a root.
type gateDesk struct {
	*repoEdge
	name, method, path string
	shown              string // where it shows
	key                crypto.Signer
	payload            func(version int) string
	version            int    // that shows
	sum                string // of what shows
	named              string // code of a refusal that no judge made
}

// good is a document that is taken next.
func (d *gateDesk) good() string { return d.payload(d.version + 1) }

// took notes that it was.
func (d *gateDesk) took(resp *http.Response, body string) {
	d.t.Helper()
	if resp.StatusCode/100 != 2 {
		d.t.Fatalf("%s version %d: %d %s", d.name, d.version+1, resp.StatusCode, body)
	}
	resp, _ = d.ask("GET", d.shown, "reader", nil)
	d.sum = resp.Header.Get("x-ats-role-checksum")
	d.version++
}

func (d *gateDesk) push(doc string) (*http.Response, string) {
	d.t.Helper()
	return d.ask(d.method, d.path, "signer", []byte(doc), "x-ats-role-checksum", d.sum)
}

// holds wants what showed before to show still.
func (d *gateDesk) holds(t *testing.T) {
	t.Helper()
	resp, body := d.ask("GET", d.shown, "reader", nil)
	if sum := resp.Header.Get("x-ats-role-checksum"); sum != d.sum {
		t.Errorf("what was refused shows: %s", body)
	}
}

// gatePayload is targets metadata with one image, which delegate to one role.
func gatePayload(t *testing.T, version int, image, role, paths string, delegate crypto.Signer) string {
	t.Helper()
	key, err := uptane.NewKey(delegate.Public())
	check(t, err)
	return fmt.Sprintf(`{"_type":"Targets","delegations":{"keys":{%q:%s},"roles":[{"keyids":[%q],"name":%q,"paths":[%q],"terminating":false,"threshold":1}]},`+
		`"expires":"2099-01-01T00:00:00Z","targets":{%q:{"custom":{"createdAt":"2026-01-01T00:00:00Z","hardwareIds":["h"],"name":"a","targetFormat":"BINARY",`+
		`"updatedAt":"2026-01-01T00:00:00Z","uri":"https://example.org/a","version":"1"},"hashes":{"sha256":"aa%s"},"length":1}},"version":%d}`,
		key.ID(), key.Wire(uptane.Uptane), key.ID(), role, paths, image, strings.Repeat("00", 31), version)
}

func newGateDesks(t *testing.T) (targets, supplier, root *gateDesk) {
	t.Helper()
	e, sup := newRepoEdge(t), newSigner(t)
	next := func(image, role, paths string) func(int) string {
		return func(version int) string { return gatePayload(t, version, image, role, paths, sup) }
	}
	targets = &gateDesk{repoEdge: e, name: "targets", method: "PUT", path: "/targets", shown: "/targets.json", key: e.sign,
		payload: next("a", "sup", "sup/*"), named: "invalid_offline_targets"}
	supplier = &gateDesk{repoEdge: e, name: "supplier", method: "PUT", path: "/delegations/sup.json", shown: "/delegations/sup.json", key: sup,
		payload: next("sup/a", "lower", "sup/low/*"), named: "invalid_delegated_target"}
	root = &gateDesk{repoEdge: e, name: "root", method: "POST", path: "/root", shown: "/root.json", key: e.rootKey, version: 1, payload: func(version int) string {
		e.root.Version = int64(version)
		return payloadOf(t, seal(t, uptane.RoleRoot, &e.root, e.rootKey))
	}}
	for _, d := range []*gateDesk{targets, supplier, root} {
		d.took(d.push(signText(t, d.good(), d.key)))
	}
	return targets, supplier, root
}

// refuses pushes what breaks a rule and then what it was made from.
func (d *gateDesk) refuses(t *testing.T, rule deviceRule) {
	good := d.good()
	bad := good
	if rule.edit != nil {
		bad = rule.edit(t, good)
	}
	doc := signText(t, bad, d.key)
	if rule.envelope != nil {
		doc = rule.envelope(t, doc)
	}
	resp, body := d.push(doc)
	var said struct {
		Code  string
		Cause json.RawMessage
	}
	check(t, json.Unmarshal([]byte(body), &said))
	var cause struct{ Judge, Rule, Role string }
	_ = json.Unmarshal(said.Cause, &cause) // some causes are lists
	want := strings.Replace(rule.refused, "invalid_offline_targets", d.named, 1)
	if got := cause.Judge + " " + cause.Rule; resp.StatusCode/100 != 4 || got != want && said.Code != want {
		t.Errorf("%d %s, want a refusal by %s", resp.StatusCode, body, want)
	}
	d.holds(t)
	d.took(d.push(signText(t, good, d.key)))
}

// Each rule about documents that people push: what breaks devices is refused by
// name and nothing of it shows; what it was made from is taken.
func TestGateOverHTTP(t *testing.T) {
	targets, supplier, root := newGateDesks(t)
	for _, rule := range deviceRules() {
		desks := []*gateDesk{targets, supplier}
		if rule.root {
			desks = []*gateDesk{root}
		}
		for _, d := range desks {
			t.Run(fmt.Sprintf("%d/%s/%s", rule.line, d.name, rule.name), func(t *testing.T) { d.refuses(t, rule) })
		}
	}
	// Line 7: white space and order are nobody's signature. What is served is what
	// was signed.
	for _, d := range []*gateDesk{targets, supplier, root} {
		good := signText(t, d.good(), d.key)
		var loose bytes.Buffer
		check(t, json.Indent(&loose, []byte(good), "", "\t"))
		d.took(d.push(loose.String()))
		if _, body := d.ask("GET", d.shown, "reader", nil); body != good {
			t.Errorf("%s are served as\n%s\nand were signed as\n%s", d.name, body, good)
		}
	}
}

// ruleTest is a test elsewhere of a rule, or of a part of one.
type ruleTest struct {
	line  int
	about string
	where string
}

// The rules that are not, or not only, about documents that people push: each has
// a test where it belongs.
func TestEveryDeviceRuleIsTested(t *testing.T) {
	elsewhere := []ruleTest{
		{1, "types of snapshot, timestamp and delegations", "uptane/acceptance/gate_test.go TestForm"},
		{2, "whatever the Director signs", "director/gate_test.go TestGate"},
		{4, "roots of both repositories", "keys/roots_test.go TestRootsThatNoDeviceReads"},
		{6, "hashes, length and version of the snapshot", "uptane/acceptance/gate_test.go TestForm"},
		{6, "the snapshot is the one that is named", "uptane/acceptance/gate_test.go TestJudge"},
		{6, "what is hashed is what is served", "gateway/rules_test.go TestMetadataAsClientsReadThem"},
		{8, "entries of the Director", "director/gate_test.go TestGate"},
		{9, "both repositories say the same", "director/assign_test.go TestEntryContent"},
		{9, "an image that became another one is not assigned", "director/assign_test.go TestRefusedAssignments"},
		{9, "a name keeps its content when nothing names it any more", "repo/gate_test.go TestNameKeepsItsContentForEver"},
		{10, "no ECU that runs it is listed", "director/assign_test.go TestOneEntryAFile"},
		{10, "nor is it assigned", "director/assign_test.go TestRefusedAssignments"},
		{11, "another version for other content", "director/gate_test.go TestEveryChangeHasItsVersion"},
		{11, "the same version is the same bytes, at every replica", "director/metadata_test.go TestParallelPolls"},
		{11, "never lower", "director/metadata_test.go TestRootRotation"},
		{11, "no delegations, no ECU twice", "director/gate_test.go TestGate"},
		{11, "ECUs of the device alone", "director/register_test.go TestECUSetChanges"},
		{11, "64 KiB", "director/assign_test.go TestTargetsStayReadable"},
		{12, "an id under which failures are reported", "director/gate_test.go TestGate"},
		{13, "any report ends what it is about", "director/session_test.go TestOutcomes"},
		{14, "404 for what is not there", "gateway/rules_test.go TestMetadataAsClientsReadThem"},
		{14, "old roots stay", "fixtures/fault/draft_test.go TestRotationsUnderAFleet"},
		{15, "no body with an error", "gateway/repo_test.go TestDeviceReadsImageRepository"},
		{15, "nor with one of a certificate", "gateway/authz_test.go TestCertificatesDecide"},
		{16, "no delegated image beside a Secondary", "director/delegated_test.go TestDelegatedImages"},
		{17, "the archive", "gateway/rules_test.go TestWhatProvisioningMustNotBreak"},
		{18, "the life as text and as number", "gateway/rules_test.go TestWhatProvisioningMustNotBreak"},
		{19, "the same list again", "gateway/rules_test.go TestWhatProvisioningMustNotBreak"},
		{19, "lists of the real client", "director/session_test.go TestRecordedClient"},
		{20, "nothing is taken without a certificate", "gateway/rules_test.go TestNothingIsTakenWithoutACertificate"},
		{21, "not compressed, not left out, not elsewhere", "gateway/rules_test.go TestMetadataAsClientsReadThem"},
		{22, "no batch comes for ever", "gateway/rules_test.go TestEventsAreNeverSentForEver"},
		{22, "one bad event does not take the others with it", "registry/registry_test.go TestEventsAreStoredOnce"},
	}
	rules := deviceRules()
	for line := 1; line <= 22; line++ {
		if !slices.ContainsFunc(elsewhere, func(r ruleTest) bool { return r.line == line }) && !slices.ContainsFunc(rules, func(r deviceRule) bool { return r.line == line }) {
			t.Errorf("nothing tests rule %d", line)
		}
	}
	for _, r := range elsewhere {
		file, name, _ := strings.Cut(r.where, " ")
		text, err := os.ReadFile("../" + file)
		if err != nil || !strings.Contains(string(text), "func "+name+"(") {
			t.Errorf("rule %d, %s, is tested by %s, which is not there: %v", r.line, r.about, r.where, err)
		}
	}
}
