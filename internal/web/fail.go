package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"sealift/internal/db"
	"sealift/internal/fault"
)

const errorHeader = "X-Sealift-Error"

// How much of a refused body is read all the same over HTTP/2, where the stream
// would else be reset behind the answer: some clients lose what comes with a
// reset. Who proves nobody is not worth that much traffic.
const (
	maxUnread    = 16 << 20
	maxUnproved  = 256 << 10
	timeOfUnread = 10 * time.Second
)

// problem is the one error body: all four members are always there.
type problem struct {
	Code        string `json:"code"`
	Description string `json:"description"`
	Cause       any    `json:"cause"`
	ErrorID     string `json:"errorId"`
}

// Causer is an error that tells the caller why in a form of its own, such as a
// list of broken rules; anywhere in the chain of a fault it takes the place of
// the fault's cause. FaultCause returns something that encodes as JSON.
type Causer interface{ FaultCause() any }

// Fail answers with err and ends the request: with the status and text of
// its fault, with [ErrFull] when it is none and says that a disk or the database is
// full, or else with 500 "internal error". The answer carries
// an id, also as header x-sealift-error, under which the log has err in full.
// Under a prefix of [Config.EmptyErrors] the body is empty. When part of
// another answer is already sent, the connection is broken off instead.
func Fail(c *gin.Context, err error) {
	c.Abort()
	Error(c.Writer, c.Request, err)
}

// Error is [Fail] for handlers outside gin.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	rq := requestOf(r.Context())
	if rq == nil { // not under New
		rq = &request{id: uuid.NewString(), writer: &writer{ResponseWriter: w}}
	}
	if fault.Of(err) == nil && isFull(err) {
		err = ErrFull.Wrap(err)
	}
	rq.err = err
	if rq.writer.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		rq.writer.status = 499 // nobody reads the answer; said in the log only
		return
	}
	p := problem{Code: "internal_server_error", Description: "internal error", ErrorID: rq.id}
	status := fault.Status(err)
	if f := fault.Of(err); f != nil {
		p.Code, p.Description = f.Code(), f.Description()
		if cause := f.Cause(); cause != "" {
			p.Cause = cause
		}
		var own Causer
		if errors.As(err, &own) {
			p.Cause = own.FaultCause()
		}
	}
	rq.writer.failed = true
	head := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Disposition", "Content-Range", "Etag", "Last-Modified", "Content-Type"} {
		head.Del(name)
	}
	head.Set("Cache-Control", "no-store")
	head.Set(errorHeader, rq.id)
	if status == http.StatusUnauthorized && rq.challenge != "" {
		head.Set("WWW-Authenticate", rq.challenge)
	}
	if r.ProtoMajor == 2 {
		readOn(w, r)
	}
	var body []byte
	if !rq.emptyBody {
		head.Set("Content-Type", "application/json")
		if body, err = json.Marshal(p); err != nil {
			panic(fmt.Sprintf("encoding the cause of %s: %v", p.Code, err))
		}
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left gets no answer
}

// isFull reports whether there was no room, on a disk, below a quota or in the
// database, whichever service has met it.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || db.IsFull(err)
}

// readOn reads what is left of a body. The answer comes behind it, because there
// are also clients that stop sending, and say nothing, once they are refused.
func readOn(w http.ResponseWriter, r *http.Request) {
	limit := int64(maxUnproved)
	if _, proved := CallerFrom(r.Context()); proved {
		limit = maxUnread
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength > limit || r.Header.Get("Expect") != "" {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeOfUnread))
	_, _ = io.CopyN(io.Discard, r.Body, limit)
}
