package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

const (
	starts   = 5
	idleTime = 5 * time.Second // before memory is read
)

// coldStart measures from exec to ready, and the memory of a server that has
// nothing to do.
func coldStart(ctx context.Context, _ options) ([]figure, error) {
	s, err := newServer(ctx, "")
	if err != nil {
		return nil, err
	}
	defer s.end()
	var times []float64
	memory := figure{Name: "idle_resident_memory", Unit: "MB", Op: "<", Goal: 100, Samples: 1}
	for range starts {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
		times = append(times, s.ready.Seconds())
		if len(times) == starts {
			time.Sleep(idleTime)
			if memory.Value, err = residentMB(s.process.Process.Pid); err != nil {
				return nil, err
			}
			if !memory.judged().Met {
				if memory.Note, err = s.profile(ctx, memory.Name, "heap"); err != nil {
					return nil, err
				}
			}
		}
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	slices.Sort(times)
	return []figure{
		{Name: "cold_start_to_ready", Value: times[len(times)/2], Unit: "s", Op: "<", Goal: 1, Samples: starts, Note: "median; files may be in the page cache"},
		memory,
	}, nil
}

// demo measures the whole story.
func demo(ctx context.Context, _ options) ([]figure, error) {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, binary("sealift"), "demo").CombinedOutput()
	took := time.Since(begin).Seconds()
	if err != nil {
		return nil, fmt.Errorf("demo: %w\n%s", err, out)
	}
	return []figure{{Name: "demo_wall_time", Value: took, Unit: "s", Op: "<", Goal: 60, Samples: 1, Note: "after the build"}}, nil
}
