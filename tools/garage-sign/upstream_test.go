package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/uptane"
)

// upstream adds to a repository what servers of the older kind have: they keep
// private keys and give them away, and take delegated roles.
func (r *repository) upstream(mux *http.ServeMux, base string) {
	r.private, r.delegated = map[string][]byte{}, map[string][]byte{}
	mux.HandleFunc("GET "+base+"root/private_keys/{id}", func(w http.ResponseWriter, q *http.Request) {
		if key := r.private[q.PathValue("id")]; key != nil {
			w.Write(key)
			return
		}
		refuse(w, 404, "keypair_not_found", nil)
	})
	mux.HandleFunc("DELETE "+base+"root/private_keys/{id}", func(w http.ResponseWriter, q *http.Request) {
		if r.private[q.PathValue("id")] == nil {
			refuse(w, 502, "missing_entity", nil)
			return
		}
		delete(r.private, q.PathValue("id"))
	})
	mux.HandleFunc("DELETE "+base+"ostree", func(w http.ResponseWriter, q *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("GET "+base+"uploads/{file...}", func(w http.ResponseWriter, q *http.Request) {
		if r.files[q.PathValue("file")] == nil {
			refuse(w, 404, "target_not_found", nil)
			return
		}
		http.Redirect(w, q, "/storage/"+q.PathValue("file"), http.StatusFound)
	})
	mux.HandleFunc("GET /storage/{file...}", func(w http.ResponseWriter, q *http.Request) { w.Write(r.files[q.PathValue("file")]) })
	mux.HandleFunc("GET "+base+"delegations/{name}", func(w http.ResponseWriter, q *http.Request) {
		if doc := r.delegated[q.PathValue("name")]; doc != nil {
			w.Write(doc)
			return
		}
		refuse(w, 404, "delegations_not_found", nil)
	})
	mux.HandleFunc("PUT "+base+"delegations/{name}", r.putDelegated)
}

// giveKeys makes the server one that has its root and targets key.
func (r *repository) giveKeys() {
	for _, name := range []string{"root", "targets"} {
		key, err := r.offline.Keys().Public(name)
		check(r.t, err)
		plain, err := r.offline.Keys().ExportPlain(name)
		check(r.t, err)
		r.private[string(key.ID())] = plain
	}
}

func (r *repository) putDelegated(w http.ResponseWriter, q *http.Request) {
	role, _, err := uptane.ParseFilename(q.PathValue("name"))
	if err != nil {
		refuse(w, 400, "invalid_delegation_role_name", nil)
		return
	}
	ring, err := uptane.RingOf(uptane.Uptane, r.root(), uptane.RoleTargets)
	check(r.t, err)
	targets, err := uptane.Open[metadata.TargetsType](uptane.Uptane, r.targets, uptane.RoleTargets, ring, time.Time{})
	check(r.t, err)
	trust, err := uptane.DelegationRing(uptane.Uptane, &targets.Payload, role)
	if err != nil {
		refuse(w, 400, "delegations_not_defined", nil)
		return
	}
	doc, err := uptane.Open[metadata.TargetsType](uptane.Uptane, readBody(q), role, trust, time.Time{})
	if err != nil {
		refuse(w, 400, "payload_signature_invalid", []string{err.Error()})
		return
	}
	if r.tuf {
		twin := r.staged[said(string(role), doc.Signed)]
		if err := uptane.Twins(role, doc.Signed, signedOf(twin)); err != nil {
			refuse(w, 412, "tuf_twin_missing", []string{fmt.Sprint(err)})
			return
		}
		r.twins[string(role)] = twin
	}
	r.delegated[q.PathValue("name")] = doc.Raw
	w.WriteHeader(204)
}
