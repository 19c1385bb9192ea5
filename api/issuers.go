package api

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sealift/access"
	"sealift/internal/web"
	"sealift/keys"
)

// maxIssuerBody bounds a CA certificate and the proof of its key.
const maxIssuerBody = 32 << 10

// issuerRoutes are for the customer's own CAs, whose devices are let in without
// asking for a certificate here.
func (s *server) issuerRoutes() []web.Route {
	const path = "/api/v1/issuers"
	return []web.Route{
		{Method: http.MethodGet, Pattern: path, Permission: access.KeysRead, Handler: s.listIssuers},
		{Method: http.MethodPost, Pattern: path, Permission: access.KeysWrite, Handler: s.postIssuer},
		{Method: http.MethodPost, Pattern: path + "/statement", Permission: access.KeysWrite, Handler: s.postIssuerStatement},
		{Method: http.MethodDelete, Pattern: path + "/:fingerprint", Permission: access.KeysWrite, Handler: s.deleteIssuer},
	}
}

// wireIssuer is a customer's own CA as the api shows it.
type wireIssuer struct {
	Fingerprint string     `json:"fingerprint"`
	Subject     string     `json:"subject"`
	NotAfter    time.Time  `json:"notAfter"`
	AddedAt     time.Time  `json:"addedAt"`
	RevokedAt   *time.Time `json:"revokedAt"`
	Certificate string     `json:"certificate"`
}

func issuerOut(i keys.Issuer) wireIssuer {
	return wireIssuer{
		Fingerprint: i.Fingerprint, Subject: i.Certificate.Subject.String(), NotAfter: i.Certificate.NotAfter.UTC(), AddedAt: i.Added, RevokedAt: optional(i.Revoked),
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate.Raw})),
	}
}

func (s *server) listIssuers(c *gin.Context) {
	list, err := s.vault.Issuers(c.Request.Context(), web.MustCaller(c).Namespace)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"values": mapped(list, issuerOut)})
}

// issuerRequest names a CA; Proof is the signature of its key, in base64.
type issuerRequest struct {
	Certificate string `json:"certificate"`
	Proof       []byte `json:"proof"`
}

// issuerOf reads the one certificate of a request.
func issuerOf(c *gin.Context) (issuerRequest, *x509.Certificate, error) {
	var r issuerRequest
	if err := web.DecodeJSON(c, maxIssuerBody, &r); err != nil {
		return r, nil, err
	}
	block, _ := pem.Decode([]byte(r.Certificate))
	if block == nil || block.Type != "CERTIFICATE" {
		return r, nil, web.ErrInvalid.With("certificate: one in PEM is wanted")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return r, nil, web.ErrInvalid.Withf("certificate: %v", err)
	}
	return r, cert, nil
}

func (s *server) postIssuerStatement(c *gin.Context) {
	_, cert, err := issuerOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	statement, err := s.vault.IssuerStatement(c.Request.Context(), web.MustCaller(c).Namespace, cert)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusOK, gin.H{"statement": string(statement)})
}

func (s *server) postIssuer(c *gin.Context) {
	r, cert, err := issuerOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	added, err := s.vault.AddProvenIssuer(c.Request.Context(), web.MustCaller(c).Namespace, cert, r.Proof)
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.PureJSON(http.StatusCreated, issuerOut(added))
}

func (s *server) deleteIssuer(c *gin.Context) {
	if err := s.vault.RevokeIssuer(c.Request.Context(), web.MustCaller(c).Namespace, c.Param("fingerprint")); err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
