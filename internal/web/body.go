package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/internal/fault"
)

// A body has half a minute, and a second more for each slowBody bytes of its
// limit, so that nobody holds a connection by sending a byte now and then.
const (
	bodyTime = 30 * time.Second
	slowBody = 16 << 10
)

var errIncomplete = fault.New(fault.Invalid, "incomplete_body", "the body of the request ended early or came too slowly")

// Body reads the whole body, at most limit bytes. It fails with
// [ErrTooLarge], before reading anything where the length is announced.
func Body(c *gin.Context, limit int64) ([]byte, error) {
	tooLarge := ErrTooLarge.Withf("the limit is %d bytes", limit)
	if c.Request.ContentLength > limit {
		return nil, tooLarge
	}
	deadline := http.NewResponseController(c.Writer)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTime + time.Duration(limit/slowBody)*time.Second)) // not on a recorder
	defer func() { _ = deadline.SetReadDeadline(time.Time{}) }()
	data, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, errIncomplete.Wrap(err)
	}
	return data, nil
}

// DecodeJSON reads a body of at most limit bytes into v. Members v does not
// know, members given twice and anything after the value are refused with
// [ErrInvalid], which says what is wrong.
func DecodeJSON(c *gin.Context, limit int64, v any) error { return decodeBody(c, limit, v, true) }

// DecodeLooseJSON is [DecodeJSON] for routes of other people's clients: it
// ignores members v does not know.
func DecodeLooseJSON(c *gin.Context, limit int64, v any) error { return decodeBody(c, limit, v, false) }

func decodeBody(c *gin.Context, limit int64, v any, strict bool) error {
	data, err := Body(c, limit)
	if err != nil {
		return err
	}
	if err := checkMembers(data); err != nil {
		return ErrInvalid.With("body: " + err.Error())
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	err = d.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) { // its text speaks of our Go types
		return ErrInvalid.Withf("body: member %q must not be a %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return ErrInvalid.With("body: " + strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

const maxDepth = 64

// checkMembers fails unless data is one JSON value and no object in it names
// a member twice: two readers could disagree which one counts.
func checkMembers(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it ends early")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') && open != json.Delim('[') {
		return nil
	}
	seen := map[any]bool{}
	for d.More() {
		if open == json.Delim('{') {
			name, err := d.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("member %q is given twice", name)
			}
			seen[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// Raw answers 200 with exactly these bytes.
func Raw(c *gin.Context, contentType string, body []byte) {
	c.Data(http.StatusOK, contentType, body)
}
