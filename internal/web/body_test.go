package web_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"sealift/internal/web"
)

type order struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
}

const maxOrder = 200

func orderDesk(t testing.TB) func(path, body string, announced bool) *httptest.ResponseRecorder {
	decode := func(read func(*gin.Context, int64, any) error) gin.HandlerFunc {
		return func(c *gin.Context) {
			var o order
			if err := read(c, maxOrder, &o); err != nil {
				web.Fail(c, err)
				return
			}
			c.PureJSON(200, o)
		}
	}
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: []web.Route{
		{Method: "POST", Pattern: "/strict", Permission: web.Public, Handler: decode(web.DecodeJSON)},
		{Method: "POST", Pattern: "/loose", Permission: web.Public, Handler: decode(web.DecodeLooseJSON)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return func(path, body string, announced bool) *httptest.ResponseRecorder {
		req := httptest.NewRequest("POST", path, io.NopCloser(strings.NewReader(body)))
		req.ContentLength = -1
		if announced {
			req.ContentLength = int64(len(body))
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec
	}
}

func TestDecodeJSON(t *testing.T) {
	post := orderDesk(t)
	tests := []struct {
		body          string
		strict, loose int
		says          string
	}{
		{`{"name":"a","count":3}`, 200, 200, `"name":"a"`},
		{` {"name":"a"} ` + "\n", 200, 200, `"name":"a"`},
		{`{"name":"a","colour":"red"}`, 400, 200, ""},
		{`{"name":"a","name":"b"}`, 400, 400, "given twice"},
		{`{"tags":[{"x":1,"x":2}]}`, 400, 400, "given twice"},
		{`{"name":"a"} {}`, 400, 400, "something follows"},
		{`{"name":"a"`, 400, 400, "ends early"},
		{``, 400, 400, "ends early"},
		{`{"count":"three"}`, 400, 400, `member \"count\" must not be a string`},
		{strings.Repeat("[", 90), 400, 400, "nested"},
		{`{"name":"` + strings.Repeat("a", maxOrder) + `"}`, 413, 413, "limit is 200 bytes"},
	}
	for _, tt := range tests {
		for path, want := range map[string]int{"/strict": tt.strict, "/loose": tt.loose} {
			for _, announced := range []bool{true, false} {
				rec := post(path, tt.body, announced)
				if rec.Code != want || !strings.Contains(rec.Body.String(), tt.says) {
					t.Errorf("%s %.40s: %d %s, want %d and %q", path, tt.body, rec.Code, rec.Body, want, tt.says)
				}
			}
		}
	}
}

// FuzzDecodeJSON: what is accepted means the same when written out and read
// again.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"name":"a","count":1,"tags":["x"]}`, `{"a":1,"a":2}`, `[`, `{}`, `null`, `{"name":1e999}`, `{"\u0000":"\ud800"}`} {
		f.Add(s)
	}
	post := orderDesk(f)
	f.Fuzz(func(t *testing.T, body string) {
		rec := post("/strict", body, false)
		switch rec.Code {
		case 400, 413:
		case 200:
			again := post("/strict", rec.Body.String(), false)
			var first, second order
			if json.Unmarshal(rec.Body.Bytes(), &first) != nil || again.Code == 200 && json.Unmarshal(again.Body.Bytes(), &second) != nil {
				t.Fatalf("%q gave %s", body, rec.Body)
			}
			if again.Code == 200 && !reflect.DeepEqual(first, second) {
				t.Errorf("%q: %+v, then %+v", body, first, second)
			}
		default:
			t.Errorf("%q: status %d", body, rec.Code)
		}
	})
}

func TestPaging(t *testing.T) {
	h, err := web.New(web.Config{Log: slog.New(slog.DiscardHandler), Routes: []web.Route{{Method: "GET", Pattern: "/list", Permission: web.Public, Handler: func(c *gin.Context) {
		p, err := web.PageOf(c)
		if err != nil {
			web.Fail(c, err)
			return
		}
		var none []string
		web.List(c, p, none, 7)
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"/list":                   `{"values":[],"total":7,"offset":0,"limit":50}`,
		"/list?limit=3&offset=4":  `{"values":[],"total":7,"offset":4,"limit":3}`,
		"/list?limit=100000":      `{"values":[],"total":7,"offset":0,"limit":1000}`,
		"/list?limit=-1":          "invalid_entity",
		"/list?offset=x":          "invalid_entity",
		"/list?offset=9999999999": "invalid_entity",
		"/list?limit=":            "invalid_entity",
	}
	for path, want := range tests {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %s, want %s", path, rec.Body, want)
		}
	}
}
