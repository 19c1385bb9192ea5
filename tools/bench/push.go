package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sealift/treehub/ostree"
)

// The file system that is pushed and pulled: with one commit, one kind of folder
// and the folders themselves it has 2,500 objects.
const (
	pushTurns   = 3
	pushTime    = 30 * time.Second // after which no turn begins
	pushObjects = 2500
	pushFolders = 50
	pushFiles   = pushObjects - pushFolders - 3
	maxFile     = 16 << 10
)

func pushMeasure() measure {
	return measure{name: "push", limit: 90 * time.Second, run: measurePushes, figures: []figure{
		{Name: "push_2500_objects", Unit: "s"},
		{Name: "pull_2500_objects", Unit: "s"},
		{Name: "pull_2500_objects_ratio", Unit: "x"},
	}}
}

// measurePushes measures our garage-push, and Debian's ostree that pulls the
// same from the gateway and from nginx.
func measurePushes(ctx context.Context, r *results) error {
	s, err := newServer(ctx, "")
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.start(ctx); err != nil {
		return err
	}
	local := filepath.Join(s.dir, "build")
	repo, err := ostree.InitDir(local)
	if err != nil {
		return err
	}
	remotes, me, stop, err := s.remotes(ctx, r, local)
	if err != nil {
		return err
	}
	defer stop()
	times := map[string][]float64{}
	begin := time.Now()
	for turn := range pushTurns {
		commit, err := commitTree(ctx, repo, filepath.Join(s.dir, fmt.Sprint("tree-", turn)), turn)
		if err != nil {
			return err
		}
		if err := s.pushAndPull(ctx, turn, local, commit, remotes, me, times); err != nil {
			return err
		}
		if time.Since(begin) > pushTime {
			break
		}
	}
	r.take("push_2500_objects", times["push"], "%.0f objects/s over TLS, each one verified, on disk when it is acknowledged", pushObjects/median(times["push"]))
	own, other := times["sealift"], times["nginx"]
	if len(own) > 0 {
		r.take("pull_2500_objects", own, "Debian's ostree, mutual TLS, HTTP/2")
	}
	if len(own) > 0 && len(other) > 0 {
		var ratios []float64
		for i := range own {
			ratios = append(ratios, own[i]/other[i])
		}
		r.take("pull_2500_objects_ratio", ratios, "time of sealift by time of nginx with the files that were pushed, %.2f s", median(other))
	}
	return nil
}

// pushAndPull adds the seconds that each takes to times.
func (s *server) pushAndPull(ctx context.Context, turn int, local string, commit ostree.Checksum, remotes []remote, me pair, times map[string][]float64) error {
	begin := time.Now()
	out, err := s.command(ctx, "garage-push", "--repo", local, "--ref", commit.String(), "--credentials", "sealift-out/build.zip").CombinedOutput()
	if err != nil {
		return fmt.Errorf("garage-push: %w\n%s", err, out)
	}
	times["push"] = append(times["push"], time.Since(begin).Seconds())
	for i := range remotes {
		from := remotes[(turn+i)%len(remotes)]
		took, err := from.pull(ctx, filepath.Join(s.dir, fmt.Sprintf("pulled-%s-%d", from.name, turn)), commit, me)
		if err != nil {
			return err
		}
		times[from.name] = append(times[from.name], took.Seconds())
	}
	return nil
}

// commitTree commits a file system of random content that is the same in every
// run.
func commitTree(ctx context.Context, repo *ostree.Dir, root string, number int) (c ostree.Checksum, err error) {
	random := rand.NewChaCha8(sha256.Sum256([]byte{byte(number)}))
	for i := range pushFolders {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("d%02d", i)), 0o755); err != nil {
			return c, err
		}
	}
	for i := range pushFiles {
		content := make([]byte, 16+random.Uint64()%maxFile)
		_, _ = random.Read(content) // never fails
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("d%02d", i%pushFolders), fmt.Sprintf("f%04d", i)), content, 0o644); err != nil {
			return c, err
		}
	}
	return repo.Commit(ctx, os.DirFS(root), ostree.CommitOptions{Subject: fmt.Sprint("tree ", number), Timestamp: time.Date(2026, 1, 1, 0, 0, number, 0, time.UTC)})
}

// remotes are those that ostree pulls from, as a device: the server, and nginx
// that serves the local repository. What is not installed is told.
func (s *server) remotes(ctx context.Context, r *results, local string) (list []remote, me pair, stop func(), err error) {
	const ratio = "pull_2500_objects_ratio"
	stop = func() {}
	if _, err := exec.LookPath("ostree"); err != nil {
		r.miss("ostree is not installed; on Debian, make deps installs it", "pull_2500_objects", ratio)
		return nil, me, stop, nil
	}
	devices, err := s.register(ctx, 1)
	if err != nil {
		return nil, me, stop, err
	}
	dir := filepath.Join(s.dir, "rival")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, me, stop, err
	}
	id, err := newIdentity(dir, s.fleet.Cert)
	if err != nil {
		return nil, me, stop, err
	}
	if me, err = devices[0].files(dir); err != nil {
		return nil, me, stop, err
	}
	list = []remote{{"sealift", "https://" + s.gateway + "/treehub", filepath.Join(s.dir, "sealift-out", "server_ca.pem")}}
	if _, err := findNginx(); err != nil {
		r.miss(err.Error(), ratio)
		return list, me, stop, nil
	}
	n, err := startNginx(ctx, dir, id, local, false)
	if err != nil {
		return nil, me, stop, err
	}
	return append(list, remote{"nginx", "https://" + n.address + "/treehub", id.root}), me, n.stop, nil
}

// pair is a device's certificate and key in files.
type pair struct{ cert, key string }

func (r *rider) files(dir string) (pair, error) {
	p := pair{filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key")}
	key, err := x509.MarshalPKCS8PrivateKey(r.cert.PrivateKey)
	if err != nil {
		return p, err
	}
	return p, errors.Join(os.WriteFile(p.cert, certificates(r.cert.Leaf), 0o600),
		os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

// remote is where ostree pulls from, and whom it trusts there.
type remote struct{ name, url, ca string }

func (r remote) pull(ctx context.Context, dir string, commit ostree.Checksum, me pair) (time.Duration, error) {
	for _, args := range [][]string{
		{"init", "--mode=archive"},
		{"remote", "add", "--no-gpg-verify", "--set=tls-ca-path=" + r.ca, "--set=tls-client-cert-path=" + me.cert, "--set=tls-client-key-path=" + me.key, "r", r.url},
	} {
		if err := runOSTree(ctx, dir, args...); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	err := runOSTree(ctx, dir, "pull", "r", commit.String())
	took := time.Since(begin)
	if err == nil {
		err = runOSTree(ctx, dir, "fsck", "--quiet")
	}
	return took, err
}

func runOSTree(ctx context.Context, dir string, args ...string) error {
	if args[0] == "init" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "ostree", append([]string{"--repo=" + dir}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ostree %s: %w\n%s", args[0], err, out)
	}
	return nil
}
