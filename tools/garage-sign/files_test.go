package main

import (
	"archive/zip"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealift/fixtures"
	"sealift/uptane"
)

// What the older tool writes: other order of members, nulls, fractions of
// seconds, " : " everywhere. It must be read, signed and written alike.
const olderTargets = `{
  "expires" : "2030-03-03T12:00:00.123Z",
  "targets" : {
    "old-1" : {
      "hashes" : {
        "sha256" : "aa0e6b9d2f1d7d1d2f7a3f4c5b6a798081929394a5b6c7d8e9fa0b1c2d3e4f50"
      },
      "length" : 12,
      "custom" : null
    },
    "h_2.0" : {
      "hashes" : {
        "sha256" : "aa0e6b9d2f1d7d1d2f7a3f4c5b6a798081929394a5b6c7d8e9fa0b1c2d3e4f50"
      },
      "length" : 0,
      "custom" : {
        "name" : "h",
        "version" : "2.0",
        "hardwareIds" : [
          "ecu-a"
        ],
        "targetFormat" : "OSTREE",
        "uri" : null,
        "createdAt" : "2029-01-01T00:00:00Z",
        "updatedAt" : "2029-01-01T00:00:00Z",
        "cliUploaded" : false
      }
    }
  },
  "version" : 7,
  "_type" : "Targets"
}`

func TestFilesOfTheOlderTool(t *testing.T) {
	r := newRepository(t, false)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.write("a/config.json", `{
  "reposerver" : "`+r.url+`",
  "auth" : null,
  "treehub" : {
    "oauth2" : null,
    "no_auth" : true,
    "ostree" : {
      "server" : "https://treehub.example/api/v3/"
    }
  }
}`)
	s.write("a/roles/unsigned/targets.json", olderTargets)
	s.must("targets add -r a -h $D --name h --version 3.0 --length 1 --sha256 " + commit + " --hardwareids ecu-a --format binary --url https://cdn.example/h --customMeta {\"a\":[1,\"b\"],\"createdAt\":0}")
	s.must("targets sign -r a -h $D -k targets")
	if len(s.stderr) != 0 {
		t.Errorf("warnings: %s", s.stderr)
	}
	signed := s.file("a/roles/targets.json")
	var d struct {
		Signatures []struct{ KeyID, Method, Sig string }
		Signed     map[string]any
	}
	check(t, json.Unmarshal([]byte(signed), &d))
	if len(d.Signatures) != 1 || d.Signatures[0].Method != "ed25519" || d.Signed["version"] != float64(8) || d.Signed["expires"] != "2030-03-03T12:00:00Z" {
		t.Errorf("signed %+v", d)
	}
	if !strings.HasPrefix(signed, "{\n  \"signatures\" : [\n    {\n      \"keyid\" : \"") {
		t.Errorf("written as %.60s", signed)
	}
	targets := d.Signed["targets"].(map[string]any)
	added := targets["h-3.0"].(map[string]any)["custom"].(map[string]any)
	if added["releaseCounter"] != float64(1) || added["uri"] != "https://cdn.example/h" || mustJSON(added["a"]) != `[1,"b"]` || added["createdAt"] != "2030-01-31T12:00:00Z" {
		t.Errorf("added %v", added)
	}
	if old := targets["old-1"].(map[string]any); old["custom"] != nil || old["length"] != float64(12) {
		t.Errorf("old %v", old)
	}
	if _, has := old(t, s)["releaseCounter"]; has {
		t.Error("an older target got a counter")
	}
	// What no signer can agree on is refused with its place.
	s.write("a/roles/unsigned/targets.json", strings.Replace(olderTargets, `"length" : 12`, `"length" : 12.5`, 1))
	s.fails(3, "unsigned/targets.json: reading JSON at byte", "targets sign -r a -h $D -k targets")
}

// The older tool signs in this home and knows nothing of twins.
func TestLeftOverTwin(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	s.must("targets sign -r a -h $D -k targets --version 9")
	twin := s.file("a/roles/targets.tuf.json")
	s.must("targets sign -r a -h $D -k targets")
	good := s.file("a/roles/targets.tuf.json")
	s.write("a/roles/targets.tuf.json", twin)
	s.fails(3, "sign targets again", "targets push -r a -h $D")
	s.write("a/roles/targets.tuf.json", good)
	s.must("targets push -r a -h $D")
}

