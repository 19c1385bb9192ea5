package web

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
)

// Page sizes: what a query without a limit gets, and what none exceeds.
const (
	defaultPage = 50
	maxPage     = 1000
)

// Page is the part of a list a caller asks for.
type Page struct{ Offset, Limit int }

// PageOf reads the query parameters offset (default 0) and limit (default
// 50; above 1000 counts as 1000). Anything but whole numbers from 0 is
// [ErrInvalid].
func PageOf(c *gin.Context) (Page, error) {
	p := Page{Limit: defaultPage}
	for name, to := range map[string]*int{"offset": &p.Offset, "limit": &p.Limit} {
		text, given := c.GetQuery(name)
		if !given {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return Page{}, ErrInvalid.With(name + " must be a whole number, not negative")
		}
		*to = int(n)
	}
	p.Limit = min(p.Limit, maxPage)
	return p, nil
}

// List answers 200 with one page of a list of total values.
func List[T any](c *gin.Context, p Page, values []T, total int) {
	if values == nil {
		values = []T{} // [] rather than null
	}
	c.PureJSON(http.StatusOK, struct {
		Values []T `json:"values"`
		Total  int `json:"total"`
		Offset int `json:"offset"`
		Limit  int `json:"limit"`
	}{values, total, p.Offset, p.Limit})
}
