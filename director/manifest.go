package director

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"sealift/internal/db"
	"sealift/uptane"
)

// maxTries bounds how often work is begun anew because the device's state
// changed under it.
const maxTries = 16

// errMoved: the device's state is no longer what the work began with.
var errMoved = errors.New("the device's state has changed meanwhile")

// ReceiveManifest takes what a device reports. When it returns nil, everything
// the manifest says is on disk, except a report_counter alone, which follows
// within a second.
//
// The same bytes as last time change nothing. Some ECUs may be missing; a
// wrong or missing signature (ErrSignature), an ECU of another device
// (ErrUnknownECU), another Primary (ErrNotPrimary), and a counter that was
// used before (ErrReplay) are refused, and nothing has changed then.
func (d *Director) ReceiveManifest(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, raw []byte) error {
	for range maxTries {
		err := d.receive(ctx, ns, device, raw)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receiving manifest of device %s: %w", device, err)
		}
		return nil
	}
	return fmt.Errorf("receiving manifest of device %s: %w", device, ErrBusy)
}

// received is a verified manifest and what it was verified against.
type received struct {
	*uptane.Manifest
	digest string
	stored deviceRow // as the database has it
	base   deviceRow // with what is gathered in memory
}

func (d *Director) receive(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID, raw []byte) error {
	row, facts, err := d.known(ctx, d.store.db, ns, device)
	if err != nil {
		return err
	}
	stored := row
	d.counters.overlay(ns, &row)
	sum := sha256.Sum256(raw)
	m := received{digest: hex.EncodeToString(sum[:]), stored: stored, base: row}
	if m.digest == row.Manifest {
		return nil
	}
	if m.Manifest, err = verify(raw, row.Primary, facts.ecus); err != nil {
		return err
	}
	bound(m.Install)
	if err := m.checkCounter(row); err != nil {
		return err
	}
	if err := d.addReport(ctx, d.store.db, ns, device, m, &facts); err != nil {
		return err
	}
	v := judge(d.now(), facts, m.Manifest)
	if v.changesNothing() {
		d.counters.add(sighting{deviceKey{ns, device}, row.Registration, m.counter(), m.digest, d.now().UnixMilli()})
		return nil
	}
	err = d.store.db.Tx(ctx, func(ctx context.Context, tx *sqlx.Tx) error { return d.settle(ctx, tx, ns, device, m, v) })
	if err == nil {
		d.tell(ctx, ns, device, v.began(facts.ecus))
	}
	return err
}

// bound cuts a report to what is stored of it, here and in the journal.
func bound(r *uptane.InstallReport) {
	if r == nil {
		return
	}
	r.RawReport = storable(r.RawReport, maxRawReport)
	r.CorrelationID = storable(r.CorrelationID, maxCorrelation)
	if len(r.Items) > maxECUs {
		r.Items = r.Items[:maxECUs]
	}
	boundResult(&r.Result)
	for i := range r.Items {
		r.Items[i].ECU = uptane.ECUSerial(storable(string(r.Items[i].ECU), maxSerial))
		boundResult(&r.Items[i].Result)
	}
}

func boundResult(r *uptane.Result) {
	r.Code, r.Description = storable(r.Code, maxCode), storable(r.Description, maxDescription)
}

// device reads the row of a device that has ECUs.
func (d *Director) device(ctx context.Context, ns uptane.Namespace, device uptane.DeviceID) (deviceRow, error) {
	row, err := d.store.device(ctx, ns, device)
	if errors.Is(err, db.ErrNoRows) || err == nil && row.Primary == "" {
		return row, ErrNotRegistered
	}
	return row, err
}

// locked takes the lock of a device that is known here.
func (d *Director) locked(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID) (deviceRow, error) {
	row, err := d.store.lock(ctx, tx, ns, device)
	if errors.Is(err, db.ErrNoRows) {
		return row, ErrNotRegistered
	}
	d.counters.overlay(ns, &row)
	return row, err
}

