package repo

import (
	"encoding/json"
	"errors"
	"fmt"

	"sealift/uptane"
)

// remoteSecret is what is sealed of a remote address. It says what it is for, so
// that whoever can write to the database can have it sent nowhere else; and that
// makes it longer than a data key, so that it is never taken for one.
type remoteSecret struct {
	For     string            `json:"for"`
	Headers map[string]string `json:"headers"`
}

func secretOf(ns uptane.Namespace, row remoteRow) string {
	return fmt.Sprintf("sealift headers of remote delegation %s %s %s", ns, row.Role, row.URI)
}

func (r *Repo) sealHeaders(ns uptane.Namespace, row remoteRow, headers map[string]string) ([]byte, error) {
	plain, err := json.Marshal(remoteSecret{secretOf(ns, row), headers})
	if err != nil {
		return nil, err
	}
	return r.cfg.Secrets.Wrap(plain)
}

func (r *Repo) openHeaders(ns uptane.Namespace, row remoteRow) (map[string]string, error) {
	plain, err := r.cfg.Secrets.Unwrap(row.Headers)
	if err != nil {
		return nil, err
	}
	var s remoteSecret
	if json.Unmarshal(plain, &s) != nil || s.For != secretOf(ns, row) { // no word of what was opened
		return nil, errors.New("they were sealed for another address; set it again")
	}
	return s.Headers, nil
}
