package acceptance_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/fault"
	"sealift/uptane"
	"sealift/uptane/acceptance"
	"sealift/uptane/canonical"
)

// Every rule about one document: a good one passes in both flavours, and each
// edit of it, signed with the right keys, is refused by name.
func TestForm(t *testing.T) {
	by := all()
	root := sign(t, uptane.Uptane, uptane.RoleRoot, by.root(t, 1), "root")
	good := publish(t, uptane.Uptane, by, targetsOf(t, 1, "a", "b"), 5, nil)
	withRole := targetsOf(t, 1, "a")
	delegate(t, withRole, "sup", "sup/*")
	delegating := sign(t, uptane.Uptane, uptane.RoleTargets, withRole, "targets")
	director := []byte(`{"_type":"Targets","custom":{"correlationId":"urn:1"},"expires":"2030-02-02T03:04:05Z","targets":{` +
		`"fw":{"custom":{"ecuIdentifiers":{"s1":{"hardwareId":"h"}}},"hashes":{"sha256":"` + strings.Repeat("ab", 32) + `"},"length":3}},"version":7}`)
	told := uptane.Frame(uptane.Uptane, director, signatures(t, director, "targets")...)
	long := strings.Repeat("x", acceptance.MaxMetadata)
	const sum = `"sha256":"`
	for name, tt := range map[string]struct {
		repo uptane.Repository
		role uptane.Role
		doc  []byte
		want string
	}{
		"good root":                {image, uptane.RoleRoot, root, ""},
		"good timestamp":           {image, uptane.RoleTimestamp, good.Timestamp, ""},
		"good snapshot":            {image, uptane.RoleSnapshot, good.Snapshot, ""},
		"good targets":             {image, uptane.RoleTargets, good.Targets, ""},
		"good delegation":          {image, "sup", good.Targets, ""},
		"delegating":               {image, uptane.RoleTargets, delegating, ""},
		"for a device":             {uptane.DirectorRepository, uptane.RoleTargets, told, ""},
		"root in any case":         {image, uptane.RoleRoot, resign(t, root, `"Root"`, `"rOOt"`, "root"), "uptane type root"},
		"white space":              {image, uptane.RoleRoot, swap(t, root, `,"signed"`, ",\n \"signed\""), ""},
		"no JSON":                  {image, uptane.RoleTargets, []byte(`{`), "uptane json targets"},
		"no document":              {image, uptane.RoleTargets, []byte(`[]`), "aktualizr form targets"},
		"trailing":                 {image, uptane.RoleTargets, append(good.Targets[:len(good.Targets):len(good.Targets)], '{', '}'), "uptane json targets"},
		"member twice":             {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1,"version":1`, "targets"), "uptane json-duplicate-member targets"},
		"case variant":             {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1,"Version":1`, "targets"), "uptane json-case-variant targets"},
		"lone case variant":        {image, uptane.RoleTargets, resign(t, good.Targets, `"custom"`, `"Custom"`, "targets"), "uptane form targets"},
		"float":                    {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1.0`, "targets"), "uptane json-integer targets"},
		"exponent":                 {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1e0`, "targets"), "uptane json-integer targets"},
		"65 bits":                  {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":18446744073709551616`, "targets"), "uptane json-integer targets"},
		"non-ASCII":                {image, uptane.RoleTargets, resign(t, good.Targets, `"name":"a"`, `"name":"ä"`, "targets"), "uptane json-ascii targets"},
		"escaped non-ASCII":        {image, uptane.RoleTargets, resign(t, good.Targets, `"name":"a"`, `"name":"\u00e4"`, "targets"), "uptane json-ascii targets"},
		"32 bits":                  {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":2147483648`, "targets"), "aktualizr version targets"},
		"text version":             {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1}`, `"version":"1"}`, "targets"), "aktualizr version targets"},
		"version 0":                {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":0`, "targets"), "uptane version targets"},
		"fraction":                 {image, uptane.RoleTargets, resign(t, good.Targets, `05Z"`, `05.5Z"`, "targets"), "aktualizr expires-format targets"},
		"offset":                   {image, uptane.RoleTargets, resign(t, good.Targets, `04:05Z"`, `04+0100"`, "targets"), "aktualizr expires-format targets"},
		"20 letters":               {image, uptane.RoleTargets, resign(t, good.Targets, `2030-02-02T03:04:05Z"`, `xxxxxxxxxxxxxxxxxxxZ"`, "targets"), "uptane form targets"},
		"lower-case type":          {image, uptane.RoleTargets, resign(t, good.Targets, `"Targets"`, `"targets"`, "targets"), "aktualizr type targets"},
		"snapshot in lower case":   {image, uptane.RoleSnapshot, resign(t, good.Snapshot, `"Snapshot"`, `"snapshot"`, "snapshot"), "aktualizr type snapshot"},
		"timestamp in lower case":  {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"Timestamp"`, `"timestamp"`, "timestamp"), "aktualizr type timestamp"},
		"delegation in lower case": {image, "sup", resign(t, good.Targets, `"Targets"`, `"targets"`, "targets"), "aktualizr type sup"},
		"other type":               {image, uptane.RoleSnapshot, good.Timestamp, "aktualizr type snapshot"},
		"no method":                {image, uptane.RoleTargets, swap(t, good.Targets, `"method":"ed25519",`, ``), "aktualizr signature-method targets"},
		"unknown method":           {image, uptane.RoleTargets, swap(t, good.Targets, `"method":"ed25519"`, `"method":"ecPrime256v1"`), "aktualizr signature-method targets"},
		"stray method":             {image, uptane.RoleTargets, swap(t, good.Targets, `"signatures":[`, `"signatures":[{"keyid":"00","method":"ecdsa","sig":""},`), "aktualizr signature-method targets"},
		"method in capitals": {image, uptane.RoleTargets, swap(t, good.Targets, `"method":"ed25519"`, `"method":"Ed25519"`),
			"uptane signature-threshold targets"},
		"hex signature":    {image, uptane.RoleTargets, hexed(t, good.Targets), "aktualizr signature-encoding targets"},
		"signed twice":     {image, uptane.RoleTargets, doubled(t, good.Targets), "aktualizr signature-duplicate targets"},
		"member outside":   {image, uptane.RoleTargets, swap(t, good.Targets, `{"signatures"`, `{"more":1,"signatures"`), "uptane form targets"},
		"ecdsa in a root":  {image, uptane.RoleRoot, resign(t, root, `"keys":{`, `"keys":{"0":{"keytype":"ecdsa","keyval":{"public":"x"}},`, "root"), "aktualizr key-type root"},
		"ecdsa delegation": {image, uptane.RoleTargets, resign(t, delegating, `"ED25519"`, `"ECPRIME256V1"`, "targets"), "aktualizr key-type targets"},
		"threshold 0":      {image, uptane.RoleRoot, resign(t, root, `"threshold":1`, `"threshold":0`, "root"), "aktualizr threshold-range root"},
		"threshold 1001":   {image, uptane.RoleTargets, resign(t, delegating, `"threshold":1`, `"threshold":1001`, "targets"), "aktualizr threshold-range targets"},
		"out of reach":     {image, uptane.RoleRoot, resign(t, root, `"threshold":1`, `"threshold":2`, "root"), "uptane key root"},
		"role missing":     {image, uptane.RoleRoot, resign(t, root, `"targets":{`, `"other":{`, "root"), "aktualizr root-roles root"},
		"reserved name":    {image, uptane.RoleTargets, resign(t, delegating, `"name":"sup"`, `"name":"Snapshot"`, "targets"), "aktualizr name targets"},
		"hash prefixes":    {image, uptane.RoleTargets, resign(t, delegating, `"paths"`, `"path_hash_prefixes":["ab"],"paths"`, "targets"), "uptane form targets"},
		"listed in capitals": {image, uptane.RoleSnapshot, resign(t, good.Snapshot, `"targets.json"`, `"Targets.json"`, "snapshot"),
			"aktualizr name snapshot"},
		"listed without version": {image, uptane.RoleSnapshot, resign(t, good.Snapshot, `{"version":1}`, `{"length":1}`, "snapshot"), "aktualizr meta snapshot"},
		"no length":              {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"length":`, `"size":`, "timestamp"), "aktualizr meta timestamp"},
		"length is text":         {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"length":`, `"length":"1","size":`, "timestamp"), "aktualizr meta timestamp"},
		"no version":             {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"version":5}}`, `"ver":5}}`, "timestamp"), "aktualizr meta timestamp"},
		"length of 33 bits":      {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"length":`, `"length":2147483648,"size":`, "timestamp"), "aktualizr meta timestamp"},
		"33 bits of a role":      {image, uptane.RoleSnapshot, resign(t, good.Snapshot, `{"version":1}`, `{"version":2147483648}`, "snapshot"), "aktualizr meta snapshot"},
		"long hardware id":       {image, uptane.RoleTargets, resign(t, good.Targets, `["ecu-a"]`, `["`+strings.Repeat("h", 201)+`"]`, "targets"), "aktualizr target targets"},
		"hardware id is a list":  {image, uptane.RoleTargets, resign(t, good.Targets, `["ecu-a"]`, `[["ecu-a"]]`, "targets"), "aktualizr target targets"},
		"long serial":            {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"s1"`, `"`+strings.Repeat("s", 65)+`"`, "targets"), "aktualizr ecu-identifiers targets"},
		"no serial":              {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"s1"`, `""`, "targets"), "aktualizr ecu-identifiers targets"},
		"ECU is text":            {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `{"hardwareId":"h"}`, `"h"`, "targets"), "aktualizr ecu-identifiers targets"},
		"no snapshot":            {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"snapshot.json"`, `"targets.json"`, "timestamp"), "aktualizr meta timestamp"},
		"no hashes":              {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"hashes"`, `"hash"`, "timestamp"), "aktualizr meta timestamp"},
		"unknown hash":           {image, uptane.RoleTimestamp, resign(t, good.Timestamp, `"sha256"`, `"md5"`, "timestamp"), "aktualizr meta timestamp"},
		"no sha256":              {image, uptane.RoleTargets, resign(t, good.Targets, sum, `"md5":"`, "targets"), "aktualizr target targets"},
		"negative length":        {image, uptane.RoleTargets, resign(t, good.Targets, `"length":1`, `"length":-1`, "targets"), "aktualizr target targets"},
		"custom is text":         {image, uptane.RoleTargets, resign(t, told, `{"ecuIdentifiers":{"s1":{"hardwareId":"h"}}}`, `"x"`, "targets"), "aktualizr target targets"},
		"uri is a list":          {image, uptane.RoleTargets, resign(t, good.Targets, `"uri":null`, `"uri":[]`, "targets"), "aktualizr target targets"},
		"name that climbs":       {image, uptane.RoleTargets, resign(t, good.Targets, `"b":{`, `"../b":{`, "targets"), "uptane name targets"},
		"assigned in image":      {image, uptane.RoleTargets, told, "aktualizr ecu-identifiers targets"},
		"hardware for a device":  {uptane.DirectorRepository, uptane.RoleTargets, good.Targets, "aktualizr hardware-ids targets"},
		"nobody":                 {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `{"s1":{"hardwareId":"h"}}`, `{}`, "targets"), "aktualizr ecu-identifiers targets"},
		"without an id":          {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"urn:1"`, `null`, "targets"), "aktualizr correlation-id targets"},
		"an empty id":            {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"urn:1"`, `""`, "targets"), "aktualizr correlation-id targets"},
		"hardware beside ECUs":   {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"ecuIdentifiers"`, `"hardwareIds":["h"],"ecuIdentifiers"`, "targets"), "aktualizr hardware-ids targets"},
		"ECU twice": {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"targets":{`, `"targets":{"fv":{"custom":{"ecuIdentifiers":{"s1":{"hardwareId":"h"}}},`+
			`"hashes":{"sha256":"`+strings.Repeat("cd", 32)+`"},"length":3},`, "targets"), "aktualizr ecu-twice targets"},
		"Director delegates": {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"custom":{"correlationId":"urn:1"}`,
			`"custom":{"correlationId":"urn:1"},"delegations":{"keys":{},"roles":[{"name":"x"}]}`, "targets"), "aktualizr director-delegations targets"},
		"65 KiB root":     {image, uptane.RoleRoot, resign(t, root, `"version":1`, `"version":1,"x":"`+long+`"`, "root"), "aktualizr size root"},
		"65 KiB snapshot": {image, uptane.RoleSnapshot, resign(t, good.Snapshot, `"version":5`, `"version":5,"x":"`+long+`"`, "snapshot"), ""},
		"65 KiB targets":  {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1,"x":"`+long+`"`, "targets"), ""},
		"65 KiB for a device": {uptane.DirectorRepository, uptane.RoleTargets, resign(t, told, `"version":7`, `"version":7,"x":"`+long+`"`, "targets"),
			"aktualizr size targets"},
		"8 MiB":             {image, uptane.RoleTargets, resign(t, good.Targets, `"version":1`, `"version":1,"x":"`+strings.Repeat(long, 128)+`"`, "targets"), "aktualizr size targets"},
		"endless white":     {image, uptane.RoleRoot, append([]byte(strings.Repeat(" ", 300<<10)), root...), "aktualizr size root"},
		"private key":       {image, uptane.RoleRoot, resign(t, root, `"keyval":{`, `"keyval":{"private":"00",`, "root"), "uptane key root"},
		"key of 1024 bits":  {image, uptane.RoleRoot, resign(t, root, `"keys":{`, `"keys":{"0":{"keytype":"RSA","keyval":{"public":"x"}},`, "root"), "uptane key root"},
		"key under two ids": {image, uptane.RoleRoot, again(t, root), "uptane key root"},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, acceptance.Form(uptane.Uptane, tt.repo, tt.role, tt.doc), tt.want) })
	}
	err := acceptance.Form(uptane.Uptane, image, uptane.RoleTargets, []byte(`{`))
	if f := fault.Of(err); f == nil || f.Code() != "gate_refused" || fault.Status(err) != 400 || !errors.Is(err, acceptance.ErrRefused) {
		t.Errorf("%v is no fault for callers", err)
	}
}

