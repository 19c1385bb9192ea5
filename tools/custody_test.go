package tools_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"sealift/internal/db"
	"sealift/internal/home"
)

// offlineKeys is offline-keys COUNT OFFLINE FILE...: opens every key of the
// offline folder, looks for it in each form it could be written in, in all FILEs
// and below those that are folders, and demands that COUNT keys are found.
// Private keys that lie sealed in a database count as found, too.
func offlineKeys(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: offline-keys COUNT OFFLINE FILE...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	secrets := readOffline(ts, ts.MkAbs(args[1]))
	found := map[string]bool{}
	searched := 0
	for _, arg := range args[2:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(arg), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var sealed [][]byte
			if filepath.Ext(path) == ".db" {
				sealed = sealedKeys(ts, path)
			}
			searched++
			for file, s := range secrets {
				if s.in(content) || s.among(sealed) {
					found[file] = true
					ts.Logf("%s is in %s", file, path)
				}
			}
			return nil
		}))
	}
	ts.Logf("%d keys looked for in %d files", len(secrets), searched)
	if len(found) != want || searched == 0 {
		ts.Fatalf("%d of %d offline keys found, not %d", len(found), len(secrets), want)
	}
}

// secret is a private key as it may appear.
type secret struct {
	forms  [][]byte // any of them gives it away
	public []byte   // its public half, DER
}

func (s secret) in(content []byte) bool {
	for _, form := range s.forms {
		if bytes.Contains(content, form) {
			return true
		}
	}
	return false
}

func (s secret) among(publics [][]byte) bool {
	for _, public := range publics {
		if bytes.Equal(public, s.public) {
			return true
		}
	}
	return false
}

// readOffline opens all keys of an offline folder, by file.
func readOffline(ts *testscript.TestScript, dir string) map[string]secret {
	secrets := map[string]secret{}
	for _, pattern := range []string{"*/keys/*.sec", "ca/*.key"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		ts.Check(err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			ts.Check(err)
			plain, err := home.Unseal(raw, []byte(ts.Getenv("SEALIFT_PASSPHRASE")))
			ts.Check(err)
			secrets[file], err = newSecret(plain)
			ts.Check(err)
		}
	}
	if len(secrets) != 6 { // root and targets, the Director's root, three CAs
		ts.Fatalf("the offline folder has %d keys, not 6", len(secrets))
	}
	return secrets
}

// newSecret reads a key object or PEM.
func newSecret(plain []byte) (secret, error) {
	var key any
	var err error
	if block, _ := pem.Decode(plain); block != nil {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	} else {
		key, err = home.ParsePrivate(plain)
	}
	if err != nil {
		return secret{}, err
	}
	var raw []byte
	switch k := key.(type) {
	case ed25519.PrivateKey:
		raw = k.Seed()
	case *ecdsa.PrivateKey:
		raw, err = k.Bytes()
	default:
		err = fmt.Errorf("a key of type %T", key)
	}
	if err != nil {
		return secret{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
	text := hex.EncodeToString(raw)
	return secret{public: public, forms: [][]byte{
		raw, []byte(text), []byte(strings.ToUpper(text)), []byte(base64.StdEncoding.EncodeToString(raw)),
		der, []byte(base64.StdEncoding.EncodeToString(der)), bytes.TrimSpace(plain),
	}}, err
}

// sealedKeys are the public halves of all private keys that a database has.
func sealedKeys(ts *testscript.TestScript, path string) [][]byte {
	ctx := context.Background()
	store, err := db.Open(ctx, "sqlite:"+path)
	ts.Check(err)
	defer store.Close()
	var publics, certificates [][]byte
	ts.Check(store.SelectContext(ctx, &publics, `SELECT spki FROM online_key`))
	ts.Check(store.SelectContext(ctx, &certificates, `SELECT certificate FROM authority WHERE sealed IS NOT NULL UNION ALL SELECT certificate FROM server_certificate`))
	for _, der := range certificates {
		c, err := x509.ParseCertificate(der)
		ts.Check(err)
		publics = append(publics, c.RawSubjectPublicKeyInfo)
	}
	if len(publics) < 7 { // five online roles, two intermediates
		ts.Fatalf("%s has %d private keys, where are the others?", path, len(publics))
	}
	return publics
}
