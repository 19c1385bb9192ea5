package gateway_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sealift/gateway"
	"sealift/internal/db/dbtest"
	"sealift/internal/web"
	"sealift/registry"
	"sealift/uptane"
)

// crowd is a server at which devices report; header x-device says which.
type crowd struct {
	http.Handler
	clock atomic.Int64 // Unix seconds
	hold  chan struct{}
	held  chan struct{}
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{hold: make(chan struct{}), held: make(chan struct{})}
	c.clock.Store(1_800_000_000)
	now := func() time.Time { return time.Unix(c.clock.Load(), 0) }
	reg, err := registry.New(t.Context(), registry.Config{DB: dbtest.SQLite(t), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	identify := func(r *http.Request) (web.Caller, error) {
		return web.Caller{Kind: web.Device, Namespace: "default", Device: uptane.DeviceID(r.Header.Get("x-device")), Permissions: []string{"device"}}, nil
	}
	slow := func(http.ResponseWriter, *http.Request) {
		c.held <- struct{}{}
		<-c.hold
	}
	c.Handler, err = gateway.ReportHandler(reg, identify, now, slow, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crowd) send(device, method, path, body string) int {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("x-device", device)
	rec := httptest.NewRecorder()
	c.ServeHTTP(rec, req)
	return rec.Code
}

// TestOneDeviceCannotFlood: what a device brings is counted, by size too;
// others do not notice, and it may go on when time has passed.
func TestOneDeviceCannotFlood(t *testing.T) {
	for name, body := range map[string]string{
		"small": `{"hostname":"a"}`,
		"large": `a = "` + strings.Repeat("x", 200<<10) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t)
			path := map[string]string{"small": "/system_info/network", "large": "/system_info/config"}[name]
			sent := 0
			for ; c.send("d1", "PUT", path, body) == http.StatusNoContent; sent++ {
				if sent > 1000 {
					t.Fatal("never refused")
				}
			}
			want := map[string]int{"small": 300, "large": 43}[name]
			if sent < want-1 || sent > want+1 {
				t.Errorf("refused after %d reports, want about %d", sent, want)
			}
			if status := c.send("d1", "PUT", path, body); status != http.StatusTooManyRequests {
				t.Errorf("status %d", status)
			}
			if status := c.send("d2", "PUT", path, body); status != http.StatusNoContent {
				t.Errorf("another device: %d", status)
			}
			c.clock.Add(60)
			if status := c.send("d1", "PUT", path, body); status != http.StatusNoContent {
				t.Errorf("a minute later: %d", status)
			}
		})
	}
}

// TestOneDeviceCannotHoldTheServer: the number of its requests under way is
// bounded, and comes back.
func TestOneDeviceCannotHoldTheServer(t *testing.T) {
	c := newCrowd(t)
	const most = 128
	answers := make(chan int, most)
	for range most {
		go func() { answers <- c.send("d1", "GET", "/slow", "") }()
		<-c.held
	}
	if status := c.send("d1", "GET", "/slow", ""); status != http.StatusTooManyRequests {
		t.Errorf("one more: %d", status)
	}
	close(c.hold)
	for range most {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("one of those let in: %d", status)
		}
	}
	go func() { answers <- c.send("d1", "GET", "/slow", "") }()
	<-c.held
	if status := <-answers; status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}

// TestManyDevicesAreForgotten: debts are remembered however many devices come.
func TestManyDevicesAreForgotten(t *testing.T) {
	c := newCrowd(t)
	for c.send("debtor", "PUT", "/system_info", `{}`) == http.StatusNoContent {
		continue
	}
	for i := range 1500 {
		if status := c.send(fmt.Sprint("d", i), "PUT", "/system_info/network", "["); status != http.StatusBadRequest {
			t.Fatalf("status %d", status)
		}
	}
	if status := c.send("debtor", "PUT", "/system_info", `{}`); status != http.StatusTooManyRequests {
		t.Errorf("the debtor was forgotten: %d", status)
	}
}
