package gateway

import (
	"net/http"

	"sealift/internal/web"
	"sealift/keys"
)

// identify says whose certificate a request came with and notes that the
// device was heard of.
func (s *server) identify(r *http.Request) (web.Caller, error) {
	if r.TLS == nil {
		return web.Caller{}, keys.ErrNoCertificate.With("this connection is not TLS")
	}
	id, err := s.vault.Identify(r.Context(), r.TLS.PeerCertificates)
	if err != nil {
		return web.Caller{}, err
	}
	who := web.Caller{Namespace: id.Namespace, Certificate: id.Fingerprint}
	if id.Kind == keys.KindBootstrap {
		who.Kind, who.Permissions = web.Bootstrap, []string{permitProvision}
		return who, nil
	}
	who.Kind, who.Permissions = web.Device, []string{permitDevice}
	who.Device, who.OEMID = id.Device, id.OEMID
	s.registry.Seen(id.Namespace, id.Device)
	return who, nil
}
