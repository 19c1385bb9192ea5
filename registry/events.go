package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sealift/internal/fault"
	"sealift/uptane"
)

// ErrTooManyEvents makes the client send half of them.
var ErrTooManyEvents = fault.New(fault.TooLarge, "too_many_events", "too many events at once; send fewer")

// Event is something a device did, in its own words.
type Event struct {
	ID          string
	Type        string
	Version     int
	ECU         string
	Correlation string
	Payload     string // JSON
	DeviceTime  time.Time
	ReceivedAt  time.Time
}

// wireEvent is an element of what POST /events carries.
type wireEvent struct {
	ID        string `json:"id"`
	EventType struct {
		ID      string `json:"id"`
		Version int    `json:"version"`
	} `json:"eventType"`
	DeviceTime string          `json:"deviceTime"`
	Event      json.RawMessage `json:"event"`
}

// PutEvents stores a batch of events, each id once; the newest five thousand of
// a device are kept. Elements that cannot be read, and a whole batch that cannot,
// are logged and left out: a client that is refused sends the same batch every ten
// seconds for ever and stalls its updates. It answers ErrTooManyEvents alone, upon
// which clients send fewer.
func (r *Registry) PutEvents(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, body []byte) error {
	if len(body) > MaxEvents {
		return ErrTooManyEvents.Withf("the limit is %d bytes", MaxEvents)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(body, &elements); err != nil {
		r.log.Warn("a batch of events of a device was left out", "namespace", ns, "device", device, "bytes", len(body), "reason", err)
		return nil
	}
	if len(elements) > maxEventItems {
		return ErrTooManyEvents.Withf("the limit is %d", maxEventItems)
	}
	events := make([]Event, 0, len(elements))
	var leftOut []error
	for _, raw := range elements {
		e, err := r.readEvent(raw)
		if err != nil {
			leftOut = append(leftOut, err)
			continue
		}
		events = append(events, e)
	}
	if len(leftOut) > 0 { // one line however many: the device must not fill the log
		r.log.Warn("events of a device were left out", "namespace", ns, "device", device, "count", len(leftOut), "first_reason", leftOut[0])
	}
	if len(events) == 0 {
		return nil
	}
	return wrap("storing events", r.addEvents(ctx, ns, device, events))
}

func (r *Registry) readEvent(raw json.RawMessage) (Event, error) {
	if _, err := compactJSON(raw, maxEvent); err != nil {
		return Event{}, fmt.Errorf("reading event: %w", err)
	}
	var w wireEvent
	if err := json.Unmarshal(raw, &w); err != nil {
		return Event{}, fmt.Errorf("reading event: %w", err)
	}
	var inner struct {
		ECU           string `json:"ecu"`
		CorrelationID string `json:"correlationId"`
	}
	if len(w.Event) > 0 {
		if err := json.Unmarshal(w.Event, &inner); err != nil {
			return Event{}, fmt.Errorf("reading event: %w", err)
		}
	}
	for _, text := range []string{w.ID, w.EventType.ID, inner.ECU, inner.CorrelationID} {
		if len(text) > maxText || !printable(text) {
			return Event{}, fmt.Errorf("reading event: a text is longer than %d bytes or not printable", maxText)
		}
	}
	if w.ID == "" || w.EventType.ID == "" {
		return Event{}, fmt.Errorf("reading event: id or type is missing")
	}
	at, err := time.Parse(time.RFC3339, w.DeviceTime)
	if err != nil {
		at = r.now() // boards without a clock send nonsense; the order of arrival is kept
	}
	payload := string(w.Event)
	if payload == "" {
		payload = "{}"
	}
	return Event{
		ID: w.ID, Type: w.EventType.ID, Version: w.EventType.Version, ECU: inner.ECU, Correlation: inner.CorrelationID,
		Payload: payload, DeviceTime: at, ReceivedAt: r.now(),
	}, nil
}

// Events lists the events of a device, newest first; correlation narrows them
// to one update unless it is empty.
func (r *Registry) Events(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, correlation string, offset, limit int) ([]Event, int, error) {
	list, total, err := r.store.events(ctx, r.db, ns, device, correlation, offset, limit)
	return list, total, wrap("listing events", err)
}
