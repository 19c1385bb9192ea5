package keys

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// KEK is a key-encryption key: it wraps the few data keys under which private
// keys are sealed. It may live in a file, a key service or a token.
// Safe for concurrent use.
type KEK interface {
	Wrap(plain []byte) ([]byte, error)
	Unwrap(wrapped []byte) ([]byte, error)
}

const (
	masterKeySize  = 32
	masterKeyMark  = "sealift-master-key-1 "
	maxMasterFile  = 4096
	ownerOnly      = 0o600
	othersMask     = 0o077
	wrapAssociated = "sealift data key"
)

// CreateFileKEK makes a new master key in a new file with mode 0600; one that
// exists is an error (fs.ErrExist) and stays as it is. With a passphrase the
// file is sealed by scrypt; an empty passphrase that is not nil is refused.
func CreateFileKEK(path string, passphrase []byte) (KEK, error) {
	key := make([]byte, masterKeySize)
	_, _ = rand.Read(key) // never fails
	text := []byte(masterKeyMark + base64.StdEncoding.EncodeToString(key) + "\n")
	if passphrase != nil {
		if len(passphrase) == 0 {
			return nil, errors.New("creating master key: the passphrase is empty")
		}
		sealed, err := encrypted.Encrypt(text, passphrase)
		if err != nil {
			return nil, fmt.Errorf("sealing master key: %w", err)
		}
		text = sealed
	}
	if err := writeNew(path, text); err != nil {
		return nil, fmt.Errorf("creating master key: %w", err)
	}
	return newMasterKey(key)
}

// OpenFileKEK opens the master key in the file at path, which nobody but its
// owner may read. Passphrase is called if the file is sealed and may be nil
// if it cannot be asked.
func OpenFileKEK(path string, passphrase func() ([]byte, error)) (KEK, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("opening master key: %w", err)
	}
	if !bytes.HasPrefix(text, []byte(masterKeyMark)) {
		if text, err = unsealMaster(text, passphrase); err != nil {
			return nil, fmt.Errorf("opening master key %s: %w", path, err)
		}
	}
	word, ok := bytes.CutPrefix(bytes.TrimSpace(text), []byte(masterKeyMark))
	key, err := base64.StdEncoding.DecodeString(string(word))
	if !ok || err != nil || len(key) != masterKeySize {
		return nil, fmt.Errorf("opening master key: %s is not a master key file", path)
	}
	return newMasterKey(key)
}

func unsealMaster(text []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	if passphrase == nil {
		return nil, errors.New("it is sealed and no passphrase is given")
	}
	word, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("asking for its passphrase: %w", err)
	}
	if len(word) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	if text, err = encrypted.Decrypt(text, word); err != nil {
		return nil, errors.New("wrong passphrase, or the file is damaged")
	}
	return text, nil
}

// writeNew creates a file that is on disk when it returns.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&othersMask != 0 {
		return nil, fmt.Errorf("%s may be read or written by others (mode %#o): run chmod 600 on it", path, mode)
	}
	if info.Size() > maxMasterFile {
		return nil, fmt.Errorf("%s is not a master key file", path)
	}
	text := make([]byte, info.Size())
	_, err = f.ReadAt(text, 0)
	return text, err
}

// masterKey wraps with AES-256-GCM under a random nonce, which comes first.
type masterKey struct{ aead cipher.AEAD }

func newMasterKey(key []byte) (masterKey, error) {
	aead, err := newAEAD(key)
	return masterKey{aead}, err
}

func (m masterKey) Wrap(plain []byte) ([]byte, error) {
	return m.aead.Seal(nil, nil, plain, []byte(wrapAssociated)), nil
}

func (m masterKey) Unwrap(wrapped []byte) ([]byte, error) {
	plain, err := m.aead.Open(nil, nil, wrapped, []byte(wrapAssociated))
	if err != nil {
		return nil, errors.New("unwrapping data key: this master key does not open it")
	}
	return plain, nil
}

// newAEAD returns AES-256-GCM that makes a random nonce for each message and
// puts it in front.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != masterKeySize {
		return nil, fmt.Errorf("using a key of %d bytes: want %d", len(key), masterKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
