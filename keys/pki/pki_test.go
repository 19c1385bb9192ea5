package pki_test

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sealift/keys/pki"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func make1(t *testing.T, a pki.Authority, err error) pki.Authority {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trees returns the offline root and the online intermediate of both trees.
func trees(t *testing.T) (serverRoot, server, deviceRoot, device pki.Authority) {
	a, err := pki.NewServerRoot(now, "Server root")
	serverRoot = make1(t, a, err)
	a, err = pki.NewServerIntermediate(now, "Server CA", serverRoot)
	server = make1(t, a, err)
	a, err = pki.NewDeviceRoot(now, "Device root")
	deviceRoot = make1(t, a, err)
	a, err = pki.NewDeviceIntermediate(now, "Device CA", deviceRoot)
	device = make1(t, a, err)
	return serverRoot, server, deviceRoot, device
}

func verify(leaf *x509.Certificate, at time.Time, root, intermediate pki.Authority, usage x509.ExtKeyUsage, name string) error {
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Cert)
	others.AddCert(intermediate.Cert)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: at, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestServerChain(t *testing.T) {
	serverRoot, server, deviceRoot, device := trees(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	names := pki.Names{DNS: []string{"OTA.example.com.", "*.fleet.example.com", "ota.example.com"}, IPs: []net.IP{net.IPv4(192, 0, 2, 7)}}
	leaf, err := server.NewServer(now, names, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ota.example.com", "a.fleet.example.com", "192.0.2.7"} {
		if err := verify(leaf, now, serverRoot, server, x509.ExtKeyUsageServerAuth, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := verify(leaf, now, serverRoot, server, x509.ExtKeyUsageServerAuth, "example.com"); err == nil {
		t.Error("verified for a name it does not have")
	}
	if err := verify(leaf, now, serverRoot, server, x509.ExtKeyUsageClientAuth, ""); err == nil {
		t.Error("a server certificate passed for a client's")
	}
	if !leaf.NotBefore.Equal(now.Add(-48*time.Hour)) || leaf.NotAfter.Sub(leaf.NotBefore) != 398*24*time.Hour {
		t.Errorf("valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	// The device CA cannot make servers, even if it tries.
	evil, err := device.NewServer(now, names, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(evil, now, deviceRoot, device, x509.ExtKeyUsageServerAuth, "ota.example.com"); err == nil {
		t.Error("the device CA issued a server certificate")
	}
	// Nor may an intermediate make CAs.
	sub, err := pki.NewServerIntermediate(now, "Sub CA", server)
	if err != nil {
		t.Fatal(err)
	}
	below, err := sub.NewServer(now, names, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(serverRoot.Cert)
	others.AddCert(server.Cert)
	others.AddCert(sub.Cert)
	if _, err := below.Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: now}); err == nil {
		t.Error("an intermediate below the intermediate was accepted")
	}
}

func TestDeviceChainAndArchive(t *testing.T) {
	serverRoot, _, deviceRoot, device := trees(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := device.NewClient(now, "board:7", pki.MaxDeviceLife, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for at, ok := range map[time.Time]bool{
		now.Add(-47 * time.Hour): true, now.Add(-49 * time.Hour): false,
		now.AddDate(19, 11, 0): true, now.AddDate(20, 0, 2): false,
	} {
		if err := verify(leaf, at, deviceRoot, device, x509.ExtKeyUsageClientAuth, ""); (err == nil) != ok {
			t.Errorf("at %v: %v, want valid %t", at, err, ok)
		}
	}
	if leaf.Subject.CommonName != "board:7" || len(leaf.Subject.Names) != 1 || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("leaf of %v, CA %t, usage %b", leaf.Subject, leaf.IsCA, leaf.KeyUsage)
	}
	p12, err := pki.EncodeP12(key, leaf, []*x509.Certificate{serverRoot.Cert})
	if err != nil {
		t.Fatal(err)
	}
	back, cert, extra, err := pkcs12.DecodeChain(p12, "")
	if err != nil || !key.Equal(back) || !cert.Equal(leaf) || len(extra) != 1 || !extra[0].Equal(serverRoot.Cert) {
		t.Errorf("archive: %v, %d CAs", err, len(extra))
	}
	if _, err := pki.EncodeP12(key, leaf, nil); err == nil {
		t.Error("an archive without a server root: the device could trust no one")
	}
}

// An issuer outlives what it issues.
func TestLifeIsCutAtTheIssuersEnd(t *testing.T) {
	_, server, _, _ := trees(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	late := server.Cert.NotAfter.Add(-24 * time.Hour)
	leaf, err := server.NewServer(late, pki.Names{DNS: []string{"a"}}, key.Public())
	if err != nil || !leaf.NotAfter.Equal(server.Cert.NotAfter) {
		t.Errorf("ends %v, its issuer %v, %v", leaf.NotAfter, server.Cert.NotAfter, err)
	}
	if _, err := server.NewServer(late.Add(48*time.Hour), pki.Names{DNS: []string{"a"}}, key.Public()); err == nil {
		t.Error("an expired CA issued")
	}
}

func TestSerialNumbersAreRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		a, err := pki.NewServerRoot(now, "Root")
		if err != nil {
			t.Fatal(err)
		}
		if n := a.Cert.SerialNumber; n.Sign() != 1 || seen[n.String()] || n.BitLen() > 128 {
			t.Errorf("serial number %v", n)
		}
		seen[a.Cert.SerialNumber.String()] = true
	}
}

func TestNames(t *testing.T) {
	bad := []string{"", "a b", "-a", "a..b", "http://a", "a/b", "*", "a.*", "192.0.2.1", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a", "a:8443"}
	for _, name := range bad {
		if n, err := (pki.Names{DNS: []string{name}}).Normal(); err == nil {
			t.Errorf("%q became %v", name, n)
		}
	}
	for _, ip := range []net.IP{nil, net.IPv4zero, net.IPv6zero, {1, 2, 3}} {
		if _, err := (pki.Names{IPs: []net.IP{ip}}).Normal(); err == nil {
			t.Errorf("%v was accepted", ip)
		}
	}
	a, err := pki.Names{DNS: []string{"b", "A", "b."}, IPs: []net.IP{net.ParseIP("::1"), {127, 0, 0, 1}}}.Normal()
	if err != nil || a.String() != "a, b, ::1, 127.0.0.1" {
		t.Errorf("%q, %v", a, err)
	}
	for _, name := range []string{"", strings.Repeat("x", 65)} {
		if _, err := pki.NewServerRoot(now, name); err == nil {
			t.Errorf("a root named %q", name)
		}
	}
}

func TestCheckIssuer(t *testing.T) {
	_, _, root, device := trees(t)
	if err := pki.CheckIssuer(device.Cert, now); err != nil {
		t.Error(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := device.NewClient(now, "x", time.Hour, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if pki.CheckIssuer(leaf, now) == nil {
		t.Error("a leaf may issue")
	}
	for _, at := range []time.Time{now.AddDate(0, 0, -3), now.AddDate(50, 0, 0)} {
		if pki.CheckIssuer(root.Cert, at) == nil {
			t.Errorf("accepted at %v", at)
		}
	}
	if err := device.CheckPair(root.Cert); err != nil {
		t.Error(err)
	}
	if (pki.Authority{Cert: device.Cert, Key: key}).CheckPair(root.Cert) == nil {
		t.Error("a foreign key passed for the CA's")
	}
	if device.CheckPair(device.Cert) == nil {
		t.Error("a CA passed for its own issuer")
	}
}
