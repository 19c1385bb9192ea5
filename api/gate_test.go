package api_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"os"
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
		{line: 3, name: "signature in hex", envelope: func(t *testing.T, doc string) string {
			e, err := uptane.ParseEnvelope(uptane.Uptane, []byte(doc))
			check(t, err)
			_, rest, _ := strings.Cut(doc, `"sig":"`)
			old, _, _ := strings.Cut(rest, `"`)
			return replaced(t, doc, old, fmt.Sprintf("%x", e.Signatures[0].Sig))
		}, refused: "aktualizr signature-encoding"},
		{line: 4, name: "ecdsa key in a root", root: true, edit: in(`"keys":{`, `"keys":{"0":{"keytype":"ecdsa","keyval":{"public":"00"}},`), refused: "aktualizr key-type"},
		{line: 4, name: "ecdsa key of a delegation", edit: in(`"expires"`, `"delegations":{"keys":{"0":{"keytype":"ECPRIME256V1","keyval":{"public":"00"}}},"roles":[]},"expires"`), refused: "aktualizr key-type"},
		{line: 5, name: "fraction of a second", edit: in(`Z","targets"`, `.5Z","targets"`), refused: "aktualizr expires-format"},
		{line: 5, name: "offset instead of Z", edit: in(`:00Z","targets"`, `+00:00","targets"`), refused: "aktualizr expires-format"},
		{line: 5, name: "fraction in a root", root: true, edit: in(`Z","keys"`, `.5Z","keys"`), refused: "aktualizr expires-format"},
		{line: 7, name: "beyond ASCII", edit: in(`"name":"a"`, `"name":"ü"`), refused: "uptane json-ascii"},
		{line: 7, name: "beyond ASCII, escaped", edit: in(`"name":"a"`, `"name":"\u00fc"`), refused: "uptane json-ascii"},
		{line: 7, name: "float", edit: in(`"length":1`, `"length":1.0`), refused: "uptane json-integer"},
		{line: 7, name: "member twice", edit: in(`"version":`, `"version":1,"version":`), refused: "uptane json-duplicate-member"},
		{line: 7, name: "member in another case", edit: in(`"version":`, `"Version":1,"version":`), refused: "uptane json-case-variant"},
		{line: 8, name: "ECUs in the Image repository", edit: in(`"hardwareIds":["h"]`, `"ecuIdentifiers":{"s":{"hardwareId":"h"}}`), refused: "aktualizr ecu-identifiers"},
		{line: 8, name: "hardware ids are no list", edit: in(`"hardwareIds":["h"]`, `"hardwareIds":"h"`), refused: "invalid_offline_targets"},
		{line: 9, name: "no sha256", edit: in(entry, `"hashes":{"md5":"`), refused: "aktualizr target"},
		{line: 9, name: "new content under an old name", edit: in(entry+"aa", entry+"bb"), refused: "invalid_offline_targets"},
		{line: 11, name: "version goes back", edit: func(t *testing.T, p string) string { return p[:strings.LastIndex(p, `"version"`)] + `"version":1}` }, refused: "invalid_version_bump"},
		{line: 11, name: "version of more than 32 bits", edit: func(t *testing.T, p string) string {
			return p[:strings.LastIndex(p, `"version"`)] + `"version":2147483648}`
		}, refused: "aktualizr version"},
		{line: 11, name: "root of 65 KiB", root: true, edit: in(`"version":`, `"text":"`+long+`","version":`), refused: "aktualizr size"},
		{line: 14, name: "root that leaves one out", root: true, edit: func(t *testing.T, p string) string { return p[:strings.LastIndex(p, `"version"`)] + `"version":99}` }, refused: "uptane version"},
	}
}