func hexed(t *testing.T, doc []byte) []byte {
	t.Helper()
	e, err := uptane.ParseEnvelope(uptane.Uptane, doc)
	must(t, err)
	_, rest, _ := strings.Cut(string(doc), `"sig":"`)
	old, _, _ := strings.Cut(rest, `"`)
	return swap(t, doc, old, fmt.Sprintf("%x", e.Signatures[0].Sig))
}

func doubled(t *testing.T, doc []byte) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(string(doc), "[")
	sig, _, _ := strings.Cut(rest, "]")
	return swap(t, doc, sig, sig+","+sig)
}

func again(t *testing.T, root []byte) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(string(root), `"keys":{"`)
	_, key, _ := strings.Cut(rest, ":")
	key, _, _ = strings.Cut(key, "}}")
	return resign(t, root, `"keys":{`, `"keys":{"00":`+key+"}},", "root")
}

// TUF documents meet the strict client and go-tuf, with that library's limits.
func TestFormOfTUF(t *testing.T) {
	by := all()
	good := publish(t, uptane.TUF, by, targetsOf(t, 1, "a"), 5, nil)
	for role, doc := range map[uptane.Role][]byte{uptane.RoleTargets: good.Targets, uptane.RoleSnapshot: good.Snapshot, uptane.RoleTimestamp: good.Timestamp} {
		wantRefusal(t, acceptance.Form(uptane.TUF, image, role, doc), "")
	}
	wantRefusal(t, acceptance.Form(uptane.TUF, image, uptane.RoleTargets, publish(t, uptane.Uptane, by, targetsOf(t, 1), 5, nil).Targets), "uptane form targets")
	wantRefusal(t, acceptance.Form(uptane.TUF, image, uptane.RoleTimestamp, swap(t, good.Timestamp, `"spec_version"`, `"x":"`+strings.Repeat("x", 16384)+`","spec_version"`)),
		"go-tuf size timestamp")
}