func old(t *testing.T, s *shell) map[string]any {
	var d struct {
		Targets map[string]struct{ Custom map[string]any }
	}
	check(t, json.Unmarshal([]byte(s.file("a/roles/unsigned/targets.json")), &d))
	return d.Targets["h_2.0"].Custom
}

func TestInitFromManyArchives(t *testing.T) {
	r := newRepository(t, false)
	for name, c := range map[string]struct {
		members map[string]string
		flags   string
		code    int
		want    string
	}{
		"no server":          {map[string]string{"tufrepo.url": ""}, "", 3, "tufrepo.url"},
		"server by flag":     {map[string]string{"tufrepo.url": ""}, "--reposerver " + r.url, 0, ""},
		"no targets key":     {map[string]string{"targets.sec": ""}, "", 0, "no targets.pub and targets.sec"},
		"no root":            {map[string]string{"root.json": ""}, "", 0, "no root.json"},
		"no login":           {map[string]string{"treehub.json": `{"ostree":{"server":"https://x"}}`}, "", 3, "neither oauth2"},
		"no treehub":         {map[string]string{"treehub.json": ""}, "", 3, "treehub.json"},
		"older login":        {map[string]string{"treehub.json": `{"oauth2":{"server":"https://x","client_id":"a","client_secret":"b"},"ostree":{"server":"https://x"}}`}, "", 0, ""},
		"keys do not match":  {map[string]string{"targets.pub": `{"keytype":"ED25519","keyval":{"public":"e8b819c020ce57f72521452d341875bb6eb311ecca3cbb711efb63f38e68cde1"}}`}, "", 3, "different keys"},
		"RSA":                {rsaKey(t), "", 0, ""},
		"much else":          {map[string]string{"keys": "x", "key.txt": "x", "priv.key": "x", "public.key": "x", "autoprov.url": "https://gw.example:8443"}, "", 0, ""},
		"half a targets key": {map[string]string{"targets.sec": `{"keytype":"ED25519","keyval":{"private":"00"}}`}, "", 3, "unusable key file"},
		"ECDSA":              {map[string]string{"targets.pub": `{"keytype":"ECPRIME256V1","keyval":{"public":"00"}}`}, "", 3, "unusable key file"},
		"Director":           {map[string]string{"api_gateway.url": "https://api.example"}, "-t director", 0, ""},
		"no Director":        {nil, "-t director", 3, "api_gateway.url"},
	} {
		s := newShell(t)
		s.credentials(r, c.members)
		code := s.run("init -r a -h $D -c $D/credentials.zip " + c.flags)
		if code != c.code || !strings.Contains(s.stderr, c.want) || c.want == "" && s.stderr != "" {
			t.Errorf("%s: exit %d\n%s", name, code, s.stderr)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "a")); (err == nil) != (code == 0) {
			t.Errorf("%s: exit %d, but folder: %v", name, code, err)
		}
		if name == "Director" {
			s.fails(1, "Director makes its own targets", "targets pull -r a -h $D")
			s.fails(1, "Director makes its own targets", "targets init -r a -h $D --version 1 --expires 2031-01-01T00:00:00Z")
		}
		if name == "no root" {
			s.fails(1, "root pull --force", "targets pull -r a -h $D")
			s.fails(1, "root pull --force", "root pull -r a -h $D")
			s.must("root pull -r a -h $D --force")
			s.must("targets pull -r a -h $D")
		}
	}
}

// rsaKey are members of an archive with an RSA key, as the older tool writes it.
func rsaKey(t *testing.T) map[string]string {
	members := map[string]string{}
	for _, name := range []string{"targets.pub", "targets.sec"} {
		content, err := fs.ReadFile(fixtures.GarageSign(), "tufrepo/keys/"+name)
		check(t, err)
		members[name] = string(content)
	}
	return members
}

