package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

const starts = 5

func startMeasure() measure {
	return measure{name: "start", limit: time.Minute, run: measureStart, figures: []figure{
		{Name: "cold_start_to_ready", Unit: "s", Op: "<", Goal: 1},
		{Name: "idle_resident_memory", Unit: "MB", Op: "<", Goal: 100},
	}}
}

// measureStart measures from exec to ready, and the memory of a server that has
// nothing to do.
func measureStart(ctx context.Context, r *results) error {
	s, err := newServer(ctx, "")
	if err != nil {
		return err
	}
	defer s.end()
	var times []float64
	for range starts {
		if s.process != nil {
			if err := s.stop(); err != nil {
				return err
			}
		}
		if err := s.start(ctx); err != nil {
			return err
		}
		times = append(times, s.ready.Seconds())
	}
	r.take("cold_start_to_ready", times, "files may be in the page cache")
	if err := wait(ctx, idleTime); err != nil {
		return err
	}
	memory, err := residentMB(s.process.Process.Pid)
	if err != nil {
		return err
	}
	r.take("idle_resident_memory", []float64{memory}, "")
	if !r.wantsProfile("idle_resident_memory") {
		return nil
	}
	note, err := s.profile(ctx, "idle_resident_memory", "heap")
	r.note("idle_resident_memory", note)
	return err
}

func demoMeasure() measure {
	return measure{name: "demo", limit: time.Minute, run: measureDemo, figures: []figure{{Name: "demo_wall_time", Unit: "s", Op: "<", Goal: 60}}}
}

// measureDemo measures the whole story.
func measureDemo(ctx context.Context, r *results) error {
	begin := time.Now()
	out, err := exec.CommandContext(ctx, binary("sealift"), "demo").CombinedOutput()
	if err != nil {
		return fmt.Errorf("demo: %w\n%s", err, out)
	}
	r.take("demo_wall_time", []float64{time.Since(begin).Seconds()}, "after the build")
	return nil
}
