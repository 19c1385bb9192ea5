package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/jmoiron/sqlx"

	"sealift/internal/web"
	"sealift/keys"
	"sealift/uptane"
)

// maxProvision bounds the body of POST /devices.
const maxProvision = 4 << 10

func (s *server) provisionRoutes() []web.Route {
	return []web.Route{{Method: http.MethodPost, Pattern: "/devices", Permission: permitProvision, Handler: s.postDevices}}
}

// postDevices gives a new device a key and certificate of its own, as PKCS#12.
func (s *server) postDevices(c *gin.Context) {
	who := web.MustCaller(c)
	var request struct {
		DeviceID string          `json:"deviceId"`
		TTL      json.RawMessage `json:"ttl"`
	}
	if err := web.DecodeLooseJSON(c, maxProvision, &request); err != nil {
		web.Fail(c, err)
		return
	}
	ttl, err := days(request.TTL)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx, oemid := c.Request.Context(), uptane.OEMID(request.DeviceID)
	var device uptane.DeviceID
	archive, err := s.vault.IssueDevice(ctx, keys.IssueRequest{
		Namespace: who.Namespace, OEMID: oemid, TTL: ttl, Bootstrap: who.Certificate,
		Enrol: func(ctx context.Context, tx *sqlx.Tx) (_ uptane.DeviceID, err error) {
			device, err = s.registry.Enter(ctx, tx, who.Namespace, oemid)
			return device, err
		},
		Check: func(ctx context.Context, tx *sqlx.Tx) error {
			registered, err := s.director.Registered(ctx, tx, who.Namespace, device)
			if err != nil {
				return err
			}
			if registered {
				return keys.ErrDeviceRegistered.With("the device has registered its ECUs; after re-flashing it, run: sealift device reset " + request.DeviceID)
			}
			return nil
		},
	})
	if err != nil {
		web.Fail(c, err)
		return
	}
	s.log.Info("device provisioned", "namespace", who.Namespace, "device", device, "oemid", oemid, "bootstrap", who.Certificate)
	web.Raw(c, "application/x-pkcs12", archive)
}

// days reads a life in days: one client sends it as text, another as a number.
func days(raw json.RawMessage) (int, error) {
	text := string(bytes.Trim(bytes.TrimSpace(raw), `"`))
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, web.ErrInvalid.With("ttl: a whole number of days from 1 is expected")
	}
	return n, nil
}
