package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

const (
	profileFolder  = "bench-profile"
	profileSeconds = 5
	topFrames      = 10
)

// profile keeps a profile of the server under the name of a figure and returns a
// note about what stands out. Kind is heap or profile, which is of the CPU and
// wants the server to be at work meanwhile.
func (s *server) profile(ctx context.Context, name, kind string) (string, error) {
	url := fmt.Sprintf("http://%s/debug/pprof/%s", s.metrics, kind)
	if kind == "profile" {
		url += fmt.Sprintf("?seconds=%d", profileSeconds)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for a profile: %s", resp.Status)
	}
	if err := os.MkdirAll(profileFolder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(profileFolder, name)
	f, err := os.Create(path + ".pprof")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return top(ctx, path)
}

// profileWhile keeps a profile of the CPU while the server is given work, again
// and again.
func (s *server) profileWhile(ctx context.Context, name string, work func() error) (note string, err error) {
	var failed error
	var profile sync.WaitGroup
	stopped := make(chan struct{})
	profile.Go(func() {
		defer close(stopped)
		note, failed = s.profile(ctx, name, "profile")
	})
	for going := true; going && err == nil; {
		err = work()
		select {
		case <-stopped:
			going = false
		default:
		}
	}
	profile.Wait()
	return note, errors.Join(err, failed)
}

// top writes a profile as text too, and names the frames of ours in which most
// was spent, with what they called.
func top(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-nodecount=300", path+".pprof").Output()
	if err != nil {
		return path + ".pprof", nil // which is what counts
	}
	var frames []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // flat flat% sum% cum cum% name
		if len(fields) > 5 && len(frames) < topFrames && strings.Contains(fields[5], "sealift/") {
			frames = append(frames, strings.TrimPrefix(fields[5], "sealift/")+" "+fields[4])
		}
	}
	return fmt.Sprintf("%s.txt: %s", path, strings.Join(frames, ", ")), os.WriteFile(path+".txt", out, 0o644)
}
