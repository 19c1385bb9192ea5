package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sealift/internal/otatuf"
	"sealift/uptane"
	"sealift/uptane/acceptance"
)

// What bounds a folder to import, beyond the documents themselves.
const (
	maxImportRoots       = 10_000
	maxImportDelegations = 10_000
	maxImportCA          = 64 << 10 // bytes
)

// oldServer is what an ota-tuf server served, verified by its last root.
type oldServer struct {
	repositories map[uptane.Repository]oldRepository
	targets      uptane.Document[metadata.TargetsType]
	floor        int // highest version of snapshot and timestamp
	delegations  []oldDelegation
	devices      []otatuf.Device
}

// oldRepository is one of the two.
type oldRepository struct {
	name   uptane.Repository
	roots  [][]byte
	last   metadata.RootType
	keys   []oldKey
	absent map[uptane.Role]int // keys whose private half is not in the dump
}

// oldDelegation is metadata of a delegated role; one comes after the role that
// delegates to it.
type oldDelegation struct {
	role    uptane.Role
	doc     []byte
	payload *metadata.TargetsType
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// readOldServer reads a folder and verifies what is in it.
func readOldServer(dir string, online bool) (oldServer, error) {
	s := oldServer{repositories: map[uptane.Repository]oldRepository{}}
	stored, err := readKeyDump(dir)
	if err != nil {
		return s, err
	}
	for _, name := range []uptane.Repository{uptane.ImageRepository, uptane.DirectorRepository} {
		r := oldRepository{name: name}
		if r.roots, err = readRoots(filepath.Join(dir, string(name))); err != nil {
			return s, err
		}
		last, err := uptane.OpenRoot(uptane.Uptane, r.roots[len(r.roots)-1], nil, time.Time{})
		if err != nil {
			return s, fmt.Errorf("reading root %d of the %s repository: %w", len(r.roots), name, err)
		}
		r.last = last.Payload
		if err := r.takeKeys(stored, online); err != nil {
			return s, err
		}
		s.repositories[name] = r
	}
	if err := s.readImage(filepath.Join(dir, "image")); err != nil {
		return s, err
	}
	s.devices, err = readDeviceDump(filepath.Join(dir, "director.sql"))
	return s, err
}

// readRoots reads 1.root.json and all that follow it without a gap.
func readRoots(dir string) ([][]byte, error) {
	var list [][]byte
	for len(list) < maxImportRoots {
		raw, err := readBounded(filepath.Join(dir, uptane.RoleRoot.Filename(len(list)+1)), acceptance.MaxMetadata)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		list = append(list, raw)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.root.json"))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || len(files) != len(list) {
		return nil, fmt.Errorf("reading %s: %d.root.json is missing; the chain begins at 1.root.json and has no gaps", dir, len(list)+1)
	}
	return list, nil
}

// readImage reads targets, and the snapshot and timestamp that clients have seen.
func (s *oldServer) readImage(dir string) error {
	raw, err := readBounded(filepath.Join(dir, "targets.json"), acceptance.MaxTargets)
	if err != nil {
		return err
	}
	root := s.repositories[uptane.ImageRepository].last
	ring, err := uptane.RingOf(uptane.Uptane, &root, uptane.RoleTargets)
	if err != nil {
		return err
	}
	s.targets, err = uptane.Open[metadata.TargetsType](uptane.Uptane, raw, uptane.RoleTargets, ring, time.Time{})
	if err != nil {
		return fmt.Errorf("reading targets.json: %w", err)
	}
	snapshot, err := readOnline[metadata.SnapshotType](dir, &root, uptane.RoleSnapshot)
	if err != nil {
		return err
	}
	timestamp, err := readOnline[metadata.TimestampType](dir, &root, uptane.RoleTimestamp)
	if err != nil {
		return err
	}
	if m := snapshot.Meta["targets.json"]; m == nil || m.Version != s.targets.Payload.Version {
		return errors.New("snapshot.json is of other targets than targets.json: fetch them again, all at one time")
	}
	s.floor = int(max(snapshot.Version, timestamp.Version)) + 1
	return s.readDelegations(dir, snapshot)
}

func readOnline[T metadata.Roles](dir string, root *metadata.RootType, role uptane.Role) (*T, error) {
	raw, err := readBounded(filepath.Join(dir, role.Filename(0)), acceptance.MaxTargets)
	if err != nil {
		return nil, err
	}
	ring, err := uptane.RingOf(uptane.Uptane, root, role)
	if err != nil {
		return nil, err
	}
	d, err := uptane.Open[T](uptane.Uptane, raw, role, ring, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", role.Filename(0), err)
	}
	return &d.Payload, nil
}

// readDelegations reads what targets, and what they delegate to, delegate to, as
// far as the old server had it.
func (s *oldServer) readDelegations(dir string, snapshot *metadata.SnapshotType) error {
	parents, seen := []*metadata.TargetsType{&s.targets.Payload}, map[string]bool{}
	for len(parents) > 0 {
		parent := parents[0]
		parents = parents[1:]
		if parent.Delegations == nil {
			continue
		}
		for _, d := range parent.Delegations.Roles {
			role := uptane.Role(d.Name)
			if seen[d.Name] || !role.Delegation() || len(seen) >= maxImportDelegations {
				return fmt.Errorf("the delegation to %.80q cannot be imported: its name cannot be used, or two roles have it", d.Name)
			}
			seen[d.Name] = true
			raw, err := readBounded(filepath.Join(dir, "delegations", d.Name+".json"), acceptance.MaxTargets)
			if errors.Is(err, fs.ErrNotExist) {
				if snapshot.Meta[d.Name+".json"] == nil {
					continue // nobody ever pushed any
				}
				return fmt.Errorf("delegations/%s.json is missing, which the snapshot lists", d.Name)
			}
			if err != nil {
				return err
			}
			ring, err := uptane.DelegationRing(uptane.Uptane, parent, role)
			if err != nil {
				return fmt.Errorf("reading the delegation to %s: %w", role, err)
			}
			doc, err := uptane.Open[metadata.TargetsType](uptane.Uptane, raw, role, ring, time.Time{})
			if err != nil {
				return fmt.Errorf("reading delegations/%s.json: %w", role, err)
			}
			s.delegations = append(s.delegations, oldDelegation{role, raw, &doc.Payload})
			parents = append(parents, &doc.Payload)
		}
	}
	return nil
}

// wantedBlob is an image that clients download from the server.
type wantedBlob struct {
	filename, sha256 string
	length           int64
}

// wanted are the images whose bytes the old server had: no commits, and nothing
// that lies elsewhere.
func (s *oldServer) wanted() []wantedBlob {
	var list []wantedBlob
	all := []*metadata.TargetsType{&s.targets.Payload}
	for _, d := range s.delegations {
		all = append(all, d.payload)
	}
	for _, p := range all {
		for _, name := range slices.Sorted(maps.Keys(p.Targets)) {
			t, err := uptane.TargetOf(name, p.Targets[name])
			if err != nil || t.IsOSTree() || t.Custom.URI != "" {
				continue // what is wrong with it is said when it is taken
			}
			list = append(list, wantedBlob{name, t.SHA256(), t.Length})
		}
	}
	return list
}

func readDeviceDump(path string) ([]otatuf.Device, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Director's dump: %w", err)
	}
	defer f.Close()
	list, err := otatuf.ReadDevices(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return list, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading what is to be imported: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return raw, nil
}

// readCertificate reads the one certificate of a PEM file.
func readCertificate(path string) (*x509.Certificate, error) {
	raw, err := readBounded(path, maxImportCA)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, usage(fmt.Errorf("reading %s: not one certificate in PEM", path))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, usage(fmt.Errorf("reading %s: %w", path, err))
	}
	return cert, nil
}
