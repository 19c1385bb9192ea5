package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests of one edge; its zero value counts nothing.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	stripped prometheus.Counter
}

func newMetrics(edge string, reg prometheus.Registerer) (metrics, error) {
	if reg == nil {
		return metrics{}, nil
	}
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealift_http_requests_total", Help: "Requests by route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealift_http_request_seconds", Help: "Time from the first byte of a request to the last of its answer.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"route"}),
		stripped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealift_http_stripped_headers_total", Help: "Forwarding and certificate headers from clients not entitled to send them.",
		}),
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"edge": edge}, reg)
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.stripped} {
		if err := reg.Register(c); err != nil {
			return metrics{}, fmt.Errorf("registering metrics of %s: %w", edge, err)
		}
	}
	return m, nil
}

// observe counts under the pattern, never under the path or an invented
// method: clients must not be able to make the server keep series.
func (m metrics) observe(r *Route, method string, status int, took time.Duration) {
	if m.requests == nil {
		return
	}
	route := "unmatched"
	if r != nil {
		route = r.Pattern
	} else if method != http.MethodGet && method != http.MethodPost {
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m metrics) strip() {
	if m.stripped != nil {
		m.stripped.Inc()
	}
}