// A root chain: who stopped anywhere can follow, or the root is refused.
func TestChain(t *testing.T) {
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		t.Run(string(f), func(t *testing.T) {
			by := all()
			c := begin(t, f, by)
			two := by.with(uptane.RoleRoot, "root", "root-2", "root-3")
			next := two.root(t, 2)
			next.Roles["root"].Threshold = 2
			_, err := c.Extend(sign(t, f, uptane.RoleRoot, next, "root-2", "root-3"))
			wantRefusal(t, err, "uptane signature-threshold root") // not by the last one's keys
			_, err = c.Extend(sign(t, f, uptane.RoleRoot, next, "root"))
			wantRefusal(t, err, "uptane signature-threshold root") // one of two
			c2, err := c.Extend(sign(t, f, uptane.RoleRoot, next, "root", "root-2"))
			wantRefusal(t, err, "")
			_, err = c.Extend(sign(t, f, uptane.RoleRoot, by.root(t, 3), "root"))
			wantRefusal(t, err, "uptane version root")
			_, err = c2.Extend(sign(t, f, uptane.RoleRoot, next, "root", "root-2"))
			wantRefusal(t, err, "uptane version root")
			fresh := by.with(uptane.RoleRoot, "root-9").with(uptane.RoleTargets, "targets-2").root(t, 3)
			fresh.Expires = today.Add(-time.Hour) // another may follow
			c3, err := c2.Extend(sign(t, f, uptane.RoleRoot, fresh, "root-2", "root-3", "root-9"))
			wantRefusal(t, err, "")
			if c.Version() != 1 || c2.Version() != 2 || c3.Version() != 3 || c3.From() != 1 {
				t.Errorf("versions %d %d %d from %d", c.Version(), c2.Version(), c3.Version(), c3.From())
			}
			set := publish(t, f, by.with(uptane.RoleTargets, "targets-2"), targetsOf(t, 1), 5, nil)
			wantRefusal(t, c3.Judge(set, nil, today), "uptane expired root")
		})
	}
}

