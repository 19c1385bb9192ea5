package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
)

const issuersPath = "/api/v1/issuers"

// newCA is `sealift ca`.
func newCA() *cobra.Command {
	ca := &cobra.Command{Use: "ca", Short: "Renew the server's CAs; let devices of a CA of your own in"}
	var f operatorFlags
	f.bind(ca)
	ca.AddCommand(newCARenew(), newCAAdd(&f),
		f.speak(&cobra.Command{Use: "statement CERTIFICATE", Short: "Print what the CA's key must sign, where that key is elsewhere", Args: args(cobra.ExactArgs(1))},
			func(k *client, c *cobra.Command, given []string) error {
				_, statement, err := caStatement(k, c, given[0])
				if err == nil {
					_, err = io.WriteString(k.out, statement)
				}
				return err
			}),
		f.speak(&cobra.Command{Use: "list", Short: "List CAs of your own, the oldest first", Args: args(cobra.NoArgs)}, listCAs),
		f.speak(&cobra.Command{Use: "remove FINGERPRINT", Short: "Shut out all devices of a CA, for good", Args: args(cobra.ExactArgs(1))},
			func(k *client, c *cobra.Command, given []string) error {
				if _, err := k.ask(c.Context(), http.MethodDelete, issuersPath+"/"+url.PathEscape(given[0]), nil, nil); err != nil {
					return err
				}
				fmt.Fprintf(k.out, "devices of CA %s are shut out\n", plain(given[0]))
				return nil
			}))
	return ca
}

type issuerAnswer struct {
	Fingerprint, Subject         string
	NotAfter, AddedAt, RevokedAt *time.Time
}

func newCAAdd(f *operatorFlags) *cobra.Command {
	var keyFile, proofFile string
	c := f.speak(&cobra.Command{
		Use: "add CERTIFICATE (--key FILE | --proof FILE)", Short: "Let the devices of a CA in", Args: args(cobra.ExactArgs(1)),
		Long: `Lets the devices of a CA of your own in. Each is entered when it first comes, under
the common name of its certificate. You show that the CA is yours: its key signs a
statement of the server. With --key it does so here and the key goes nowhere. Where
the key is in a module or on another machine, sign what "sealift ca statement" prints
and give the signature with --proof:

  sealift ca statement fleet.pem > statement
  openssl dgst -sha256 -sign fleet.key -out proof statement
  sealift ca add fleet.pem --proof proof`,
	}, func(k *client, c *cobra.Command, given []string) error {
		if (keyFile == "") == (proofFile == "") {
			return usage(errors.New("either --key or --proof is needed"))
		}
		cert, statement, err := caStatement(k, c, given[0])
		if err != nil {
			return err
		}
		var proof []byte
		if keyFile != "" {
			proof, err = signStatement(keyFile, statement)
		} else {
			proof, err = os.ReadFile(proofFile)
		}
		if err != nil {
			return fmt.Errorf("proving that the CA is yours: %w", err)
		}
		var added issuerAnswer
		raw, err := k.ask(c.Context(), http.MethodPost, issuersPath, map[string]any{"certificate": cert, "proof": proof}, &added)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "devices of %s are let in; CA %s\n", plain(added.Subject), plain(added.Fingerprint))
			return err
		})
	})
	c.Flags().StringVar(&keyFile, "key", "", "private key of the CA, PEM; it stays here")
	c.Flags().StringVar(&proofFile, "proof", "", "signature of the CA's key under the statement")
	return c
}

// caStatement reads a CA certificate and asks what its key must sign.
func caStatement(k *client, c *cobra.Command, path string) (cert, statement string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("reading the CA certificate: %w", err)
	}
	var answer struct{ Statement string }
	_, err = k.ask(c.Context(), http.MethodPost, issuersPath+"/statement", map[string]any{"certificate": string(text)}, &answer)
	return string(text), answer.Statement, err
}

// signStatement signs with a key in PEM.
func signStatement(path, statement string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseSigner(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if _, plain := key.(ed25519.PrivateKey); plain {
		return key.Sign(rand.Reader, []byte(statement), crypto.Hash(0))
	}
	sum := sha256.Sum256([]byte(statement))
	return key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// parseSigner reads the first private key of a PEM file.
func parseSigner(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue // EC PARAMETERS, certificates
		}
		if signer, ok := key.(crypto.Signer); ok || err != nil {
			return signer, err
		}
	}
	return nil, errors.New("no private key in it that is not encrypted")
}

func listCAs(k *client, c *cobra.Command, _ []string) error {
	var list struct{ Values []issuerAnswer }
	raw, err := k.get(c.Context(), issuersPath, &list)
	if err != nil {
		return err
	}
	return k.show(raw, func(w io.Writer) error {
		t := newTable(w, "SUBJECT", "ADDED", "EXPIRES", "REMOVED", "FINGERPRINT")
		for _, i := range list.Values {
			t.row(i.Subject, when(i.AddedAt), when(i.NotAfter), when(i.RevokedAt), i.Fingerprint)
		}
		return t.end()
	})
}
