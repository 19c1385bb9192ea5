package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file:// in --record-heads
	"gocloud.dev/gcerrors"

	"sealift/keys/record"
)

const (
	// sealEvery is how often what was signed and done is sealed.
	sealEvery = time.Second
	// tellTime is how long one place outside may take to be told of a head.
	tellTime = 10 * time.Second
)

// witness is a place outside that keeps heads of the record.
type witness struct {
	name string
	tell func(context.Context, record.Head, []byte) error
}

// witnesses reads --record-heads: stdout, the URL of a webhook, the URL of a
// bucket.
func (s settings) witnesses(ctx context.Context, stdout io.Writer) (list []witness, closers []func() error, err error) {
	for _, name := range s.RecordHeads {
		switch {
		case name == "stdout":
			list = append(list, witness{name, func(_ context.Context, _ record.Head, text []byte) error {
				_, err := stdout.Write(append(text, '\n'))
				return err
			}})
		case strings.HasPrefix(name, "https://"), strings.HasPrefix(name, "http://"):
			list = append(list, witness{placeOf(name), webhook(name)})
		case strings.Contains(name, "://"):
			b, err := blob.OpenBucket(ctx, name)
			if err != nil {
				return nil, closers, usage(fmt.Errorf("opening --record-heads: %w", withoutAddress(err, name)))
			}
			closers = append(closers, b.Close)
			list = append(list, witness{placeOf(name), keepIn(b)})
		default:
			return nil, closers, usage(fmt.Errorf("--record-heads %q is neither stdout nor the URL of a webhook or bucket", placeOf(name)))
		}
	}
	return list, closers, nil
}

// errOtherHead: a place outside keeps another head of the same size, so somebody
// has written this record, or that place, anew.
var errOtherHead = errors.New("another head of this size is kept there")

// keepIn writes each head once; another replica may have told the same one.
func keepIn(b *blob.Bucket) func(context.Context, record.Head, []byte) error {
	return func(ctx context.Context, h record.Head, text []byte) error {
		name := fmt.Sprintf("%012d.json", h.Size)
		err := b.WriteAll(ctx, name, text, &blob.WriterOptions{ContentType: "application/json", IfNotExist: true})
		if gcerrors.Code(err) != gcerrors.FailedPrecondition {
			return err
		}
		kept, err := b.ReadAll(ctx, name)
		if err == nil && !bytes.Equal(kept, text) {
			err = errOtherHead
		}
		return err
	}
}

func webhook(url string) func(context.Context, record.Head, []byte) error {
	client := &http.Client{Timeout: tellTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context, _ record.Head, text []byte) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
		if err != nil {
			return withoutAddress(err, url)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			return withoutAddress(err, url)
		}
		_ = answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			return fmt.Errorf("it answered %s", answer.Status)
		}
		return nil
	}
}

// seal seals what was signed and done until ctx ends, and tells the heads. A
// place that cannot be told is told of a later head, which covers the same.
func (v *services) seal(ctx context.Context, s settings, stdout io.Writer, log *slog.Logger) error {
	list, closers, err := s.witnesses(ctx, stdout)
	if err != nil {
		for _, end := range closers {
			err = errors.Join(err, end())
		}
		return err
	}
	v.closers = append(v.closers, closers...)
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	v.closers = append(v.closers, func() error {
		stop()
		running.Wait()
		return nil
	})
	running.Go(func() {
		v.Vault.Record().Run(ctx, sealEvery, func(ctx context.Context, h record.Head) {
			text, err := json.Marshal(h)
			if err != nil {
				return
			}
			for _, w := range list {
				each, end := context.WithTimeout(ctx, tellTime)
				if err := w.tell(each, h, text); errors.Is(err, errOtherHead) {
					log.Error("the record is not the one whose heads were told: run sealift audit verify", "to", w.name, "size", h.Size, "error", err)
				} else if err != nil && ctx.Err() == nil { // time that is up is told, too
					log.Warn("a head of the record could not be told", "to", w.name, "size", h.Size, "error", err)
				}
				end()
			}
		})
	})
	return nil
}