// A root calls the key of the last one by another name. Clients look for a
// signature under each name: one that is right and one that is not are not two.
func TestKeyByAnotherName(t *testing.T) {
	by := all()
	c := begin(t, uptane.Uptane, by)
	id := string(public(t, person("root")).ID())
	payload, err := uptane.Payload(uptane.Uptane, uptane.RoleRoot, by.root(t, 2))
	must(t, err)
	renamed, err := canonical.Normalize([]byte(strings.ReplaceAll(string(payload), id, "another")), canonical.Options{})
	must(t, err)
	right := fmt.Sprintf(`"method":"ed25519","sig":%q}`, base64.StdEncoding.EncodeToString(signatures(t, renamed, "root")[0].Sig))
	wrong := fmt.Sprintf(`"method":"ed25519","sig":%q}`, base64.StdEncoding.EncodeToString(make([]byte, 64)))
	doc := func(second string) []byte {
		return []byte(`{"signatures":[{"keyid":"` + id + `",` + right + `,{"keyid":"another",` + second + `],"signed":` + string(renamed) + `}`)
	}
	_, err = c.Extend(doc(wrong))
	wantRefusal(t, err, "aktualizr signature-threshold root")
	_, err = c.Extend(doc(right))
	wantRefusal(t, err, "")
}