// A certificate goes before no login, and that before OAuth2.
func TestLoginThatAnArchiveMeans(t *testing.T) {
	const oauth, server = `"oauth2":{"server":"https://id.example.com/token","client_id":"a","client_secret":"b"}`, `"ostree":{"server":"https://x.example.com"}`
	for name, c := range map[string]struct {
		treehub    string
		p12, trust string
		want       string
	}{
		"OAuth2":                  {`{` + oauth + `,` + server + `}`, "", "", `{"client_id":"a","client_secret":"b","scope":"none","server":"https://id.example.com/token"}`},
		"none, though":            {`{"no_auth":true,` + oauth + `,` + server + `}`, "", "", `null`},
		"none, of a number":       {`{"no_auth":true}`, "", "", `null`},
		"certificate, though":     {`{"no_auth":true,` + oauth + `,` + server + `}`, "p12", "", `{"certPath":"client_auth.p12","serverCertPath":null}`},
		"certificate alone":       {`{` + server + `}`, "p12", "", `{"certPath":"client_auth.p12","serverCertPath":null}`},
		"certificate and its CAs": {`{` + server + `}`, "p12", "p12", `{"certPath":"client_auth.p12","serverCertPath":"server.p12"}`},
	} {
		s := newShell(t)
		s.credentials(newRepository(t, false), map[string]string{"treehub.json": c.treehub, "client_auth.p12": c.p12, "server.p12": c.trust})
		s.must("init -r a -h $D -c $D/credentials.zip")
		var config struct{ Auth any }
		check(t, json.Unmarshal([]byte(s.file("a/config.json")), &config))
		if got := mustJSON(config.Auth); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if s.file("a/credentials.zip") != s.file("credentials.zip") {
			t.Errorf("%s: another archive is kept", name)
		}
		if c.p12 != "" && s.file("a/client_auth.p12") != c.p12 {
			t.Errorf("%s: another certificate is kept", name)
		}
	}
}

// A server with a certificate nobody knows, vouched for by the archive; builds
// pass a bundle of public certificates as well.
func TestPrivateCertificate(t *testing.T) {
	r := newRepository(t, false)
	tls := httptest.NewTLSServer(nil)
	t.Cleanup(tls.Close)
	tls.Config.Handler = httpProxy(r.url)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}))
	other := httptest.NewTLSServer(nil)
	other.Close()
	s := newShell(t)
	s.credentials(r, map[string]string{"tufrepo.url": tls.URL, "server_ca.pem": ca})
	s.write("bundle.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})))
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("targets pull -r a -h $D")
	s.must("targets pull -r a -h $D --cacert $D/bundle.pem")
	s.must("--cacert=$D/bundle.pem targets --home-dir=$D pull --repo=a --verbose")
	if !strings.Contains(s.stderr, "GET "+tls.URL+"/api/v1/user_repo/targets.json: 200") {
		t.Errorf("verbose says %s", s.stderr)
	}
	s.fails(3, "none.pem", "targets pull -r a -h $D --cacert $D/none.pem")

	stranger := newShell(t)
	stranger.credentials(r, map[string]string{"tufrepo.url": tls.URL})
	stranger.must("init -r a -h $D -c $D/credentials.zip")
	stranger.fails(3, "certificate", "targets pull -r a -h $D")
	stranger.write("ca.pem", ca)
	stranger.must("targets pull -r a -h $D --cacert $D/ca.pem")
}

func TestLogin(t *testing.T) {
	r := newRepository(t, false)
	for treehub, secret := range map[string]string{
		`{"oauth2":{"server":"` + r.url + `/oauth2/token","client_id":"builder","client_secret":"s3cret"},"ostree":{"server":"` + r.url + `"}}`: "Bearer T",
		`{"basic_auth":{"user":"builder","password":"s3cret"},"ostree":{"server":"` + r.url + `"}}`:                                             "Basic YnVpbGRlcjpzM2NyZXQ=",
	} {
		r.secret = secret
		s := newShell(t)
		s.credentials(r, map[string]string{"treehub.json": treehub})
		s.must("init -r a -h $D -c $D/credentials.zip")
		s.must("targets pull -r a -h $D")
		s.must("targets sign -r a -h $D -k targets")
		s.must("targets push -r a -h $D")
		r.secret = "another"
		s.fails(3, "401 Unauthorized", "targets pull -r a -h $D")
	}
}

