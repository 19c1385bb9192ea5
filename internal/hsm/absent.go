//go:build !pkcs11

package hsm

func openInToken(text string, _ Surroundings) (Key, error) {
	if err := Check(text); err != nil {
		return nil, err
	}
	return nil, ErrNotBuiltIn
}

// Generate answers ErrNotBuiltIn.
func Generate(text string, _ int, s Surroundings) (Key, error) { return openInToken(text, s) }

// Destroy answers ErrNotBuiltIn.
func Destroy(text string, s Surroundings) error {
	_, err := openInToken(text, s)
	return err
}