// The complete set under a root, for clients that read before and for new ones.
func TestJudge(t *testing.T) {
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		t.Run(string(f), func(t *testing.T) {
			by := all()
			c := begin(t, f, by)
			before := publish(t, f, by, targetsOf(t, 1, "a"), 5, nil)
			edit := func(change func(*acceptance.Set)) acceptance.Set {
				s := publish(t, f, by, targetsOf(t, 2, "a", "b"), 6, nil)
				change(&s)
				return s
			}
			other := publish(t, f, by, targetsOf(t, 2, "a", "c"), 6, nil)
			foreign := by.with(uptane.RoleTargets, "thief").with(uptane.RoleTimestamp, "thief").with(uptane.RoleSnapshot, "thief")
			changed := targetsOf(t, 2, "a")
			changed.Targets["a"] = entry(t, "b")
			late := targetsOf(t, 2)
			late.Expires = today
			for name, tt := range map[string]struct {
				set  acceptance.Set
				want string
			}{
				"good":              {edit(func(*acceptance.Set) {}), ""},
				"the same again":    {before, ""},
				"renewed":           {edit(func(s *acceptance.Set) { s.Targets = nil }), ""},
				"longer snapshot":   {edit(func(s *acceptance.Set) { s.Timestamp = shorter(t, f, by, s.Snapshot) }), "uptane mix snapshot"},
				"other snapshot":    {edit(func(s *acceptance.Set) { s.Snapshot = resigned(t, f, by, later.Add(time.Hour)) }), "uptane mix snapshot"},
				"older targets":     {edit(func(s *acceptance.Set) { s.Targets = before.Targets }), "uptane mix targets"},
				"forged targets":    {edit(func(s *acceptance.Set) { s.Targets = sign(t, f, uptane.RoleTargets, targetsOf(t, 2), "thief") }), "uptane signature-threshold targets"},
				"forged timestamp":  {edit(func(s *acceptance.Set) { s.Timestamp = publish(t, f, foreign, targetsOf(t, 2), 6, nil).Timestamp }), "uptane signature-threshold timestamp"},
				"forged snapshot":   {edit(func(s *acceptance.Set) { s.Snapshot = publish(t, f, foreign, targetsOf(t, 2), 6, nil).Snapshot }), "uptane signature-threshold snapshot"},
				"other content":     {publish(t, f, by, changed, 6, nil), "aktualizr same-name-other-content targets"},
				"expired":           {publish(t, f, by, late, 6, nil), "uptane expired targets"},
				"older timestamp":   {publish(t, f, by, targetsOf(t, 2), 4, nil), "uptane rollback timestamp"},
				"rolled back":       {publish(t, f, by, targetsOf(t, 1, "a"), 4, nil), "uptane rollback timestamp"},
				"targets of others": {acceptance.Set{Timestamp: other.Timestamp, Snapshot: other.Snapshot, Targets: other.Targets}, ""},
			} {
				t.Run(name, func(t *testing.T) { wantRefusal(t, c.Judge(tt.set, &before, today), tt.want) })
			}
			past := publish(t, f, by, late, 6, nil)
			past.Past = true
			wantRefusal(t, c.Judge(past, &before, today), "")
			wantRefusal(t, c.Judge(before, nil, later), "uptane expired timestamp")
			// New online keys: what was signed with the old ones is forgotten.
			rotated := by.with(uptane.RoleTimestamp, "timestamp-2").with(uptane.RoleSnapshot, "snapshot-2")
			c2, err := c.Extend(sign(t, f, uptane.RoleRoot, rotated.root(t, 2), "root"))
			must(t, err)
			wantRefusal(t, c2.Judge(publish(t, f, rotated, targetsOf(t, 1, "a"), 2, nil), &before, today), "")
			wantRefusal(t, c2.Judge(before, &before, today), "uptane signature-threshold timestamp")
		})
	}
}

