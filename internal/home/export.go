package home

// Export returns the two files of a key as they are stored.
func (k *Keyring) Export(name string) (pub, sec []byte, err error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	if pub, err = readFile(k.file(name, ".pub"), maxKeyFile); err != nil {
		return nil, nil, err
	}
	sec, err = readFile(k.file(name, ".sec"), maxKeyFile)
	return pub, sec, err
}

// ExportSealed returns the private key file sealed anew, under a passphrase of
// its own, for handing it to somebody else.
func (k *Keyring) ExportSealed(name string, passphrase []byte) ([]byte, error) {
	plain, err := k.ExportPlain(name)
	if err != nil {
		return nil, err
	}
	return Seal(plain, passphrase)
}

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
