package reposerver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sealift/uptane"
	"sealift/uptane/ceremony"
)

// drafts is where roots wait for signatures, below the base of the whole API.
const drafts = "root-drafts"

// RootDraft is a root that waits at the server for signatures, in the server's
// words: whoever signs encodes the model, and believes nothing else.
type RootDraft struct {
	ID, Repository, CreatedBy   string
	Before, Model               ceremony.Model
	Changes, SignedBy, MadeKeys []string
	Quorum                      ceremony.Quorum
	Complete                    bool
	CreatedAt, EndsAt           time.Time
}

// DraftRequest asks for the next root of a repository. What it does not speak of
// stays as it is in the root before.
type DraftRequest struct {
	Repository uptane.Repository              `json:"repository"`
	Replaces   string                         `json:"replaces,omitempty"` // the draft that is given up for it
	Expires    *time.Time                     `json:"expires,omitempty"`
	Roles      map[uptane.Role]ceremony.Trust `json:"roles,omitempty"`
}

// Drafts are the roots that wait at a server.
type Drafts struct{ s *Server }

// NewDrafts speaks to the server whose whole API is below c.URL.
func NewDrafts(c Config) Drafts { return Drafts{New(c)} }

// Of returns the draft of a repository, nil for none.
func (d Drafts) Of(ctx context.Context, repo uptane.Repository) (*RootDraft, error) {
	a, err := d.s.Must(ctx, http.MethodGet, drafts, nil, nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Values []*RootDraft }
	if err := json.Unmarshal(a.Body, &list); err != nil {
		return nil, fmt.Errorf("reading the roots that wait: %w", err)
	}
	for _, draft := range list.Values {
		if draft != nil && draft.Repository == string(repo) {
			return draft, nil
		}
	}
	return nil, nil
}

// Begin drafts a root.
func (d Drafts) Begin(ctx context.Context, ask DraftRequest) (*RootDraft, error) {
	return d.post(ctx, drafts, ask)
}

// Sign adds lists of signatures in either flavour; tuf is nil for none.
func (d Drafts) Sign(ctx context.Context, id string, sigs, tuf []byte) (*RootDraft, error) {
	return d.post(ctx, drafts+"/"+EscapePath(id)+"/signatures", struct {
		Uptane json.RawMessage `json:"uptane"`
		TUF    json.RawMessage `json:"tuf,omitempty"`
	}{sigs, tuf})
}

// Publish makes a draft that enough keys have signed the root in force.
func (d Drafts) Publish(ctx context.Context, id string) error {
	_, err := d.s.Must(ctx, http.MethodPost, drafts+"/"+EscapePath(id)+"/publish", nil, nil)
	return err
}

// Withdraw gives a draft up, with its signatures and the keys made for it.
func (d Drafts) Withdraw(ctx context.Context, id string) error {
	_, err := d.s.Must(ctx, http.MethodDelete, drafts+"/"+EscapePath(id), nil, nil)
	return err
}

func (d Drafts) post(ctx context.Context, path string, ask any) (*RootDraft, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	a, err := d.s.Must(ctx, http.MethodPost, path, body, nil)
	if err != nil {
		return nil, err
	}
	var draft RootDraft
	if err := json.Unmarshal(a.Body, &draft); err != nil || draft.ID == "" {
		return nil, errors.New("the server did not answer with a root that waits for signatures")
	}
	return &draft, nil
}
