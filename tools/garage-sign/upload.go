package main

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
	"os"
	"strconv"
	"strings"
	"time"

	"sealift/uptane"
)

// upload is one file on its way to the server.
type upload struct {
	*remote
	ctx      context.Context
	wait     func(context.Context, time.Duration) error
	warn     func(string)
	timeout  time.Duration // of one request
	filename string        // escaped for a URL
	file     *os.File
	size     int64
}

func runTargetsUpload(c *call) error {
	h, err := c.imageHome()
	if err != nil {
		return err
	}
	timeout := time.Hour
	if s := c.get("timeout"); s != "" {
		seconds, err := strconv.Atoi(s)
		if err != nil || seconds < 1 {
			return usagef("'%s' is no number of seconds", s)
		}
		timeout = time.Duration(seconds) * time.Second
	}
	name := targetFilename(c)
	if err := uptane.CheckFilename(name); err != nil {
		return err
	}
	f, err := os.Open(c.get("input"))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return explained("%s is no regular file", c.get("input"))
	}
	r, err := c.remote(h)
	if err != nil {
		return err
	}
	u := &upload{remote: r, ctx: c.ctx, wait: c.wait, warn: c.warn, timeout: timeout, filename: escapePath(name), file: f, size: info.Size()}
	if err := u.run(c.has("force")); err != nil {
		return err
	}
	c.say("Uploaded %s, %d bytes; `targets add-uploaded` makes it a target", name, u.size)
	return nil
}

func escapePath(name string) string {
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// run sends the file in parts, or in one piece to a server that does not know
// parts.
func (u *upload) run(force bool) error {
	query := url.Values{"fileSize": {strconv.FormatInt(u.size, 10)}}
	if force {
		query.Set("force", "true")
	}
	a, err := u.api(http.MethodPost, "multipart/initiate/"+u.filename+"?"+query.Encode(), nil)
	if refused(err, "not_implemented") {
		return u.whole()
	}
	if err != nil {
		return err
	}
	var begun struct {
		UploadID string `json:"uploadId"`
		PartSize int64  `json:"partSize"`
	}
	if err := json.Unmarshal(a.body, &begun); err != nil || begun.PartSize < 1 || begun.UploadID == "" {
		return errors.New("the server began an upload without uploadId or partSize")
	}
	type part struct {
		Part int    `json:"part"`
		ETag string `json:"eTag"`
	}
	parts := []part{}
	for n, offset := 1, int64(0); offset < u.size || n == 1; n, offset = n+1, offset+begun.PartSize {
		tag, err := u.part(begun.UploadID, n, offset, min(begun.PartSize, u.size-offset))
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
	_, err = u.api(http.MethodPut, "multipart/complete/"+u.filename, body)
	return err
}

// part sends one part and returns its ETag, quotes included.
func (u *upload) part(id string, n int, offset, length int64) (string, error) {
	sum := md5.New() // what the protocol demands; integrity rests on the signed SHA-256
	if _, err := io.Copy(sum, io.NewSectionReader(u.file, offset, length)); err != nil {
		return "", err
	}
	digest := base64.StdEncoding.EncodeToString(sum.Sum(nil))
	query := url.Values{"part": {strconv.Itoa(n)}, "uploadId": {id}, "md5": {digest}, "contentLength": {strconv.FormatInt(length, 10)}}
	a, err := u.api(http.MethodGet, "multipart/url/"+u.filename+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	var place struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(a.body, &place); err != nil || place.URI == "" {
		return "", errors.New("the server named no place for a part of the upload")
	}
	a, err = u.put(u.client, place.URI, offset, length, digest)
	if err != nil {
		return "", err
	}
	if err := a.refusal(http.MethodPut, fmt.Sprintf("part %d", n)); err != nil {
		return "", err
	}
	tag := a.header.Get("ETag")
	if tag == "" {
		return "", fmt.Errorf("the server took part %d without an ETag", n)
	}
	return tag, nil
}

// whole is the fallback: the file goes to the place the server redirects to.
func (u *upload) whole() error {
	stay := *u.client
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a, err := u.put(&stay, u.base+"/uploads/"+u.filename, 0, u.size, "")
	if err != nil {
		return err
	}
	if a.status == http.StatusFound {
		place, err := url.Parse(u.base + "/uploads/" + u.filename)
		if err != nil {
			return err
		}
		if place, err = place.Parse(a.header.Get("Location")); err != nil || a.header.Get("Location") == "" {
			return errors.New("the server named no place for the upload")
		}
		if a, err = u.put(&stay, place.String(), 0, u.size, ""); err != nil {
			return err
		}
	}
	return a.refusal(http.MethodPut, "uploads")
}

// api is one call of the upload protocol.
func (u *upload) api(method, path string, body []byte) (answer, error) {
	a, err := u.retry(func(ctx context.Context) (answer, error) { return u.send(ctx, method, path, body, nil) })
	if err == nil {
		name, _, _ := strings.Cut(path, "?")
		err = a.refusal(method, name)
	}
	return a, err
}

// put sends a section of the file.
func (u *upload) put(client *http.Client, place string, offset, length int64, md5 string) (answer, error) {
	return u.retry(func(ctx context.Context) (answer, error) {
		section := func() io.ReadCloser { return io.NopCloser(io.NewSectionReader(u.file, offset, length)) }
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, place, section())
		if err != nil {
			return answer{}, err
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
		return u.exchange(client, req, maxRootAnswer)
	})
}

// retry repeats what a busy or failing server may do better the next time,
// after 1, 2, 4, 8, 16 and 32 seconds.
func (u *upload) retry(try func(context.Context) (answer, error)) (answer, error) {
	for pause := time.Second; ; pause *= 2 {
		ctx, cancel := context.WithTimeout(u.ctx, u.timeout)
		a, err := try(ctx)
		cancel()
		if !worthRetry(a, err) || pause > 32*time.Second || u.ctx.Err() != nil {
			return a, err
		}
		why := fmt.Sprintf("status %d", a.status)
		if err != nil {
			why = err.Error()
		}
		u.warn(fmt.Sprintf("%s; trying again in %s", why, pause))
		if err := u.wait(u.ctx, pause); err != nil {
			return a, err
		}
	}
}

func worthRetry(a answer, err error) bool {
	if err != nil {
		// The network may come back. What a certificate or a login is refused for
		// stays as it is.
		var op *net.OpError
		return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
	}
	switch a.status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
