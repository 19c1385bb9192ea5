// Package tools_test runs the built programs the way their users do: each
// script of testdata is a session, typed into a folder of its own against a
// server of its own.
//
// Besides the commands of testscript, scripts know those of commands_test.go.
// GATEWAY and API are the URLs of a script's server, on ports of its own, where
// init and serve put it; the passphrases of the offline folder and of the builds
// are set; curl trusts the server and prints the status behind the body.
package tools_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	bin := build(t)
	ports := &ports{next: 20000 + os.Getpid()%800*12}
	run(t, func(env *testscript.Env) error { return setUp(env, bin, ports) }, "single")
}

// run runs scripts, all where none is named; parts of a script may be for one engine
// alone, or for programs that know tokens, which is a condition: [single],
// [replicas] or [tokens].
func run(t *testing.T, setUp func(*testscript.Env) error, engine string, scripts ...string) {
	tuf := &tufClients{t: t}
	dir := "testdata"
	if len(scripts) > 0 {
		dir = ""
	}
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		Files:              scripts,
		RequireUniqueNames: true,
		Setup:              setUp,
		Condition: func(name string) (bool, error) {
			if name != "single" && name != "replicas" && name != "tokens" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return name == engine, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"needs": needs, "ready": ready, "exits": exits, "within": within, "handshake": handshake, "retry": retry, "read": read,
			"keyservice": keyService, "offline-keys": offlineKeys, "commit-tree": commitTree,
			"page": migrationPage, "old-server": oldServer,
			"gotuf": tuf.gotuf, "tufjs": tuf.js,
		},
	})
}

// curlrc makes curl trust the script's server, print the status behind the
// body, and nothing else.
const curlrc = `silent
show-error
cacert = "%s"
write-out = "\n%%{http_code}\n"
`

func setUp(env *testscript.Env, bin string, ports *ports) error {
	gateway, err := ports.take()
	if err != nil {
		return err
	}
	api, err := ports.take()
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, ".home")
	for name, value := range map[string]string{
		"PATH": bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME": home,
		"SEALIFT_LISTEN_GATEWAY": "127.0.0.1:" + gateway, "GATEWAY": "https://localhost:" + gateway,
		"SEALIFT_LISTEN_API": "127.0.0.1:" + api, "API": "https://localhost:" + api,
		"SEALIFT_LISTEN_METRICS": "",
		"SEALIFT_PASSPHRASE":     "of the offline folder", "GARAGE_SIGN_PASSPHRASE": "of the builds",
		"LC_ALL": "C.UTF-8",
	} {
		env.Setenv(name, value)
	}
	env.Values[failer{}], env.Values[begun{}], env.Values[oldServerKey{}] = env.T(), time.Now(), new(runningOld)
	env.Values[keyServiceKey{}] = new(runningKeys)
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	rc := fmt.Sprintf(curlrc, filepath.Join(env.WorkDir, "sealift-out", "server_ca.pem"))
	return os.WriteFile(filepath.Join(home, ".curlrc"), []byte(rc), 0o600)
}

// ports are free ports, each given once. They lie below those that the system
// gives to clients, so that none is taken before its server listens.
type ports struct {
	mu   sync.Mutex
	next int
}

func (p *ports) take() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1000 {
		port := strconv.Itoa(p.next)
		p.next++
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return "", errors.New("looking for a free port: none of 1000")
}
