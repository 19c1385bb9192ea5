package repo

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"

	"sealift/internal/fault"
	"sealift/uptane"
)

// What callers are told about delegations that are fetched.
var (
	ErrRemoteFetch = fault.New(fault.BadGateway, "delegation_remote_fetch_failed", "the remote metadata could not be fetched")
	ErrRemoteParse = fault.New(fault.BadGateway, "delegation_remote_parse_failed", "what was fetched is no metadata")
	ErrNoRemote    = fault.New(fault.PreconditionFailed, "missing_remote_delegation_uri", "the role has no remote address")
)

// Bounds of a fetch.
const (
	DefaultRemoteTime = 30 * time.Second
	remoteImageTime   = 15 * time.Minute
	maxRemoteHeaders  = 20
	maxRemoteHeader   = 4 << 10
	maxRemoteURI      = 2048
)

// Remote is where metadata of a delegated role come from.
type Remote struct {
	URI          string    // "" they are pushed
	FriendlyName string    // what people call the role
	FetchedAt    time.Time // zero never
}

// Secrets seals what is stored of remote addresses and may be secret.
type Secrets interface {
	Wrap(plain []byte) ([]byte, error)
	Unwrap(sealed []byte) ([]byte, error)
}

// SetRemote says where metadata of a role are to be fetched from, with these
// headers, and fetches and publishes them. Nothing is kept of an address from
// which that fails. It answers ErrInvalid, ErrRemoteFetch, ErrRemoteParse, or what
// [Repo.PutDelegation] answers.
func (r *Repo) SetRemote(ctx context.Context, ns uptane.Namespace, role uptane.Role, uri string, headers map[string]string, name, by string) error {
	if err := checkRemote(uri, headers); err != nil {
		return err
	}
	if len(headers) > 0 && r.cfg.Secrets == nil {
		return ErrInvalid.With("this server keeps no headers")
	}
	if len(name) > 80 {
		return ErrDelegationName.With("friendlyName has at most 80 characters")
	}
	if _, err := r.Role(ctx, ns, role); err != nil {
		return err
	}
	row := remoteRow{Role: role, URI: uri, FriendlyName: name}
	if len(headers) > 0 {
		var err error
		if row.Headers, err = r.sealHeaders(ns, row, headers); err != nil {
			return fmt.Errorf("sealing headers of remote %s of %s: %w", role, ns, err)
		}
	}
	return r.fetchRemote(ctx, ns, row, headers, by, func(ctx context.Context, ns uptane.Namespace, row remoteRow) error {
		detail := fmt.Sprintf("metadata of %s come from %s, asked with %d headers", role, withoutQuery(uri), len(headers))
		return r.noting(ctx, ns, role, actRemote, detail, func(ctx context.Context, tx *sqlx.Tx) (bool, error) { return r.store.saveRemote(ctx, tx, ns, row) })
	})
}

// noting keeps something about a role while somebody delegates to it. keep reports
// whether anybody does.
func (r *Repo) noting(ctx context.Context, ns uptane.Namespace, role uptane.Role, action, detail string, keep func(context.Context, *sqlx.Tx) (bool, error)) error {
	return r.acting(ctx, ns, action, detail, func(ctx context.Context, tx *sqlx.Tx) error {
		// Who takes the delegation back meanwhile would leave behind what is kept.
		if _, err := r.store.lock(ctx, tx, ns); err != nil {
			return err
		}
		there, err := keep(ctx, tx)
		if err == nil && !there {
			err = ErrNotDelegated.Withf("%s", role)
		}
		return err
	})
}

// RefreshRemote fetches and publishes metadata of a role again. It answers
// ErrNoRemote besides what SetRemote answers.
func (r *Repo) RefreshRemote(ctx context.Context, ns uptane.Namespace, role uptane.Role, by string) error {
	remotes, err := r.store.remotes(ctx, ns)
	if err != nil {
		return fmt.Errorf("reading remote delegations of %s: %w", ns, err)
	}
	row := remotes[role]
	if row.URI == "" {
		return ErrNoRemote
	}
	var headers map[string]string
	if len(row.Headers) > 0 {
		if r.cfg.Secrets == nil {
			return ErrRemoteFetch.With("its headers cannot be opened")
		}
		if headers, err = r.openHeaders(ns, row); err != nil {
			return fmt.Errorf("opening headers of remote %s of %s: %w", role, ns, err)
		}
	}
	return r.fetchRemote(ctx, ns, row, headers, by, r.store.fetchedRemote)
}

func (r *Repo) fetchRemote(ctx context.Context, ns uptane.Namespace, row remoteRow, headers map[string]string, by string,
	keep func(context.Context, uptane.Namespace, remoteRow) error) error {
	doc, err := r.fetch(ctx, row.URI, headers)
	if err != nil {
		return err
	}
	if _, err := uptane.ParseEnvelope(uptane.Uptane, doc); err != nil {
		return ErrRemoteParse.With(err.Error())
	}
	if _, err := r.PutDelegation(ctx, ns, row.Role, doc, by); err != nil {
		return err
	}
	row.FetchedAt = r.now().UnixMilli()
	if err := keep(ctx, ns, row); err != nil {
		return fmt.Errorf("keeping remote %s of %s: %w", row.Role, ns, err)
	}
	return nil
}

