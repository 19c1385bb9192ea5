package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"sealift/internal/otatuf"
	"sealift/keys"
	"sealift/repo"
	"sealift/tools/sealift/wiring"
	"sealift/uptane"
)

// takeRoots takes over the roots and online keys of both repositories.
func takeRoots(ctx context.Context, v *wiring.Services, old oldServer) error {
	var list []keys.Takeover
	for _, name := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		r := old.repositories[name]
		list = append(list, keys.Takeover{Repository: name, Roots: r.roots, Keys: r.online(), Known: r.known()})
	}
	return v.Vault.BeginImport(ctx, defaultNamespace, list...)
}

// takeTargets takes over what stands on roots and keys. It returns the targets
// whose bytes are not here.
func takeTargets(ctx context.Context, v *wiring.Services, old oldServer) ([]string, error) {
	if _, err := v.Repo.Create(ctx, defaultNamespace); err != nil && !errors.Is(err, repo.ErrExists) {
		return nil, err
	}
	if err := v.Repo.RaiseVersions(ctx, defaultNamespace, old.floor); err != nil {
		return nil, err
	}
	taken, err := v.Repo.TakeTargets(ctx, defaultNamespace, old.targets.Raw, nil, "import")
	if err != nil {
		return nil, fmt.Errorf("importing targets: %w", err)
	}
	return taken.Missing, nil
}

func takeDelegations(ctx context.Context, v *wiring.Services, old oldServer) error {
	for _, d := range old.delegations {
		if _, err := v.Repo.PutDelegation(ctx, defaultNamespace, d.role, d.doc, "import"); err != nil {
			return fmt.Errorf("importing delegated role %s: %w", d.role, err)
		}
	}
	return nil
}

// takeDevices registers the devices, whose Director metadata go on above a version.
func takeDevices(ctx context.Context, v *wiring.Services, old oldServer, seen int64, done *atomic.Int64) error {
	if err := v.Director.RaiseVersions(ctx, defaultNamespace, seen+1); err != nil {
		return err
	}
	for _, d := range old.devices {
		if err := takeDevice(ctx, v, d); err != nil {
			return fmt.Errorf("importing device %.100q: %w", d.ID, err)
		}
		done.Add(1)
	}
	return nil
}

// takeDevice registers the ECUs of a device as it did itself on the old server: it
// will not do so again.
func takeDevice(ctx context.Context, v *wiring.Services, d otatuf.Device) error {
	type ecu struct {
		Serial   string          `json:"ecu_serial"`
		Hardware string          `json:"hardware_identifier"`
		Key      json.RawMessage `json:"clientKey"`
	}
	var body struct {
		Primary string `json:"primary_ecu_serial"`
		ECUs    []ecu  `json:"ecus"`
	}
	body.Primary = d.Primary
	for _, e := range d.ECUs {
		if !json.Valid([]byte(e.PublicKey)) {
			return fmt.Errorf("the public key of ECU %.100q is no JSON", e.Serial)
		}
		body.ECUs = append(body.ECUs, ecu{e.Serial, e.HardwareID, json.RawMessage(e.PublicKey)})
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	oemid := uptane.OEMID(d.ID)
	id, _, err := v.Registry.EnsureDevice(ctx, defaultNamespace, oemid)
	if err != nil {
		return err
	}
	_, err = v.Director.RegisterECUs(ctx, defaultNamespace, id, oemid, raw)
	return err
}
