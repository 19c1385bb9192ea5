//go:build pkcs11

package hsm

import (
	"fmt"
	"os"
	"strings"
)

// usual are libraries that are looked for when none is named: the one that
// knows all tokens of a system, and the token in software.
var usual = [...]string{
	"/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so", "/usr/lib/aarch64-linux-gnu/p11-kit-proxy.so", "/usr/lib64/p11-kit-proxy.so",
	"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
}

func (s Surroundings) getenv(name string) string {
	if s.Getenv == nil {
		return os.Getenv(name)
	}
	return s.Getenv(name)
}

// module is the path of the token's library.
func (s Surroundings) module() (string, error) {
	if path := s.getenv(EnvModule); path != "" {
		return path, nil
	}
	for _, path := range usual {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("looking for the library of the token: %w; name it in %s", ErrNotFound, EnvModule)
}

// pin is asked for where neither the URI nor the environment has it.
func (s Surroundings) pin(u uri) (string, error) {
	if u.pin != "" {
		return u.pin, nil
	}
	if pin := s.getenv(EnvPIN); pin != "" {
		return pin, nil
	}
	path := s.getenv(EnvPINFile)
	if path == "" {
		path = u.pinFile
	}
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading PIN: %w", err)
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	if s.Prompt == nil {
		return "", fmt.Errorf("opening token %q: %w; set %s or %s, or run this on a terminal", u.token, ErrPIN, EnvPIN, EnvPINFile)
	}
	typed, err := s.Prompt("PIN of token " + u.token + ": ")
	if err != nil {
		return "", fmt.Errorf("asking for a PIN: %w", err)
	}
	return string(typed), nil
}
