package api_test

import (
	"crypto"
	"fmt"
	"strings"
	"testing"

	"sealift/uptane"
)

// A supplier gets a token for its own role. With that it brings its images and
// what it signs, and so do those to whom it hands a part on; whatever belongs to
// somebody else is refused before anything is read.
func TestATokenForOneRole(t *testing.T) {
	e := newRepoEdge(t)
	brakes, radio := newSigner(t), newSigner(t)
	resp, body := e.ask("PUT", "/targets", "signer", e.targets(1, nil))
	e.want(204, "", resp, body)
	e.trust([]uptane.Role{"brakes", "radio"}, brakes, radio)

	doc := delegated(t, "brakes", brakes, 1, "brakes/a")
	resp, body = e.ask("PUT", "/delegations/brakes.json", "supplier", doc)
	e.want(204, "", resp, body)
	resp, body = e.ask("GET", "/delegations/brakes.json", "supplier", nil)
	e.want(200, "", resp, body)
	resp, body = e.ask("PUT", "/tuf/brakes", "supplier", []byte("{}"))
	e.want(400, "gate_refused", resp, body)
	resp, body = e.ask("PUT", "/trusted-delegations/brakes/remote/refresh", "supplier", nil)
	e.want(412, "missing_remote_delegation_uri", resp, body)
	resp, body = e.ask("POST", "/multipart/initiate/brakes/fw?fileSize=3", "supplier", nil)
	e.want(200, "uploadId", resp, body)
	resp, body = e.ask("PUT", "/uploads/brakes/fw", "supplier", []byte("123"))
	e.want(302, "", resp, body)
	resp, body = e.ask("PUT", resp.Header.Get("Location"), "", []byte("123"))
	e.want(200, "", resp, body)
	resp, body = e.ask("GET", "/uploads/brakes/fw", "supplier", nil)
	e.want(200, "123", resp, body)

	for _, c := range [][2]string{
		{"PUT", "/delegations/radio.json"}, {"PUT", "/delegations/nobody.json"}, {"PUT", "/tuf/radio"}, {"PUT", "/tuf/targets"}, {"PUT", "/tuf/root"},
		{"PUT", "/trusted-delegations/radio/remote/refresh"},
		{"POST", "/multipart/initiate/radio/fw?fileSize=3"}, {"GET", "/multipart/url/radio/fw?part=1&contentLength=1&md5=&uploadId=x"},
		{"PUT", "/multipart/complete/radio/fw"}, {"PUT", "/uploads/radio/fw"}, {"GET", "/uploads/radio/fw"}, {"PUT", "/uploads/own"},
	} {
		resp, body = e.ask(c[0], c[1], "supplier", doc)
		e.want(403, "delegation_forbidden", resp, body)
	}
	for _, c := range [][2]string{{"PUT", "/targets"}, {"POST", "/root"}, {"PUT", "/targets/brakes/fw?name=x&version=1"}, {"DELETE", "/targets/brakes/a"},
		{"PUT", "/trusted-delegations"}, {"PUT", "/trusted-delegations/keys"}, {"PUT", "/trusted-delegations/brakes/remote"}, {"PUT", "/comments/brakes/a"}} {
		resp, body = e.ask(c[0], c[1], "supplier", nil)
		e.want(403, `"forbidden"`, resp, body)
	}

	// The operator takes its trust back: the token is good for nothing any more.
	resp, body = e.ask("DELETE", "/trusted-delegations/brakes", "signer", nil)
	e.signProposal(resp, body)
	resp, body = e.ask("PUT", "/delegations/brakes.json", "supplier", delegated(t, "brakes", brakes, 2, "brakes/a"))
	e.want(400, "delegations_not_defined", resp, body)
	resp, body = e.ask("PUT", "/uploads/brakes/fw", "supplier", []byte("123"))
	e.want(403, "delegation_forbidden", resp, body)
}

// trust signs targets that delegate to roles, each for names that begin with it.
func (e *repoEdge) trust(roles []uptane.Role, signers ...crypto.Signer) {
	e.t.Helper()
	var keys, list []string
	for i, s := range signers {
		key, err := uptane.NewKey(s.Public())
		if err != nil {
			e.t.Fatal(err)
		}
		keys = append(keys, string(key.Wire(uptane.Uptane)))
		list = append(list, fmt.Sprintf(`{"name":%q,"keyids":[%q],"paths":["%s/*"],"threshold":1,"terminating":false}`, roles[i], key.ID(), roles[i]))
	}
	resp, body := e.ask("PUT", "/trusted-delegations/keys", "signer", []byte("["+strings.Join(keys, ",")+"]"))
	e.signProposal(resp, body)
	resp, body = e.ask("PUT", "/trusted-delegations", "signer", []byte("["+strings.Join(list, ",")+"]"))
	e.signProposal(resp, body)
}
