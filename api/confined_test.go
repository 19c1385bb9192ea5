package api_test

import (
	"crypto"
	"fmt"
	"strings"
	"testing"

	"sealift/internal/db"
	"sealift/internal/db/dbtest"
	"sealift/treehub/ostree"
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

// Suppliers push operating systems, too, each under refs of its own. What another one,
// or the operator, could lose by it is refused.
func TestSuppliersPushBelowTheirNames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := newTreeHubEdge(t, d)
		ours := e.commit(ostree.Checksum{}, 2, "ours")
		if _, err := ostree.Copy(t.Context(), e.dir, e.client("default"), ours, ostree.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		theirs := e.commit(ostree.Checksum{}, 3, "theirs")
		if _, err := ostree.Copy(t.Context(), e.dir, e.client("supplier-radio"), theirs, ostree.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		ref := func(token, name string, commit ostree.Checksum, status int) {
			t.Helper()
			resp, body := e.do(token, "POST", "/api/v3/refs/heads/"+name, commit.String(), "x-ats-ostree-force", "true")
			if resp.StatusCode != status || status == 403 && !strings.Contains(body, "delegation_forbidden") {
				t.Errorf("%s sets %s: %d %s", token, name, resp.StatusCode, body)
			}
		}
		ref("default", "main", ours, 200)
		ref("default", "radio", ours, 200)
		ref("supplier-radio", "radio/main", theirs, 200)
		ref("supplier-radio", "radio/main", ours, 200) // forced
		for _, name := range []string{"main", "radio", "radio-2/main", "brakes/main", "radios/main", "Radio/main", "refs/heads/radio/main"} {
			ref("supplier-radio", name, theirs, 403)
		}
		ref("supplier-brakes", "radio/main", theirs, 403)
		for _, c := range []struct{ method, path, body string }{
			{"PUT", "/api/v3/manifests/" + ours.String(), "{}"},
			{"POST", "/api/v3/objects/" + ostree.ObjectName{Checksum: ours, Type: ostree.TypeCommitMeta}.Path(), "\x00"},
		} {
			if resp, body := e.do("supplier-radio", c.method, c.path, c.body); resp.StatusCode != 403 || !strings.Contains(body, "delegation_forbidden") {
				t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, body)
			}
		}
		refs, _, err := e.hub.Refs(t.Context(), "default", 0, 10)
		if err != nil || len(refs) != 3 || refs[0].Commit != ours || refs[1].Commit != ours {
			t.Errorf("refs %+v, %v", refs, err)
		}
	})
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
