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
)

const (
	profileFolder  = "bench-profile"
	profileSeconds = 5
	topFrames      = 8
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
	path := filepath.Join(profileFolder, name+".pprof")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return path + ": " + top(ctx, path), nil
}

// top names the frames in which most was spent, with what they called.
func top(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", fmt.Sprintf("-nodecount=%d", 5*topFrames), path).Output()
	if err != nil {
		return "go tool pprof: " + err.Error()
	}
	_, table, _ := strings.Cut(string(out), "cum%\n")
	var frames []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line) // flat flat% sum% cum cum% name
		if len(fields) < 6 || len(frames) == topFrames || strings.HasPrefix(fields[5], "runtime.goexit") || strings.HasPrefix(fields[5], "net/http.(*conn).serve") {
			continue
		}
		frames = append(frames, fields[5]+" "+fields[4])
	}
	return strings.Join(frames, ", ")
}
