package reposerver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"sealift/internal/home"
	"sealift/uptane"
)

// ChecksumHeader names the state of the targets: with an answer the one that
// was sent, with a push the one that is to be replaced.
const ChecksumHeader = "x-ats-role-checksum"

// ErrRoot marks a root of the server that does not follow from the local one.
var ErrRoot = errors.New("the server's root is not a successor of the local one")

// ErrNoChecksum marks targets without a name for their state: nothing could be
// pushed over them.
var ErrNoChecksum = errors.New("the server sent targets without " + ChecksumHeader)

// Root fetches a root, the newest where version is 0. It is not verified.
func (s *Server) Root(ctx context.Context, version int64) ([]byte, error) {
	path := "root.json"
	if version > 0 {
		path = fmt.Sprintf("%d.root.json", version)
	}
	a, err := s.must(ctx, http.MethodGet, path, nil, nil, maxRoot)
	return a.Body, err
}

// Roots fetches the roots from version first to last, in order; none where last
// is before first. They are not verified. Errors wrap ErrRoot where they are more
// than anybody follows at once.
func (s *Server) Roots(ctx context.Context, first, last int64) ([][]byte, error) {
	if last-first >= int64(s.c.MaxRoots) {
		return nil, fmt.Errorf("%w: it is more than %d versions ahead", ErrRoot, s.c.MaxRoots)
	}
	var chain [][]byte
	for version := first; version <= last; version++ {
		raw, err := s.Root(ctx, version)
		if err != nil {
			return nil, err
		}
		chain = append(chain, raw)
	}
	return chain, nil
}

// FollowRoots brings the local root of a home up to date: each next root must
// be signed by the keys of the one before, so a key rotation on the server
// needs no attention here. It returns the versions followed, which stay followed
// whatever comes behind them. Errors wrap home.ErrNotFound where there is no local
// root, and ErrRoot.
func (s *Server) FollowRoots(ctx context.Context, h *home.Home) ([]int64, error) {
	root, err := h.Root()
	if err != nil {
		return nil, err
	}
	var followed []int64
	for next := root.Payload.Version + 1; len(followed) < s.c.MaxRoots; next++ {
		raw, err := s.Root(ctx, next)
		var no *Refusal
		if errors.As(err, &no) {
			if no.Status != http.StatusNotFound {
				s.c.Warn(fmt.Sprintf("cannot tell whether there is a newer root: %v", err))
			}
			return followed, nil
		}
		if err != nil {
			return followed, err
		}
		if _, err := h.AdvanceRoot(raw); err != nil {
			return followed, fmt.Errorf("%w, version %d: %w", ErrRoot, next, err)
		}
		followed = append(followed, next)
	}
	return followed, fmt.Errorf("%w: it is more than %d versions ahead", ErrRoot, s.c.MaxRoots)
}

// Targets fetches the targets and the server's name for their state. They are not
// verified. Errors wrap ErrNoChecksum.
func (s *Server) Targets(ctx context.Context) (raw []byte, checksum string, err error) {
	a, err := s.Must(ctx, http.MethodGet, "targets.json", nil, nil)
	if err != nil {
		return nil, "", err
	}
	checksum = a.Header.Get(ChecksumHeader)
	if checksum == "" {
		return nil, "", ErrNoChecksum
	}
	return a.Body, checksum, nil
}

// PutTargets sends targets in both flavours, in place of those that the server
// calls replaces; "" where it has none. It returns what the server calls them.
func (s *Server) PutTargets(ctx context.Context, signed home.Signed, replaces string) (string, error) {
	if err := s.StageTwin(ctx, uptane.RoleTargets, signed.TUF); err != nil {
		return "", err
	}
	header := http.Header{}
	if replaces != "" {
		header.Set(ChecksumHeader, replaces)
	}
	a, err := s.Must(ctx, http.MethodPut, "targets", signed.Uptane, header)
	if err != nil {
		return "", err
	}
	s.warnSize(a.Header.Get("x-ats-targets-role-size-limit"), len(signed.Uptane))
	return a.Header.Get(ChecksumHeader), nil
}

// warnSize tells in time that targets are about to outgrow what a server takes.
func (s *Server) warnSize(limit string, size int) {
	n, err := strconv.Atoi(limit)
	if err == nil && n > 0 && size > n/10*8 {
		s.c.Warn(fmt.Sprintf("targets have %d bytes, the server takes up to %d; `targets delete` removes old ones", size, n))
	}
}

// PutRoot sends a root in both flavours.
func (s *Server) PutRoot(ctx context.Context, signed home.Signed) error {
	if err := s.StageTwin(ctx, uptane.RoleRoot, signed.TUF); err != nil {
		return err
	}
	_, err := s.Must(ctx, http.MethodPost, "root", signed.Uptane, nil)
	return err
}

// StageTwin sends TUF's flavour of a role, if there is one, ahead of Uptane's,
// which publishes both. A server without TUF does not know the route. One that
// refuses the twin is going to say at the push what is wrong, and devices need
// not wait for TUF.
func (s *Server) StageTwin(ctx context.Context, role uptane.Role, doc []byte) error {
	if doc == nil {
		return nil
	}
	path := "tuf/" + string(role)
	a, err := s.Do(ctx, http.MethodPut, path, doc, nil)
	if err != nil {
		return err
	}
	err = a.refusal(http.MethodPut, path)
	switch {
	case err == nil:
	case a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed, a.Status == http.StatusNotImplemented:
		s.c.Trace("no TUF view of the repository there")
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status >= http.StatusInternalServerError:
		return err
	default:
		s.c.Warn(fmt.Sprintf("the TUF flavour was not taken: %v", err))
	}
	return nil
}