// Each rule about documents that people push: what breaks devices is refused and
// nothing of it shows; what it was made from is taken.
func TestGateOverHTTP(t *testing.T) {
	e := newRepoEdge(t)
	payload := func(version int) string {
		return fmt.Sprintf(`{"_type":"Targets","expires":"2099-01-01T00:00:00Z","targets":{"a":{"custom":{"createdAt":"2026-01-01T00:00:00Z","hardwareIds":["h"],`+
			`"name":"a","targetFormat":"BINARY","updatedAt":"2026-01-01T00:00:00Z","uri":"https://example.org/a","version":"1"},"hashes":{"sha256":"aa%s"},"length":1}},"version":%d}`,
			strings.Repeat("00", 31), version)
	}
	resp, body := e.ask("PUT", "/targets", "signer", []byte(signText(t, payload(1), e.sign)))
	e.want(204, "", resp, body)
	sum, targets, root := resp.Header.Get("x-ats-role-checksum"), 1, 1
	for _, rule := range deviceRules() {
		t.Run(fmt.Sprintf("%d/%s", rule.line, rule.name), func(t *testing.T) {
			method, path, good, key := "PUT", "/targets", payload(targets+1), e.sign
			if rule.root {
				e.root.Version = int64(root + 1)
				method, path, good, key = "POST", "/root", payloadOf(t, seal(t, uptane.RoleRoot, &e.root, e.rootKey)), e.rootKey
			}
			bad := good
			if rule.edit != nil {
				bad = rule.edit(t, good)
			}
			doc := signText(t, bad, key)
			if rule.envelope != nil {
				doc = rule.envelope(t, doc)
			}
			resp, body := e.ask(method, path, "signer", []byte(doc), "x-ats-role-checksum", sum)
			var said struct {
				Code  string
				Cause json.RawMessage
			}
			check(t, json.Unmarshal([]byte(body), &said))
			var cause struct{ Judge, Rule, Role string }
			_ = json.Unmarshal(said.Cause, &cause) // some causes are lists
			if got := cause.Judge + " " + cause.Rule; resp.StatusCode/100 != 4 || got != rule.refused && said.Code != rule.refused {
				t.Errorf("%d %s, want a refusal by %s", resp.StatusCode, body, rule.refused)
			}
			if resp, _ := e.ask("GET", "/targets.json", "reader", nil); resp.Header.Get("x-ats-role-checksum") != sum {
				t.Error("the refused targets show")
			}
			if resp, body := e.ask("GET", fmt.Sprintf("/%d.root.json", root+1), "reader", nil); resp.StatusCode != 404 {
				t.Errorf("the refused root shows: %s", body)
			}
			resp, body = e.ask(method, path, "signer", []byte(signText(t, good, key)), "x-ats-role-checksum", sum)
			if resp.StatusCode/100 != 2 {
				t.Fatalf("what it was made from is refused: %d %s", resp.StatusCode, body)
			}
			if rule.root {
				root++
			} else {
				targets, sum = targets+1, resp.Header.Get("x-ats-role-checksum")
			}
		})
	}
}

// The other rules are not about documents that people push: each has a test where
// it belongs.
func TestEveryDeviceRuleIsTested(t *testing.T) {
	elsewhere := map[int][]string{
		6:  {"uptane/acceptance/gate_test.go TestForm", "repo/push_test.go TestPushedTargetsAreTrustedByDevices"},
		8:  {"director/gate_test.go TestGate"},
		10: {"director/assign_test.go TestRefusedAssignments"},
		11: {"director/metadata_test.go TestVersions", "director/assign_test.go TestTargetsStayReadable", "director/assign_test.go TestOneEntryAFile"},
		12: {"director/gate_test.go TestGate"},
		13: {"director/session_test.go TestOutcomes"},
		14: {"repo/push_test.go TestMetadataNames", "director/metadata_test.go TestFullVerification"},
		15: {"gateway/repo_test.go TestDeviceReadsImageRepository"},
		16: {"director/delegated_test.go TestDelegatedImages", "uptane/acceptance/gate_test.go TestDelegations"},
		17: {"keys/pki/pki_test.go TestDeviceChainAndArchive"},
		18: {"gateway/provision_test.go TestRefusedProvisioningLeavesNothing"},
		19: {"director/register_test.go TestECUSetChanges"},
		20: {"gateway/authz_test.go TestCertificatesDecide"},
		21: {"gateway/repo_test.go TestDeviceReadsImageRepository"},
		22: {"registry/registry_test.go TestEventsAreStoredOnce"},
	}
	rules := deviceRules()
	for line := 1; line <= 22; line++ {
		if len(elsewhere[line]) == 0 && !slices.ContainsFunc(rules, func(r deviceRule) bool { return r.line == line }) {
			t.Errorf("nothing tests rule %d", line)
		}
		for _, where := range elsewhere[line] {
			file, name, _ := strings.Cut(where, " ")
			text, err := os.ReadFile("../" + file)
			if err != nil || !strings.Contains(string(text), "func "+name+"(") {
				t.Errorf("rule %d is tested by %s, which is not there: %v", line, where, err)
			}
		}
	}
}