// known reads a device that has ECUs, and what a manifest is judged by, except
// for its report.
func (d *Director) known(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (row deviceRow, f facts, err error) {
	rows, err := d.store.withECUs(ctx, q, ns, device)
	if err == nil && len(rows) == 0 {
		err = ErrNotRegistered
	}
	if err != nil {
		return row, f, err
	}
	for _, r := range rows {
		f.ecus = append(f.ecus, r.ECU)
	}
	if rows[0].Open > 0 {
		f.open, err = d.store.openAssignments(ctx, q, ns, device)
	}
	return rows[0].Device, f, err
}

// facts reads what is known of the ECUs of a device, if it has any.
func (d *Director) facts(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID) (facts, error) {
	var f facts
	var err error
	if f.ecus, err = d.store.ecus(ctx, q, ns, device, false); err != nil {
		return f, err
	}
	f.open, err = d.store.openAssignments(ctx, q, ns, device)
	return f, err
}

// addReport reads which assignments the manifest's report is about.
func (d *Director) addReport(ctx context.Context, q sqlx.QueryerContext, ns uptane.Namespace, device uptane.DeviceID, m received, f *facts) error {
	if m.Install == nil {
		return nil
	}
	raw, err := json.Marshal(m.Install)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	f.report = &reportRow{
		Digest:      hex.EncodeToString(sum[:]),
		Correlation: storable(m.Install.CorrelationID, maxCorrelation),
		Success:     m.Install.Result.Success,
		Code:        storable(m.Install.Result.Code, maxCode),
		Description: storable(m.Install.Result.Description, maxDescription),
		Report:      string(raw),
	}
	if f.reportKnown, err = d.store.reportKnown(ctx, q, ns, device, f.report.Digest); err != nil {
		return err
	}
	ids, err := d.store.offered(ctx, q, ns, device, f.report.Correlation)
	if err != nil || ids == "" {
		return err
	}
	return json.Unmarshal([]byte(ids), &f.listed)
}

// settle writes what a manifest changes, unless the device is no longer what
// that was judged by.
func (d *Director) settle(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, m received, v verdict) error {
	row := m.base
	if len(v.assignments) > 0 {
		row.Epoch++
	}
	row.Counter, row.Manifest, row.ManifestAt = m.counter(), m.digest, d.now().UnixMilli()
	same, err := d.store.advance(ctx, tx, ns, m.stored, row)
	if err != nil {
		return err
	}
	latest := m.stored
	if d.counters.overlay(ns, &latest); !same || latest != m.base {
		return errMoved
	}
	if err := d.saveVerdict(ctx, tx, ns, device, v); err != nil {
		return err
	}
	return d.recordVerdict(ctx, tx, ns, device, v)
}

func (d *Director) saveVerdict(ctx context.Context, tx *sqlx.Tx, ns uptane.Namespace, device uptane.DeviceID, v verdict) error {
	for _, e := range v.ecus {
		if err := d.store.saveInstalled(ctx, tx, ns, e); err != nil {
			return err
		}
	}
	for _, a := range v.assignments {
		if err := d.store.saveAssignment(ctx, tx, ns, a); err != nil {
			return err
		}
	}
	if v.report != nil {
		if err := d.store.saveReport(ctx, tx, ns, device, *v.report, d.now().UnixMilli()); err != nil {
			return err
		}
	}
	for serial, text := range v.attacks {
		detail := map[string]any{"ecu": serial, "text": text}
		if err := d.note(ctx, tx, ns, device, byDevice, actAttack, detail); err != nil {
			return err
		}
	}
	return nil
}

// verify checks a manifest with the keys its ECUs registered.
func verify(raw []byte, primary uptane.ECUSerial, ecus []ecuRow) (*uptane.Manifest, error) {
	keys := map[uptane.ECUSerial]uptane.Key{}
	for _, e := range ecus {
		keys[e.Serial] = uptane.Key{}
		if e.Key == "" {
			continue
		}
		k, err := uptane.ParseKey([]byte(e.Key))
		if err != nil {
			return nil, fmt.Errorf("reading key of ECU %s: %w", e.Serial, err)
		}
		keys[e.Serial] = k
	}
	m, err := uptane.VerifyManifest(raw, primary, keys)
	if err == nil {
		return m, nil
	}
	cause := storable(err.Error(), maxCause)
	var one *uptane.ECUError
	if errors.Is(err, uptane.ErrECU) && errors.As(err, &one) {
		if _, known := keys[one.Serial]; !known {
			if claimed, e := uptane.ParseManifest(raw); e == nil && claimed.Primary != primary {
				return nil, ErrNotPrimary.With(cause)
			}
			return nil, ErrUnknownECU.With(cause)
		}
		if one.Serial != primary {
			return nil, ErrNotPrimary.With(cause)
		}
	}
	return nil, ErrSignature.With(cause)
}

// counter is the Primary's report_counter, -1 where it sends none.
func (m received) counter() int64 {
	for _, r := range m.Reports {
		if r.Serial == m.Primary && r.Counter != nil {
			return *r.Counter
		}
	}
	return -1
}

// checkCounter refuses a manifest that is not newer than the last one. A
// Primary that never counted need not begin.
func (m received) checkCounter(row deviceRow) error {
	if n := m.counter(); row.Counter >= 0 && n <= row.Counter {
		return ErrReplay.Withf("report_counter is %d, the last one was %d", n, row.Counter)
	}
	return nil
}
