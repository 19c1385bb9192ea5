package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// Names are what a server is reached by: host names, perhaps with a leading
// "*.", and addresses.
type Names struct {
	DNS []string
	IPs []net.IP
}

// Normal returns n sorted, in lower case and without repetition, or an error
// when it is empty or holds what cannot be a host name.
func (n Names) Normal() (Names, error) {
	var out Names
	for _, d := range n.DNS {
		d = strings.ToLower(strings.TrimSuffix(d, "."))
		if !hostName(d) {
			return Names{}, fmt.Errorf("reading server names: %q is not a host name", d)
		}
		out.DNS = append(out.DNS, d)
	}
	for _, ip := range n.IPs {
		if ip.To16() == nil || ip.IsUnspecified() {
			return Names{}, fmt.Errorf("reading server names: %v is not an address of one host", ip)
		}
		out.IPs = append(out.IPs, ip.To16())
	}
	if len(out.DNS)+len(out.IPs) == 0 {
		return Names{}, errors.New("reading server names: none given")
	}
	slices.Sort(out.DNS)
	out.DNS = slices.Compact(out.DNS)
	slices.SortFunc(out.IPs, func(a, b net.IP) int { return strings.Compare(string(a), string(b)) })
	out.IPs = slices.CompactFunc(out.IPs, net.IP.Equal)
	return out, nil
}

// String lists all names, addresses last.
func (n Names) String() string {
	words := slices.Clone(n.DNS)
	for _, ip := range n.IPs {
		words = append(words, ip.String())
	}
	return strings.Join(words, ", ")
}

func hostName(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if s == "" || len(s) > 253 || net.ParseIP(s) != nil {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// NewServer issues a server certificate for names, for 398 days or until the
// end of its issuer.
func (a Authority) NewServer(now time.Time, names Names, pub crypto.PublicKey) (*x509.Certificate, error) {
	names, err := names.Normal()
	if err != nil {
		return nil, err
	}
	common := "sealift"
	if len(names.DNS) > 0 && len(names.DNS[0]) <= maxName {
		common = names.DNS[0]
	}
	t, err := template(now, common, ServerLife-Backdate)
	if err != nil {
		return nil, err
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames, t.IPAddresses = names.DNS, names.IPs
	return issue(t, a, pub)
}

// NewClient issues a client certificate with the common name given, for life
// or until the end of its issuer. Devices and bootstrap certificates are
// both made of it; which is which only the certificate table says.
func (a Authority) NewClient(now time.Time, name string, life time.Duration, pub crypto.PublicKey) (*x509.Certificate, error) {
	if life <= 0 {
		return nil, fmt.Errorf("issuing certificate %q: a life of %s", name, life)
	}
	t, err := template(now, name, life)
	if err != nil {
		return nil, err
	}
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issue(t, a, pub)
}

// EncodeP12 packs a key, its certificate and the server roots a device is to
// trust into a PKCS#12 archive with an empty password. Aktualizr takes every
// CA certificate of the archive for a server's: put nothing else in.
func EncodeP12(key crypto.PrivateKey, leaf *x509.Certificate, serverRoots []*x509.Certificate) ([]byte, error) {
	if len(serverRoots) == 0 {
		return nil, errors.New("packing a PKCS#12 archive: no server root to trust")
	}
	// Named by its year: the library's other names may come to mean an
	// encoding that OpenSSL 3.0 cannot read.
	p12, err := pkcs12.Modern2023.Encode(key, leaf, serverRoots, "")
	if err != nil {
		return nil, fmt.Errorf("packing a PKCS#12 archive: %w", err)
	}
	return p12, nil
}