func TestExportCredentials(t *testing.T) {
	r := newRepository(t, true)
	s := newShell(t)
	s.credentials(r, map[string]string{"autoprov.url": "https://gw.example:8443", "key.txt": "kept"})
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("key generate -r a -h $D --name mine")
	s.must("export-credentials -r a -h $D -k mine -o $D/out.zip")
	z, err := zip.OpenReader(filepath.Join(s.dir, "out.zip"))
	check(t, err)
	defer z.Close()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	for _, want := range []string{"treehub.json", "tufrepo.url", "targets.pub", "targets.sec", "root.json", "autoprov.url", "key.txt"} {
		if strings.Count(" "+strings.Join(names, " ")+" ", " "+want+" ") != 1 {
			t.Errorf("%s: members %v", want, names)
		}
	}
	s.must("init -r b -h $D -c $D/out.zip")
	if s.file("b/keys/targets.pub") != s.file("a/keys/mine.pub") || s.file("b/keys/targets.sec") != s.file("a/keys/mine.sec") {
		t.Error("the archive has another key")
	}
	s.must("targets pull -r b -h $D")
	s.must("targets sign -r b -h $D --key-name targets")
	if !strings.Contains(s.stderr, "not a targets key of root version 1") {
		t.Errorf("no warning about a key the root does not know: %s", s.stderr)
	}
	s.fails(3, "invalid_offline_targets", "targets push -r b -h $D")
	if !strings.Contains(s.stderr, "TUF flavour was not taken") {
		t.Errorf("no warning about the twin: %s", s.stderr)
	}
}

// The operator's own home has the keys from the start and gets the address and
// the credentials of the server from the archive for builds.
func TestConnectedHome(t *testing.T) {
	r := newRepository(t, true)
	r.secret = "Basic YnVpbGRlcjpzM2NyZXQ="
	s := newShell(t)
	s.credentials(r, map[string]string{"treehub.json": `{"basic_auth":{"user":"builder","password":"s3cret"},"ostree":{"server":"` + r.url + `"}}`})
	check(t, r.offline.Connect([]byte(s.file("credentials.zip"))))
	s.dir = filepath.Dir(r.offline.Dir())
	s.must("root pull -r image -h $D")
	s.must("root sign -r image -h $D")
	s.must("root push -r image -h $D")
	s.must("targets pull -r image -h $D")
	s.must("targets sign -r image -h $D -k targets")
	s.must("targets push -r image -h $D")
	if len(r.roots) != 2 || r.twins["root"] == nil || r.twins["targets"] == nil {
		t.Errorf("%d roots, twins %d", len(r.roots), len(r.twins))
	}
}

func TestUserKeys(t *testing.T) {
	s := newShell(t)
	s.must("user-keys gen -k me -h $D")
	id := s.stdout[strings.LastIndex(s.stdout, " ")+1:]
	s.must("user-keys id -i $D/user-keys/me.pub")
	if s.stdout != id || !uptane.KeyID(strings.TrimSpace(id)).Valid() {
		t.Errorf("ids %q and %q", s.stdout, id)
	}
	s.must("user-keys --keys-path $D/own gen -k me -t rsa --keysize 2048")
	var pub struct{ Keyval struct{ Public string } }
	check(t, json.Unmarshal([]byte(s.file("own/me.pub")), &pub))
	s.write("me.pem", pub.Keyval.Public)
	r := newRepository(t, false)
	s.credentials(r, nil)
	s.must("init -r a -h $D -c $D/credentials.zip")
	s.must("user-keys importpub -r a -h $D -k friend -i $D/me.pem")
	if s.file("a/keys/friend.pub") != s.file("own/me.pub") {
		t.Error("another key was imported")
	}
	s.fails(1, "no public key in PEM", "user-keys importpub -r a -h $D -k foe -i $D/a/config.json")
}
