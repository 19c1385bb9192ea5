package reposerver

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Upload is an image on its way to the server.
type Upload struct {
	Filename string // that its target will have
	File     io.ReaderAt
	Size     int64         // bytes
	Timeout  time.Duration // of one request; 0 is an hour
	// Force asks servers that can to replace an image of that name.
	Force bool
	// Wait, if set, stands in for time between two tries.
	Wait func(context.Context, time.Duration) error
}

// upload is an Upload under way.
type upload struct {
	*Server
	Upload
	ctx  context.Context
	name string // escaped for a URL
}

// Upload sends an image, in parts if the server knows them. What a busy server
// refuses is sent again for about a minute. The image is no target yet.
func (s *Server) Upload(ctx context.Context, u Upload) error {
	if u.Timeout == 0 {
		u.Timeout = time.Hour
	}
	if u.Wait == nil {
		u.Wait = pause
	}
	return (&upload{Server: s, Upload: u, ctx: ctx, name: EscapePath(u.Filename)}).run(u.Force)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// EscapePath writes the name of a target as part of a path.
func EscapePath(name string) string {
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// run sends the file in parts, or in one piece to a server that does not know
// parts.
func (u *upload) run(force bool) error {
	query := url.Values{"fileSize": {strconv.FormatInt(u.Size, 10)}}
	if force {
		query.Set("force", "true")
	}
	a, err := u.api(http.MethodPost, "multipart/initiate/"+u.name+"?"+query.Encode(), nil)
	if Refused(err, "not_implemented") {
		return u.whole()
	}
	if err != nil {
		return err
	}
	var begun struct {
		UploadID string `json:"uploadId"`
		PartSize int64  `json:"partSize"`
	}
	if err := json.Unmarshal(a.Body, &begun); err != nil || begun.PartSize < 1 || begun.UploadID == "" {
		return errors.New("the server began an upload without uploadId or partSize")
	}
	type part struct {
		Part int    `json:"part"`
		ETag string `json:"eTag"`
	}
	parts := []part{}
	for n, offset := 1, int64(0); offset < u.Size || n == 1; n, offset = n+1, offset+begun.PartSize {
		tag, err := u.part(begun.UploadID, n, offset, min(begun.PartSize, u.Size-offset))
		if err != nil {
			return err
		}
		parts = append([]part{{n, tag}}, parts...) // servers are given the last part first
	}
	body, err := json.Marshal(struct {
		UploadID  string `json:"uploadId"`
		PartETags []part `json:"partETags"`
	}{begun.UploadID, parts})
	if err != nil {
		return err
	}
	_, err = u.api(http.MethodPut, "multipart/complete/"+u.name, body)
	return err
}

// part sends one part and returns its ETag, quotes included.
func (u *upload) part(id string, n int, offset, length int64) (string, error) {
	sum := md5.New() // what the protocol demands; integrity rests on the signed SHA-256
	if _, err := io.Copy(sum, io.NewSectionReader(u.File, offset, length)); err != nil {
		return "", err
	}
	digest := base64.StdEncoding.EncodeToString(sum.Sum(nil))
	query := url.Values{"part": {strconv.Itoa(n)}, "uploadId": {id}, "md5": {digest}, "contentLength": {strconv.FormatInt(length, 10)}}
	a, err := u.api(http.MethodGet, "multipart/url/"+u.name+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	var place struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(a.Body, &place); err != nil || place.URI == "" {
		return "", errors.New("the server named no place for a part of the upload")
	}
	a, err = u.put(u.c.Client, place.URI, offset, length, digest)
	if err != nil {
		return "", err
	}
	if err := a.refusal(http.MethodPut, fmt.Sprintf("part %d", n)); err != nil {
		return "", err
	}
	tag := a.Header.Get("ETag")
	if tag == "" {
		return "", fmt.Errorf("the server took part %d without an ETag", n)
	}
	return tag, nil
}

// whole is the fallback: the file goes to the place the server redirects to.
func (u *upload) whole() error {
	stay := *u.c.Client
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a, err := u.put(&stay, u.c.URL+"/uploads/"+u.name, 0, u.Size, "")
	if err != nil {
		return err
	}
	if a.Status == http.StatusFound {
		place, err := url.Parse(u.c.URL + "/uploads/" + u.name)
		if err != nil {
			return err
		}
		if place, err = place.Parse(a.Header.Get("Location")); err != nil || a.Header.Get("Location") == "" {
			return errors.New("the server named no place for the upload")
		}
		if a, err = u.put(&stay, place.String(), 0, u.Size, ""); err != nil {
			return err
		}
	}
	return a.refusal(http.MethodPut, "uploads")
}

// api is one call of the upload protocol.
func (u *upload) api(method, path string, body []byte) (Answer, error) {
	a, err := u.retry(func(ctx context.Context) (Answer, error) { return u.Do(ctx, method, path, body, nil) })
	if err == nil {
		name, _, _ := strings.Cut(path, "?")
		err = a.refusal(method, name)
	}
	return a, err
}

// put sends a section of the file.
func (u *upload) put(client *http.Client, place string, offset, length int64, md5 string) (Answer, error) {
	return u.retry(func(ctx context.Context) (Answer, error) {
		section := func() io.ReadCloser { return io.NopCloser(io.NewSectionReader(u.File, offset, length)) }
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, place, section())
		if err != nil {
			return Answer{}, err
		}
		req.GetBody = func() (io.ReadCloser, error) { return section(), nil }
		req.ContentLength = length
		if length == 0 {
			req.Body = http.NoBody
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		if md5 != "" {
			req.Header.Set("Content-MD5", md5)
		}
		return u.exchange(client, req, maxPartAnswer)
	})
}

// retry repeats what a busy or failing server may do better the next time,
// after 1, 2, 4, 8, 16 and 32 seconds.
func (u *upload) retry(try func(context.Context) (Answer, error)) (Answer, error) {
	for pause := time.Second; ; pause *= 2 {
		ctx, cancel := context.WithTimeout(u.ctx, u.Timeout)
		a, err := try(ctx)
		cancel()
		if !worthRetry(a, err) || pause > 32*time.Second || u.ctx.Err() != nil {
			return a, err
		}
		why := fmt.Sprintf("status %d", a.Status)
		if err != nil {
			why = err.Error()
		}
		u.c.Warn(fmt.Sprintf("%s; trying again in %s", why, pause))
		if err := u.Wait(u.ctx, pause); err != nil {
			return a, err
		}
	}
}

func worthRetry(a Answer, err error) bool {
	if err != nil {
		// The network may come back. What a certificate or a login is refused for
		// stays as it is.
		var op *net.OpError
		return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
	}
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