// withoutQuery is an address without what may be secret in it.
func withoutQuery(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "elsewhere"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func checkRemote(uri string, headers map[string]string) error {
	if len(uri) > maxRemoteURI || !isDownload(uri) {
		return ErrInvalid.Withf("uri must be an http or https address of at most %d bytes", maxRemoteURI)
	}
	if u, err := url.Parse(uri); err != nil || u.User != nil {
		return ErrInvalid.With("uri must not have a password; use remoteHeaders")
	}
	if len(headers) > maxRemoteHeaders {
		return ErrInvalid.Withf("%d headers, of at most %d", len(headers), maxRemoteHeaders)
	}
	for name, value := range headers {
		if !isHeader(name, value) || len(name)+len(value) > maxRemoteHeader {
			return ErrInvalid.Withf("header %.60q cannot be sent", name)
		}
		if strings.EqualFold(name, "Host") || strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding") || strings.EqualFold(name, "Connection") {
			return ErrInvalid.Withf("header %q is not for callers to set", name)
		}
	}
	return nil
}

func isHeader(name, value string) bool {
	token := func(c rune) bool {
		return c == '-' || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
	}
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool { return !token(c) }) && searchable(value)
}

// FetchImage stores the bytes of a target that is still to be signed from an
// address on the public internet. It answers ErrRemoteFetch, or what
// [Repo.PutImage] answers.
func (r *Repo) FetchImage(ctx context.Context, ns uptane.Namespace, filename, uri, by string) (Stored, error) {
	if err := checkRemote(uri, nil); err != nil {
		return Stored{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, remoteImageTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return Stored{}, ErrInvalid.With("uri cannot be asked")
	}
	client := r.guarded()
	defer client.CloseIdleConnections()
	resp, err := client.Do(q)
	if err != nil {
		return Stored{}, ErrRemoteFetch.With(whyNot(err)).Wrap(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return Stored{}, ErrRemoteFetch.Withf("it answers %d", resp.StatusCode)
	}
	return r.PutImage(ctx, ns, filename, resp.ContentLength, resp.Body, by)
}

// fetch gets a document of somebody else's server: once, without redirects, in
// bounded time and size, and from no address that only this server can reach.
func (r *Repo) fetch(ctx context.Context, uri string, headers map[string]string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RemoteTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, ErrInvalid.With("uri cannot be asked")
	}
	q.Header.Set("Accept-Encoding", "gzip, deflate")
	for name, value := range headers {
		q.Header.Set(name, value)
	}
	client := r.guarded()
	defer client.CloseIdleConnections()
	resp, err := client.Do(q)
	if err != nil {
		return nil, ErrRemoteFetch.With(whyNot(err)).Wrap(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, ErrRemoteFetch.Withf("it answers %d", resp.StatusCode)
	}
	return readRemote(resp)
}

func readRemote(resp *http.Response) ([]byte, error) {
	var body io.Reader = io.LimitReader(resp.Body, MaxTargets+1)
	var err error
	switch resp.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		body, err = gzip.NewReader(body)
	case "deflate":
		body, err = zlib.NewReader(body)
	default:
		return nil, ErrRemoteParse.With("its encoding is neither gzip nor deflate")
	}
	if err != nil {
		return nil, ErrRemoteParse.With(err.Error())
	}
	doc, err := io.ReadAll(io.LimitReader(body, MaxTargets+1))
	if err != nil {
		return nil, ErrRemoteFetch.With("it broke off").Wrap(err)
	}
	if len(doc) > MaxTargets {
		return nil, ErrRemoteFetch.Withf("it is larger than %d bytes", MaxTargets)
	}
	return doc, nil
}

// errInside: an address is not one of the public internet.
var errInside = errors.New("the address is not a public one")

// whyNot tells the caller no more than it needs: not what answers inside our own
// network.
func whyNot(err error) string {
	switch {
	case errors.Is(err, errInside):
		return errInside.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	}
	return "it cannot be reached"
}

// guarded is a client that connects to public addresses only, unless the
// configuration says otherwise. The address is looked at when it is dialled, after
// the name was resolved, so that no name can change its mind in between.
func (r *Repo) guarded() *http.Client {
	d := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		if r.cfg.PrivateRemotes {
			return nil
		}
		return checkPublic(address)
	}}
	return &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, ForceAttemptHTTP2: true}, // and no proxy: it would dial for us
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkPublic refuses addresses that are not on the public internet.
func checkPublic(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return errInside
	}
	ip := at.Addr().WithZone("").Unmap() // with a zone it is in no prefix
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return errInside
	}
	for _, p := range inside() {
		if p.Contains(ip) {
			return errInside
		}
	}
	return nil
}

// inside are ranges that package netip counts as global and are not, or that hide
// an address of the old internet in one of the new.
func inside() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10"} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}
