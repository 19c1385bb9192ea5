package home

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

var (
	// ErrPassphrase marks a sealed file that no passphrase at hand opens.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrNoPassphrase marks a sealed file for which there is no passphrase.
	ErrNoPassphrase = errors.New("no passphrase")
)

// Passphrases says where the passphrases of sealed files come from: from the
// environment variables NAME and NAME_FILE (a file's first line), in order, and
// then from whoever answers Prompt. One that has worked is tried first the next
// time. Not for concurrent use.
type Passphrases struct {
	Getenv func(string) string
	Names  []string                              // e.g. GARAGE_SIGN_PASSPHRASE
	Prompt func(question string) ([]byte, error) // nil where nobody can be asked

	known  [][]byte
	chosen []byte
}

// Seal encrypts plain under a passphrase, which must not be empty. The result
// is one line of JSON (scrypt, NaCl secretbox).
func Seal(plain, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("sealing: %w", ErrNoPassphrase)
	}
	sealed, err := encrypted.Encrypt(plain, passphrase)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

// Unseal decrypts what Seal gave. Errors wrap ErrPassphrase.
func Unseal(sealed, passphrase []byte) ([]byte, error) {
	if len(sealed) > maxKeyFile || len(passphrase) == 0 {
		return nil, fmt.Errorf("unsealing: %w", ErrPassphrase)
	}
	plain, err := encrypted.Decrypt(sealed, passphrase)
	if err != nil {
		return nil, fmt.Errorf("unsealing: %w (%w)", ErrPassphrase, err)
	}
	return plain, nil
}

// Choose returns the passphrase to seal with: the first of the environment, or
// one that is typed twice. It asks once: later calls return the same.
func (p *Passphrases) Choose(what string) ([]byte, error) {
	set, err := p.environment()
	if err != nil {
		return nil, err
	}
	if len(set) > 0 {
		return set[0], nil
	}
	if p.chosen != nil {
		return p.chosen, nil
	}
	if p.Prompt == nil {
		return nil, p.missing("choosing a passphrase for " + what)
	}
	first, err := p.Prompt("New passphrase for " + what + ": ")
	if err != nil {
		return nil, fmt.Errorf("asking for a passphrase: %w", err)
	}
	second, err := p.Prompt("The same again: ")
	if err != nil {
		return nil, fmt.Errorf("asking for a passphrase: %w", err)
	}
	if len(first) == 0 || !bytes.Equal(first, second) {
		return nil, fmt.Errorf("choosing a passphrase for %s: empty, or not the same twice: %w", what, ErrPassphrase)
	}
	p.chosen, p.known = first, append(p.known, first)
	return first, nil
}

// Open unseals a file, trying what is at hand before anybody is asked; what names it
// in errors and questions. Errors wrap ErrPassphrase or ErrNoPassphrase.
func (p *Passphrases) Open(sealed []byte, what string) ([]byte, error) {
	set, err := p.environment()
	if err != nil {
		return nil, err
	}
	for _, candidate := range append(append([][]byte(nil), p.known...), set...) {
		if plain, err := Unseal(sealed, candidate); err == nil {
			return plain, nil
		}
	}
	if p.Prompt == nil {
		if len(set)+len(p.known) > 0 {
			return nil, fmt.Errorf("opening %s: the passphrase of %s does not fit: %w", what, strings.Join(p.Names, " or "), ErrPassphrase)
		}
		return nil, p.missing("opening " + what + ", which is sealed")
	}
	typed, err := p.Prompt("Passphrase for " + what + ": ")
	if err != nil {
		return nil, fmt.Errorf("asking for a passphrase: %w", err)
	}
	plain, err := Unseal(sealed, typed)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", what, ErrPassphrase)
	}
	p.known = append(p.known, typed)
	return plain, nil
}

func (p *Passphrases) missing(doing string) error {
	if len(p.Names) == 0 {
		return fmt.Errorf("%s: %w", doing, ErrNoPassphrase)
	}
	n := p.Names[0]
	return fmt.Errorf("%s: %w; set %s or %s_FILE, or run this on a terminal", doing, ErrNoPassphrase, n, n)
}

// environment collects the passphrases that variables give.
func (p *Passphrases) environment() ([][]byte, error) {
	if p.Getenv == nil {
		return nil, nil
	}
	var set [][]byte
	for _, name := range p.Names {
		if v := p.Getenv(name); v != "" {
			set = append(set, []byte(v))
		}
		path := p.Getenv(name + "_FILE")
		if path == "" {
			continue
		}
		content, err := readFile(path, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading %s_FILE: %w", name, err)
		}
		line, _, _ := bytes.Cut(content, []byte("\n"))
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > 0 {
			set = append(set, line)
		}
	}
	return set, nil
}
