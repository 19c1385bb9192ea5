package web

import (
	"net/http"
	"strings"
)

const namespaceHeader = "X-Ats-Namespace"

// setHeaders sets what every answer carries unless its handler says otherwise.
func (h *handler) setHeaders(to http.Header) {
	to.Set("X-Content-Type-Options", "nosniff")
	to.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	to.Set("Referrer-Policy", "no-referrer")
	to.Set("Cache-Control", "no-store")
	if h.cfg.Version != "" {
		to.Set("X-Ats-Version", h.cfg.Version)
	}
}

// stripHeaders removes what only a trusted proxy may say: from anyone else it
// is an attempt to be someone else.
func (h *handler) stripHeaders(r *http.Request) {
	if h.cfg.TrustProxy != nil && h.cfg.TrustProxy(r) {
		return
	}
	for name := range r.Header {
		if isProxyHeader(name) {
			r.Header.Del(name)
			h.metrics.strip()
		}
	}
}

func isProxyHeader(name string) bool {
	// Some servers behind us would read X_Ssl_Client_S_Dn as the same header.
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch name {
	case "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "x-ats-device-uuid":
		return true
	}
	for _, prefix := range []string{"x-forwarded", "x-original-", "x-ssl-", "ssl-", "x-client-cert", "client-cert", "x-tls-", "x-amzn-mtls-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
