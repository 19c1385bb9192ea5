package home

// ExportPlain returns the private key file unsealed: whoever reads it can sign.
// It exists for the older tool, which reads nothing else.
func (k *Keyring) ExportPlain(name string) ([]byte, error) {
	private, err := k.private(name)
	if err != nil {
		return nil, err
	}
	v, err := encodePrivate(private)
	if err != nil {
		return nil, err
	}
	return v.Uptane(), nil
}
