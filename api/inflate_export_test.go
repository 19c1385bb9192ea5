package api

import (
	"bytes"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"
)

// Inflate reads a body as the routes do that take compressed ones.
func Inflate(encoding string, body []byte, limit int64) ([]byte, error) {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(body))
	c.Request.Header.Set("Content-Encoding", encoding)
	return inflated(c, limit)
}
