package tools_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sealift/fixtures/oldserver"
	"sealift/uptane"
)

// migration is docs/migration.md: the names of its blocks, in order, and what they
// say.
func migration() (names []string, blocks map[string]string, err error) {
	text, err := os.ReadFile("../docs/migration.md")
	blocks = map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```sh (\\S+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		names, blocks[m[1]] = append(names, m[1]), m[2]
	}
	return names, blocks, err
}

// TestMigrationSession: import.txtar runs every block of docs/migration.md, in its
// order, and sets what the first one sets.
func TestMigrationSession(t *testing.T) {
	names, blocks, err := migration()
	if err != nil || len(names) < 4 || names[0] != "settings" {
		t.Fatalf("blocks %q, %v", names, err)
	}
	script, err := os.ReadFile("testdata/import.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var run []string
	for _, m := range regexp.MustCompile(`(?m)^page (\S+)\n(?:! )?exec sh .*\b(\S+)\.sh\b`).FindAllStringSubmatch(string(script), -1) {
		run = append(run, m[1])
	}
	if !slices.Equal(run, names[1:]) {
		t.Errorf("the script runs %q, the page has %q", run, names[1:])
	}
	for _, m := range regexp.MustCompile(`\b([A-Z]+)=`).FindAllStringSubmatch(blocks["settings"], -1) {
		if !strings.Contains(strings.Join(oldSettings, " ")+" GATEWAY API", m[1]) {
			t.Errorf("the script does not set %s", m[1])
		}
	}
}

// migrationPage is page NAME: it makes NAME.sh of a block of docs/migration.md.
func migrationPage(ts *testscript.TestScript, neg bool, args []string) {
	_, blocks, err := migration()
	ts.Check(err)
	if len(args) != 1 || blocks[args[0]] == "" {
		ts.Fatalf("usage: page BLOCK")
	}
	text := blocks[args[0]]
	if strings.Count(text, "\n") == 1 {
		text = "exec " + text // signals reach it
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".sh"), []byte(text), 0o600))
}

// oldSettings are what the page leaves to its reader.
var oldSettings = []string{"REPOSERVER", "DIRECTOR", "STORAGE"}

// oldServerKey is where a script keeps its old server, and what stops it.
type oldServerKey struct{}

type runningOld struct {
	*oldserver.Server
	stop func()
}

// oldServer is old-server start | age | dump | stop: one server at the gateway of
// the script, with what an operator has of it in files: old-device.zip for devices,
// certificates, and after a dump its storage and the text of its databases.
func oldServer(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(oldServerKey{}).(*runningOld)
	switch strings.Join(args, " ") {
	case "start":
		s.start(ts)
	case "age":
		s.While(func() {
			s.Image.Change(uptane.RoleRoot, oldserver.Signers(2, "anna", "ben", "clara"))
			s.Image.Rotate(uptane.RoleTargets)
			s.Image.Rotate(uptane.RoleTimestamp)
			s.Director.Rotate(uptane.RoleRoot)
			s.Delegate(uptane.RoleTargets, "radio", oldserver.Signers(1, "radio"), "radio-*", "board", "radio-1")
		})
	case "dump":
		var keys, devices string
		s.While(func() {
			s.Storage(ts.Getenv("STORAGE"))
			keys, devices = s.KeyTable(), s.DeviceTables()
		})
		ts.Check(os.MkdirAll(ts.MkAbs("old-database"), 0o700))
		for name, text := range map[string]string{"tuf_keyserver": keys, "director_v2": devices} {
			ts.Check(os.WriteFile(ts.MkAbs("old-database/"+name+".sql"), []byte(text), 0o600))
		}
	case "stop":
		s.stop()
	default:
		ts.Fatalf("usage: old-server start | age | dump | stop")
	}
}

func (s *runningOld) start(ts *testscript.TestScript) {
	s.Server = oldserver.New(time.Now(), "localhost")
	services, stop, err := s.Listen(strings.TrimPrefix(ts.Getenv("GATEWAY"), "https://"))
	ts.Check(err)
	s.stop = stop
	ts.Defer(stop)
	ts.Check(s.DeviceArchive(ts.Getenv("GATEWAY")).Write(ts.MkAbs("old-device.zip")))
	chain, key := s.GatewayPair()
	for name, text := range map[string][]byte{"old-devices-ca.pem": s.DeviceCA(), "old-gateway-chain.pem": chain, "old-gateway.key": key} {
		ts.Check(os.WriteFile(ts.MkAbs(name), text, 0o600))
	}
	for name, value := range map[string]string{"REPOSERVER": services + "/reposerver", "DIRECTOR": services + "/director", "STORAGE": ts.MkAbs("old-storage"),
		"DB_ENCRYPTION_SALT": oldserver.Salt, "DB_ENCRYPTION_PASSWORD": oldserver.Password} {
		ts.Setenv(name, value)
	}
}
