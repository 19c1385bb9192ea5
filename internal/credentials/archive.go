// Package credentials reads and writes the archives that tools and devices
// are given, and turns what is in them into an authenticated HTTP client.
//
// Two archives exist. A device gets device.zip ([DeviceArchive]): where its
// gateway is, the shared certificate it provisions with, what it may trust.
// A build job gets build.zip ([BuildArchive]): where to push and sign, and
// with which credentials. Both are ZIP files with all members at the top;
// [Open] reads either, those of other servers, and a bare treehub.json.
//
// Everything read here is outside data: sizes are bounded before a byte is
// unpacked. An [Archive] does not change and is safe for concurrent use.
package credentials

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"
)

// Limits of what is read. The largest member of a sensible archive, a PKCS#12
// file, has a few kilobytes.
const (
	maxArchive  = 16 << 20
	maxMember   = 1 << 20
	maxUnpacked = 8 << 20
	maxMembers  = 256
	maxURL      = 4096
)

// Names of the members this package gives meaning to. Readers of other
// programs look for exactly these.
const (
	memberTreeHub     = "treehub.json"
	memberTufRepoURL  = "tufrepo.url"
	memberGatewayURL  = "api_gateway.url"
	memberAutoprovURL = "autoprov.url"
	memberAutoprovP12 = "autoprov_credentials.p12"
	memberServerCA    = "server_ca.pem"
	memberRoot        = "root.json"
	memberTargetsPub  = "targets.pub"
	memberTargetsSec  = "targets.sec"
	memberClientP12   = "client_auth.p12"
	memberServerP12   = "server.p12"
)

var (
	// ErrFormat marks input that is neither a ZIP archive nor a JSON object,
	// or breaks a limit.
	ErrFormat = errors.New("neither an archive nor a JSON file")
	// ErrNoMember marks a member the archive does not have.
	ErrNoMember = errors.New("the archive has no such member")
)

// Archive is the content of a credentials file.
type Archive struct {
	members map[string][]byte
	names   []string
}

// Open reads the file at path; see [Parse].
func Open(path string) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening credentials: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxArchive+1))
	if err != nil {
		return nil, fmt.Errorf("reading credentials %s: %w", path, err)
	}
	a, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading credentials %s: %w", path, err)
	}
	return a, nil
}

// Parse reads a ZIP archive, or a bare JSON object, which becomes the member
// treehub.json. Of several members with one name the last one counts.
// It answers ErrFormat for anything else and beyond the limits: 16 MiB of
// file, 256 members, 1 MiB a member and 8 MiB unpacked.
func Parse(data []byte) (*Archive, error) {
	if len(data) > maxArchive {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, maxArchive)
	}
	if z, err := zip.NewReader(bytes.NewReader(data), int64(len(data))); err == nil {
		return unpack(z)
	}
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) == 0 || trimmed[0] != '{' || len(data) > maxMember || !json.Valid(data) {
		return nil, ErrFormat
	}
	a := &Archive{members: map[string][]byte{}}
	a.set(memberTreeHub, bytes.Clone(data))
	return a, nil
}

func unpack(z *zip.Reader) (*Archive, error) {
	if len(z.File) > maxMembers {
		return nil, fmt.Errorf("%w: more than %d members", ErrFormat, maxMembers)
	}
	a := &Archive{members: map[string][]byte{}}
	left := maxUnpacked
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		content, err := readMember(f, min(left, maxMember))
		if err != nil {
			return nil, fmt.Errorf("reading member %q: %w", f.Name, err)
		}
		left -= len(content)
		a.set(f.Name, content)
	}
	return a, nil
}

// readMember counts what comes out: the sizes in the archive are claims.
func readMember(f *zip.File, limit int) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	defer r.Close()
	content, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(content) > limit {
		return nil, fmt.Errorf("%w: unpacks to more than %d bytes", ErrFormat, limit)
	}
	return content, nil
}

func (a *Archive) set(name string, content []byte) {
	if _, known := a.members[name]; !known {
		a.names = append(a.names, name)
	}
	a.members[name] = content
}

// Names lists the members in the order of the file, each once.
func (a *Archive) Names() []string { return append([]string(nil), a.names...) }

// Has reports whether there is a member of this name.
func (a *Archive) Has(name string) bool {
	_, ok := a.members[name]
	return ok
}

// Member returns a copy of one member, or an error that wraps ErrNoMember.
func (a *Archive) Member(name string) ([]byte, error) {
	content, ok := a.members[name]
	if !ok {
		return nil, fmt.Errorf("reading %s: %w", name, ErrNoMember)
	}
	return bytes.Clone(content), nil
}

// TufRepoURL is the base of the image repository, without /api/v1/user_repo.
func (a *Archive) TufRepoURL() (string, error) { return a.url(memberTufRepoURL) }

// GatewayURL is the base of the API for people and build jobs (api_gateway.url).
func (a *Archive) GatewayURL() (string, error) { return a.url(memberGatewayURL) }

// AutoprovURL is the gateway a device provisions itself at.
func (a *Archive) AutoprovURL() (string, error) { return a.url(memberAutoprovURL) }

// AutoprovP12 is the shared certificate of new devices; read it with [ReadP12].
func (a *Archive) AutoprovP12() ([]byte, error) { return a.Member(memberAutoprovP12) }

// ClientP12 is the certificate a tool identifies itself with.
func (a *Archive) ClientP12() ([]byte, error) { return a.Member(memberClientP12) }

// ServerP12 holds the only CA certificates a tool is to trust.
func (a *Archive) ServerP12() ([]byte, error) { return a.Member(memberServerP12) }

// ServerCA is the PEM of the roots the server's certificates descend from.
func (a *Archive) ServerCA() ([]byte, error) { return a.Member(memberServerCA) }

// RootJSON is the signed root role of the image repository to start trust from.
func (a *Archive) RootJSON() ([]byte, error) { return a.Member(memberRoot) }

// TargetsPub is the public targets key of the image repository.
func (a *Archive) TargetsPub() ([]byte, error) { return a.Member(memberTargetsPub) }

// TargetsSec is the private targets key: sealed, plain, a PKCS#11 URI or the
// marker of an archive that may only propose.
func (a *Archive) TargetsSec() ([]byte, error) { return a.Member(memberTargetsSec) }

// url reads a member that holds one URL, with white space around it.
func (a *Archive) url(name string) (string, error) {
	content, err := a.Member(name)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(content))
	if len(text) > maxURL || !utf8.ValidString(text) {
		return "", fmt.Errorf("reading %s: not a URL", name)
	}
	if _, err := checkURL(text); err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return text, nil
}

// checkURL accepts absolute http and https URLs.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is not an http or https URL", text)
	}
	return u, nil
}