// shorter is a timestamp by which clients stop reading a snapshot before its end.
func shorter(t *testing.T, f uptane.Flavour, by people, snapshot []byte) []byte {
	t.Helper()
	ts, err := uptane.NewTimestamp(f, 6, later, snapshot)
	must(t, err)
	ts.Meta["snapshot.json"].Length--
	return sign(t, f, uptane.RoleTimestamp, ts, by[uptane.RoleTimestamp]...)
}

func resigned(t *testing.T, f uptane.Flavour, by people, expires time.Time) []byte {
	t.Helper()
	return sign(t, f, uptane.RoleSnapshot, uptane.NewSnapshot(6, expires, 2, nil), by[uptane.RoleSnapshot]...)
}

// Delegated roles are part of the set as far as they are there.
func TestDelegations(t *testing.T) {
	for _, f := range []uptane.Flavour{uptane.Uptane, uptane.TUF} {
		t.Run(string(f), func(t *testing.T) {
			by := all()
			c := begin(t, f, by)
			top, sup := targetsOf(t, 1, "a"), targetsOf(t, 3, "sup/x")
			delegate(t, top, "sup", "sup/*")
			delegate(t, top, "absent", "no/*")
			late := targetsOf(t, 1, "late/y")
			late.Expires = today.Add(-time.Hour) // a supplier's affair
			roles := map[uptane.Role]*metadata.TargetsType{"sup": sup, "late": late}
			good := publish(t, f, by, top, 5, roles)
			wantRefusal(t, c.Judge(good, nil, today), "")
			alone := publish(t, f, by, top, 6, roles)
			alone.Targets = nil
			delete(alone.Delegations, "late") // unchanged
			wantRefusal(t, c.Judge(alone, &good, today), "")
			edit := func(doc []byte) acceptance.Set {
				s := publish(t, f, by, top, 5, roles)
				s.Delegations["sup"] = acceptance.Delegated{Document: doc, Trust: trustIn(t, "sup")}
				return s
			}
			wantRefusal(t, c.Judge(edit(sign(t, f, "sup", sup, "thief")), nil, today), "uptane signature-threshold sup")
			wantRefusal(t, c.Judge(edit(sign(t, f, "sup", targetsOf(t, 4), "sup")), nil, today), "uptane mix sup")
			wantRefusal(t, c.Judge(edit([]byte("{")), nil, today), "uptane json sup")
			unlisted := publish(t, f, by, top, 5, nil)
			unlisted.Delegations["sup"] = good.Delegations["sup"]
			wantRefusal(t, c.Judge(unlisted, nil, today), "uptane mix sup")
			undelegated := edit(good.Delegations["sup"].Document)
			undelegated.Delegations["sup"] = acceptance.Delegated{Document: good.Delegations["sup"].Document, Trust: trustIn(t, "other")}
			wantRefusal(t, c.Judge(undelegated, nil, today), "uptane form sup")
			wantRefusal(t, c.Judge(publish(t, f, by, targetsOf(t, 2, "a"), 6, nil), &good, today), "uptane rollback snapshot") // listed no longer
		})
	}
}

func TestSizes(t *testing.T) {
	s := acceptance.SizeOf(uptane.Uptane, image, uptane.RoleRoot, make([]byte, 48<<10))
	if !s.High() || s.Percent() != 75 || s.Limit != 64<<10 {
		t.Errorf("%+v", s)
	}
	if s := acceptance.SizeOf(uptane.Uptane, image, uptane.RoleTargets, make([]byte, 6<<20-1)); s.High() || s.Limit != 8<<20 {
		t.Errorf("%+v", s)
	}
	if s := (acceptance.Size{}); s.High() || s.Percent() != 0 {
		t.Error("nothing is high")
	}
}
