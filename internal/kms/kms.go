// Package kms signs with private keys in AWS KMS, by the interface of package hsm.
//
// People make the keys there (RSA, for signing) and name them; a program needs to be
// allowed kms:GetPublicKey and kms:Sign, and nothing else. Where the service is and
// who asks it the environment says, as for every program of that cloud
// (AWS_REGION, AWS_ENDPOINT_URL_KMS, credentials), and never a URI, which may come
// from somebody else.
package kms

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"sealift/internal/hsm"
)

// Bounds of one call.
const (
	tries           = 3  // of one request
	atOnce          = 64 // requests under way; the next one waits, as long as its patience lasts
	defaultPatience = 5 * time.Second
)

// Config is what a Service needs; the zero one will do.
type Config struct {
	// Patience is how long a call may take with all its tries; 0 is five seconds.
	Patience time.Duration
}

// Service asks AWS KMS. It implements hsm.Service. Safe for concurrent use.
type Service struct {
	patience time.Duration
	slots    chan struct{}

	mu      sync.Mutex
	clients map[string]*kms.Client // by region, "" for that of the environment
}

var _ hsm.Service = (*Service)(nil)

// New returns a Service. Nobody is asked yet.
func New(c Config) *Service {
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	return &Service{patience: c.Patience, slots: make(chan struct{}, atOnce), clients: map[string]*kms.Client{}}
}

// Find is that of hsm.Service: the public key is asked for, and whether a signature
// would be given.
func (s *Service) Find(uri string) (hsm.Key, string, error) {
	n, err := parse(uri)
	if err != nil {
		return nil, "", err
	}
	k := &key{service: s, name: n}
	err = s.ask(n.region, func(ctx context.Context, c *kms.Client) error {
		out, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &n.id})
		if err != nil {
			return err
		}
		k.name.id = aws.ToString(out.KeyId)
		if k.public, err = usable(out); err != nil {
			return err
		}
		_, err = c.Sign(ctx, k.request(make([]byte, crypto.SHA256.Size()), true))
		if dry := (*types.DryRunOperationException)(nil); errors.As(err, &dry) {
			return nil // it would have signed
		}
		if err == nil {
			err = errors.New("it signs where it is only asked whether it would")
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("asking for the key %s: %w", n.id, err)
	}
	named := "awskms:///" + k.name.id
	if k.name, err = parse(named); err != nil {
		return nil, "", fmt.Errorf("asking for the key %s: the answer names no key: %w", n.id, err)
	}
	return k, named, nil
}

// Known is that of hsm.Service.
func (s *Service) Known(uri string, public crypto.PublicKey) (hsm.Key, error) {
	n, err := parse(uri)
	if err != nil {
		return nil, err
	}
	return &key{service: s, name: n, public: public}, nil
}

// usable reads a public key, or says why metadata cannot be signed with it.
func usable(out *kms.GetPublicKeyOutput) (crypto.PublicKey, error) {
	switch spec := out.KeySpec; {
	case out.KeyUsage != types.KeyUsageTypeSignVerify:
		return nil, fmt.Errorf("%w: it is made for %s, not for signing", hsm.ErrKind, out.KeyUsage)
	case spec == types.KeySpecEccNistEdwards25519:
		return nil, fmt.Errorf("%w: the service signs at most 4096 bytes with an Ed25519 key, and targets are longer; make an RSA key", hsm.ErrKind)
	case !slices.Contains([]types.KeySpec{types.KeySpecRsa2048, types.KeySpecRsa3072, types.KeySpecRsa4096}, spec):
		return nil, fmt.Errorf("%w: it is %s; devices refuse a whole document that holds an ECDSA key, and know Ed25519 and RSA only; make an RSA key", hsm.ErrKind, spec)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: reading its public key: %w", hsm.ErrKind, err)
	}
	if _, ok := public.(*rsa.PublicKey); !ok {
		return nil, fmt.Errorf("%w: it is said to be RSA and is %T", hsm.ErrKind, public)
	}
	return public, nil
}

// key is a key of the service. It implements hsm.Key.
type key struct {
	service *Service
	name    name
	public  crypto.PublicKey
}

// Public is the public key.
func (k *key) Public() crypto.PublicKey { return k.public }

// Sign signs the SHA-256 of a message with RSASSA-PSS and a salt of 32 bytes; nothing
// else is offered. Whoever asks verifies the signature.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := k.public.(*rsa.PublicKey); !ok || !hsm.IsPSS(opts) || len(digest) != crypto.SHA256.Size() {
		return nil, fmt.Errorf("signing in a key service: %w: only RSASSA-PSS with SHA-256 and a salt of 32 bytes", hsm.ErrKind)
	}
	var sig []byte
	err := k.service.ask(k.name.region, func(ctx context.Context, c *kms.Client) error {
		out, err := c.Sign(ctx, k.request(digest, false))
		if err == nil {
			sig = out.Signature
		}
		return err
	})
	return sig, err
}

func (k *key) request(digest []byte, dry bool) *kms.SignInput {
	return &kms.SignInput{KeyId: &k.name.id, Message: digest, MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecRsassaPssSha256, DryRun: &dry}
}

// Close has nothing to do: keys share the connections of their Service.
func (k *key) Close() error { return nil }

// ask makes one call, which ends in time whatever the service does.
func (s *Service) ask(region string, call func(context.Context, *kms.Client) error) error {
	ctx, end := context.WithTimeout(context.Background(), s.patience)
	defer end()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %d requests are under way already", hsm.ErrBusy, atOnce)
	}
	c, err := s.client(ctx, region)
	if err == nil {
		err = call(ctx, c)
	}
	return s.told(ctx, err)
}

// client is the one that asks in a region.
func (s *Service) client(ctx context.Context, region string) (*kms.Client, error) {
	s.mu.Lock()
	c := s.clients[region]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	settings, err := config.LoadDefaultConfig(ctx, config.WithRegion(region),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(s.patience/2)),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = tries, s.patience/20 })
		}))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[region] == nil {
		s.clients[region] = kms.NewFromConfig(settings)
	}
	return s.clients[region], nil
}
