package record

import (
	"encoding/json"

	"golang.org/x/mod/sumdb/tlog"
)

// kindSignature is the kind of a leaf that is no act.
const kindSignature = "signature"

// Leaf is one row of the record in the form that is hashed: one JSON object, its
// members in this order, nothing left out. A signature has no Actor, Action and
// Detail, an act has nothing else beside them.
type Leaf struct {
	// Kind is signature or act.
	Kind string `json:"kind" db:"kind"`
	// ID is the row's, a UUIDv7.
	ID        string `json:"id" db:"id"`
	Namespace string `json:"namespace" db:"namespace"`
	// At is when, in Unix milliseconds.
	At          int64  `json:"at" db:"at"`
	Repository  string `json:"repository" db:"repository"`
	Role        string `json:"role" db:"role"`
	KeyID       string `json:"keyId" db:"key_id"`
	RootVersion int64  `json:"rootVersion" db:"root_version"`
	// SHA256 is of the bytes that were signed, in hex.
	SHA256 string `json:"sha256" db:"message_sha256"`
	Clock  int64  `json:"clock" db:"clock"`
	Actor  string `json:"actor" db:"actor"`
	Action string `json:"action" db:"action"`
	Detail string `json:"detail" db:"detail"`
}

// hash is the hash of a leaf of the tree of its batch.
func (l Leaf) hash() Hash {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and integers
	}
	return tlog.RecordHash(text)
}

func hashesOf(rows []Leaf) []Hash {
	list := make([]Hash, len(rows))
	for i, r := range rows {
		list[i] = r.hash()
	}
	return list
}
