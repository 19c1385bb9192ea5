package kms

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"sealift/internal/hsm"
)

// told says in few words what went wrong, by the errors of package hsm.
func (s *Service) told(ctx context.Context, err error) error {
	var (
		missing *types.NotFoundException
		api     smithy.APIError
		network *url.Error
	)
	busy := retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}
	switch {
	case err == nil, errors.Is(err, hsm.ErrKind):
		return err
	case errors.As(err, &missing):
		return fmt.Errorf("%w: %s", hsm.ErrNotFound, missing.ErrorMessage())
	case busy.IsErrorThrottle(err) == aws.TrueTernary:
		return hsm.ErrBusy
	case errors.As(err, &api):
		return fmt.Errorf("%w: %s %s", hsm.ErrAway, api.ErrorCode(), api.ErrorMessage())
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer within %s", hsm.ErrAway, s.patience)
	case errors.As(err, &network):
		return fmt.Errorf("%w: %w", hsm.ErrAway, network)
	}
	return fmt.Errorf("%w: %w", hsm.ErrAway, err)
}
