package keys

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/secrets"
)

// keeperTime is how long a key service may take for one answer.
const keeperTime = 30 * time.Second

// OpenKeeperKEK returns a master key that a key service holds: it wraps the data
// keys and never tells its own. The URL is one of gocloud.dev/secrets whose
// driver the program links.
//
// The service is asked once for each data key when the vault is opened, and
// never while something is signed.
func OpenKeeperKEK(ctx context.Context, text string) (KEK, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return nil, errors.New("opening master key: no URL of a key service")
	}
	if u.Scheme == "base64key" && u.Host == "" { // the driver would make up a key, and lose it
		return nil, errors.New("opening master key: base64key:// holds no key")
	}
	keeper, err := secrets.OpenKeeper(ctx, text)
	if err != nil { // without the URL, which may hold a secret
		return nil, fmt.Errorf("opening master key in the key service %s: %w", u.Scheme, errors.New(strings.ReplaceAll(err.Error(), text, u.Scheme+"://...")))
	}
	return keeperKEK{keeper, u.Scheme}, nil
}

type keeperKEK struct {
	keeper *secrets.Keeper
	scheme string
}

func (k keeperKEK) Wrap(plain []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keeperTime)
	defer cancel()
	wrapped, err := k.keeper.Encrypt(ctx, plain)
	if err != nil {
		return nil, fmt.Errorf("wrapping data key in the key service %s: %w", k.scheme, err)
	}
	return wrapped, nil
}

func (k keeperKEK) Unwrap(wrapped []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keeperTime)
	defer cancel()
	plain, err := k.keeper.Decrypt(ctx, wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrapping data key: the key service %s does not open it: %w", k.scheme, err)
	}
	return plain, nil
}
